package spec

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxOpenBrackets bounds how deep a spec can nest: the YAML parser's time is quadratic in that.
const maxOpenBrackets = 2000

// A reader takes values out of YAML nodes. Its first failure sticks: after it every method gives a
// zero value, so that parse.go can read a whole section and look at the error once.
type reader struct {
	file string
	data []byte
	err  *ParseError
}

func (r *reader) failAt(line, column int, format string, args ...any) {
	if r.err == nil {
		r.err = &ParseError{r.file, line, column, fmt.Sprintf(format, args...)}
	}
}

func (r *reader) fail(n ast.Node, format string, args ...any) {
	line, column := 1, 1
	if tok := firstToken(n); tok != nil && tok.Position != nil {
		line, column = tok.Position.Line, tok.Position.Column
	}
	r.failAt(line, column, format, args...)
}

// firstToken is where a node begins; the library's GetToken of a mapping is its first colon.
func firstToken(n ast.Node) *token.Token {
	switch m := n.(type) {
	case nil:
		return nil
	case *ast.MappingNode:
		if !m.IsFlowStyle && len(m.Values) > 0 {
			return firstToken(m.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return firstToken(m.Key)
	}
	return n.GetToken()
}

// document is the root node of the one YAML document in the data.
func (r *reader) document() ast.Node {
	r.data = bytes.TrimPrefix(r.data, []byte("\ufeff"))
	if r.checkBytes(); r.err != nil {
		return nil
	}
	file, err := parseYAML(r.data)
	if err != nil {
		r.failYAML(err)
		return nil
	}
	var root ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if root != nil {
			r.fail(doc.Body, "a second YAML document: a file holds one spec")
			return nil
		}
		root = doc.Body
	}
	if root == nil {
		r.failAt(1, 1, "the spec is empty; `tally init` prints one to start from")
	}
	return root
}

func (r *reader) checkBytes() {
	if len(r.data) > MaxSpecBytes {
		r.failAt(1, 1, "the spec has %d bytes, more than %d", len(r.data), MaxSpecBytes)
		return
	}
	line, column, open := 1, 0, 0
	for rest := r.data; len(rest) > 0; {
		c, size := utf8.DecodeRune(rest)
		rest = rest[size:]
		column++
		switch {
		case c == utf8.RuneError && size == 1:
			r.failAt(line, column, "not UTF-8")
			return
		case c == '\n':
			line, column = line+1, 0
		case c == '[' || c == '{':
			open++
		case c == ']' || c == '}':
			open--
		}
		if open > maxOpenBrackets {
			r.failAt(line, column, "nested too deep")
			return
		}
	}
}

// parseYAML turns a panic of the library on odd input into an error: a spec may come over HTTP.
func parseYAML(data []byte) (file *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("cannot be read as YAML: %v", p)
		}
	}()
	return parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
}

// unquotedPath finds what most often breaks the YAML of a spec: in {...} a PATH with an index, or
// one that begins with a quoted name, needs quotes of its own.
var unquotedPath = regexp.MustCompile(`[^\s'"\[{,]\[\d+\]|"\.`)

func (r *reader) failYAML(err error) {
	line, column, message := 1, 1, err.Error()
	if syntax := yaml.Error(nil); errors.As(err, &syntax) {
		message = syntax.GetMessage()
		if tok := syntax.GetToken(); tok != nil && tok.Position != nil {
			line, column = tok.Position.Line, tok.Position.Column
		}
	}
	lines := strings.Split(string(r.data), "\n")
	if line >= 1 && line <= len(lines) && unquotedPath.MatchString(lines[line-1]) {
		message += ` (a PATH with an index or a quoted name stands in single quotes: 'a[0]', '"a.b".c')`
	}
	r.failAt(line, column, "%s", message)
}

// An entry is a field of a mapping.
type entry struct {
	name  string
	key   ast.Node
	value ast.Node
}

