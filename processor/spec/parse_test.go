package spec

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

const wordcountText = `app: wordcount
input:  {topic: input_event, start: earliest, format: text}
where:  []
split:  words
group:  [key, item]
aggregates: {count: count}
output: {topic: output_event, emit: latest, key: event}
on_error: dead
lanes: 4
`

const everythingText = `
app: orders-2
input:
  topic: orders
  start: latest
  format: json
where:
  - {path: type, in: [buy, "1", 1, 2.50, 1e3, true, null]}
  - {path: user.id, exists: true, not: true}
split: {each: 'items[0]."a.b"'}
group:
  - partition
  - {path: user.id, as: user}
  - item
  - key
aggregates:
  n: count
  total: {sum: price}
  low: {min: price}
  high: {max: price}
output: {topic: out, emit: every, key: group}
on_error: skip
`

func mustParse(t testing.TB, text string) *Spec {
	t.Helper()
	s, err := Parse([]byte(text), "test.yaml")
	if err != nil {
		t.Fatalf("Parse: %v\n%s", err, text)
	}
	return s
}

func mustPath(t testing.TB, text string) Path {
	t.Helper()
	p, err := ParsePath(text)
	if err != nil {
		t.Fatalf("ParsePath(%q): %v", text, err)
	}
	return p
}

func num(text string) Scalar {
	d, err := ParseDecimal([]byte(text))
	if err != nil {
		panic(err)
	}
	return Scalar{Kind: ScalarNumber, Number: d}
}

func str(text string) Scalar { return Scalar{Kind: ScalarString, Text: text} }

