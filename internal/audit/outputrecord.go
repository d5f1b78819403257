package audit

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/processor/spec"
)

// outputCodec reads output records back: it finds the group that a record is of by rendering that
// group again, so that nothing but what the app writes is taken.
type outputCodec struct {
	spec    *spec.Spec
	program *spec.Program
	zeros   []spec.Decimal
	zeroLen int      // of the zeros as JSON, without the brace before them
	names   [][]byte // of the aggregates, with quotes and colon

	// Of the present record, so that a record costs no memory.
	text, want, values []byte
	fields             []field
	list               []number
	before, after      []number // of the step that is looked at
}

func newOutputCodec(s *spec.Spec, p *spec.Program) *outputCodec {
	c := &outputCodec{spec: s, program: p, zeros: make([]spec.Decimal, len(s.Aggregates))}
	zeros := p.AppendValuesJSON(nil, c.zeros)
	c.zeroLen = len(zeros) - 1
	fields, err := appendFields(nil, zeros)
	if err != nil {
		panic("audit: the values of a spec are not the JSON that this package expects: " + err.Error())
	}
	for _, f := range fields {
		c.names = append(c.names, append(bytes.Clone(f.name), ':'))
	}
	return c
}

// decode gives the group of an output record and its values as JSON, which are valid until the next
// call.
func (c *outputCodec) decode(r *kgo.Record) (group, values []byte, err error) {
	if c.spec.Output.Key == spec.KeyGroup {
		group, err = c.program.ParseGroupJSON(r.Key)
	} else {
		group, err = c.groupOf(r)
	}
	if err != nil {
		return nil, nil, err
	}
	if !c.keyed(r, group) {
		return nil, nil, fmt.Errorf("the key %.40q is not that of the group %s", r.Key, c.program.AppendGroupJSON(nil, group))
	}
	c.want = c.program.AppendOutput(c.want[:0], group, c.zeros)
	parts := c.want[:len(c.want)-c.zeroLen]
	rest, ok := bytes.CutPrefix(r.Value, parts)
	if !ok {
		return nil, nil, fmt.Errorf("the value %.100s does not begin as that of the group %s", r.Value, c.program.AppendGroupJSON(nil, group))
	}
	c.values = append(append(c.values[:0], '{'), rest...)
	c.list, err = c.numbers(c.list[:0], c.values)
	return group, c.values, err
}

// keyed says whether the record has the key that the group's outputs have.
func (c *outputCodec) keyed(r *kgo.Record, group []byte) bool {
	if c.spec.Output.Key == spec.KeyGroup {
		return bytes.Equal(r.Key, c.program.AppendGroupJSON(nil, group))
	}
	key, null := c.program.GroupKey(group)
	return null == (r.Key == nil) && bytes.Equal(key, r.Key)
}

// groupOf puts a group together from the record's key, which is the event's and so a part of the
// group, and the parts in its value.
func (c *outputCodec) groupOf(r *kgo.Record) ([]byte, error) {
	fields, err := appendFields(c.fields[:0], r.Value)
	if err != nil {
		return nil, err
	}
	c.fields = fields
	if want := len(c.spec.Group) - 1 + len(c.names); len(fields) != want {
		return nil, fmt.Errorf("the value %.100s has %d fields, not %d", r.Value, len(fields), want)
	}
	text := append(c.text[:0], '[')
	for i, part := range c.spec.Group {
		if i > 0 {
			text = append(text, ',')
		}
		if part.Kind == spec.PartKey {
			text = appendTextJSON(text, r.Key)
			continue
		}
		text = append(text, fields[0].value...)
		fields = fields[1:]
	}
	c.text = append(text, ']')
	return c.program.ParseGroupJSON(c.text)
}

// appendTextJSON adds a key as a part of a group.
func appendTextJSON(dst, b []byte) []byte {
	if plain(b) {
		return append(append(append(dst, '"'), b...), '"')
	}
	var v any = string(b)
	switch {
	case b == nil:
		v = nil
	case !utf8.Valid(b):
		v = map[string]string{"b64": base64.StdEncoding.EncodeToString(b)}
	}
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("audit: a string is always JSON: %v", err))
	}
	return append(dst, text...)
}

// plain says that a key is its own JSON but for the quotes, which most are: it has no letter that
// JSON may write in another way.
func plain(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return b != nil
}

