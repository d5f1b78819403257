package spec

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// show prints what an event became: `[group] values` an item, or the verdict.
func show(p *Program, ev Event) string {
	var sc Scratch
	items, verdict, err := p.Eval(ev, &sc)
	switch {
	case verdict == Filtered:
		return "filtered"
	case verdict == Unreadable:
		return "error: " + err.Error()
	}
	var lines []string
	for _, it := range items {
		if err := p.CheckGroup(it.Group); err != nil {
			return "a group that CheckGroup refuses: " + err.Error()
		}
		text := string(p.AppendGroupJSON(nil, it.Group))
		for _, d := range it.Inc {
			text += " " + d.String()
		}
		lines = append(lines, text)
	}
	return strings.Join(lines, "; ")
}

// program compiles fields that come after app; the input is JSON where a PATH stands.
func program(t testing.TB, fields string) *Program {
	t.Helper()
	format := "text"
	if strings.Contains(fields, "path") || strings.Contains(fields, "{") {
		format = "json"
	}
	return Compile(mustParse(t, "app: a\ninput: {topic: t, format: "+format+"}\n"+fields))
}

// TestDirectIsEval: who folds an event directly folds what Eval says.
func TestDirectIsEval(t *testing.T) {
	for fields, direct := range map[string]bool{
		"group: [key]": true, "group: [partition, key]": true, "group: [key]\naggregates:\n  n: count": true,
		"group: [item]": false, "group: [key, item]": false, "split: words\ngroup: [key, item]": false, "split: lines\ngroup: [key]": false,
		"group: [key, {path: u, as: u}]": false, "group: [key]\naggregates: {s: {sum: a}}": false, "group: [key]\nwhere: [{path: a, in: [x]}]": false,
	} {
		p := program(t, fields)
		if p.Direct() != direct {
			t.Errorf("%s: Direct is %v", fields, p.Direct())
		}
		if !direct {
			continue
		}
		rapid.Check(t, func(t *rapid.T) {
			ev := Event{Value: []byte("v"), Partition: rapid.Int32Range(0, 2000).Draw(t, "partition")}
			if rapid.Bool().Draw(t, "has a key") {
				ev.Key = rapid.SliceOf(rapid.Byte()).Draw(t, "key")
			}
			items, verdict, err := p.Eval(ev, &Scratch{})
			if err != nil || verdict != Counted || len(items) != 1 {
				t.Fatal(items, verdict, err)
			}
			if got := p.AppendDirect([]byte("x"), ev); string(got) != "x"+string(items[0].Group) {
				t.Fatalf("%q, and Eval says %q", got[1:], items[0].Group)
			}
		})
	}
}

func TestTextEvents(t *testing.T) {
	none, item := "group: [key]", "group: [item]"
	words, lines := "split: words\ngroup: [key, item]", "split: lines\ngroup: [item, key]"
	key := []byte("k")
	for _, c := range []struct {
		fields string
		ev     Event
		want   string
	}{
		{none, Event{key, []byte("x"), 0}, `["k"] 1`},
		{none, Event{nil, []byte("x"), 0}, `[null] 1`},
		{none, Event{[]byte{}, []byte("x"), 0}, `[""] 1`},
		{none, Event{key, nil, 0}, `["k"] 1`},
		{none, Event{key, []byte{}, 0}, `["k"] 1`},
		{none, Event{[]byte{0xff, 0}, nil, 0}, `[{"b64":"/wA="}] 1`},
		{"group: [partition, key]", Event{key, nil, 120}, `[120,"k"] 1`},
		{item, Event{key, []byte("a b\n"), 0}, `["a b\n"] 1`},
		{item, Event{key, nil, 0}, `[null] 1`},
		{item, Event{key, []byte{}, 0}, `[""] 1`},
		{item, Event{key, []byte{0xff}, 0}, `[{"b64":"/w=="}] 1`},
		{words, Event{key, []byte("Spark and Kafka"), 0}, `["k","spark"] 1; ["k","and"] 1; ["k","kafka"] 1`},
		{words, Event{nil, []byte("a a"), 0}, `[null,"a"] 1; [null,"a"] 1`},
		{words, Event{key, nil, 0}, ``},
		{words, Event{key, []byte{}, 0}, ``},
		{words, Event{key, []byte(" .,"), 0}, ``},
		{words, Event{key, []byte("ok \xff"), 0}, `error: split: not UTF-8`},
		{words, Event{key, []byte("ok\xc3"), 0}, `error: split: not UTF-8`},
		{words, Event{[]byte{0xff}, []byte("a"), 0}, `[{"b64":"/w=="},"a"] 1`},
		{"split: words\ngroup: [key]", Event{key, []byte("a b"), 0}, `["k"] 1; ["k"] 1`},
		{"split: words\ngroup: [item, partition, key]", Event{key, []byte("a b"), 3}, `["a",3,"k"] 1; ["b",3,"k"] 1`},
		{lines, Event{key, []byte("a\nb\r\n\nc"), 0}, `["a","k"] 1; ["b","k"] 1; ["","k"] 1; ["c","k"] 1`},
		{lines, Event{key, []byte("a\n"), 0}, `["a","k"] 1`},
		{lines, Event{key, []byte("\n"), 0}, `["","k"] 1`},
		{lines, Event{key, []byte("a\x00\xff"), 0}, `[{"b64":"YQD/"},"k"] 1`},
		{lines, Event{key, nil, 0}, ``},
		{lines, Event{key, []byte{}, 0}, ``},
	} {
		if got := show(program(t, c.fields), c.ev); got != c.want {
			t.Errorf("%s %q %q: %s; want %s", c.fields, c.ev.Key, c.ev.Value, got, c.want)
		}
	}
}

