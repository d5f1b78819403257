package spec

import (
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// The JSON of an event is read in one pass that both validates all of it and takes out the values
// of the asked paths. gjson was left out: it tolerates broken JSON, so each event would be read
// once to validate it and once more a path; it also gives `a.0`, `*` and `#` meanings that PATH
// does not have.
//
// Where RFC 8259 leaves a choice: of equal names in an object the last one counts, as in Python,
// JavaScript and encoding/json; half a surrogate pair is an error where its string is asked for,
// and in a name equals nothing; a byte order mark is broken JSON.

type jsonKind uint8

const (
	jsonMissing jsonKind = iota
	jsonNull
	jsonFalse
	jsonTrue
	jsonNumber
	jsonString
	jsonArray
	jsonObject
)

func (k jsonKind) String() string {
	return [...]string{"missing", "null", "false", "true", "a number", "a string", "an array", "an object"}[k]
}

// A span is a value in an event; of a string, what is between the quotes.
type span struct {
	kind       jsonKind
	escaped    bool // of a string: it holds a backslash
	start, end int
}

func (v span) in(data []byte) []byte { return data[v.start:v.end] }

// A jsonScan is one pass over data. slots receives the values of the trie's paths.
type jsonScan struct {
	data   []byte
	trie   *pathTrie
	slots  []span
	depth  int
	name   []byte // a name with its escapes resolved
	failed int    // where the JSON is broken, or -1
	deep   bool   // it is not broken but nested too deep
}

// scan reads all of data and returns the value that it is. A reason says why it is none.
func (s *jsonScan) scan(data []byte, trie *pathTrie) (root span, reason string) {
	s.data, s.trie, s.depth, s.failed, s.deep = data, trie, 0, -1, false
	if cap(s.slots) < trie.slots {
		s.slots = make([]span, trie.slots)
	}
	s.slots = s.slots[:trie.slots]
	clear(s.slots)
	if len(data) == 0 {
		return span{}, "an empty value is not JSON"
	}
	if !utf8.Valid(data) {
		return span{}, "not UTF-8"
	}
	root, end := s.value(0, trie.root())
	if end >= 0 {
		if end = s.space(end); end < len(data) {
			end = s.fail(end)
		}
	}
	switch {
	case s.deep:
		return span{}, fmt.Sprintf("JSON nested deeper than %d", MaxJSONDepth)
	case end < 0:
		return span{}, fmt.Sprintf("broken JSON at byte %d", s.failed)
	}
	return root, ""
}

func (s *jsonScan) fail(i int) int {
	if s.failed < 0 {
		s.failed = i
	}
	return -1
}

func (s *jsonScan) space(i int) int {
	for i < len(s.data) && (s.data[i] == ' ' || s.data[i] == '\n' || s.data[i] == '\r' || s.data[i] == '\t') {
		i++
	}
	return i
}

// at reports whether the byte at i is c.
func (s *jsonScan) at(i int, c byte) bool { return i < len(s.data) && s.data[i] == c }

// value reads the value at i, which the trie's node stands for (nil: nobody asked for it), and
// returns it with the index after it, which is -1 when it is broken.
func (s *jsonScan) value(i int, node *trieNode) (span, int) {
	i = s.space(i)
	if i == len(s.data) {
		return span{}, s.fail(i)
	}
	v := span{start: i}
	end := -1
	switch c := s.data[i]; {
	case c == '"':
		v.kind = jsonString
		if end, v.escaped = s.str(i); end >= 0 {
			v.start, v.end = i+1, end-1
		}
	case c == '{':
		v.kind = jsonObject
		end = s.object(i, node)
	case c == '[':
		v.kind = jsonArray
		end = s.array(i, node)
	case c == 't':
		v.kind, end = jsonTrue, s.literal(i, "true")
	case c == 'f':
		v.kind, end = jsonFalse, s.literal(i, "false")
	case c == 'n':
		v.kind, end = jsonNull, s.literal(i, "null")
	default:
		v.kind = jsonNumber
		if end = scanNumber(s.data, i); end < 0 {
			s.fail(i)
		}
	}
	if v.kind != jsonString {
		v.end = end
	}
	if node != nil && node.slot >= 0 {
		s.slots[node.slot] = v
	}
	return v, end
}

func (s *jsonScan) literal(i int, want string) int {
	if len(s.data)-i < len(want) || string(s.data[i:i+len(want)]) != want {
		return s.fail(i)
	}
	return i + len(want)
}

// str reads the string whose quote is at i. The data is known to be UTF-8.
func (s *jsonScan) str(i int) (end int, escaped bool) {
	for i++; i < len(s.data); i++ {
		switch c := s.data[i]; {
		case c == '"':
			return i + 1, escaped
		case c < 0x20:
			return s.fail(i), escaped
		case c == '\\':
			escaped = true
			n := escapeLen(s.data[i:])
			if n == 0 {
				return s.fail(i), escaped
			}
			i += n - 1
		}
	}
	return s.fail(i), escaped
}

// escapeLen is the length of the escape that b begins with, or 0.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(b); ok {
			return 6
		}
	}
	return 0
}

