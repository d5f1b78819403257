package processor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
	"github.com/tally-kafka/tally/txn"
)

// TestLaneCountsExactly runs a lane over random events, batch edges and outcomes of its
// transactions, among them commits that are known only to the broker, and restarts from nothing.
// Whatever happens, the values are those of a plain map over the committed input, and the committed
// outputs of each counter rise strictly to them.
func TestLaneCountsExactly(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt)
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			w.step(rt)
			w.check(rt)
		}
		if err := w.store.Verify(context.Background()); err != nil {
			rt.Fatal(err)
		}
	})
}

// world is the broker's side of a lane: an input, and what its transactions have committed.
type world struct {
	now       time.Time
	spec      *spec.Spec
	every     bool
	store     *state.Store
	lane      *Lane
	input     [2][]*kgo.Record
	read      [2]int64         // where the session polls next
	changelog [2][]*kgo.Record // committed, by offset; nil for a marker
	outputs   []*kgo.Record
	open      []*kgo.Record
	group     map[int32]int64
	answer    string
	due       *batch
	restarts  int
}

func newWorld(rt *rapid.T) *world {
	emit := rapid.SampledFrom([]string{"latest", "every"}).Draw(rt, "emit")
	sp, err := spec.Parse([]byte("app: wc\ninput: {topic: input, format: text}\nsplit: words\ngroup: [key, item]\noutput: {topic: output, emit: "+emit+"}\n"), "test")
	if err != nil {
		rt.Fatal(err)
	}
	w := &world{spec: sp, every: emit == "every", now: time.UnixMilli(1_000_000), group: map[int32]int64{}}
	s := seam.World()
	s.Now = func() time.Time { return w.now }
	w.lane = New(Config{
		Spec: sp, Program: spec.Compile(sp), Partitions: 2, Changelog: "changelog", Dead: "dead",
		Partitioners: [...]func([]byte, int) int32{kafka.PartitionMurmur2, kafka.PartitionCRC32},
		Limits:       Limits{TxnEvents: rapid.IntRange(1, 6).Draw(rt, "limit")},
		Stamp:        state.PositionRecord{AppID: "app", Epoch: 1, Generation: 1}, Seam: s,
	}, []int32{0, 1})
	w.newStore(rt)
	first := []state.PositionRecord{{Task: state.Task{Partition: 0}, AppID: "app", Generation: 1}, {Task: state.Task{Partition: 1}, AppID: "app", Generation: 1}}
	if err := w.lane.CommitPositions(context.Background(), w, w.store, first); err != nil {
		rt.Fatal(err)
	}
	w.lane.begin(w, w.store)
	return w
}

func (w *world) newStore(rt *rapid.T) {
	if w.store != nil {
		w.store.Abandon()
	}
	w.restarts++
	store, err := state.Open(fmt.Sprint(w.restarts), state.Identity{App: "wc", AppID: "app", Generation: 1}, state.Options{Seam: seam.World(), FS: vfs.NewMem(), CacheBytes: 1 << 16, MemTableBytes: 1 << 20})
	if err != nil {
		rt.Fatal(err)
	}
	rt.Cleanup(func() { store.Abandon() })
	w.store = store
}

func (w *world) step(rt *rapid.T) {
	switch rapid.IntRange(0, 5).Draw(rt, "do") {
	case 0, 1:
		w.arrive(rt)
	case 2:
		if len(w.lane.pending) == 0 {
			w.lane.onFetch(w.poll(rt))
		}
		w.lane.foldPending()
	case 3:
		w.now = w.now.Add(time.Duration(rapid.IntRange(0, 60).Draw(rt, "ms")) * time.Millisecond)
		if b := w.lane.takeDue(w.now); b != nil {
			w.due = b
		}
	case 4:
		w.commit(rt)
	case 5:
		if rapid.IntRange(0, 9).Draw(rt, "crash") == 0 {
			w.newStore(rt)
			w.acquire(rt)
		}
	}
}

var words = []string{"a", "b", "a b", "b a b", "", "\xff"}

func (w *world) arrive(rt *rapid.T) {
	p := rapid.IntRange(0, 1).Draw(rt, "partition")
	rec := &kgo.Record{Topic: "input", Partition: int32(p), Offset: int64(len(w.input[p])), Timestamp: w.now}
	if rapid.IntRange(0, 4).Draw(rt, "marker") == 0 {
		rec.Attrs = kgo.NewRecordAttrs(kgo.RecordAttrsOpts{Control: true})
	} else {
		rec.Key = []byte(rapid.SampledFrom([]string{"k", "l"}).Draw(rt, "key"))
		rec.Value = []byte(rapid.SampledFrom(words).Draw(rt, "value"))
	}
	w.input[p] = append(w.input[p], rec)
}

func (w *world) poll(rt *rapid.T) fetch {
	var recs []*kgo.Record
	for p := range w.input {
		rest := w.input[p][w.read[p]:]
		n := rapid.IntRange(0, len(rest)).Draw(rt, "polled")
		recs = append(recs, rest[:n]...)
		w.read[p] += int64(n)
	}
	return fetch{recs: recs}
}

// commit carries the due batch through; on a failure the lane is acquired again.
func (w *world) commit(rt *rapid.T) {
	if w.due == nil {
		return
	}
	w.answer = rapid.SampledFrom([]string{"ok", "ok", "ok", "lost", "committed but lost"}).Draw(rt, "answer")
	end := w.lane.commit(context.Background(), w.due)
	w.due = nil
	if err := w.lane.onEnding(end); err != nil {
		w.acquire(rt)
	}
}

