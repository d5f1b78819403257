package spec

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Path leads to a value in a JSON event. Its zero value is no path.
type Path struct {
	steps []pathStep
}

type pathStep struct {
	name  string
	index int // -1: a name
}

// ParsePath reads a PATH: names joined by dots, `a[0]` an index, `"a.b".c` a quoted name.
//
//	path  = name { "." name | "[" index "]" }
//	name  = bare | quoted
//
// A bare name holds no dot, bracket, quote, backslash, space or control character; in a quoted one
// \" and \\ stand for " and \. There is no wildcard, and `a.0` is the member "0" of an object.
func ParsePath(text string) (Path, error) {
	if len(text) > MaxPathBytes {
		return Path{}, fmt.Errorf("longer than %d bytes", MaxPathBytes)
	}
	if !utf8.ValidString(text) {
		return Path{}, fmt.Errorf("not UTF-8")
	}
	p := pathParser{rest: text}
	if err := p.name(); err != nil {
		return Path{}, err
	}
	for p.rest != "" {
		if err := p.step(); err != nil {
			return Path{}, err
		}
		if len(p.steps) > MaxPathSteps {
			return Path{}, fmt.Errorf("more than %d names and indexes", MaxPathSteps)
		}
	}
	return Path{steps: p.steps}, nil
}

type pathParser struct {
	rest  string
	steps []pathStep
}

func (p *pathParser) step() error {
	switch c := p.rest[0]; c {
	case '.':
		p.rest = p.rest[1:]
		return p.name()
	case '[':
		return p.index()
	default:
		r, _ := utf8.DecodeRuneInString(p.rest)
		return fmt.Errorf("%q where a dot or [ should be", r)
	}
}

func (p *pathParser) name() error {
	if strings.HasPrefix(p.rest, `"`) {
		return p.quoted()
	}
	n := strings.IndexFunc(p.rest, func(r rune) bool { return !bareRune(r) })
	if n < 0 {
		n = len(p.rest)
	}
	if n == 0 {
		return fmt.Errorf("a name is missing %s", place(p.rest))
	}
	p.add(pathStep{name: p.rest[:n], index: -1}, n)
	return nil
}

func bareRune(r rune) bool {
	return !strings.ContainsRune(`.[]"\`, r) && !unicode.IsSpace(r) && !unicode.IsControl(r)
}

func (p *pathParser) quoted() error {
	var name strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; c {
		case '"':
			p.add(pathStep{name: name.String(), index: -1}, i+1)
			return nil
		case '\\':
			if i++; i == len(p.rest) || p.rest[i] != '"' && p.rest[i] != '\\' {
				return fmt.Errorf(`a backslash stands only before " and \ in a quoted name`)
			}
			name.WriteByte(p.rest[i])
		default:
			name.WriteByte(c)
		}
	}
	return fmt.Errorf("the quoted name %s has no end", p.rest)
}

func (p *pathParser) index() error {
	end := strings.IndexByte(p.rest, ']')
	if end < 0 {
		return fmt.Errorf("[ without ]")
	}
	text := p.rest[1:end]
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n > MaxPathIndex || strconv.FormatUint(n, 10) != text {
		return fmt.Errorf("[%s] is not an index (0 to %d)", text, MaxPathIndex)
	}
	p.add(pathStep{index: int(n)}, end+1)
	return nil
}

func (p *pathParser) add(s pathStep, size int) {
	p.steps = append(p.steps, s)
	p.rest = p.rest[size:]
}

// place says where an error is.
func place(rest string) string {
	if rest == "" {
		return "at the end"
	}
	return "before " + strconv.Quote(rest)
}

// String is the canonical form: ParsePath(p.String()) equals p.
func (p Path) String() string {
	var b strings.Builder
	for i, s := range p.steps {
		if s.index >= 0 {
			fmt.Fprintf(&b, "[%d]", s.index)
			continue
		}
		if i > 0 {
			b.WriteByte('.')
		}
		if s.name != "" && strings.IndexFunc(s.name, func(r rune) bool { return !bareRune(r) }) < 0 {
			b.WriteString(s.name)
			continue
		}
		b.WriteString(`"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s.name) + `"`)
	}
	return b.String()
}

// IsZero reports whether p is no path.
func (p Path) IsZero() bool { return len(p.steps) == 0 }