func TestJSONEvents(t *testing.T) {
	group := "group: [key, {path: a.b, as: b}]"
	sums := "group: [key]\naggregates: {s: {sum: n}, n: count, lo: {min: n}, hi: {max: m}}"
	each := "split: {each: a}\ngroup: [item]"
	in := "where: [{path: t, in: [x, 1, true, null]}]\ngroup: [key]"
	wide := "error: aggregates.s: a number of more than 18 significant digits, or with an exponent beyond 18"
	for _, c := range []struct{ fields, value, want string }{
		{group, `{"a":{"b":"x"}}`, `["k","x"] 1`},
		{group, `{"a":{"b":1}}`, `["k",1] 1`},
		{group, `{"a":{"b":"1"}}`, `["k","1"] 1`},
		{group, `{"a":{"b":1.50}}`, `["k",1.5] 1`},
		{group, `{"a":{"b":15e-1}}`, `["k",1.5] 1`},
		{group, `{"a":{"b":1e18}}`, `["k",1000000000000000000] 1`},
		{group, `{"a":{"b":true}}`, `["k",true] 1`},
		{group, `{"a":{"b":null}}`, `["k",null] 1`},
		{group, `{"a":{"b":"\u00e9\ud83d\ude00\n\u0000"}}`, `["k","é😀\n\u0000"] 1`},
		{group, " {\t\"a\" :\r\n { \"b\" : \"x\" } } ", `["k","x"] 1`},
		{group, `{"\u0061":{"b":"x"}}`, `["k","x"] 1`},
		{group, `{"a":{"b":{}}}`, `error: group.b: an object, not a string, number, true, false or null`},
		{group, `{"a":{"b":[1]}}`, `error: group.b: an array, not a string, number, true, false or null`},
		{group, `{"a":{"b":1234567890123456789}}`, `error: group.b: ` + tooWide},
		{group, `{"a":{"b":"\ud83d"}}`, `error: group.b: a string with half a surrogate pair`},
		{group, `{"a":{"b":"\ude00\ud83d"}}`, `error: group.b: a string with half a surrogate pair`},
		{group, `{"a":{"c":"\ud83d","\ud83d":1,"b":1}}`, `["k",1] 1`},
		{group, `{"a":1}`, `error: group.b: missing`},
		{group, `{"A":{"b":1}}`, `error: group.b: missing`},
		{group, `[{"a":{"b":1}}]`, `error: group.b: missing`},
		{group, `{"a.b":1}`, `error: group.b: missing`},
		// The last of equal names counts, as a whole.
		{group, `{"a":{"b":1,"b":2}}`, `["k",2] 1`},
		{group, `{"a":{"b":1},"a":{"b":2}}`, `["k",2] 1`},
		{group, `{"a":{"b":1},"a":{}}`, `error: group.b: missing`},
		{group, `{"a":{"b":1},"\u0061":7}`, `error: group.b: missing`},
		// Broken JSON, wherever it is broken.
		{group, ``, `error: input.format: an empty value is not JSON`},
		{group, ` `, `error: input.format: broken JSON at byte 1`},
		{group, `{"a":{"b":1}`, `error: input.format: broken JSON at byte 12`},
		{group, `{"a":{"b":1}}x`, `error: input.format: broken JSON at byte 13`},
		{group, `{"a":{"b":1},"c":tru}`, `error: input.format: broken JSON at byte 17`},
		{group, `{"a":{"b":1},}`, `error: input.format: broken JSON at byte 13`},
		{group, `{"a":{"b":1},"c":[1,]}`, `error: input.format: broken JSON at byte 20`},
		{group, `{"a":{"b":1},"c":01}`, `error: input.format: broken JSON at byte 17`},
		{group, `{"a":{"b":1},"c":NaN}`, `error: input.format: broken JSON at byte 17`},
		{group, `{"a":{"b":1},c:1}`, `error: input.format: broken JSON at byte 13`},
		{group, `{'a':{"b":1}}`, `error: input.format: broken JSON at byte 1`},
		{group, `{"a":{"b":1},"c":"\x"}`, `error: input.format: broken JSON at byte 18`},
		{group, `{"a":{"b":1},"c":"\u12g4"}`, `error: input.format: broken JSON at byte 18`},
		{group, "{\"a\":{\"b\":1},\"c\":\"\n\"}", `error: input.format: broken JSON at byte 18`},
		{group, `{"a":{"b":1} "c":1}`, `error: input.format: broken JSON at byte 13`},
		{group, `{"a" {"b":1}}`, `error: input.format: broken JSON at byte 5`},
		{group, `{"a":{"b":1}} {}`, `error: input.format: broken JSON at byte 14`},
		{group, "\ufeff{}", `error: input.format: broken JSON at byte 0`},
		{group, "{\"a\":{\"b\":1},\"c\":\"\xff\"}", `error: input.format: not UTF-8`},
		{group, strings.Repeat("[", 513) + strings.Repeat("]", 513), `error: input.format: JSON nested deeper than 512`},
		{"group: [key]\nsplit: {each: a}", `{"a":` + strings.Repeat("[", 511) + strings.Repeat("]", 511) + `}`, `["k"] 1`},

		{sums, `{"n":1.10,"m":-2}`, `["k"] 1.1 1 1.1 -2`},
		{sums, `{"n":1}`, `error: aggregates.hi: missing`},
		{sums, `{"n":"1","m":1}`, `error: aggregates.s: a string, not a number`},
		{sums, `{"n":true,"m":1}`, `error: aggregates.s: true, not a number`},
		{sums, `{"n":null,"m":1}`, `error: aggregates.s: null, not a number`},
		{sums, `{"n":{},"m":1}`, `error: aggregates.s: an object, not a number`},
		{sums, `{"n":[1],"m":1}`, `error: aggregates.s: an array, not a number`},
		{sums, `{"n":1234567890123456789,"m":1}`, wide},
		{sums, `{"n":1e19,"m":1}`, wide},
		{sums, `{"n":1e-19,"m":1}`, wide},
		{sums, `{"n":100e17,"m":1}`, wide},
		{sums, `{"n":10e17,"m":1}`, `["k"] 1000000000000000000 1 1000000000000000000 1`},

		{each, `{"a":["x",1,1.0,"1",null,true,"x"]}`, `["x"] 1; [1] 1; [1] 1; ["1"] 1; [null] 1; [true] 1; ["x"] 1`},
		{each, `{"a":[]}`, ``},
		{each, `{"a":[ ]}`, ``},
		{each, `{"a":["x",[1]]}`, `error: group.item: an array, not a string, number, true, false or null`},
		{each, `{"a":"x"}`, `error: split: a string, not an array`},
		{each, `{"a":{}}`, `error: split: an object, not an array`},
		{each, `{}`, `error: split: missing`},
		{"split: {each: a}\ngroup: [key]", `{"a":[{},[1,2],"x"]}`, `["k"] 1; ["k"] 1; ["k"] 1`},
		{"split: {words: a}\ngroup: [item]", `{"a":"Don\u0027t \u0041"}`, `["don"] 1; ["t"] 1; ["a"] 1`},
		{"split: {words: a}\ngroup: [item]", `{"a":""}`, ``},
		{"split: {words: a}\ngroup: [item]", `{"a":1}`, `error: split: a number, not a string`},
		{"split: {words: a}\ngroup: [item]", `{}`, `error: split: missing`},
		{"split: {lines: a}\ngroup: [item]", `{"a":"x\ny"}`, `["x"] 1; ["y"] 1`},
		{"group: [item, {path: x, as: x}]", `7`, `error: group.x: missing`},
		{"split: {each: 'a[1].b'}\ngroup: [item]", `{"a":[0,{"b":[5]},{"b":[6]}]}`, `[5] 1`},
		{"split: {each: '\"a.b\"'}\ngroup: [item]", `{"a.b":[5]}`, `[5] 1`},

		{in, `{"t":"x"}`, `["k"] 1`},
		{in, `{"t":1}`, `["k"] 1`},
		{in, `{"t":1.0}`, `["k"] 1`},
		{in, `{"t":true}`, `["k"] 1`},
		{in, `{"t":null}`, `["k"] 1`},
		{in, `{"t":"1"}`, `filtered`},
		{in, `{"t":"true"}`, `filtered`},
		{in, `{"t":"X"}`, `filtered`},
		{in, `{"t":false}`, `filtered`},
		{in, `{"t":["x"]}`, `filtered`},
		{in, `{"t":1234567890123456789}`, `filtered`},
		{in, `{"t":"\ud800"}`, `filtered`},
		{in, `{}`, `filtered`},
		{in, `{"t":"x"`, `error: input.format: broken JSON at byte 8`},
		{"where: [{path: t, in: [x], not: true}]\ngroup: [key]", `{"t":"x"}`, `filtered`},
		{"where: [{path: t, in: [x], not: true}]\ngroup: [key]", `{}`, `["k"] 1`},
		{"where: [{path: t, exists: true}]\ngroup: [key]", `{"t":null}`, `["k"] 1`},
		{"where: [{path: t, exists: true}]\ngroup: [key]", `{"t":{}}`, `["k"] 1`},
		{"where: [{path: t, exists: true}]\ngroup: [key]", `{}`, `filtered`},
		{"where: [{path: t, exists: true, not: true}]\ngroup: [key]", `{}`, `["k"] 1`},
		{"where: [{path: t, in: [x]}, {path: u, in: [y]}]\ngroup: [key]", `{"t":"x","u":"y"}`, `["k"] 1`},
		{"where: [{path: t, in: [x]}, {path: u, in: [y]}]\ngroup: [key]", `{"t":"x","u":"z"}`, `filtered`},
		// What is filtered needs no other field.
		{"where: [{path: t, in: [x]}]\ngroup: [{path: g, as: g}]", `{"t":"y"}`, `filtered`},
		{"where: [{path: t, in: [x]}]\ngroup: [{path: g, as: g}]", `{"t":"x"}`, `error: group.g: missing`},
		// A path that is the beginning of another.
		{"where: [{path: a, exists: true}]\ngroup: [{path: a.b, as: b}]", `{"a":{"b":1}}`, `[1] 1`},
		{"where: [{path: a, exists: true}]\ngroup: [{path: a.b, as: b}]", `{"a":{"b":1},"a":2}`, `error: group.b: missing`},
	} {
		ev := Event{Key: []byte("k"), Value: []byte(c.value)}
		if got := show(program(t, c.fields), ev); got != c.want {
			t.Errorf("%s\n%.80s:\n got %s\nwant %s", c.fields, c.value, got, c.want)
		}
	}
	if got := show(program(t, group), Event{}); got != "error: input.format: an empty value is not JSON" {
		t.Errorf("a tombstone: %s", got)
	}
}