// hex4 reads \uXXXX.
func hex4(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range b[2:6] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 + rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 + rune(c-'a') + 10
		case c >= 'A' && c <= 'F':
			r = r<<4 + rune(c-'A') + 10
		default:
			return 0, false
		}
	}
	return r, true
}

func (s *jsonScan) object(i int, node *trieNode) int {
	if !s.enter() {
		return s.fail(i)
	}
	i = s.space(i + 1)
	if s.at(i, '}') {
		s.depth--
		return i + 1
	}
	for {
		if !s.at(i, '"') {
			return s.fail(i)
		}
		end, escaped := s.str(i)
		if end < 0 {
			return -1
		}
		child := s.member(node, s.data[i+1:end-1], escaped)
		if i = s.space(end); !s.at(i, ':') {
			return s.fail(i)
		}
		if _, i = s.value(i+1, child); i < 0 {
			return -1
		}
		if i = s.space(i); s.at(i, '}') {
			s.depth--
			return i + 1
		}
		if !s.at(i, ',') {
			return s.fail(i)
		}
		i = s.space(i + 1)
	}
}

// member is the node of a name. What an equal name before it gave is forgotten: the last one
// counts.
func (s *jsonScan) member(node *trieNode, name []byte, escaped bool) *trieNode {
	if node == nil || len(node.names) == 0 {
		return nil
	}
	if escaped {
		ok := false
		if s.name, ok = appendUnescaped(s.name[:0], name); !ok {
			return nil
		}
		name = s.name
	}
	for _, e := range node.names {
		if e.name == string(name) {
			clear(s.slots[e.node.low:e.node.high])
			return e.node
		}
	}
	return nil
}

func (s *jsonScan) array(i int, node *trieNode) int {
	if !s.enter() {
		return s.fail(i)
	}
	i = s.space(i + 1)
	if s.at(i, ']') {
		s.depth--
		return i + 1
	}
	for index := 0; ; index++ {
		var child *trieNode
		if node != nil {
			child = node.element(index)
		}
		if _, i = s.value(i, child); i < 0 {
			return -1
		}
		if i = s.space(i); s.at(i, ']') {
			s.depth--
			return i + 1
		}
		if !s.at(i, ',') {
			return s.fail(i)
		}
		i++
	}
}

func (s *jsonScan) enter() bool {
	s.depth++
	s.deep = s.deep || s.depth > MaxJSONDepth
	return !s.deep
}

// next gives the elements of an array that scan has accepted, one a call: i is the index after [ or
// after the element before.
func (s *jsonScan) next(i int) (v span, end int, ok bool) {
	if i = s.space(i); s.at(i, ']') {
		return span{}, i, false
	}
	if s.at(i, ',') {
		i++
	}
	v, end = s.value(i, nil)
	return v, end, true
}

// scanNumber is the index after the JSON number at i, or -1.
func scanNumber(b []byte, i int) int {
	if i < len(b) && b[i] == '-' {
		i++
	}
	start := i
	if i = scanDigits(b, i); i == start || b[start] == '0' && i > start+1 {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		start = i + 1
		if i = scanDigits(b, start); i == start {
			return -1
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		start = i
		if i = scanDigits(b, start); i == start {
			return -1
		}
	}
	return i
}

func scanDigits(b []byte, i int) int {
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i
}

// appendUnescaped resolves the escapes of a valid JSON string. It reports false for half a
// surrogate pair, which is no code point.
func appendUnescaped(dst, s []byte) ([]byte, bool) {
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			dst = append(dst, s[i])
			i++
			continue
		}
		if r, ok := hex4(s[i:]); ok {
			i += 6
			if utf16.IsSurrogate(r) {
				low, _ := hex4(s[i:])
				if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
					return dst, false
				}
				i += 6
			}
			dst = utf8.AppendRune(dst, r)
			continue
		}
		dst = append(dst, unescapeByte(s[i+1]))
		i += 2
	}
	return dst, true
}

func unescapeByte(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}
