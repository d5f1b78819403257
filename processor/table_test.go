package processor

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

// A table of deltas does what a map does, keeps the order of first touch, and forgets all by reset.
func TestDeltasModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var g deltas
		for range rapid.IntRange(1, 4).Draw(t, "batches") {
			g.reset(0)
			counts, newest, order := map[string]int64{}, map[string]int64{}, []string{}
			groups := rapid.SampledFrom([]int{1, 40, 5000}).Draw(t, "groups")
			for i := range rapid.IntRange(0, 4000).Draw(t, "items") {
				group, ms := fmt.Sprint("group-", i*i%groups), int64(i*7919%1000)-1
				if rapid.IntRange(0, 500).Draw(t, "long") == 0 {
					group += string(make([]byte, 32<<10-20))
				}
				hash := hashGroup([]byte(group))
				place := g.find(hash, []byte(group))
				if known := counts[group] > 0; known != (place != 0) {
					t.Fatalf("%.20q: found %v, known %v", group, place != 0, known)
				}
				if place == 0 {
					place = g.add(hash, []byte(group), ms, [Partitioners]bool{i%2 == 0, i%3 == 0})
					order, newest[group] = append(order, group), ms
				}
				g.at(place).take(1, ms)
				counts[group]++
				newest[group] = max(newest[group], ms)
			}
			n := 0
			for place := g.first(); place < g.last(); place = g.next(place) {
				d := g.at(place)
				group := string(d.group())
				if group != order[n] || d.ordinal() != n || d.count() != counts[group] || d.newest() != newest[group] {
					t.Fatalf("delta %d is of %.20q, %d, newest %d; want %.20q, %d, %d", n, group, d.count(), d.newest(), order[n], counts[group], newest[group])
				}
				n++
			}
			if n != len(order) || n != g.n {
				t.Fatalf("%d deltas, %d of them met, want %d", g.n, n, len(order))
			}
		}
	})
}

// What a lane folds, with aggregates that are not counts, in batches, is what the program makes of
// the events one by one.
func TestLaneFoldsNumbers(t *testing.T) {
	const text = "app: b\ninput: {topic: input, format: json}\nsplit: {each: items}\ngroup: [key, item]\n" +
		"aggregates: {n: count, s: {sum: x}, lo: {min: x}, hi: {max: x}}\noutput: {topic: output}\n"
	for _, emit := range []string{"latest", "every"} {
		sp, err := spec.Parse([]byte(text[:len(text)-2]+", emit: "+emit+"}\n"), "test")
		if err != nil {
			t.Fatal(err)
		}
		rapid.Check(t, func(t *rapid.T) { foldNumbers(t, sp) })
	}
}

func foldNumbers(t *rapid.T, sp *spec.Spec) {
	l, store := numbersLane(t, sp)
	defer func() { _ = store.Abandon() }()
	want := map[string][]spec.Decimal{}
	var scratch spec.Scratch
	offset := int64(0)
	for range rapid.IntRange(1, 4).Draw(t, "batches") {
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			rec := numbersEvent(t, offset)
			offset++
			items, _, err := l.cfg.Program.Eval(spec.Event{Key: rec.Key, Value: rec.Value}, &scratch)
			if err != nil {
				t.Fatal(err)
			}
			for _, item := range items {
				if acc, ok := want[string(item.Group)]; ok {
					l.cfg.Program.Fold(acc, item.Inc)
				} else {
					want[string(item.Group)] = append([]spec.Decimal(nil), item.Inc...)
				}
			}
			l.pending = append(l.pending, rec)
		}
		if err := l.foldPending(); err != nil {
			t.Fatal(err)
		}
		batch := l.filling
		l.filling, l.begun = l.newBatch(), l.cfg.Seam.Now()
		if err := l.onEnding(l.commit(t.Context(), batch)); err != nil {
			t.Fatal(err)
		}
	}
	for group, values := range want {
		got, ok, err := store.Get(state.Task{}, []byte(group), nil)
		if enc := l.cfg.Program.AppendValues(nil, values); err != nil || !ok || string(got) != string(enc) {
			t.Fatalf("group %q is %x, want %x (%v)", group, got, enc, err)
		}
	}
	if err := store.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func numbersEvent(t *rapid.T, offset int64) *kgo.Record {
	items := "["
	for i := range rapid.SampledFrom([]int{0, 1, 2, 31, 33, 100}).Draw(t, "items") {
		if i > 0 {
			items += ","
		}
		items += fmt.Sprint(i % rapid.SampledFrom([]int{1, 7, 1000}).Draw(t, "of"))
	}
	x := rapid.SampledFrom([]string{"1", "-2.5", "0.001", "999999999999999999", "1e18"}).Draw(t, "x")
	return &kgo.Record{
		Topic: "input", Offset: offset, Key: fmt.Append(nil, "k", rapid.IntRange(0, 3).Draw(t, "key")),
		Value: fmt.Appendf(nil, `{"items":%s],"x":%s}`, items, x), Timestamp: time.UnixMilli(offset),
	}
}

func numbersLane(t *rapid.T, sp *spec.Spec) (*Lane, *state.Store) {
	store, err := state.Open("lane", state.Identity{App: "b", AppID: "app", Generation: 1}, state.Options{Seam: seam.World(), FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	l := New(Config{
		Spec: sp, Program: spec.Compile(sp), Partitions: 4, Changelog: "changelog", Dead: "dead",
		Partitioners: [...]func([]byte, int) int32{kafka.PartitionMurmur2, kafka.PartitionCRC32},
		Stamp:        state.PositionRecord{AppID: "app", Generation: 1}, Seam: seam.World(),
	}, []state.Task{{}})
	s := &nullSession{}
	first := state.PositionRecord{AppID: "app", Generation: 1, AtMs: time.Now().UnixMilli()}
	if err := l.CommitPositions(t.Context(), s, store, []state.PositionRecord{first}); err != nil {
		t.Fatal(err)
	}
	l.begin(s, store)
	return l, store
}