// acquire is what internal/node does: catch up to the end of the changelog, begin at the position.
func (w *world) acquire(rt *rapid.T) {
	load := w.store.Load(state.LoadOptions{})
	for p := range w.changelog {
		task := state.Task{Partition: int32(p)}
		pos, _ := w.store.Position(task)
		for o := pos.Changelog; o < int64(len(w.changelog[p])); o++ {
			if err := loadRecord(load, task, w.changelog[p][o], o); err != nil {
				rt.Fatal(err)
			}
		}
	}
	if err := load.Finish(); err != nil {
		rt.Fatal(err)
	}
	if err := w.store.Verify(context.Background()); err != nil {
		rt.Fatal(err)
	}
	w.due = nil
	w.lane.begin(w, w.store)
	for p, rec := range w.lane.records {
		w.read[p] = rec.Input
		if w.group[p] != rec.Input {
			rt.Fatalf("the group's offset of partition %d is %d, the position record's %d", p, w.group[p], rec.Input)
		}
	}
}

func loadRecord(load *state.Load, task state.Task, rec *kgo.Record, offset int64) error {
	if rec == nil {
		return load.Advance(task, offset+1)
	}
	kind, _, group, err := state.DecodeKey(rec.Key)
	if err != nil {
		return err
	}
	if kind == state.KindPosition {
		pos, err := state.DecodePosition(rec.Value)
		if err != nil {
			return err
		}
		return load.Position(task, pos, offset)
	}
	values, err := state.DecodeValue(rec.Value)
	if err != nil {
		return err
	}
	return load.Value(task, group, values, offset)
}

// The session: records are kept until the outcome is drawn.

func (w *world) Poll(context.Context, int) ([]*kgo.Record, error) { panic("not used") }
func (w *world) Begin() error                                     { w.open = nil; return nil }
func (w *world) Produce(r *kgo.Record)                            { w.open = append(w.open, r) }

func (w *world) Commit(_ context.Context, offsets map[int32]int64) (txn.Outcome, error) {
	if w.answer == "lost" {
		for p := range w.changelog { // aborted records take offsets too
			w.changelog[p] = append(w.changelog[p], nil, nil)
		}
		return txn.Unknown, errors.New("lost")
	}
	touched := map[int32]bool{}
	for _, r := range w.open {
		kept := *r // the lane uses its records again
		kept.Key, kept.Value = append([]byte(nil), r.Key...), append([]byte(nil), r.Value...)
		if r.Topic != "changelog" {
			w.outputs = append(w.outputs, &kept)
			continue
		}
		r.Offset = int64(len(w.changelog[r.Partition]))
		w.changelog[r.Partition] = append(w.changelog[r.Partition], &kept)
		touched[r.Partition] = true
	}
	for p := range touched {
		w.changelog[p] = append(w.changelog[p], nil) // the marker
	}
	maps.Copy(w.group, offsets)
	if w.answer == "committed but lost" {
		return txn.Unknown, errors.New("lost")
	}
	return txn.Committed, nil
}

// check holds the store against a plain map over the input below its position.
func (w *world) check(rt *rapid.T) {
	for p := range w.input {
		task := state.Task{Partition: int32(p)}
		pos, ok := w.store.Position(task)
		if !ok {
			continue // wiped, and not acquired yet
		}
		want := map[string]int64{}
		var events int64
		for _, rec := range w.input[p][:pos.Record.Input] {
			if rec.Attrs.IsControl() {
				continue
			}
			events++
			for _, c := range rec.Value {
				if c == 'a' || c == 'b' {
					want[string(rec.Key)+" "+string(c)]++
				}
			}
		}
		r := pos.Record
		if r.Processed+r.Filtered+r.Skipped+r.Dead != events {
			rt.Fatalf("partition %d: %d processed, %d dead of %d events", p, r.Processed, r.Dead, events)
		}
		if got := w.values(rt, task); !maps.Equal(got, want) {
			rt.Fatalf("partition %d at %d: %v, want %v", p, r.Input, got, want)
		}
		w.checkOutputs(rt, int32(p), pos, want)
	}
}

func (w *world) values(rt *rapid.T, task state.Task) map[string]int64 {
	got := map[string]int64{}
	for _, key := range []string{"k", "l"} {
		for _, item := range []string{"a", "b"} {
			js := fmt.Sprintf("[%q,%q]", key, item)
			group, err := w.lane.cfg.Program.ParseGroupJSON([]byte(js))
			if err != nil {
				rt.Fatal(err)
			}
			if v, ok, err := w.store.Get(task, group, nil); err != nil {
				rt.Fatal(err)
			} else if ok {
				n, _ := w.lane.cfg.Program.DecodeValues(v, nil)
				var count int64
				fmt.Sscan(n[0].String(), &count)
				got[key+" "+item] = count
			}
		}
	}
	return got
}

// checkOutputs: when the store is at the end of what was committed, each counter's outputs rise
// strictly and end at its value; with emit: every they rise by one.
func (w *world) checkOutputs(rt *rapid.T, p int32, pos state.Position, want map[string]int64) {
	if w.group[p] != pos.Record.Input {
		return // a commit that only the broker knows of; the next acquire sees it
	}
	last := map[string]int64{}
	for _, r := range w.outputs {
		if r.Partition != p || r.Topic != "output" {
			continue
		}
		var item string
		var count int64
		if _, err := fmt.Sscanf(string(r.Value), `{"item":"%1s","count":%d}`, &item, &count); err != nil {
			rt.Fatalf("output %s: %v", r.Value, err)
		}
		counter := string(r.Key) + " " + item
		if count <= last[counter] || w.every && count != last[counter]+1 {
			rt.Fatalf("counter %s went from %d to %d", counter, last[counter], count)
		}
		last[counter] = count
	}
	if !maps.Equal(last, want) {
		rt.Fatalf("partition %d: outputs end at %v, want %v", p, last, want)
	}
}
