package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// spec is what the checks read of an app's YAML: lines of NAME: VALUE, a value being a scalar or in
// braces or brackets. What they do not know they refuse: a check that guesses is none.
type spec struct {
	format     string // text or json
	words      bool   // split: words
	group      []field
	names      []string // of the aggregates, in order
	sums       []string // the path of each; "" is a count
	keyedByKey bool     // an output's key is the event's; else the group, as it is where that has no key
	skips      bool     // on_error: skip, no dead letters
}

// field is one part of the group.
type field struct{ name, path string }

// The names of the parts that are no paths.
const (
	partKey  = "key"
	partItem = "item"
)

func parseSpec(text string) (*spec, error) {
	s := &spec{format: "text"}
	values := map[string]any{}
	for line := range strings.SplitSeq(text, "\n") {
		line, _, _ = strings.Cut(line, " #")
		name, value, ok := strings.Cut(line, ":")
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if !ok || strings.HasPrefix(line, " ") {
			return nil, fmt.Errorf("spec: the checks cannot read %q", line)
		}
		v, rest, err := flow(strings.TrimSpace(value))
		if err != nil || strings.TrimSpace(rest) != "" {
			return nil, fmt.Errorf("spec: the checks cannot read %q", line)
		}
		values[name] = v
	}
	if err := s.take(values); err != nil {
		return nil, err
	}
	return s, s.takeKey(values["output"])
}

// pair keeps the order of a mapping.
type pair struct {
	name  string
	value any
}

// flow reads a value of YAML's flow style: a scalar, {...} as []pair or [...] as []any.
func flow(text string) (v any, rest string, err error) {
	switch {
	case strings.HasPrefix(text, "{"):
		all := []pair{}
		for text = text[1:]; ; {
			text = strings.TrimLeft(text, ", ")
			if strings.HasPrefix(text, "}") {
				return all, text[1:], nil
			}
			name, after, ok := strings.Cut(text, ":")
			if !ok {
				return nil, "", errFlow
			}
			if v, text, err = flow(strings.TrimLeft(after, " ")); err != nil {
				return nil, "", err
			}
			all = append(all, pair{strings.TrimSpace(name), v})
		}
	case strings.HasPrefix(text, "["):
		all := []any{}
		for text = text[1:]; ; {
			text = strings.TrimLeft(text, ", ")
			if strings.HasPrefix(text, "]") {
				return all, text[1:], nil
			}
			if text == "" {
				return nil, "", errFlow
			}
			if v, text, err = flow(text); err != nil {
				return nil, "", err
			}
			all = append(all, v)
		}
	}
	n := strings.IndexAny(text, ",}]")
	if n < 0 {
		n = len(text)
	}
	return strings.Trim(strings.TrimSpace(text[:n]), `"'`), text[n:], nil
}

var errFlow = errors.New("not a value in one line")

func (s *spec) take(values map[string]any) error {
	for name, v := range values {
		var err error
		switch name {
		case "app", "lanes", "repartition":
		case "input":
			err = s.takeInput(v)
		case "output":
			err = s.takeOutput(v)
		case "split":
			if s.words = v == "words"; !s.words && v != "none" {
				err = errUnknown
			}
		case "group":
			err = s.takeGroup(v)
		case "aggregates":
			err = s.takeAggregates(v)
		case "on_error":
			if s.skips = v == "skip"; !s.skips && v != "dead" {
				err = errUnknown
			}
		default:
			err = errUnknown
		}
		if err != nil {
			return fmt.Errorf("spec: %s %v: %w", name, v, err)
		}
	}
	if s.names == nil {
		s.names, s.sums = []string{"count"}, []string{""}
	}
	if s.group == nil {
		return fmt.Errorf("spec: group: %w", errUnknown)
	}
	return nil
}

var errUnknown = errors.New("the checks do not know how to judge this")

func (s *spec) takeInput(v any) error {
	all, _ := v.([]pair)
	for _, p := range all {
		switch {
		case p.name == "topic":
		case p.name == "start" && p.value == "earliest":
		case p.name == "format" && (p.value == "text" || p.value == "json"):
			s.format, _ = p.value.(string)
		default:
			return errUnknown
		}
	}
	return nil
}

func (s *spec) takeOutput(v any) error {
	all, _ := v.([]pair)
	for _, p := range all {
		switch {
		case p.name == "topic":
		case p.name == "emit" && p.value == "latest":
		case p.name == "key" && (p.value == "event" || p.value == "group"):
		default:
			return errUnknown
		}
	}
	return nil
}

// takeKey finds out what an output's key is, once the group is known: that of the event, where the
// group has it and nobody says otherwise.
func (s *spec) takeKey(output any) error {
	has := slices.ContainsFunc(s.group, field.isKey)
	s.keyedByKey = has
	all, _ := output.([]pair)
	for _, p := range all {
		if p.name == "key" {
			s.keyedByKey = p.value == "event"
		}
	}
	if s.keyedByKey && !has {
		return fmt.Errorf("spec: output key event: %w", errUnknown)
	}
	return nil
}

// isKey tells whether a part of the group is the event's key.
func (f field) isKey() bool { return f.name == partKey && f.path == "" }

func (s *spec) takeGroup(v any) error {
	all, _ := v.([]any)
	for _, part := range all {
		switch part := part.(type) {
		case string:
			if part != partKey && part != partItem {
				return errUnknown
			}
			s.group = append(s.group, field{name: part})
		case []pair:
			var f field
			for _, p := range part {
				text, _ := p.value.(string)
				switch p.name {
				case "path":
					f.path = text
				case "as":
					f.name = text
				}
			}
			if f.name == "" {
				f.name = f.path
			}
			s.group = append(s.group, f)
		}
	}
	return nil
}

