package audit

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/processor/spec"
)

func compiled(s *spec.Spec) *spec.Program { return spec.Compile(s) }

func parsed(t testing.TB, text string) *spec.Spec {
	t.Helper()
	s, err := spec.Parse([]byte(strings.NewReplacer("$APP", "a", "$IN", "in", "$OUT", "out").Replace(text)), "test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Golden bytes of a changelog, as a node has written them: the keys and values of a counter, a
// barrier and a position record. They are in people's changelogs; a difference means that either
// the writer or this reader has left the format.
const (
	goldenValueKey = "01760000" + "40616e6e0001" + "40776f72640001" // ["ann","word"]
	goldenValue    = "0176" + "0018"                                // {"count":12}
	goldenBarrier  = "016200"
	goldenPosition = "017000"
	goldenRecord   = `{"stage":0,"partition":3,"app_id":"9f86d081884c7d659a2feaa0","generation":1,` +
		`"input_topic_id":"AAAAAAAAAAAAAAAAAAAAAQ","changelog_topic_id":"AAAAAAAAAAAAAAAAAAAAAg","fingerprint":"00ff",` +
		`"spec":"app: a\n","lanes":4,"partitions":4,"transactional_id":"a.lane-3","cluster_id":"c","node":"n","node_name":"node-a",` +
		`"incarnation":"i","epoch":7,"txn":42,"at_ms":1795393111000,"start":5,"input":25,"processed":9,"filtered":4,"skipped":2,` +
		`"dead":3,"strays":1,"groups":1,"digest":"9823517396155463421","hints":{"murmur2":1,"example":"a2V5"}}`
)

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGoldenChangelog(t *testing.T) {
	p := compiled(parsed(t, words))
	key, err := parseKey(unhex(t, goldenValueKey))
	if err != nil || key.kind != kindValue || key.stage != 0 || string(p.AppendGroupJSON(nil, key.group)) != `["ann","word"]` {
		t.Errorf("the key of a value: %+v %v", key, err)
	}
	body, err := parseBody(unhex(t, goldenValue), kindValue)
	if err != nil {
		t.Fatal(err)
	}
	values, err := p.DecodeValues(body, nil)
	if err != nil || string(p.AppendValuesJSON(nil, values)) != `{"count":12}` {
		t.Errorf("a value: %v %v", values, err)
	}
	for text, want := range map[string]byte{goldenBarrier: kindBarrier, goldenPosition: kindPosition} {
		if key, err := parseKey(unhex(t, text)); err != nil || key.kind != want || key.group != nil {
			t.Errorf("the key %s: %+v %v", text, key, err)
		}
	}
	rec, err := parsePosition(append([]byte{1, 'p'}, goldenRecord...), 0, 3)
	want := positionRecord{Partition: 3, AppID: "9f86d081884c7d659a2feaa0", Generation: 1, InputTopicID: "AAAAAAAAAAAAAAAAAAAAAQ",
		ChangelogTopicID: "AAAAAAAAAAAAAAAAAAAAAg", Fingerprint: "00ff", Spec: "app: a\n", Txn: 42, Start: 5, Input: 25,
		Processed: 9, Filtered: 4, Skipped: 2, Dead: 3, Groups: 1, Digest: 9823517396155463421}
	if err != nil || !reflect.DeepEqual(rec, want) || rec.events() != 18 {
		t.Errorf("a position record: %+v %v", rec, err)
	}
	if got := share(key.group, body); got != 0xa9b6e64064c276f7 {
		t.Errorf("the group's share of the digest is %016x", got)
	}
}

// What a node writes now has the shapes of the golden bytes: the same keys, and the same fields.
func TestNodeWritesTheGoldenFormat(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 1)
	p.counted(event(0, "ann", strings.Repeat("word ", 12)))
	seen := map[string]int{}
	for _, r := range p.read(p.app + ".changelog") {
		key := hex.EncodeToString(r.Key)
		seen[key]++
		if key == goldenValueKey && hex.EncodeToString(r.Value) != goldenValue {
			t.Errorf("the value is %x", r.Value)
		}
		if key == goldenPosition {
			for _, field := range []string{"stage", "partition", "app_id", "generation", "input_topic_id", "changelog_topic_id", "fingerprint", "spec",
				"txn", "start", "input", "processed", "filtered", "skipped", "dead", "groups", "digest"} {
				if !bytes.Contains(r.Value, []byte(`"`+field+`":`)) {
					t.Errorf("the position record has no %s: %s", field, r.Value)
				}
			}
		}
	}
	if len(seen) != 3 || seen[goldenValueKey] != 1 || seen[goldenBarrier] != 1 || seen[goldenPosition] != 2 {
		t.Errorf("the changelog's keys are %v", seen)
	}
}

func TestForeignChangelog(t *testing.T) {
	for _, key := range []string{"", "01", "0176", "017600", "01760000", "02760000aa", "01760200aa", "01760001aa", "017700", "01700000", "016202", "0162"} {
		if k, err := parseKey(unhex(t, key)); err == nil {
			t.Errorf("the key %q is taken for %+v", key, k)
		}
	}
	for _, value := range []string{"", "\x01", "\x01p", "\x02p{}", "\x01v{}", "\x01p{}", "\x01p{\"app_id\":\"a\"}", "\x01p{\"app_id\":\"a\",\"partition\":1,\"start\":5,\"input\":4}",
		"\x01p{\"app_id\":\"a\",\"partition\":1,\"stage\":1}", "\x01p{\"app_id\":\"a\",\"partition\":1} {}"} {
		if rec, err := parsePosition([]byte(value), 0, 1); err == nil {
			t.Errorf("%q is taken for %+v", value, rec)
		}
	}
}

// A table gives what a map would, in order, and combines each value once, older before newer,
// whatever goes to files.
func TestTableIsAMap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		tb := &table{dir: dir, name: "t", limit: rapid.Int64Range(0, 2000).Draw(rt, "limit"), fanIn: rapid.IntRange(2, 4).Draw(rt, "fan-in"),
			combine: func(dst, _, older, newer []byte) ([]byte, error) { return append(append(dst, older...), newer...), nil }}
		model := map[string]string{}
		for i := range rapid.IntRange(0, 200).Draw(rt, "puts") {
			key := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 255}), 0, 3).Draw(rt, "key")
			value := fmt.Sprintf("<%d>", i)
			if err := tb.put(key, []byte(value)); err != nil {
				rt.Fatal(err)
			}
			model[string(key)] += value
		}
		s, err := tb.sorted()
		if err != nil {
			rt.Fatal(err)
		}
		defer s.close()
		before, first := []byte(nil), true
		for s.ok {
			if !first && bytes.Compare(before, s.key) >= 0 {
				rt.Fatalf("%x comes after %x", s.key, before)
			}
			if model[string(s.key)] != string(s.value) {
				rt.Fatalf("%x is %s, not %s", s.key, s.value, model[string(s.key)])
			}
			delete(model, string(s.key))
			before, first = slices.Clone(s.key), false
			if err := s.next(); err != nil {
				rt.Fatal(err)
			}
		}
		if len(model) > 0 {
			rt.Fatalf("left over: %v", model)
		}
	})
}

