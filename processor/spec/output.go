package spec

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// AppendOutput appends the JSON value of an output record: the parts other than key, then the
// aggregates.
func (p *Program) AppendOutput(dst, group []byte, v []Decimal) []byte {
	dst = append(dst, '{')
	start := len(dst)
	for i := range p.spec.Group {
		part, rest := p.mustNext(group)
		group = rest
		if i == p.key {
			continue
		}
		dst = append(comma(dst, start), p.names[i]...)
		dst = appendPartJSON(dst, part)
	}
	return append(p.appendValuesJSON(dst, start, v), '}')
}

// AppendValuesJSON appends the values as a JSON object, such as {"count":12}.
func (p *Program) AppendValuesJSON(dst []byte, v []Decimal) []byte {
	dst = append(dst, '{')
	return append(p.appendValuesJSON(dst, len(dst), v), '}')
}

func (p *Program) appendValuesJSON(dst []byte, start int, v []Decimal) []byte {
	for i, name := range p.names[len(p.spec.Group):] {
		dst = append(comma(dst, start), name...)
		dst = v[i].Append(dst)
	}
	return dst
}

// AppendGroupJSON appends the canonical JSON array of an encoded group: equal groups have equal
// arrays. It panics on bytes that are no group of this spec; CheckGroup tells beforehand.
func (p *Program) AppendGroupJSON(dst, group []byte) []byte {
	dst = append(dst, '[')
	start := len(dst)
	for range p.spec.Group {
		part, rest := p.mustNext(group)
		dst = appendPartJSON(comma(dst, start), part)
		group = rest
	}
	return append(dst, ']')
}

// comma appends one when something was appended since start.
func comma(dst []byte, start int) []byte {
	if len(dst) > start {
		return append(dst, ',')
	}
	return dst
}

// GroupKey is the event key in an encoded group. Without a `key` in the grouping it is null.
func (p *Program) GroupKey(group []byte) (key []byte, null bool) {
	for i := 0; i <= p.key; i++ {
		part, rest := p.mustNext(group)
		if i == p.key {
			return part.text, part.kind == ScalarNull
		}
		group = rest
	}
	return nil, true
}

func (p *Program) mustNext(group []byte) (part, []byte) {
	part, rest, err := nextPart(group)
	if err != nil {
		panic(fmt.Sprintf("spec: app %s: %x is %v; the store or the changelog is damaged", p.spec.App, group, err))
	}
	return part, rest
}

// CheckGroup reports whether group is the encoding of a group that this spec can make. Who reads
// groups from a disk or from a topic calls it before the methods that panic on others.
func (p *Program) CheckGroup(group []byte) error {
	for i, def := range p.spec.Group {
		part, rest, err := nextPart(group)
		if err == nil {
			err = p.checkPart(def, part)
		}
		if err != nil {
			return fmt.Errorf("part %d (%s): %w", i+1, def.Name(), err)
		}
		group = rest
	}
	if len(group) > 0 {
		return fmt.Errorf("%d bytes after the last part: %w", len(group), errGroup)
	}
	return nil
}

func appendPartJSON(dst []byte, v part) []byte {
	switch v.kind {
	case ScalarNull:
		return append(dst, "null"...)
	case ScalarBool:
		return strconv.AppendBool(dst, v.truth)
	case ScalarNumber:
		return v.num.decimal().Append(dst)
	}
	return appendTextJSON(dst, v.text)
}

// appendTextJSON appends a JSON string, or {"b64":"..."} for bytes that are not UTF-8.
func appendTextJSON(dst, s []byte) []byte {
	if utf8.Valid(s) {
		return appendJSONString(dst, s)
	}
	dst = append(dst, `{"b64":"`...)
	return append(base64.StdEncoding.AppendEncode(dst, s), `"}`...)
}

// appendJSONString escapes only what JSON must escape (as RFC 8785 does), and nothing for HTML.
func appendJSONString(dst, s []byte) []byte {
	dst = append(dst, '"')
	from := 0
	for i, c := range s {
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		dst = appendEscape(dst, c)
		from = i + 1
	}
	return append(append(dst, s[from:]...), '"')
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	return fmt.Appendf(dst, `\u%04x`, c)
}
