package spec

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// How people write the parts of a group on a command line, and how they are shown to them. What is
// shown of a part is taken for it, but for null: null of a part that is text is nullArg.

const (
	bytesArg = "b64:" // begins a PART that is base64 of bytes
	nullArg  = "json:null"
)

// GroupFromArgs turns the PARTs of a command line into a JSON array for ParseGroupJSON or, when
// there are fewer than the group has, ParsePrefixJSON. b64:... stands for bytes, and json:null for
// null. Where a part can be any JSON scalar, a PART that is a number, true, false, null or "quoted"
// is that scalar; elsewhere only what GroupArgs quotes is taken for quoted. Every other PART is a
// string. With nullKey the key is null and takes no PART.
func (p *Program) GroupFromArgs(args []string, nullKey bool) ([]byte, error) {
	if nullKey && p.key < 0 {
		return nil, fmt.Errorf("--null: the group %s has no key", p.grouping())
	}
	out := []byte{'['}
	for i, def := range p.spec.Group {
		if nullKey && i == p.key {
			out, nullKey = append(comma(out, 1), "null"...), false
			continue
		}
		if len(args) == 0 {
			break
		}
		var err error
		if out, err = p.appendArg(comma(out, 1), def, args[0]); err != nil {
			return nil, fmt.Errorf("%s %q: %w", def.Name(), args[0], err)
		}
		args = args[1:]
	}
	if len(args) > 0 {
		return nil, fmt.Errorf("%q is one PART too many: the group is %s", args[0], p.grouping())
	}
	if nullKey {
		return nil, fmt.Errorf("--null: the PARTs before the key are missing: the group is %s", p.grouping())
	}
	return append(out, ']'), nil
}

func (p *Program) appendArg(dst []byte, def Part, arg string) ([]byte, error) {
	if def.Kind == PartPartition {
		n, err := strconv.ParseInt(arg, 10, 32)
		if err != nil || n < 0 {
			return nil, errors.New("not the number of a partition")
		}
		return strconv.AppendInt(dst, n, 10), nil
	}
	if arg == nullArg {
		return append(dst, "null"...), nil
	}
	if text, ok := strings.CutPrefix(arg, bytesArg); ok {
		raw, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("%w (what follows b64: is base64)", err)
		}
		return appendTextJSON(dst, raw), nil
	}
	if isScalar(arg) && (p.anyScalar(def) || isQuotedText(arg)) {
		return append(dst, arg...), nil
	}
	if !utf8.ValidString(arg) {
		return appendTextJSON(dst, []byte(arg)), nil
	}
	return appendJSONString(dst, []byte(arg)), nil
}

// isQuotedText reports whether arg is text as GroupArgs quotes it. Other text in quotes is a string
// with these quotes in it: there are keys like that.
func isQuotedText(arg string) bool {
	var text string
	return strings.HasPrefix(arg, `"`) && json.Unmarshal([]byte(arg), &text) == nil && !plainArg(text, false)
}

// isScalar reports whether arg is a JSON scalar that a group can hold.
func isScalar(arg string) bool {
	if strings.TrimSpace(arg) != arg {
		return false // a string: no scalar has spaces around it
	}
	var s jsonScan
	root, reason := s.scan([]byte(arg), &pathTrie{})
	if reason != "" {
		return false
	}
	_, reason = s.appendScalar(nil, root)
	return reason == ""
}

// GroupArgs are the parts of a group, given as its JSON array, for people: strings as they are
// where they cannot be taken for anything else, as the digits of a key; null, numbers, true, false
// and other strings as in JSON. It gives b itself when that is no group of the app's.
func (p *Program) GroupArgs(b []byte) []string {
	var parts []json.RawMessage
	if json.Unmarshal(b, &parts) != nil || len(parts) != len(p.spec.Group) {
		return []string{string(b)}
	}
	args := make([]string, len(parts))
	for i, part := range parts {
		args[i] = argOf(part, p.anyScalar(p.spec.Group[i]))
	}
	return args
}

// argOf is a part as a PART; anyScalar says that it could have been a scalar of another type.
func argOf(raw json.RawMessage, anyScalar bool) string {
	var s string
	if raw[0] == '"' && json.Unmarshal(raw, &s) == nil {
		if plainArg(s, anyScalar) {
			return s
		}
		return quotedArg(s)
	}
	var bytesPart struct{ B64 *string }
	if json.Unmarshal(raw, &bytesPart) == nil && bytesPart.B64 != nil {
		return bytesArg + *bytesPart.B64
	}
	return string(raw)
}

// plainArg says whether a string can be shown as it is: visible, nothing that a terminal obeys, and
// not to be mistaken for another scalar.
func plainArg(s string, anyScalar bool) bool {
	switch {
	case s == "" || s == nullArg || strings.HasPrefix(s, bytesArg) || !utf8.ValidString(s):
		return false
	case json.Valid([]byte(s)) && (anyScalar || strings.Trim(s, "0123456789") != ""):
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) }) < 0
}

// quotedArg is s as a JSON string in which all can be seen.
func quotedArg(s string) string {
	b := []byte{'"'}
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case unicode.IsGraphic(r):
			b = utf8.AppendRune(b, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, high, low)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return string(append(b, '"'))
}
