package spec

import (
	"strings"
	"testing"
)

func benchmarkEval(b *testing.B, p *Program, ev Event) {
	var sc Scratch
	if _, v, err := p.Eval(ev, &sc); v != Counted {
		b.Fatal(v, err)
	}
	b.SetBytes(int64(len(ev.Value)))
	b.ReportAllocs()
	for b.Loop() {
		_, _, _ = p.Eval(ev, &sc)
	}
}

func BenchmarkEval(b *testing.B) {
	key := []byte("user-123456")
	text := []byte(strings.Repeat("The quick brown Fox jumps over the lazy Dog, twice. ", 2))
	unicode := []byte(strings.Repeat("Žluťoučký kůň úpěl ďábelské Ódy naïve Straße. ", 2))
	json := []byte(`{"type":"payment","customer":{"id":"c-17","name":"A \"B\" C","plan":"free"},` +
		`"amount":12.50,"currency":"EUR","tags":["a","b","c"],"note":"nothing to see here"}`)
	template := func(name string) *Program {
		t, err := Template(name)
		if err != nil {
			b.Fatal(err)
		}
		return Compile(mustParse(b, string(t)))
	}
	b.Run("key", func(b *testing.B) { benchmarkEval(b, program(b, "group: [key]"), Event{key, text, 3}) })
	b.Run("words", func(b *testing.B) { benchmarkEval(b, template("wordcount"), Event{key, text, 3}) })
	b.Run("unicode", func(b *testing.B) { benchmarkEval(b, template("wordcount"), Event{key, unicode, 3}) })
	b.Run("json", func(b *testing.B) { benchmarkEval(b, template("sum"), Event{key, json, 3}) })
	b.Run("each", func(b *testing.B) {
		benchmarkEval(b, program(b, "split: {each: tags}\ngroup: [key, item]"), Event{key, json, 3})
	})
}

func BenchmarkFold(b *testing.B) {
	for _, c := range []struct{ name, fields, inc string }{
		{"count", "group: [key]", "1"},
		{"sum", "group: [key]\naggregates: {s: {sum: n}}", "12.37"},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := program(b, c.fields)
			acc, inc := []Decimal{{}}, []Decimal{num(c.inc).Number}
			b.ReportAllocs()
			for b.Loop() {
				p.Fold(acc, inc)
			}
		})
	}
}

func BenchmarkOutput(b *testing.B) {
	p := program(b, "split: {words: w}\ngroup: [key, item]")
	group := encodeTuple([]Scalar{str("user-123456"), str("spark")})
	v := []Decimal{DecimalOf(123456)}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = p.AppendOutput(buf[:0], group, v)
		buf = p.AppendValues(buf[:0], v)
	}
}

// Eval allocates nothing once its Scratch has grown.
func TestEvalDoesNotAllocate(t *testing.T) {
	words := program(t, "split: {words: a}\ngroup: [key, item, {path: b, as: b}]\naggregates: {s: {sum: n}}\nwhere: [{path: b, in: [x, 1]}]")
	for _, c := range []struct {
		p     *Program
		value string
	}{
		{Compile(mustParse(t, wordcountText)), "Spark and naïve Kafka"},
		{words, `{"a":"Spark \u0041nd Kafka","b":1,"n":12.5,"\u0063":[{}]}`},
	} {
		var sc Scratch
		ev := Event{Key: []byte("k"), Value: []byte(c.value)}
		n := testing.AllocsPerRun(100, func() {
			if items, _, err := c.p.Eval(ev, &sc); len(items) < 3 {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations an event", c.value, n)
		}
	}
}
