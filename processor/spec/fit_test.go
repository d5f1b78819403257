package spec

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const canonicalWordcount = `app: wordcount
input: {topic: input_event, start: earliest, format: text}
where: []
split: words
group: [key, item]
aggregates:
  count: count
output: {topic: output_event, emit: latest, key: event}
on_error: dead
lanes: 4
`

const canonicalEverything = `app: orders-2
input: {topic: orders, start: latest, format: json}
where: [{path: type, in: [buy, "1", 1, 2.5, 1000, true, null]}, {path: user.id, exists: true, not: true}]
split: {each: "items[0].\"a.b\""}
group: [partition, {path: user.id, as: user}, item, key]
aggregates:
  "n": count
  total: {sum: price}
  low: {min: price}
  high: {max: price}
output: {topic: out, emit: every, key: group}
on_error: skip
`

// Stored apps hold these texts and fingerprints: a change of either makes every one of them unfit.
func TestYAMLAndFingerprintAreStable(t *testing.T) {
	for _, c := range []struct{ text, yaml, fingerprint string }{
		{wordcountText, canonicalWordcount, "539d235948540260b6430713cf5c30ac"},
		{everythingText, canonicalEverything, "7cceb7fb5f5a4191ec67e4064a2461d0"},
	} {
		s := mustParse(t, c.text)
		if got := string(s.YAML()); got != c.yaml {
			t.Errorf("got\n%s\nwant\n%s", got, c.yaml)
		}
		if got := s.Fingerprint(); got != c.fingerprint {
			t.Errorf("%s: fingerprint %s, want %s", s.App, got, c.fingerprint)
		}
	}
}

func TestFit(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"", "", "[]"},
		{"app: orders-2", "app: orders-3", "[{app orders-2 orders-3}]"},
		{"topic: orders", "topic: other", "[{input.topic orders other}]"},
		{"start: latest", "start: earliest", "[{input.start latest earliest}]"},
		{"2.50", "3", `[{where [{path: type, in: [buy, "1", 1, 2.5, 1000, true, null]}, {path: user.id, exists: true, not: true}]` +
			` [{path: type, in: [buy, "1", 1, 3, 1000, true, null]}, {path: user.id, exists: true, not: true}]}]`},
		{"items[0]", "items[1]", `[{split {each: "items[0].\"a.b\""} {each: "items[1].\"a.b\""}}]`},
		{"  - partition\n", "", "[{group [partition, {path: user.id, as: user}, item, key] [{path: user.id, as: user}, item, key]}]"},
		{"total: {sum: price}", "total: {sum: cost}", `[{aggregates {"n": count, total: {sum: price}, low: {min: price}, high: {max: price}}` +
			` {"n": count, total: {sum: cost}, low: {min: price}, high: {max: price}}}]`},
		{"  n: count\n  total: {sum: price}", "  total: {sum: price}\n  n: count", `[{aggregates {"n": count, total: {sum: price}, low: {min: price}, high: {max: price}}` +
			` {total: {sum: price}, "n": count, low: {min: price}, high: {max: price}}}]`},
		{"topic: out", "topic: elsewhere", "[]"},
		{"emit: every", "emit: latest", "[]"},
		{"key: group", "key: event", "[{output.key group event}]"},
		{"output: {topic: out, emit: every, key: group}\n", "", "[{output {topic: out, emit: every, key: group} none}]"},
		{"on_error: skip", "on_error: stop", "[]"},
		{"on_error: skip", "on_error: skip\nlanes: 2", "[]"}, // the position records know the number
	} {
		stored := mustParse(t, everythingText)
		if !strings.Contains(everythingText, c.old) {
			t.Fatalf("no %q", c.old)
		}
		now := mustParse(t, strings.Replace(everythingText, c.old, c.new, 1))
		if got := fmt.Sprint(Fit(stored, now)); got != c.want {
			t.Errorf("%q -> %q:\n got %s\nwant %s", c.old, c.new, got, c.want)
		}
		if same := stored.Fingerprint() == now.Fingerprint(); same != (c.want == "[]") {
			t.Errorf("%q -> %q: the fingerprint is the same: %v", c.old, c.new, same)
		}
	}
	two, three := mustParse(t, wordcountText), mustParse(t, strings.Replace(wordcountText, "lanes: 4", "lanes: 3", 1))
	if got := fmt.Sprint(Fit(two, three)); got != "[{lanes 4 3}]" {
		t.Errorf("lanes: %s", got)
	}
}

// Where Fit finds no difference but in lanes, the fingerprints are equal, and the other way round.
func TestFitAgreesWithFingerprint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawSpec(t), drawSpec(t)
		if rapid.Bool().Draw(t, "near") {
			c := *a
			c.OnError, c.Lanes, c.Output = b.OnError, 0, b.Output
			b = &c
		}
		fits := true
		for _, d := range Fit(a, b) {
			fits = fits && d.Field == "lanes"
		}
		if same := a.Fingerprint() == b.Fingerprint(); same != fits {
			t.Fatalf("%v, but the same fingerprint: %v\n%s\n%s", Fit(a, b), same, a.YAML(), b.YAML())
		}
	})
}