// A file that is cut off is an error, not an end.
func TestCutOffFile(t *testing.T) {
	tb := &table{dir: t.TempDir(), name: "t", limit: 1, fanIn: 8}
	for _, key := range []string{"a", "b"} {
		if err := tb.put([]byte(key), []byte("value")); err != nil {
			t.Fatal(err)
		}
	}
	if err := tb.written(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(tb.levels[0][1], 4); err != nil {
		t.Fatal(err)
	}
	if _, err := tb.sorted(); err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("it is %v", err)
	}
}

// Whatever group and values an app has, its output record is read back, and no other bytes are.
func TestOutputReadsBack(t *testing.T) {
	for _, text := range []string{
		"app: a\ninput: {topic: in, format: json}\nsplit: {each: l}\ngroup: [item, key, {path: 'x.\"y,z\"', as: quote}]\naggregates: {n: count, s: {sum: v}, lo: {min: v}, hi: {max: v}}\noutput: {topic: out}\n",
		"app: a\ninput: {topic: in, format: json}\nsplit: {each: l}\ngroup: [item, partition]\naggregates: {hi: {max: v}}\noutput: {topic: out, key: group}\n",
	} {
		s := parsed(t, text)
		c := newOutputCodec(s, compiled(s))
		rapid.Check(t, func(rt *rapid.T) {
			scalar := rapid.OneOf(rapid.SampledFrom([]string{"null", "true", "-0.001", "1e18", `""`, `"{\"b64\":\"x\"}"`, `"a\\\",:}{"`, `"\u0000\u2028<"`}),
				rapid.Map(rapid.Int64Range(-1e15, 1e15), func(n int64) string { return fmt.Sprint(n) }))
			number := rapid.SampledFrom([]string{"1", "-5.25", "999999999999999999e18", "0", "1e-18"})
			value := fmt.Sprintf(`{"l":[%s],"x":{"y,z":%s},"v":%s}`, scalar.Draw(rt, "item"), scalar.Draw(rt, "part"), number.Draw(rt, "v"))
			key := rapid.OneOf(rapid.Just([]byte(nil)), rapid.SliceOf(rapid.Byte())).Draw(rt, "key")
			var sc spec.Scratch
			items, _, err := c.program.Eval(spec.Event{Key: key, Value: []byte(value), Partition: 10}, &sc)
			if err != nil {
				rt.Fatal(err)
			}
			group := items[0].Group
			values := slices.Clone(items[0].Inc)
			c.program.Fold(values, items[0].Inc)
			r := &kgo.Record{Key: key, Value: c.program.AppendOutput(nil, group, values)}
			if s.Output.Key == spec.KeyGroup {
				r.Key = c.program.AppendGroupJSON(nil, group)
			}
			got, text, err := c.decode(r)
			if err != nil || !bytes.Equal(got, group) || !bytes.Equal(text, c.program.AppendValuesJSON(nil, values)) {
				rt.Fatalf("%q: %x %s %v", r.Value, got, text, err)
			}
			at := rapid.IntRange(0, len(r.Value)-1).Draw(rt, "at")
			r.Value[at] ^= byte(rapid.IntRange(1, 255).Draw(rt, "flip"))
			if got, text, err := c.decode(r); err == nil && bytes.Equal(got, group) && bytes.Equal(text, c.program.AppendValuesJSON(nil, values)) {
				rt.Fatalf("other bytes read the same: %q", r.Value)
			}
		})
	}
}