func TestJSONWithoutPaths(t *testing.T) {
	p := Compile(mustParse(t, "app: a\ninput: {topic: t, format: json}\ngroup: [item]\n"))
	for value, want := range map[string]string{
		`"x"`: `["x"] 1`, `7`: `[7] 1`, `null`: `[null] 1`, ``: `error: input.format: an empty value is not JSON`,
		`{}`:   `error: group.item: an object, not a string, number, true, false or null`,
		`{"a"`: `error: input.format: broken JSON at byte 4`,
	} {
		if got := show(p, Event{Value: []byte(value)}); got != want {
			t.Errorf("%s: %s; want %s", value, got, want)
		}
	}
}

func TestEventLimits(t *testing.T) {
	key := func(n int, value string) Event { return Event{bytes.Repeat([]byte("k"), n), []byte(value), 0} }
	const around = 3 // tag and end of a string
	count, words, lines := "group: [key]", "split: words\ngroup: [key, item]", "split: lines\ngroup: [key]"
	for _, c := range []struct {
		fields string
		ev     Event
		items  int
		err    string
	}{
		{count, key(MaxGroupBytes-around, ""), 1, ""},
		{count, key(MaxGroupBytes-around+1, ""), 0, "group: a group of more than 32768 bytes"},
		{words, key(32000, strings.Repeat("a ", MaxEventBytes/32000+1)), 0, "group: groups of more than 16777216 bytes together"},
		{lines, key(1, strings.Repeat("\n", MaxItems)), MaxItems, ""},
		{lines, key(1, strings.Repeat("\n", MaxItems+1)), 0, "split: more than 1048576 items"},
	} {
		var sc Scratch
		items, _, err := program(t, c.fields).Eval(c.ev, &sc)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.err || len(items) != c.items {
			t.Errorf("%s: %d items, %q; want %d, %q", c.fields, len(items), got, c.items, c.err)
		}
		if sc.reset(); cap(sc.items) > scratchKeepMax/48 || cap(sc.buf) > scratchKeepMax {
			t.Errorf("%s: the Scratch keeps a huge buffer", c.fields)
		}
	}
}