// entries are the fields of a mapping in their order, no name twice.
func (r *reader) entries(n ast.Node, what string) []entry {
	var values []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		r.fail(n, "%s must be a mapping (name: value), not %s", what, describe(n))
		return nil
	}
	var list []entry
	seen := map[string]bool{}
	for _, v := range values {
		key, ok := v.Key.(*ast.StringNode)
		if !ok {
			r.fail(v.Key, "a name in %s must be a string, not %s", what, describe(v.Key))
			return nil
		}
		if seen[key.Value] {
			r.fail(key, "%s stands twice in %s", key.Value, what)
			return nil
		}
		seen[key.Value] = true
		list = append(list, entry{key.Value, key, v.Value})
	}
	return list
}

// fields is a mapping whose names are known.
func (r *reader) fields(n ast.Node, what string, known ...string) map[string]entry {
	byName := map[string]entry{}
	for _, e := range r.entries(n, what) {
		byName[e.name] = e
		if !contains(known, e.name) {
			r.fail(e.key, "unknown field %q in %s%s", e.name, what, suggest(e.name, known))
			return nil
		}
	}
	return byName
}

// items are the elements of a sequence.
func (r *reader) items(n ast.Node, what string, max int) []ast.Node {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		r.fail(n, "%s must be a list [...], not %s", what, describe(n))
		return nil
	}
	if len(list.Values) > max {
		r.fail(list.Values[max], "more than %d in %s", max, what)
		return nil
	}
	return list.Values
}

func (r *reader) text(n ast.Node, what string) string {
	switch s := n.(type) {
	case *ast.StringNode:
		return s.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		r.fail(n, "%s must be a string: put it in quotes: %q", what, n.GetToken().Value)
	default:
		r.fail(n, "%s must be a string, not %s", what, describe(n))
	}
	return ""
}

func (r *reader) truth(n ast.Node, what string) bool {
	if b, ok := n.(*ast.BoolNode); ok {
		return b.Value
	}
	r.fail(n, "%s must be true or false, not %s", what, describe(n))
	return false
}

// choice is a string out of a few.
func (r *reader) choice(n ast.Node, what string, options ...string) string {
	s := r.text(n, what)
	if r.err == nil && !contains(options, s) {
		r.fail(n, "%s is %q, but must be one of %s%s", what, s, strings.Join(options, ", "), didYouMean(s, options))
	}
	return s
}

func (r *reader) path(n ast.Node, what string) Path {
	s := r.text(n, what)
	if r.err != nil {
		return Path{}
	}
	p, err := ParsePath(s)
	if err != nil {
		r.fail(n, "%s: the PATH %q is wrong: %v", what, s, err)
	}
	return p
}

// scalar is a JSON scalar. Numbers are read from the file's own text: YAML's would be rounded.
func (r *reader) scalar(n ast.Node, what string) Scalar {
	switch v := n.(type) {
	case *ast.NullNode:
		return Scalar{Kind: ScalarNull}
	case *ast.BoolNode:
		return Scalar{Kind: ScalarBool, Bool: v.Value}
	case *ast.IntegerNode, *ast.FloatNode:
		return r.number(n, what)
	case *ast.StringNode: // the library takes 1e3, and integers of more than 64 bits, for strings
		plain := v.Token.Type == token.StringType
		if text := []byte(v.Value); plain && len(text) > 0 && scanNumber(text, 0) == len(text) {
			return r.number(n, what)
		}
		return Scalar{Kind: ScalarString, Text: v.Value}
	}
	r.fail(n, "%s must hold strings, numbers, true, false or null, not %s", what, describe(n))
	return Scalar{}
}

func (r *reader) number(n ast.Node, what string) Scalar {
	text := n.GetToken().Value
	d, err := ParseDecimal([]byte(text))
	if err != nil {
		r.fail(n, "%s: %s is %v (in quotes it is a string)", what, text, err)
	}
	return Scalar{Kind: ScalarNumber, Number: d}
}

// describe says what a node is, for a user.
func describe(n ast.Node) string {
	switch n.(type) {
	case nil, *ast.NullNode:
		return "nothing"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode:
		return "a string"
	case *ast.IntegerNode, *ast.FloatNode:
		return "a number"
	case *ast.BoolNode:
		return "true or false"
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		return "an anchor or alias (a spec has none)"
	case *ast.TagNode:
		return "a tag (a spec has none)"
	}
	return "another kind of YAML (" + strings.ToLower(n.Type().String()) + ")"
}
