package spec

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// YAML is the canonical form of the spec: equal specs have equal bytes, and Parse reads it back. It
// is stored with the app. A field that a later version adds must not appear here unless it is set,
// or the fingerprint of every stored app would change.
func (s *Spec) YAML() []byte {
	var b strings.Builder
	line := func(name, value string) { b.WriteString(name + ": " + value + "\n") }
	line("app", quote(s.App))
	line("input", s.Input.yaml())
	line("where", flowList(s.Where, Condition.yaml))
	line("split", s.Split.yaml())
	line("group", flowList(s.Group, Part.yaml))
	b.WriteString("aggregates:\n")
	for _, a := range s.Aggregates {
		line("  "+quote(a.Name), a.yaml())
	}
	if s.Output != nil {
		line("output", s.Output.yaml())
	}
	line("on_error", string(s.OnError))
	if s.Lanes > 0 {
		line("lanes", strconv.Itoa(s.Lanes))
	}
	if s.Repartition.said() {
		line("repartition", s.Repartition.yaml())
	}
	return []byte(b.String())
}

// flow is a mapping of names and values, of which the empty ones are left out.
func flow(pairs ...string) string {
	var fields []string
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fields = append(fields, pairs[i]+": "+pairs[i+1])
		}
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

func flowList[T any](list []T, text func(T) string) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = text(v)
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

func (in Input) yaml() string {
	return flow("topic", quote(in.Topic), "start", string(in.Start), "format", string(in.Format))
}

func (c Condition) yaml() string {
	in, exists, not := "", "", ""
	if len(c.In) > 0 {
		in = flowList(c.In, Scalar.yaml)
	} else {
		exists = "true"
	}
	if c.Not {
		not = "true"
	}
	return flow("path", quote(c.Path.String()), "in", in, "exists", exists, "not", not)
}

func (s Split) yaml() string {
	if s.Path.IsZero() {
		return string(s.Kind)
	}
	return flow(string(s.Kind), quote(s.Path.String()))
}

func (p Part) yaml() string {
	if p.Kind != PartPath {
		return string(p.Kind)
	}
	return flow("path", quote(p.Path.String()), "as", quote(p.As))
}

func (a Aggregate) yaml() string {
	if a.Kind == Count {
		return string(a.Kind)
	}
	return flow(string(a.Kind), quote(a.Path.String()))
}

func (o Output) yaml() string {
	return flow("topic", quote(o.Topic), "emit", string(o.Emit), "key", string(o.Key))
}

// said reports whether anything but the default stands in it.
func (r Repartition) said() bool {
	return r.Mode != "" && r.Mode != RepartitionAuto || r.Partitions > 0
}

func (r Repartition) yaml() string {
	mode := RepartitionAuto
	if r.Mode != "" {
		mode = r.Mode
	}
	if r.Partitions == 0 {
		return string(mode)
	}
	return flow("mode", string(mode), "partitions", strconv.Itoa(r.Partitions))
}

func (s Scalar) yaml() string {
	switch s.Kind {
	case ScalarNull:
		return "null"
	case ScalarBool:
		return strconv.FormatBool(s.Bool)
	case ScalarNumber:
		return s.Number.String()
	}
	return quote(s.Text)
}

// plain are the strings that no version of YAML takes for anything else.
var plain = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_./-]*$`)

var yamlWords = map[string]bool{
	"true": true, "false": true, "yes": true, "no": true, "on": true, "off": true, "y": true, "n": true,
	"null": true, "nan": true, "inf": true,
}

// escaped are the characters that are not written as they are: what cannot be seen, breaks a line,
// or turns the direction of what follows. They are a list of this program's own, which never
// changes: with Unicode's tables of "printable", which grow with each release of Go, the canonical
// form of a spec would change, and with it the fingerprint that its stores were written with.
var escaped = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0, Hi: 0x1f, Stride: 1}, {Lo: 0x7f, Hi: 0xa0, Stride: 1}, {Lo: 0xad, Hi: 0xad, Stride: 1},
		{Lo: 0x200b, Hi: 0x200f, Stride: 1}, {Lo: 0x2028, Hi: 0x202e, Stride: 1}, {Lo: 0x2060, Hi: 0x206f, Stride: 1},
		{Lo: 0xfeff, Hi: 0xfeff, Stride: 1}, {Lo: 0xfff0, Hi: 0xffff, Stride: 1},
	},
	R32:         []unicode.Range32{{Lo: 0xe0000, Hi: 0xe0fff, Stride: 1}},
	LatinOffset: 3,
}

func quote(s string) string {
	if plain.MatchString(s) && !yamlWords[strings.ToLower(s)] {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case !unicode.Is(escaped, r):
			b.WriteRune(r)
		case r > 0xffff:
			b.WriteString(`\U` + hexDigits(r, 8))
		default:
			b.WriteString(`\u` + hexDigits(r, 4))
		}
	}
	b.WriteByte('"')
	return b.String()
}

func hexDigits(r rune, width int) string {
	digits := strconv.FormatInt(int64(r), 16)
	return strings.Repeat("0", width-len(digits)) + digits
}