func TestEventErrorIsTyped(t *testing.T) {
	var sc Scratch
	_, _, err := program(t, "group: [{path: a, as: b}]").Eval(Event{Value: []byte("{}")}, &sc)
	var eventErr *EventError
	if !errors.As(err, &eventErr) || *eventErr != (EventError{"group.b", "missing"}) {
		t.Errorf("%#v", err)
	}
}

// One Scratch serves events of all kinds without a trace of the one before.
func TestScratchLeavesNoTrace(t *testing.T) {
	p := program(t, "where: [{path: w, exists: true}]\nsplit: {words: a}\ngroup: [item, {path: g, as: g}, key]\naggregates: {s: {sum: n}}")
	values := []string{
		`{"w":1,"a":"x y","g":1,"n":1}`, `{"w":1,"a":"x y","n":1}`, `{"w":1,"a":"x y","g":1}`, `{"a":"x","g":1,"n":2}`, `{`, `{}`,
		`{"w":1,"a":"\u0041","g":"\u0042","n":3.5}`, `{"w":1,"a":"","g":1,"n":1}`,
	}
	rapid.Check(t, func(t *rapid.T) {
		var sc Scratch
		for _, v := range rapid.SliceOf(rapid.SampledFrom(values)).Draw(t, "values") {
			ev := Event{Key: []byte("k"), Value: []byte(v)}
			var fresh Scratch
			got, verdict, err := p.Eval(ev, &sc)
			want, wantVerdict, wantErr := p.Eval(ev, &fresh)
			if fmt.Sprint(got, verdict, err) != fmt.Sprint(want, wantVerdict, wantErr) {
				t.Fatalf("%s: %v %v %v, want %v %v %v", v, got, verdict, err, want, wantVerdict, wantErr)
			}
		}
	})
}