func FuzzOutputRecord(f *testing.F) {
	s := parsed(f, "app: a\ninput: {topic: in, format: json}\ngroup: [key, {path: x, as: x}]\naggregates: {n: count, s: {sum: v}}\noutput: {topic: out}\n")
	c := newOutputCodec(s, compiled(s))
	f.Add([]byte("k"), []byte(`{"x":"y","n":1,"s":-2.5}`))
	f.Add([]byte(nil), []byte(`{"x":{"b64":"/w=="},"n":1,"s":1}`))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		group, values, err := c.decode(&kgo.Record{Key: key, Value: value})
		if err != nil {
			return
		}
		c.fell(values, values)
		if c.program.CheckGroup(group) != nil {
			t.Errorf("%q gives no group: %x", value, group)
		}
	})
}

// In each partition there must be one position at which all outputs are right.
func TestOnePositionFitsAll(t *testing.T) {
	tk := &task{store: -1}
	for i := range int64(4) {
		tk.positions = append(tk.positions, position{positionRecord{Input: 10 * i}, i})
	}
	tk.makeCuts()
	for i, step := range []struct {
		allowed []bool
		ok      bool
	}{{[]bool{true, true, true, false}, true}, {[]bool{false, true, true, true}, true}, {[]bool{true, false, false, true}, false}, {[]bool{true, true, false, false}, true}, {[]bool{false, false, true, true}, false}} {
		if got := tk.agree(step.allowed); got != step.ok {
			t.Errorf("step %d: %v", i, got)
		}
	}
}

// Two counters of a partition whose last outputs are right, but at different transactions, are a
// difference: a transaction is visible all or none.
func TestOutputsOfOneTransaction(t *testing.T) {
	s := parsed(t, words)
	a := &audit{spec: s, program: compiled(s), found: findings{max: 10}, compared: map[string]int64{}}
	a.codec = newOutputCodec(s, a.program)
	a.output.Name, a.input.Name = "out", "in"
	tk := &task{store: -1, positions: []position{{positionRecord{Input: 1}, 3}, {positionRecord{Input: 2}, 6}}}
	tk.makeCuts()
	one := []spec.Decimal{spec.DecimalOf(1)}
	with := func(word, output string) *Report {
		group, err := a.program.ParseGroupJSON([]byte(`["k","` + word + `"]`))
		if err != nil {
			t.Fatal(err)
		}
		a.compareOutput(group, &counter{task: tk, segments: []segment{{0, recounted{1, 0, 0, one}}, {1, recounted{1, 0, 1, one}}},
			output: &emitted{records: 1, last: 9, firstText: []byte(output)}})
		return &Report{Found: a.found.total(), Differences: a.found.sorted()}
	}
	if r := with("a", `{"count":1}`); r.Found != 0 {
		t.Errorf("the first: %v", r.Differences)
	}
	if r := with("b", `{"count":1}`); r.Found != 0 {
		t.Errorf("at the same position: %v", r.Differences)
	}
	if r := with("c", `{"count":2}`); r.Found != 1 || !strings.Contains(r.Differences[0].String(), "output.wrong: out/0 offset 9: [\"k\",\"c\"] the last output is right at no position record") {
		t.Errorf("at another position: %v", r.Differences)
	}
	if r := with("d", `{"count":3}`); r.Found != 2 {
		t.Errorf("at no position: %v", r.Differences)
	}
}

// Progress is said in lines, not too often; on a terminal there is a bar, which does not hold up
// who ends in the middle.
func TestProgress(t *testing.T) {
	lines := &screen{}
	m := newMeter(Config{Progress: lines, Seam: seam.World()})
	hurry(m, 10_000)
	m.close()
	if text := lines.String(); strings.Count(text, "\n") != 4 || !strings.HasPrefix(text, "audit: input: 2048 of 20000 offsets\n") {
		t.Errorf("lines:\n%s", text)
	}

	bar := &screen{}
	m = newMeter(Config{Progress: bar, TTY: true, Seam: seam.World()})
	hurry(m, 10_000)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !strings.Contains(bar.String(), "of 20000"); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("no bar: %q", bar)
		}
	}
	m.close()
}

// hurry takes a step of the meter each millisecond of a clock of its own.
func hurry(m *meter, steps int) {
	now := time.Unix(0, 0)
	m.seam.Now = func() time.Time { return now }
	m.begin("input", 20_000)
	for range steps {
		now = now.Add(time.Millisecond)
		m.add(1)
	}
}

// screen is a buffer that two may use.
type screen struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}
