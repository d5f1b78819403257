package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"unicode/utf8"
)

func FuzzParse(f *testing.F) {
	for _, s := range []string{wordcountText, everythingText, "", "app: [", "a: &x\n", "? a\n", "- - - -", "a: |\n  b\n", "{", "\ufeff\xff"} {
		f.Add([]byte(s))
	}
	for _, name := range TemplateNames() {
		text, err := Template(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse(data, "f")
		if err != nil {
			if e, ok := err.(*ParseError); !ok || e.Line < 1 || e.Column < 1 || e.Msg == "" {
				t.Fatalf("%#v", err)
			}
			return
		}
		again, err := Parse(s.YAML(), "canonical")
		if err != nil || !reflect.DeepEqual(s, again) {
			t.Fatalf("%v\n%s\n%q", err, s.YAML(), data)
		}
		var sc Scratch
		_, _, _ = Compile(s).Eval(Event{Value: data}, &sc)
	})
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"a", "a.b[0]", `"a.b".c`, `"\"\\"`, "[", "a[99999999999999999999]", "a..b", "é.\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePath(text)
		if err != nil {
			return
		}
		again, err := ParsePath(p.String())
		if err != nil || !reflect.DeepEqual(p, again) {
			t.Fatalf("%q: %q, %v", text, p.String(), err)
		}
	})
}

// fuzzItems checks what must hold of the items of any event.
func fuzzItems(t *testing.T, p *Program, ev Event) {
	var sc Scratch
	items, verdict, err := p.Eval(ev, &sc)
	if (err != nil) != (verdict == Unreadable) || verdict != Counted && len(items) > 0 {
		t.Fatalf("%v %v, %d items", verdict, err, len(items))
	}
	for _, it := range items {
		if err := p.CheckGroup(it.Group); err != nil {
			t.Fatalf("%x: %v", it.Group, err)
		}
		text := p.AppendGroupJSON(nil, it.Group)
		back, err := p.ParseGroupJSON(text)
		if err != nil || !bytes.Equal(back, it.Group) {
			t.Fatalf("%s: %x became %x, %v", text, it.Group, back, err)
		}
		if out := p.AppendOutput(nil, it.Group, it.Inc); !json.Valid(out) {
			t.Fatalf("not JSON: %s", out)
		}
		if key, null := p.GroupKey(it.Group); p.key >= 0 && (null != (ev.Key == nil) || !bytes.Equal(key, ev.Key)) {
			t.Fatalf("the key %q became %q", ev.Key, key)
		}
	}
}

func FuzzEvalWords(f *testing.F) {
	p := Compile(mustParse(f, wordcountText))
	for _, s := range []string{"", "a B", "naïve e\u0301", "\xff", "İ\u212a", "x\x00y", "日本"} {
		f.Add([]byte("k\x00"), []byte(s))
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		checkWords(t, string(value))
		fuzzItems(t, p, Event{Key: key, Value: value})
	})
}