// naiveWords is DESIGN's sentence, written down without a thought of speed.
func naiveWords(text string) ([]string, bool) {
	if !utf8.ValidString(text) {
		return nil, false
	}
	runs := strings.FieldsFunc(text, func(r rune) bool { return !unicode.In(r, unicode.L, unicode.N, unicode.M) })
	var words []string
	for _, run := range runs {
		run = strings.TrimLeftFunc(run, func(r rune) bool { return unicode.In(r, unicode.M) })
		if run != "" {
			words = append(words, strings.Map(unicode.ToLower, run))
		}
	}
	return words, true
}

func words(text []byte) (list []string, ok bool) {
	for i := 0; ; {
		var word []byte
		if word, i = nextWord(nil, text, i); i < 0 {
			return nil, false
		}
		if len(word) == 0 {
			return list, true
		}
		list = append(list, string(word))
	}
}

func checkWords(t interface{ Fatalf(string, ...any) }, text string) {
	got, ok := words([]byte(text))
	want, wantOK := naiveWords(text)
	if ok != wantOK || strings.Join(got, " ") != strings.Join(want, " ") {
		t.Fatalf("%q: %q %v, want %q %v", text, got, ok, want, wantOK)
	}
}

func TestWords(t *testing.T) {
	for text, want := range map[string]string{
		"Spark and Kafka":      "spark and kafka",
		"Don't x_1 3.14":       "don t x 1 3 14",
		"naïve ÀÉÎ Straße":     "naïve àéî straße",
		"e\u0301t\u00e9":       "e\u0301t\u00e9", // no normalization
		"\u0301\u0302a\u0301b": "a\u0301b",       // marks begin no word
		"x \u0301 y":           "x y",
		"İI\u212aΣς":           "iikσς", // simple lower-casing: one code point to one
		"Ⅷ ⓐ ½ ٣ 日本語 हिन्दी": "ⅷ ½ ٣ 日本語 हिन्दी",
		"Ⱥ\U00010400":       "ⱥ\U00010428",
		"a\u00adb a\u200db": "a b a b", // Cf joins nothing
		"":                  "",
		"\x00a\x00\x01b":    "a b",
		"\ufffd a":          "a", // a real U+FFFD is valid
	} {
		got, ok := words([]byte(text))
		if !ok || strings.Join(got, " ") != want {
			t.Errorf("%q: %q %v, want %q", text, got, ok, want)
		}
		checkWords(t, text)
	}
}