// numbers takes values, as the app renders them, apart, and appends them to list. Those of a sum
// may be too wide to be read.
func (c *outputCodec) numbers(list []number, values []byte) ([]number, error) {
	rest := values[1:]
	for i, name := range c.names {
		var ok bool
		if rest, ok = bytes.CutPrefix(rest, name); !ok {
			return nil, fmt.Errorf("the values %.100s have no %s", values, name)
		}
		end := bytes.IndexAny(rest, ",}")
		if end < 0 || (rest[end] == '}') != (i == len(c.names)-1) {
			return nil, fmt.Errorf("the values %.100s do not end as values do", values)
		}
		n := number{text: rest[:end]}
		if kind := c.spec.Aggregates[i].Kind; kind != spec.Sum {
			d, err := spec.ParseDecimal(n.text)
			if err != nil {
				return nil, fmt.Errorf("the values %.100s: %w", values, err)
			}
			n.decimal = d
		}
		list, rest = append(list, n), rest[end+1:]
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%d bytes follow the values %.100s", len(rest), values)
	}
	return list, nil
}

// number is one value in an output record; decimal is not set for a sum.
type number struct {
	text    []byte
	decimal spec.Decimal
}

// fell says why after cannot come after before; "" when it can.
func (c *outputCodec) fell(before, after []byte) (why string) {
	b, n := c.mustNumbers(&c.before, before), c.mustNumbers(&c.after, after)
	for i, agg := range c.spec.Aggregates {
		order := n[i].decimal.Cmp(b[i].decimal)
		switch {
		case agg.Kind == spec.Count && order <= 0:
			return fmt.Sprintf("the count %s goes from %s to %s", agg.Name, b[i].text, n[i].text)
		case agg.Kind == spec.Max && order < 0:
			return fmt.Sprintf("the max %s falls from %s to %s", agg.Name, b[i].text, n[i].text)
		case agg.Kind == spec.Min && order > 0:
			return fmt.Sprintf("the min %s rises from %s to %s", agg.Name, b[i].text, n[i].text)
		}
	}
	return ""
}

// counts says whether there is a count among the aggregates: then no two outputs are equal.
func (c *outputCodec) counts() bool { return c.count() >= 0 }

// count is the index of the first count among the aggregates, -1 for none.
func (c *outputCodec) count() int {
	return slices.IndexFunc(c.spec.Aggregates, func(a spec.Aggregate) bool { return a.Kind == spec.Count })
}

// follows says whether a count goes up by one; before is nil at the beginning. Without a count
// nobody can say.
func (c *outputCodec) follows(before, after []byte) bool {
	i := c.count()
	if i < 0 {
		return true
	}
	want := spec.DecimalOf(1)
	if before != nil {
		want = want.Add(c.mustNumbers(&c.before, before)[i].decimal)
	}
	return c.mustNumbers(&c.after, after)[i].decimal.Cmp(want) == 0
}

// mustNumbers takes values apart that were read once, into a list that is used again.
func (c *outputCodec) mustNumbers(list *[]number, values []byte) []number {
	n, err := c.numbers((*list)[:0], values)
	if err != nil {
		panic("audit: values that were read once cannot be read again: " + err.Error())
	}
	*list = n
	return n
}

// field is a field of an object, as it stands there.
type field struct{ name, value []byte }

var errNoObject = errors.New("the value is not an object without blanks")

// appendFields takes an object apart as far as output records go: there are no blanks, and a field
// is a scalar or an object without objects in it. What it takes for more, rendering again will
// find.
func appendFields(list []field, b []byte) ([]field, error) {
	if len(b) < 2 || b[0] != '{' || b[len(b)-1] != '}' {
		return nil, errNoObject
	}
	for b = b[1:]; len(b) > 0; {
		name := token(b)
		if len(name) == 0 || len(name) >= len(b) || b[len(name)] != ':' {
			return nil, errNoObject
		}
		b = b[len(name)+1:]
		value := token(b)
		if len(value) == 0 || len(value) >= len(b) || b[len(value)] != ',' && b[len(value)] != '}' {
			return nil, errNoObject
		}
		list = append(list, field{name, value})
		b = b[len(value)+1:]
	}
	return list, nil
}

// token is what stands before the next comma, colon or brace that is not inside a string or an
// object.
func token(b []byte) []byte {
	quoted, depth := false, 0
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{':
			depth++
		case depth > 0 && c == '}':
			depth--
		case depth == 0 && (c == ',' || c == ':' || c == '}'):
			return b[:i]
		}
	}
	return nil
}