func (s *spec) takeAggregates(v any) error {
	all, _ := v.([]pair)
	for _, p := range all {
		sum := ""
		switch of := p.value.(type) {
		case string:
			if of != "count" {
				return errUnknown
			}
		case []pair:
			if len(of) != 1 || of[0].name != "sum" {
				return errUnknown // of a max or a min, partials do not add up
			}
			sum, _ = of[0].value.(string)
		}
		s.names, s.sums = append(s.names, p.name), append(s.sums, sum)
	}
	return nil
}

// item is what one event, or one partial, adds to a group.
type item struct {
	group string
	adds  []decimal
}

// items takes an event apart; ok is false for one that cannot be read.
func (s *spec) items(rec *Record) (all []item, ok bool) {
	var event map[string]any
	if s.format == "json" {
		dec := json.NewDecoder(bytes.NewReader(rec.Value))
		dec.UseNumber()
		if dec.Decode(&event) != nil {
			return nil, false
		}
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			return nil, false
		}
	} else if !utf8.Valid(rec.Value) {
		return nil, false
	}
	adds, ok := s.adds(event)
	if !ok {
		return nil, false
	}
	if !s.words {
		group, ok := s.groupOf(rec, nil, event)
		return []item{{group, adds}}, ok
	}
	for _, w := range wordsOf(string(rec.Value)) {
		group, ok := s.groupOf(rec, []byte(w), event)
		if !ok {
			return nil, false
		}
		all = append(all, item{group, adds})
	}
	return all, true
}

func (s *spec) adds(event map[string]any) (adds []decimal, ok bool) {
	for _, path := range s.sums {
		if path == "" {
			adds = append(adds, decimal{coef: 1})
			continue
		}
		n, _ := at(event, path).(json.Number)
		d, err := parseDecimal(n.String())
		if err != nil {
			return nil, false
		}
		adds = append(adds, d)
	}
	return adds, true
}

func (s *spec) groupOf(rec *Record, word []byte, event map[string]any) (group string, ok bool) {
	parts := make([][]byte, 0, len(s.group))
	for _, f := range s.group {
		switch {
		case f.path != "":
			text, isText := at(event, f.path).(string)
			if !isText {
				return "", false
			}
			parts = append(parts, []byte(text))
		case f.name == partKey:
			parts = append(parts, rec.Key)
		default:
			parts = append(parts, word)
		}
	}
	return encodeGroup(parts...), true
}

func at(event map[string]any, path string) any {
	var v any = event
	for name := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

// A word: the longest run of letters, numbers and marks that begins with a letter or a number.
var word = regexp.MustCompile(`[\p{L}\p{N}][\p{L}\p{N}\p{M}]*`)

func wordsOf(text string) []string {
	words := word.FindAllString(text, -1)
	for i, w := range words {
		words[i] = strings.Map(unicode.ToLower, w)
	}
	return words
}

// output reads an output record: its group and its values. The value has all of the group but the
// event's key; a record's key that is the group says the same.
func (s *spec) output(rec *Record) (group string, values []decimal, err error) {
	var fields map[string]any
	dec := json.NewDecoder(bytes.NewReader(rec.Value))
	dec.UseNumber()
	if err := dec.Decode(&fields); err != nil {
		return "", nil, fmt.Errorf("output %q: %w", rec.Value, err)
	}
	if values, err = s.values(rec.Value); err != nil {
		return "", nil, err
	}
	parts := make([][]byte, len(s.group))
	for i, f := range s.group {
		if f.isKey() {
			continue
		}
		switch v := fields[f.name].(type) {
		case nil:
		case string:
			parts[i] = []byte(v)
		default:
			return "", nil, fmt.Errorf("output %q: its %s: %w", rec.Value, f.name, errUnknown)
		}
	}
	if err := s.keyed(parts, rec); err != nil {
		return "", nil, err
	}
	return encodeGroup(parts...), values, nil
}

// keyed holds the parts of a group that an output's value has said to the record's key, and takes
// the event's key out of that.
func (s *spec) keyed(parts [][]byte, rec *Record) (err error) {
	var said [][]byte // by the key
	if !s.keyedByKey {
		if said, err = partsFromJSON(string(rec.Key)); err != nil {
			return err
		}
	}
	for i, f := range s.group {
		switch {
		case f.isKey() && s.keyedByKey:
			parts[i] = rec.Key
		case s.keyedByKey:
		case len(said) != len(parts):
			return fmt.Errorf("output %q: its key %q has %d parts of %d", rec.Value, rec.Key, len(said), len(parts))
		case f.isKey():
			parts[i] = said[i]
		case (said[i] == nil) != (parts[i] == nil) || !bytes.Equal(said[i], parts[i]):
			return fmt.Errorf("output %q: its key %q is of another group", rec.Value, rec.Key)
		}
	}
	return nil
}

// values reads the aggregates of a JSON object, of an output or of an answer.
func (s *spec) values(text []byte) ([]decimal, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, fmt.Errorf("values %q: %w", text, err)
	}
	values := make([]decimal, 0, len(s.names))
	for _, name := range s.names {
		d, err := parseDecimal(string(fields[name]))
		if err != nil {
			return nil, fmt.Errorf("values %q: %s: %w", text, name, err)
		}
		values = append(values, d)
	}
	return values, nil
}