// Every code point there is, alone, inside a word and after a mark.
func TestWordsOfEveryCodePoint(t *testing.T) {
	const block = 1024
	var text strings.Builder
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if testing.Short() && r/block%16 > 0 {
			continue // with -race, for which few do: nothing here has a goroutine
		}
		if utf8.ValidRune(r) {
			c := string(r)
			text.WriteString(c + " A" + c + "B \u0301" + c + " ")
		}
		if r%block == block-1 {
			checkWords(t, text.String())
			text.Reset()
		}
	}
}

func TestWordsAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		if rapid.Bool().Draw(t, "broken") {
			text += string(rapid.SliceOfN(rapid.Byte(), 0, 4).Draw(t, "bytes"))
		}
		checkWords(t, text)
	})
}

func TestUnicodeVersion(t *testing.T) {
	if unicode.Version != "15.0.0" {
		t.Errorf("Go's tables are now Unicode %s: old and new nodes may split differently; say so in words.go "+
			"and in the change log", unicode.Version)
	}
}

// Of two values of a group the newer is the larger only where nothing changes without the first.
func TestGrows(t *testing.T) {
	for aggregates, want := range map[string]bool{
		"{n: count}":                        true,
		"{n: count, low: {min: v}}":         true,
		"{high: {max: v}}":                  true,
		"{high: {max: v}, n: count}":        false,
		"{total: {sum: v}}":                 false,
		"{low: {min: v}}":                   false,
		"{total: {sum: v}, high: {max: v}}": false,
	} {
		if got := program(t, "group: [key]\naggregates: "+aggregates).Grows(); got != want {
			t.Errorf("%s: %t", aggregates, got)
		}
	}
}

// The groups of an event lie in one array, however often that has grown on the way, and nothing of
// a large one is kept for the next.
func TestGroupsLieInOneArray(t *testing.T) {
	var sc Scratch
	items, _, err := program(t, "split: words\ngroup: [key, item]").Eval(Event{Key: bytes.Repeat([]byte("k"), 1000), Value: bytes.Repeat([]byte("word "), 8000)}, &sc)
	if err != nil || len(items) != 8000 {
		t.Fatalf("%d items, %v", len(items), err)
	}
	at := 0
	for i, it := range items {
		if &it.Group[0] != &sc.buf[at] {
			t.Fatalf("group %d of %d lies elsewhere", i, len(items))
		}
		at += len(it.Group)
	}
	sc.reset()
	for _, it := range sc.items[:cap(sc.items)] {
		if it.Group != nil {
			t.Fatal("a group of the event before is kept")
		}
	}
}