func TestParseWordcount(t *testing.T) {
	want := &Spec{
		App:         "wordcount",
		Input:       Input{"input_event", StartEarliest, FormatText},
		Split:       Split{Kind: SplitWords},
		Group:       []Part{{Kind: PartKey}, {Kind: PartItem}},
		Aggregates:  []Aggregate{{Name: "count", Kind: Count}},
		Output:      &Output{"output_event", EmitLatest, KeyEvent},
		OnError:     Dead,
		Repartition: Repartition{Mode: RepartitionAuto},
		Lanes:       4,
	}
	if got := mustParse(t, wordcountText); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestParseEverything(t *testing.T) {
	path := func(s string) Path { return mustPath(t, s) }
	want := &Spec{
		App:   "orders-2",
		Input: Input{"orders", StartLatest, FormatJSON},
		Where: []Condition{
			{Path: path("type"), In: []Scalar{
				str("buy"), str("1"), num("1"), num("2.5"), num("1000"), {Kind: ScalarBool, Bool: true}, {},
			}},
			{Path: path("user.id"), Not: true},
		},
		Split: Split{SplitEach, path(`items[0]."a.b"`)},
		Group: []Part{{Kind: PartPartition}, {PartPath, path("user.id"), "user"}, {Kind: PartItem}, {Kind: PartKey}},
		Aggregates: []Aggregate{
			{"n", Count, Path{}}, {"total", Sum, path("price")}, {"low", Min, path("price")}, {"high", Max, path("price")},
		},
		Output:      &Output{"out", EmitEvery, KeyGroup},
		OnError:     Skip,
		Repartition: Repartition{Mode: RepartitionAuto},
	}
	if got := mustParse(t, everythingText); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestParseDefaults(t *testing.T) {
	got := mustParse(t, "app: a\ninput: {topic: t}\ngroup: [key]\n")
	want := &Spec{
		App: "a", Input: Input{"t", StartEarliest, FormatText}, Split: Split{Kind: SplitNone}, OnError: Dead,
		Repartition: Repartition{Mode: RepartitionAuto},
		Group:       []Part{{Kind: PartKey}}, Aggregates: []Aggregate{{Name: "count", Kind: Count}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

// A refusal is a spec that differs from a good one in one place.
func TestParseRefusals(t *testing.T) {
	text := "app: a\ninput: {topic: t}\ngroup: [key]\n"
	json := "app: a\ninput: {topic: t, format: json}\ngroup: [key]\n"
	for _, c := range []struct{ spec, want string }{
		{"", "1:1: the spec is empty; `tally init` prints one to start from"},
		{"# nothing\n", "1:1: the spec is empty; `tally init` prints one to start from"},
		{"- a\n", "1:1: the spec must be a mapping (name: value), not a list"},
		{"word", "1:1: the spec must be a mapping (name: value), not a string"},
		{text + "---\napp: b\n", "5:1: a second YAML document: a file holds one spec"},
		{"app: \xff\n", "1:6: not UTF-8"},
		{"app: a\ninput: {topic: t\n", "2:8: could not find flow mapping end token '}'"},
		{strings.Repeat("[", 3000), "1:2001: nested too deep"},
		{strings.Repeat("# long\n", 10000), "1:1: the spec has 70000 bytes, more than 32768"},
		{text + "1: 2\n", "4:1: a name in the spec must be a string, not a number"},
		{text + "<<: {a: b}\n", "4:1: a name in the spec must be a string, not an anchor or alias (a spec has none)"},
		{"app: &x a\n" + text[7:], "1:6: app must be a string, not an anchor or alias (a spec has none)"},
		{"app: !!str a\n" + text[7:], "1:6: app must be a string, not a tag (a spec has none)"},

		{text + "agregates: {count: count}\n", `4:1: unknown field "agregates" in the spec; did you mean "aggregates"?`},
		{text + "onerror: dead\n", `4:1: unknown field "onerror" in the spec; did you mean "on_error"?`},
		{text + "Output: {topic: o}\n", `4:1: unknown field "Output" in the spec; did you mean "output"?`},
		{text + "colour: red\n", `4:1: unknown field "colour" in the spec; the fields are app, input, where, split, group, aggregates, output, on_error, lanes, repartition`},
		{text + "time: {path: t}\n", "4:1: time is not supported yet: the name is reserved; remove it"},
		{text + "window: 1m\n", "4:1: window is not supported yet: the name is reserved; remove it"},
		{text + "ttl: 1h\n", "4:1: ttl is not supported yet: the name is reserved; remove it"},
		{text + "step: 1s\n", "4:1: step is not supported yet: the name is reserved; remove it"},
		{text + "repartition: often\n", `4:14: repartition is "often", but must be one of auto, always, never`},
		{text + "repartition: {parts: 2}\n", `4:15: unknown field "parts" in repartition; the fields are mode, partitions`},
		{text + "repartition: {partitions: 0}\n", "4:27: repartition.partitions is 0, but must be from 1 to 1024"},
		{text + "repartition: {mode: never, partitions: 2}\n", "4:28: repartition.partitions says how many partitions the repartition topic has, and `mode: never` forbids it"},
		{text + "lanes: 1\nlanes: 2\n", "5:1: lanes stands twice in the spec"},

		{"input: {topic: t}\ngroup: [key]\n", "1:1: app is missing: give the app a name, such as `app: wordcount`"},
		{"app: WordCount\n" + text[7:], `1:6: the app name "WordCount" may hold only a-z, 0-9 and -`},
		{"app: ''\n" + text[7:], `1:6: the app name "" may hold only a-z, 0-9 and -`},
		{"app: 7\n" + text[7:], `1:6: app must be a string: put it in quotes: "7"`},
		{"app: " + strings.Repeat("a", 101) + "\n" + text[7:], "1:6: the app name has 101 characters, more than 100"},

		{"app: a\ngroup: [key]\n", "1:1: input is missing: name the topic to read, such as `input: {topic: input_event}`"},
		{"app: a\ninput: t\ngroup: [key]\n", "2:8: input must be a mapping (name: value), not a string"},
		{"app: a\ninput: {start: latest}\ngroup: [key]\n", "2:8: input.topic is missing"},
		{"app: a\ninput:\n  topics: [t]\ngroup: [key]\n", "3:3: input.topics is not supported yet: the name is reserved; an app reads one topic"},
		{"app: a\ninput:\n  topic: t\n  fromat: json\ngroup: [key]\n", `4:3: unknown field "fromat" in input; did you mean "format"?`},
		{"app: a\ninput: {topic: t, start: oldest}\ngroup: [key]\n", `2:26: input.start is "oldest", but must be one of earliest, latest`},
		{"app: a\ninput: {topic: t, format: jsn}\ngroup: [key]\n", `2:27: input.format is "jsn", but must be one of text, json; did you mean "json"?`},
		{"app: a\ninput: {topic: t t}\ngroup: [key]\n", `2:16: input.topic "t t" may hold only a-z, A-Z, 0-9, dots, _ and -, and not be . or ..`},
		{"app: a\ninput: {topic: ..}\ngroup: [key]\n", `2:16: input.topic ".." may hold only a-z, A-Z, 0-9, dots, _ and -, and not be . or ..`},
		{"app: a\ninput: {topic: " + strings.Repeat("t", 250) + "}\ngroup: [key]\n", "2:16: input.topic has 250 characters, more than Kafka's 249"},
		{"app: a\ninput: {topic: a.dead}\ngroup: [key]\n", "2:16: input.topic a.dead is one of the app's own topics"},

		{json + "where: {path: a}\n", "4:8: where must be a list [...], not a mapping"},
		{json + "where: [{path: a}]\n", "4:9: where[0] needs either `in: [...]` or `exists: true`"},
		{json + "where: [{path: a, in: [1], exists: true}]\n", "4:9: where[0] needs either `in: [...]` or `exists: true`"},
		{json + "where: [{in: [1]}]\n", "4:9: path is missing in where[0]"},
		{json + "where: [{path: a, in: []}]\n", "4:23: where[0].in is empty: no event would count"},
		{json + "where: [{path: a, in: 1}]\n", "4:23: where[0].in must be a list [...], not a number"},
		{json + "where: [{path: a, in: [[1]]}]\n", "4:24: where[0].in must hold strings, numbers, true, false or null, not a list"},
		{json + "where: [{path: a, in: [0x10]}]\n", "4:24: where[0].in: 0x10 is not a JSON number (in quotes it is a string)"},
		{json + "where: [{path: a, in: [1234567890123456789]}]\n", "4:24: where[0].in: 1234567890123456789 is a number of more than 18 significant digits, or with an exponent beyond 18 (in quotes it is a string)"},
		{json + "where: [{path: a, in: [123456789012345678901234567890]}]\n", "4:24: where[0].in: 123456789012345678901234567890 is a number of more than 18 significant digits, or with an exponent beyond 18 (in quotes it is a string)"},
		{json + "where: [{path: a, exists: false}]\n", "4:27: where[0].exists is true or left out: for what must be missing write `exists: true, not: true`"},
		{json + "where: [{path: a, exists: 1}]\n", "4:27: where[0].exists must be true or false, not a number"},
		{json + "where: [{path: a, exits: true}]\n", `4:19: unknown field "exits" in where[0]; did you mean "exists"?`},
		{json + "where: [{path: a., in: [1]}]\n", `4:16: where[0].path: the PATH "a." is wrong: a name is missing at the end`},
		{json + "where: [{path: a[0], in: [1]}]\n", `4:17: ',' or '}' must be specified (a PATH with an index or a quoted name stands in single quotes: 'a[0]', '"a.b".c')`},
		{text + "where: [{path: a, exists: true}]\n", "4:16: where[0].path is a PATH, which needs `format: json` in input"},
		{json + "where: [" + strings.Repeat("{path: a, exists: true}, ", 33) + "]\n", "4:809: more than 32 in where"},

		{text + "split: word\n", `4:8: split is "word", but must be one of none, words, lines; did you mean "words"?`},
		{json + "split: words\n", "4:8: split: words would split the JSON text itself; name the string to split: {words: PATH}"},
		{text + "split: {words: a}\n", "4:16: split.words is a PATH, which needs `format: json` in input"},
		{json + "split: {words: a, lines: b}\n", "4:8: split holds one of words, lines and each"},
		{json + "split: {}\n", "4:8: split holds one of words, lines and each"},
		{json + "split: {eech: a}\n", `4:9: unknown field "eech" in split; did you mean "each"?`},

		{"app: a\ninput: {topic: t}\n", "1:1: group is missing: say what to count by, such as `group: [key, item]`"},
		{"app: a\ninput: {topic: t}\ngroup: []\n", "3:8: group is empty: say what to count by, such as [key, item]"},
		{"app: a\ninput: {topic: t}\ngroup: key\n", "3:8: group must be a list [...], not a string"},
		{"app: a\ninput: {topic: t}\ngroup: [kee]\n", `3:9: group[0] is "kee", but must be one of key, item, partition; did you mean "key"?`},
		{"app: a\ninput: {topic: t}\ngroup: [key, key]\n", "3:14: key stands twice in group"},
		{"app: a\ninput: {topic: t}\ngroup: [key, {path: a, as: b}]\n", "3:21: group[1].path is a PATH, which needs `format: json` in input"},
		{"app: a\ninput: {topic: t, format: json}\ngroup: [{path: a, as: b}, {path: b, as: b}]\n", "3:27: b stands twice in group"},
		{"app: a\ninput: {topic: t, format: json}\ngroup: [{path: a}]\n", "3:9: group[0] needs both: {path: PATH, as: NAME}"},
		{"app: a\ninput: {topic: t, format: json}\ngroup: [{path: a, as: key}]\n", "3:23: group[0].as: the name key belongs to the part key; choose another"},
		{"app: a\ninput: {topic: t, format: json}\ngroup: [{path: a, as: ''}]\n", "3:23: group[0].as is empty"},
		{"app: a\ninput: {topic: t, format: json}\ngroup: [{path: a, as: b c}]\n", `3:23: group[0].as "b c" may hold only letters, digits, _, - and dots`},

		{text + "aggregates: {}\n", "4:13: aggregates is empty: leave it out for {count: count}"},
		{text + "aggregates: count\n", "4:13: aggregates must be a mapping (name: value), not a string"},
		{text + "aggregates: {n: cuont}\n", `4:17: aggregates.n is "cuont", but must be one of count; did you mean "count"?`},
		{text + "aggregates: {n: sum}\n", "4:17: aggregates.n needs the PATH of a number: {sum: PATH}"},
		{text + "aggregates: {n: {sum: a}}\n", "4:23: aggregates.n.sum is a PATH, which needs `format: json` in input"},
		{json + "aggregates: {n: {sun: a}}\n", `4:18: unknown field "sun" in aggregates.n; did you mean "sum"?`},
		{json + "aggregates: {n: {sum: a, max: a}}\n", "4:17: aggregates.n holds one of sum, min and max"},
		{text + "aggregates: {n: count, n: count}\n", "4:24: n stands twice in aggregates"},
		{text + "aggregates: {key: count}\n", "4:14: the aggregate key has the name of a part of group; name one of them otherwise"},
		{text + "aggregates: {'a b': count}\n", `4:14: the name of an aggregate "a b" may hold only letters, digits, _, - and dots`},
		{text + "aggregates: {a: count, b: count, c: count, d: count, e: count, f: count, g: count, h: count, i: count}\n", "4:94: more than 8 aggregates"},
		{"app: a\ninput: {topic: t, format: json}\ngroup: [{path: a, as: count}]\n", "1:1: the aggregate count has the name of a part of group; name one of them otherwise"},

		{text + "output: {emit: latest}\n", "4:9: output.topic is missing; without an output leave out `output`: the counts are for queries then"},
		{text + "output: {topic: t}\n", "4:17: output.topic is the input topic t: the app would count its own output"},
		{text + "output: {topic: a.changelog}\n", "4:17: output.topic a.changelog is one of the app's own topics"},
		{text + "output: {topic: o, emit: all}\n", `4:26: output.emit is "all", but must be one of latest, every`},
		{text + "output: {topic: o, key: value}\n", `4:25: output.key is "value", but must be one of event, group`},
		{"app: a\ninput: {topic: t}\ngroup: [item]\noutput: {topic: o, key: event}\n", "4:25: output.key: event needs key in group, since a group without it has events of many keys; write `key: group`"},

		{text + "on_error: ignore\n", `4:11: on_error is "ignore", but must be one of dead, skip, stop`},
		{text + "lanes: 0\n", "4:8: lanes is 0, but must be from 1 to 1024"},
		{text + "lanes: -1\n", "4:8: lanes is -1, but must be from 1 to 1024"},
		{text + "lanes: 4000\n", "4:8: lanes is 4000, but must be from 1 to 1024"},
		{text + "lanes: four\n", "4:8: lanes must be a number from 1 to 1024, not a string"},
	} {
		s, err := Parse([]byte(c.spec), "f.yaml")
		var parseErr *ParseError
		if !errors.As(err, &parseErr) {
			t.Errorf("no ParseError but %v, %v\n%s", s, err, c.spec)
			continue
		}
		if got, want := err.Error(), "f.yaml:"+c.want; got != want {
			t.Errorf("got  %s\nwant %s\n%.300s", got, want, c.spec)
		}
		if s != nil {
			t.Errorf("a spec beside the error %v", err)
		}
	}
}

func TestParseAcceptsWhatLooksOdd(t *testing.T) {
	for _, text := range []string{
		"\ufeffapp: a\r\ninput: {topic: t}\r\ngroup: [key]\r\n",
		"---\napp: a\ninput: {topic: t}\ngroup: [key]\n...\n",
		`{"app": "a", "input": {"topic": "t"}, "group": ["key"]}`,
		"group: [key]\ninput: {topic: t}\napp: a\n",
		"app: a-1\ninput: {topic: t}\ngroup: [key]\n",
	} {
		mustParse(t, text)
	}
}

func TestTwoStages(t *testing.T) {
	for _, c := range []struct {
		spec  string
		parts int
		want  string
	}{
		{"group: [key]", 8, "false"},
		{"group: [item, key]", 8, "false"},
		{"group: [partition, item]", 8, "false"},
		{"group: [item]", 1, "false"},
		{"group: [item]", 8, "true"},
		{"group: [item]\nrepartition: auto", 8, "true"},
		{"group: [item]\nrepartition: {partitions: 3}", 8, "true"},
		{"group: [key]\nrepartition: always", 8, "true"},
		{"group: [item]\nrepartition: {mode: always, partitions: 3}", 1, "true"},
		{"group: [key]\nrepartition: never", 8, "false"},
		{"group: [item]\nrepartition: never", 8, "app a: group [item] is not local: t has 8 partitions, and the events of one group lie in several " +
			"of them; counting those together needs the second stage, which `repartition: never` forbids; " +
			"remove that line, add key or partition to group, or read a topic with one partition"},
	} {
		s := mustParse(t, "app: a\ninput: {topic: t}\n"+c.spec+"\n")
		two, err := s.TwoStages(c.parts)
		got := fmt.Sprint(two)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s with %d partitions:\ngot  %s\nwant %s", c.spec, c.parts, got, c.want)
		}
		if again := mustParse(t, string(s.YAML())); again.Repartition != s.Repartition {
			t.Errorf("%+v came back as %+v", s.Repartition, again.Repartition)
		}
	}
}

func TestOutputKeyDefault(t *testing.T) {
	for group, want := range map[string]OutputKey{"[key, item]": KeyEvent, "[item]": KeyGroup} {
		s := mustParse(t, "app: a\ninput: {topic: t}\ngroup: "+group+"\noutput: {topic: o}\n")
		if s.Output.Key != want {
			t.Errorf("group %s: output.key is %s by default, want %s", group, s.Output.Key, want)
		}
	}
}

func TestKeyPart(t *testing.T) {
	for group, want := range map[string]int{"[key, item]": 0, "[item, key]": 1, "[item]": -1} {
		if got := mustParse(t, "app: a\ninput: {topic: t}\ngroup: "+group+"\n").KeyPart(); got != want {
			t.Errorf("%s: key part %d, want %d", group, got, want)
		}
	}
}
