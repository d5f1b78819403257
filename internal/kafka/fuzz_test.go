package kafka

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/processor/spec"
)

// FuzzReadLines: every line is a record, or the error names it; nothing is lost or added.
func FuzzReadLines(f *testing.F) {
	for _, s := range []string{"", "a\nb", "a:1\r\nb:2\n", "\n\n:", "no\rend", "a:\x00\xff\n", strings.Repeat("x", 70) + "\n", "key: v:w"} {
		f.Add([]byte(s), ":", true)
		f.Add([]byte(s), ": ", false)
	}
	f.Fuzz(func(t *testing.T, input []byte, delimiter string, keyed bool) {
		opt := ProduceOptions{LineBytesMax: 64}
		if keyed && delimiter != "" {
			opt.Key = KeyByDelimiter(delimiter)
		}
		var got []*kgo.Record
		err := readLines(bytes.NewReader(input), opt, func(r *kgo.Record) error { got = append(got, r); return nil })
		lines := strings.Split(string(input), "\n")
		if lines[len(lines)-1] == "" {
			lines = lines[:len(lines)-1] // what follows the last end is no line
		}
		if err == nil && len(got) != len(lines) {
			t.Fatalf("%d records of the %d lines of %q", len(got), len(lines), input)
		}
		for i, r := range got {
			back := string(r.Value)
			if opt.Key != nil {
				back = string(r.Key) + delimiter + back
			}
			if back != strings.TrimSuffix(lines[i], "\r") || (opt.Key == nil) != (r.Key == nil) {
				t.Fatalf("line %q is the key %q and the value %q", lines[i], r.Key, r.Value)
			}
		}
		if err == nil {
			return
		}
		line := lines[len(got)]
		if len(line) < opt.LineBytesMax && (opt.Key == nil || strings.Contains(strings.TrimSuffix(line, "\r"), delimiter)) {
			t.Fatalf("line %d of %q: %v", len(got)+1, input, err)
		}
	})
}

// FuzzKeyByJSONPath: a key that produce takes from a line is the part of a group that the spec
// would take with the same PATH, where both understand the line.
func FuzzKeyByJSONPath(f *testing.F) {
	for _, path := range []string{"a", "a.b", "a[1]", `"a.b".c`, "a[99999999999999999999]", "a..b", "", `"\u0061"`, "[0]", "é"} {
		for _, line := range []string{`{"a":"x"}`, `{"a":{"b":[1,true]}}`, `{"a":[null,1.50,"é"]}`, `{"a.b":{"c":1e3}}`, `{"a":"\ud800"}`, `{`, `[1]`, `{"a":1,"a":2}`} {
			f.Add(path, []byte(line))
		}
	}
	f.Fuzz(func(t *testing.T, path string, line []byte) {
		byPath, err := KeyByJSONPath(path)
		if err != nil {
			return
		}
		key, value, err := byPath(line)
		if err != nil {
			return
		}
		if !bytes.Equal(value, line) {
			t.Fatalf("the value of %q is %q", line, value)
		}
		want, ok := partOf(path, line)
		if !ok {
			return
		}
		switch {
		case want[0] == '"':
			var text string
			if err := json.Unmarshal(want, &text); err != nil || text != string(key) {
				t.Fatalf("%s of %q is the key %q, in a group %s", path, line, key, want)
			}
		case (string(want) == "null") != (key == nil):
			t.Fatalf("%s of %q is the key %q, in a group %s", path, line, key, want)
		}
	})
}

// partOf is the scalar that a spec groups a line by; ok is false where it does not take path or
// line.
func partOf(path string, line []byte) (part json.RawMessage, ok bool) {
	quoted, err := json.Marshal(path)
	if err != nil {
		return nil, false
	}
	s, err := spec.Parse([]byte("app: a\ninput: {topic: in, format: json}\ngroup: [{path: "+string(quoted)+", as: p}, partition]\n"), "spec")
	if err != nil {
		return nil, false
	}
	p := spec.Compile(s)
	var sc spec.Scratch
	items, _, err := p.Eval(spec.Event{Value: line}, &sc)
	if err != nil || len(items) != 1 {
		return nil, false
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(p.AppendGroupJSON(nil, items[0].Group), &parts); err != nil {
		return nil, false
	}
	return parts[0], parts[0][0] != '{'
}

// FuzzProperties: any file is read or refused, and what is read, written with every character
// escaped, is read as the same.
func FuzzProperties(f *testing.F) {
	for _, s := range []string{"a=b", "a : b\\\n c", "\\u0041=\\t\\", "#x\n!y\nkey\\ =v", "sasl.jaas.config=x username=\"u\";", "a=\\uZZZZ", "a=\\ud83d\\ude00\\ud800"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		props, err := parseProperties(text)
		if err != nil || !utf8.ValidString(text) {
			return
		}
		for _, p := range props {
			again, err := parseProperties(escaped(p.key) + "=" + escaped(p.value))
			if err != nil || len(again) != 1 || again[0].key != p.key || again[0].value != p.value {
				t.Fatalf("%q = %q of %q is read again as %+v, %v", p.key, p.value, text, again, err)
			}
		}
	})
}

func escaped(s string) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune(s)) {
		fmt.Fprintf(&b, "\\u%04x", unit)
	}
	return b.String()
}
