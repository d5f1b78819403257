package processor

import (
	"bytes"
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
// outputs of each counter rise strictly to them. In the end all of the input is counted.
func TestLaneCountsExactly(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt)
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			w.step(rt)
			w.check(rt)
		}
		w.settle(rt)
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
	two       bool // stages
	store     *state.Store
	lane      *Lane
	input     [2][]*kgo.Record
	relayed   [2][]*kgo.Record // the repartition topic
	read      [4]int64         // where the session polls next: the input, then the repartition topic
	changelog [2][]*kgo.Record // committed, by offset; nil for a marker
	outputs   []*kgo.Record
	open      []*kgo.Record
	group     txn.Offsets
	answer    string
	apart     bool // another lane's markers lie between this one's partials
	due       *batch
	restarts  int
}

func newWorld(rt *rapid.T) *world {
	two := rapid.Bool().Draw(rt, "two stages")
	tasks, group, repartition := []state.Task{{Partition: 0}, {Partition: 1}}, "[key, item]", ""
	if two {
		tasks = append(tasks, state.Task{Stage: state.SecondStage}, state.Task{Stage: state.SecondStage, Partition: 1})
		repartition = "repartition"
	}
	emit := rapid.SampledFrom([]string{"latest", "every"}).Draw(rt, "emit")
	sp, err := spec.Parse([]byte("app: wc\ninput: {topic: input, format: text}\nsplit: words\ngroup: "+group+"\noutput: {topic: output, emit: "+emit+"}\n"), "test")
	if err != nil {
		rt.Fatal(err)
	}
	w := &world{spec: sp, two: two, every: emit == "every", now: time.UnixMilli(1_000_000), group: txn.Offsets{}}
	s := seam.World()
	s.Now = func() time.Time { return w.now }
	w.lane = New(Config{
		Spec: sp, Program: spec.Compile(sp), Partitions: 2, Changelog: "changelog", Dead: "dead",
		Repartition: repartition, Repartitions: 2,
		Partitioners: [...]func([]byte, int) int32{kafka.PartitionMurmur2, kafka.PartitionCRC32},
		Limits:       Limits{TxnEvents: rapid.IntRange(1, 6).Draw(rt, "limit")},
		Stamp:        state.PositionRecord{AppID: "app", Epoch: 1, Generation: 1}, Seam: s,
	}, tasks)
	w.newStore(rt)
	var first []state.PositionRecord
	for _, t := range tasks {
		first = append(first, state.PositionRecord{Task: t, AppID: "app", Generation: 1})
	}
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
		if err := w.lane.foldPending(); err != nil {
			rt.Fatal(err)
		}
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
	for p, source := range w.sources() {
		rest := source[w.read[p]:]
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
	w.commitAs(rt, rapid.SampledFrom([]string{"ok", "ok", "ok", "lost", "committed but lost"}).Draw(rt, "answer"))
}

func (w *world) commitAs(rt *rapid.T, answer string) {
	w.answer = answer
	w.apart = rapid.Bool().Draw(rt, "apart")
	end := w.lane.commit(context.Background(), w.due)
	w.due = nil
	if err := w.lane.onEnding(end); err != nil {
		w.acquire(rt)
	}
}

// settle lets the lane count all that is there, and holds that against a plain map.
func (w *world) settle(rt *rapid.T) {
	for turns := 0; !w.settled(); turns++ {
		if turns > 10_000 {
			rt.Fatal("it does not come to an end")
		}
		if w.due != nil {
			w.commitAs(rt, "ok")
			continue
		}
		if len(w.lane.pending) == 0 {
			w.lane.onFetch(w.pollAll())
		}
		if err := w.lane.foldPending(); err != nil {
			rt.Fatal(err)
		}
		w.now = w.now.Add(5 * time.Second)
		w.due = w.lane.takeDue(w.now)
		w.check(rt)
	}
	all := map[string]int64{}
	for p := range w.input {
		own := map[string]int64{}
		w.count(own, p, int64(len(w.input[p])))
		if got := w.values(rt, state.Task{Partition: int32(p)}); !w.two && !maps.Equal(got, own) {
			rt.Fatalf("partition %d ends at %v, want %v", p, got, own)
		}
		w.count(all, p, int64(len(w.input[p])))
	}
	for q := range w.relayed {
		want := w.ofPartition(rt, all, int32(q))
		if got := w.values(rt, state.Task{Stage: state.SecondStage, Partition: int32(q)}); w.two && !maps.Equal(got, want) {
			rt.Fatalf("repartition %d ends at %v, want %v", q, got, want)
		}
	}
}

func (w *world) sources() [4][]*kgo.Record {
	return [4][]*kgo.Record{w.input[0], w.input[1], w.relayed[0], w.relayed[1]}
}

func (w *world) settled() bool {
	for p, source := range w.sources() {
		if w.read[p] < int64(len(source)) {
			return false
		}
	}
	return w.due == nil && len(w.lane.pending) == 0 && w.lane.filling.empty()
}

func (w *world) pollAll() fetch {
	var recs []*kgo.Record
	for p, source := range w.sources() {
		recs = append(recs, source[w.read[p]:]...)
		w.read[p] = int64(len(source))
	}
	return fetch{recs: recs}
}

// acquire is what internal/node does: catch up to the end of the changelog, begin at the position.
func (w *world) acquire(rt *rapid.T) {
	load := w.store.Load(state.LoadOptions{})
	for p := range w.changelog {
		for o, rec := range w.changelog[p] { // the store skips what it knows
			if err := w.loadRecord(load, int32(p), rec, int64(o)); err != nil {
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
	for t, rec := range w.lane.records {
		w.read[int(t.Stage)*2+int(t.Partition)] = rec.Input
		if at := w.group[w.sourceOf(t)]; at != rec.Input {
			rt.Fatalf("the group's offset of stage %d partition %d is %d, the position record's %d", t.Stage, t.Partition, at, rec.Input)
		}
	}
}

func (w *world) sourceOf(t state.Task) txn.TopicPartition {
	return txn.TopicPartition{Topic: w.lane.source(t), Partition: t.Partition}
}

func (w *world) loadRecord(load *state.Load, partition int32, rec *kgo.Record, offset int64) error {
	if rec == nil {
		for t := range w.lane.views {
			if t.Partition != partition {
				continue
			}
			if err := load.Advance(t, offset+1); err != nil {
				return err
			}
		}
		return nil
	}
	kind, stage, group, err := state.DecodeKey(rec.Key)
	if err != nil {
		return err
	}
	task := state.Task{Stage: stage, Partition: partition}
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

func (w *world) Poll(context.Context, int) ([]*kgo.Record, int64, error) { panic("not used") }
func (w *world) Begin() error                                            { w.open = nil; return nil }
func (w *world) Produce(r *kgo.Record)                                   { w.open = append(w.open, r) }

func (w *world) Commit(_ context.Context, offsets txn.Offsets) (txn.Outcome, error) {
	if w.answer == "lost" {
		for p := range w.changelog { // aborted records take offsets too
			w.changelog[p] = append(w.changelog[p], nil, nil)
		}
		w.mark(0)
		w.mark(1)
		return txn.Unknown, errors.New("lost")
	}
	touched := map[int32]bool{}
	for _, r := range w.open {
		kept := *r // the lane uses its records again
		kept.Key, kept.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
		if r.Topic == "repartition" {
			if w.apart {
				w.mark(int(r.Partition))
			}
			kept.Offset = int64(len(w.relayed[r.Partition]))
			w.relayed[r.Partition] = append(w.relayed[r.Partition], &kept)
			r.Offset = kept.Offset
			continue
		}
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
	w.mark(0)
	w.mark(1)
	maps.Copy(w.group, offsets)
	if w.answer == "committed but lost" {
		return txn.Unknown, errors.New("lost")
	}
	return txn.Committed, nil
}

// mark puts a control record into a partition of the repartition topic.
func (w *world) mark(q int) {
	if !w.two {
		return
	}
	w.relayed[q] = append(w.relayed[q], &kgo.Record{
		Topic: "repartition", Partition: int32(q), Offset: int64(len(w.relayed[q])), Attrs: kgo.NewRecordAttrs(kgo.RecordAttrsOpts{Control: true}),
	})
}

// check holds the store against a plain map over the input below its position.
func (w *world) check(rt *rapid.T) {
	if w.two {
		w.checkSecondStage(rt)
		return
	}
	for p := range w.input {
		task := state.Task{Partition: int32(p)}
		pos, ok := w.store.Position(task)
		if !ok {
			continue // wiped, and not acquired yet
		}
		want := map[string]int64{}
		r := pos.Record
		w.checkEvents(rt, r, w.count(want, p, r.Input))
		if got := w.values(rt, task); !maps.Equal(got, want) {
			rt.Fatalf("partition %d at %d: %v, want %v", p, r.Input, got, want)
		}
		w.checkOutputs(rt, int32(p), pos, want)
	}
}

// count adds the words of the input below an offset, and says how many events there are.
func (w *world) count(into map[string]int64, p int, below int64) (events int64) {
	for _, rec := range w.input[p][:below] {
		if rec.Attrs.IsControl() {
			continue
		}
		events++
		for _, c := range rec.Value {
			if c == 'a' || c == 'b' {
				into[string(rec.Key)+" "+string(c)]++
			}
		}
	}
	return events
}

func (w *world) checkEvents(rt *rapid.T, r state.PositionRecord, events int64) {
	if r.Processed+r.Filtered+r.Skipped+r.Dead != events {
		rt.Fatalf("partition %d: %d processed, %d dead of %d events", r.Partition, r.Processed, r.Dead, events)
	}
}

// checkSecondStage holds the groups of each partition of the repartition topic against the input
// below its sources, and those against what the first stage has sent.
func (w *world) checkSecondStage(rt *rapid.T) {
	for p := range w.input {
		if pos, ok := w.store.Position(state.Task{Partition: int32(p)}); ok {
			w.checkEvents(rt, pos.Record, w.count(map[string]int64{}, p, pos.Record.Input))
		}
	}
	for q := range w.relayed {
		task := state.Task{Stage: state.SecondStage, Partition: int32(q)}
		pos, ok := w.store.Position(task)
		if !ok || len(pos.Record.Midway) > 0 {
			continue
		}
		all := map[string]int64{}
		for p := range w.input {
			below := pos.Record.Sources[int32(p)]
			if pos.Record.Input == int64(len(w.relayed[q])) { // all that was sent is folded
				below = w.group[w.sourceOf(state.Task{Partition: int32(p)})]
			}
			w.count(all, p, below)
		}
		want := w.ofPartition(rt, all, int32(q))
		if got := w.values(rt, task); !maps.Equal(got, want) {
			rt.Fatalf("repartition %d at %d, sources %v: %v, want %v", q, pos.Record.Input, pos.Record.Sources, got, want)
		}
		w.checkOutputs(rt, int32(q), pos, want)
	}
}

// ofPartition are the counters that belong to a partition of the repartition topic.
func (w *world) ofPartition(rt *rapid.T, all map[string]int64, q int32) map[string]int64 {
	own := map[string]int64{}
	for counter, n := range all {
		group, err := w.lane.cfg.Program.ParseGroupJSON(fmt.Appendf(nil, "[%q,%q]", counter[:1], counter[2:]))
		if err != nil {
			rt.Fatal(err)
		}
		if spec.Partition(group, 2) == q {
			own[counter] = n
		}
	}
	return own
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
	if w.group[w.sourceOf(pos.Record.Task)] != pos.Record.Input {
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
		if count <= last[counter] || w.every && !w.two && count != last[counter]+1 {
			rt.Fatalf("counter %s went from %d to %d", counter, last[counter], count)
		}
		last[counter] = count
	}
	if !maps.Equal(last, want) {
		rt.Fatalf("partition %d: outputs end at %v, want %v", p, last, want)
	}
}