// FuzzEvalJSON compares with encoding/json, which differs in two things: it replaces what is not
// UTF-8, and half surrogate pairs, instead of refusing them.
func FuzzEvalJSON(f *testing.F) {
	each := program(f, "split: {each: e}\ngroup: [key, item, {path: a.b, as: b}]\naggregates: {s: {sum: n}}")
	keyed := program(f, "group: [{path: a, as: a}]")
	for _, s := range []string{
		``, `{}`, `{"e":[1,"x",null],"a":{"b":true},"n":1.5}`, `{"a":1,"a":"\ud83d\ude00"}`, `{"a":"\ud800"}`, `[[[`, `{"a":1e99}`,
		"{\"a\":\"\xff\"}", `{"a":-0.0} `, `{"\u0061":null}`, `"a"`, `{"a":[]}`, `nul`, `{"e":[{"x":[1,2,{}]}],"n":0,"a":{"b":1}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		fuzzItems(t, each, Event{Key: []byte("k"), Value: value})
		fuzzItems(t, keyed, Event{Value: value})
		var s jsonScan
		root, reason := s.scan(value, keyed.trie)
		if want := json.Valid(value) && utf8.Valid(value); (reason == "") != want && !s.deep {
			t.Fatalf("%q: %q, want valid %v", value, reason, want)
		}
		if reason == "" && root.kind == jsonObject {
			compareWithJSON(t, &s, value)
		}
	})
}

func compareWithJSON(t *testing.T, s *jsonScan, value []byte) {
	var object map[string]any
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.UseNumber()
	if err := dec.Decode(&object); err != nil {
		t.Fatal(err)
	}
	want, found := object["a"]
	got := s.slots[0]
	if found != (got.kind != jsonMissing) {
		t.Fatalf("%q: %v, found by encoding/json: %v", value, got.kind, found)
	}
	text := string(got.in(value))
	if got.kind == jsonString {
		b, reason := s.text(got)
		if reason != "" {
			return
		}
		text = string(b)
	}
	switch v := want.(type) {
	case string, json.Number:
		if fmt.Sprint(v) != text {
			t.Fatalf("%q: %q, want %q", value, text, v)
		}
	case map[string]any, []any:
		if got.kind != jsonObject && got.kind != jsonArray {
			t.Fatalf("%q: %v", value, got.kind)
		}
	}
}

func FuzzDecodeValues(f *testing.F) {
	p := Compile(mustParse(f, wordcountText))
	for _, text := range []string{"0", "1", "-1", "2.5", "-0.000000000000000001", "123e18", "-123e18"} {
		f.Add(appendValue(nil, num(text).Number))
	}
	f.Add([]byte{0x40, 32})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := p.DecodeValues(b, nil)
		if err != nil {
			return
		}
		if again := p.AppendValues(nil, v); !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
		if text := p.AppendValuesJSON(nil, v); !json.Valid(text) {
			t.Fatalf("not JSON: %s", text)
		}
	})
}

func FuzzGroupJSON(f *testing.F) {
	p := program(f, "split: {each: e}\ngroup: [key, item, {path: a, as: a}, partition]")
	for _, s := range []string{
		`["k",1,"a",0]`, `[null,true,null,3]`, `[{"b64":"/w=="},-1.5e-3,"\u0000",2147483647]`, `[`, `[[]]`, `[{}]`, `["\ud800"]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		group, err := p.ParseGroupJSON(b)
		if err != nil {
			return
		}
		if err := p.CheckGroup(group); err != nil {
			t.Fatalf("%s: %x: %v", b, group, err)
		}
		text := p.AppendGroupJSON(nil, group)
		again, err := p.ParseGroupJSON(text)
		if err != nil || !bytes.Equal(group, again) || !json.Valid(text) {
			t.Fatalf("%s: %x, %x, %v", b, group, again, err)
		}
	})
}

// What CheckGroup accepts never panics, and is the one encoding of its tuple.
func FuzzCheckGroup(f *testing.F) {
	p := program(f, "group: [{path: a, as: a}, key]")
	f.Add(encodeTuple([]Scalar{str("a\x00b"), str("k")}))
	f.Add(encodeTuple([]Scalar{num("-12.5e-3"), {}}))
	f.Add(encodeTuple([]Scalar{num("999999999999999999e18"), str("\xff")}))
	f.Add([]byte{tagNumber, 0x94, 0x15, 0x14, tagNull})
	f.Fuzz(func(t *testing.T, group []byte) {
		if p.CheckGroup(group) != nil || len(group) > MaxGroupBytes {
			return
		}
		text := p.AppendGroupJSON(nil, group)
		again, err := p.ParseGroupJSON(text)
		if err != nil || !bytes.Equal(group, again) {
			t.Fatalf("%s: %x became %x, %v", text, group, again, err)
		}
	})
}
