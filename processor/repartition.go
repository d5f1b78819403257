package processor

import (
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/step"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

// partialBytes is room for what is in a partial's value besides the values.
const partialBytes = 24

// ForeignError ends a lane at a record of the repartition topic that the app did not write there,
// or that was there before.
type ForeignError struct {
	Topic     string
	Partition int32
	Offset    int64
	Err       error
}

func (e *ForeignError) Error() string {
	return fmt.Sprintf("%s/%d offset %d is not what this app has to read next: %v; end what else writes to %s, and `tally reset` the app",
		e.Topic, e.Partition, e.Offset, e.Err, e.Topic)
}

// Unwrap gives what is wrong with the record.
func (e *ForeignError) Unwrap() error { return e.Err }

func (l *Lane) twoStages() bool { return l.cfg.Repartition != "" }

func (l *Lane) stages() int {
	if l.twoStages() {
		return 2
	}
	return 1
}

// taskOf is the task that reads a record.
func (l *Lane) taskOf(rec *kgo.Record) state.Task {
	if l.twoStages() && rec.Topic == l.cfg.Repartition {
		return state.Task{Stage: state.SecondStage, Partition: rec.Partition}
	}
	return state.Task{Partition: rec.Partition}
}

// source is the topic that a task reads.
func (l *Lane) source(t state.Task) string {
	if t.Stage == state.SecondStage {
		return l.cfg.Repartition
	}
	return l.cfg.Spec.Input.Topic
}

// send is what the batch sends to a partition of the repartition topic. It is combined over all of
// the lane's input partitions: one record a distinct group, however often the group occurs.
func (b *batch) send(partition int32) *deltas {
	set := b.sends[partition]
	if set == nil {
		set = b.table()
		b.sends[partition] = set
	}
	return set
}

// inbox is how far a task of the second stage has folded what the lanes of the first have sent.
type inbox struct {
	sources map[int32]int64
	midway  map[int]bool // lanes of which partials are folded whose sources are still to come
}

func newInbox(rec state.PositionRecord) *inbox {
	in := &inbox{sources: map[int32]int64{}, midway: map[int]bool{}}
	maps.Copy(in.sources, rec.Sources)
	for _, lane := range rec.Midway {
		in.midway[lane] = true
	}
	return in
}

// midway reports whether the filling batch ends in the middle of what a transaction has sent.
func (l *Lane) midway() bool {
	for task := range l.filling.tasks {
		if in := l.inboxes[task]; in != nil && len(in.midway) > 0 {
			return true
		}
	}
	return false
}

// noteMidway closes the books of a batch: what it lacks of its senders' transactions.
func (l *Lane) noteMidway(b *batch) {
	for task, t := range b.tasks {
		if in := l.inboxes[task]; in != nil {
			t.midway = slices.Sorted(maps.Keys(in.midway))
		}
	}
}

// foldRepartitioned folds one record of the repartition topic.
func (l *Lane) foldRepartitioned(c *cursor, rec *kgo.Record) error {
	kind, group, err := state.DecodeRepartitionKey(rec.Key)
	if err == nil {
		switch kind {
		case state.KindPartial:
			err = l.foldPartial(c, rec, group)
		case state.KindSources:
			err = l.foldSources(c, rec)
		default: // a barrier
			c.pass(rec)
		}
	}
	if err != nil {
		return &ForeignError{Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Err: err}
	}
	return nil
}

// foldPartial folds a partial as if it were an event of one item.
func (l *Lane) foldPartial(c *cursor, rec *kgo.Record, group []byte) error {
	p, err := state.DecodePartial(rec.Value, rec.Timestamp.UnixMilli())
	if err == nil {
		err = l.ofThisGeneration(p.Generation)
	}
	if err != nil {
		return err
	}
	if err := l.cfg.Program.CheckGroup(group); err != nil {
		return err
	}
	inc, err := l.cfg.Program.DecodeValues(p.Values, l.partial[:0])
	if err != nil {
		return err
	}
	l.partial = inc[:0]
	l.beginBatch()
	if err := l.stagePartial(c.delta, rec, group, inc, p.Newest); err != nil {
		return err
	}
	c.delta.processed++
	l.inboxes[c.task].midway[p.Lane] = true
	c.took(rec)
	return nil
}

// foldSources notes which events the partials come from of which these sources are the end. A
// lane's transactions follow each other, so sources that do not rise are partials that were there
// before.
func (l *Lane) foldSources(c *cursor, rec *kgo.Record) error {
	s, err := state.DecodeSources(rec.Value)
	if err == nil {
		err = l.ofThisGeneration(s.Generation)
	}
	if err != nil {
		return err
	}
	t := c.delta
	if t.sources == nil {
		t.sources = map[int32]int64{}
	}
	in := l.inboxes[c.task]
	for p, next := range s.Next {
		if before, ok := in.sources[p]; ok && next <= before {
			return fmt.Errorf("it has the events of %s/%d up to offset %d, after those up to offset %d", l.cfg.Spec.Input.Topic, p, next, before)
		}
		in.sources[p], t.sources[p] = next, next
	}
	if b := l.filling; b.empty() { // so that no position record stays midway while nothing comes
		l.beginBatch()
		b.force = true
	}
	delete(in.midway, s.Lane)
	c.pass(rec)
	return nil
}

func (l *Lane) ofThisGeneration(generation int) error {
	if now := l.cfg.Stamp.Generation; generation != now {
		return fmt.Errorf("it is of generation %d, and this is generation %d", generation, now)
	}
	return nil
}

// produceSends produces the partials, and behind them in each partition what they come from.
func (l *Lane) produceSends(b *batch, records []state.PositionRecord) {
	if len(b.sends) == 0 {
		return
	}
	sources := state.Sources{Generation: l.cfg.Stamp.Generation, Lane: l.cfg.Lane, Next: map[int32]int64{}}
	for _, rec := range records {
		if rec.Stage != state.SecondStage && rec.Input > l.records[rec.Task].Input {
			sources.Next[rec.Partition] = rec.Input
		}
	}
	for _, q := range slices.Sorted(maps.Keys(b.sends)) {
		set := b.sends[q]
		for place := set.first(); place < set.last(); place = set.next(place) {
			d := set.at(place)
			l.session.Produce(l.out.partial(q, d, set.sum(d, l.out.sum)))
			l.cfg.Step.At(step.ProducePartial)
		}
		l.session.Produce(l.out.sources(q, sources))
	}
}

// noteSent remembers how far the repartition topic now has what this lane has sent, once that is
// known to be committed and before the positions move: who sees a position of the first stage finds
// all that it has sent.
func (l *Lane) noteSent() {
	for _, r := range l.out.ends {
		l.SetSent(r.Partition, r.Offset+1)
	}
}

// SetSent says that all that this lane has ever sent to a partition of the repartition topic lies
// below an offset: whoever acquires the lane knows that from a barrier there.
func (l *Lane) SetSent(partition int32, next int64) { l.sent[partition].Store(next) }

// Sent is the offset below which lies, in a partition of the repartition topic, all that this
// lane's first stage has sent of the events below its positions.
func (l *Lane) Sent(partition int32) int64 { return l.sent[partition].Load() }

// merged are the sources of a record, with those that have come since.
func merged(before, since map[int32]int64) map[int32]int64 {
	if len(since) == 0 {
		return before
	}
	all := maps.Clone(before)
	if all == nil {
		all = map[int32]int64{}
	}
	maps.Copy(all, since)
	return all
}

// partial is one group's record for the repartition topic.
func (o *builder) partial(partition int32, d delta, inc []spec.Decimal) *kgo.Record {
	r, group, values := o.record(), d.group(), o.values(o.cfg.Program, inc)
	r.Topic, r.Partition, r.Timestamp = o.cfg.Repartition, partition, o.now
	r.Key = o.arena.keep(state.PartialKey(o.arena.open(len(group)+frameBytes), group))
	p := state.Partial{Generation: o.cfg.Stamp.Generation, Lane: o.cfg.Lane, Newest: d.newest(), Values: values}
	r.Value = o.arena.keep(state.AppendPartial(o.arena.open(len(values)+partialBytes), p, o.now.UnixMilli()))
	return r
}

func (o *builder) sources(partition int32, s state.Sources) *kgo.Record {
	r := o.record()
	r.Topic, r.Partition, r.Timestamp = o.cfg.Repartition, partition, o.now
	r.Key, r.Value = state.SourcesKey(), state.EncodeSources(s)
	o.ends = append(o.ends, r)
	return r
}
