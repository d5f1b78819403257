package processor

import (
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

const (
	// recordOverhead is what a record needs besides key and value: headers, lengths, the batch.
	recordOverhead = 512
	// deadOverhead is what a dead letter needs besides the event: headers and their names.
	deadOverhead = 512
	// reasonBytes bounds the error header of a dead letter, so that it always fits into the 64 KiB
	// by which the dead-letter topic's limit exceeds the input's.
	reasonBytes = 1 << 10

	// What a rendering needs as a rule; a larger one gets memory of its own.
	valuesGuess = 12 // a number
	outputGuess = 64
	frameBytes  = 8 // of format, kind, stage and slot
)

// builder makes the records of a transaction. What it hands out stays valid until reset, after
// which its memory serves the next transaction: a session is done with a transaction's records when
// its Commit has returned without an error. After a failure nothing is used again, since a client
// may still hold it.
type builder struct {
	cfg       Config
	now       time.Time
	clean     bool // nothing was handed out since reset
	arena     arena
	slab      slab
	positions []*kgo.Record // of the position records, in order
	ends      []*kgo.Record // the last of each partition that partials were sent to
	run       commitRun
	numbers   []spec.Decimal
	sum       []spec.Decimal // one an aggregate
	changes   []state.Change

	generation []kgo.RecordHeader
	perOutput  map[int32][]kgo.RecordHeader // by partition
}

func (o *builder) begin(cfg Config, now time.Time) {
	if !o.clean {
		*o = builder{perOutput: map[int32][]kgo.RecordHeader{}, sum: make([]spec.Decimal, len(cfg.Spec.Aggregates))}
	}
	o.cfg, o.now, o.clean = cfg, now, false
	o.generation = []kgo.RecordHeader{{Key: "tally.generation", Value: strconv.AppendInt(nil, int64(cfg.Stamp.Generation), 10)}}
	clear(o.perOutput)
}

// reset takes everything back that was handed out, and the changes that were made of it.
func (o *builder) reset(changes []state.Change) {
	o.slab.reset()
	o.arena.reset()
	clear(changes)
	o.changes, o.positions, o.ends, o.clean = changes[:0], o.positions[:0], o.ends[:0], true
}

func (o *builder) record() *kgo.Record { return o.slab.record() }

// values encodes a group's values.
func (o *builder) values(p *spec.Program, v []spec.Decimal) []byte {
	return o.arena.keep(p.AppendValues(o.arena.open(valuesGuess*len(v)), v))
}

func (o *builder) changelog(task state.Task, group, values []byte) *kgo.Record {
	r := o.record()
	r.Topic, r.Partition, r.Timestamp, r.Headers = o.cfg.Changelog, task.Partition, o.now, o.generation
	r.Key = o.arena.keep(state.ValueKey(o.arena.open(len(group)+frameBytes), task, group))
	r.Value = o.arena.keep(state.AppendValue(o.arena.open(len(values)+frameBytes), values))
	return r
}

func (o *builder) position(rec state.PositionRecord) *kgo.Record {
	r := o.record()
	r.Topic, r.Partition, r.Timestamp, r.Headers = o.cfg.Changelog, rec.Partition, o.now, o.generation
	r.Key, r.Value = state.PositionKey(rec.Task), state.EncodePosition(rec)
	return r
}

// output renders one output record. Its partition is the counter's own, its time the event time.
func (o *builder) output(task state.Task, group []byte, values []spec.Decimal, eventMs int64) *kgo.Record {
	r := o.record()
	r.Topic, r.Partition = o.cfg.Spec.Output.Topic, task.Partition
	if o.cfg.Spec.Output.Key == spec.KeyGroup {
		r.Key = o.arena.keep(o.cfg.Program.AppendGroupJSON(o.arena.open(2*len(group)), group))
	} else if key, null := o.cfg.Program.GroupKey(group); !null {
		r.Key = o.arena.copy(key)
	}
	r.Value = o.arena.keep(o.cfg.Program.AppendOutput(o.arena.open(2*len(group)+outputGuess), group, values))
	ms, exact := sinceEpoch(eventMs, o.now)
	r.Timestamp, r.Headers = time.UnixMilli(ms), o.outputHeaders(task.Partition)
	if !exact {
		r.Headers = append(r.Headers[:len(r.Headers):len(r.Headers)],
			kgo.RecordHeader{Key: "tally.event_time", Value: strconv.AppendInt(nil, eventMs, 10)})
	}
	return r
}

func (o *builder) outputHeaders(partition int32) []kgo.RecordHeader {
	h, ok := o.perOutput[partition]
	if !ok {
		h = []kgo.RecordHeader{
			{Key: "tally.partition", Value: strconv.AppendInt(nil, int64(partition), 10)},
			o.generation[0],
		}
		o.perOutput[partition] = h
	}
	return h
}

// deadLetter is the event as it was, with headers that say why and from where.
func (o *builder) deadLetter(l deadLetter) *kgo.Record {
	r := o.record()
	r.Topic, r.Partition, r.Timestamp = o.cfg.Dead, l.rec.Partition, o.now
	r.Key, r.Value = l.rec.Key, l.rec.Value
	r.Headers = append(l.rec.Headers[:len(l.rec.Headers):len(l.rec.Headers)],
		kgo.RecordHeader{Key: "error", Value: []byte(l.reason[:min(len(l.reason), reasonBytes)])},
		kgo.RecordHeader{Key: "topic", Value: []byte(l.rec.Topic)},
		kgo.RecordHeader{Key: "partition", Value: strconv.AppendInt(nil, int64(l.rec.Partition), 10)},
		kgo.RecordHeader{Key: "offset", Value: strconv.AppendInt(nil, l.rec.Offset, 10)},
		kgo.RecordHeader{Key: "timestamp", Value: strconv.AppendInt(nil, l.rec.Timestamp.UnixMilli(), 10)},
		o.generation[0])
	return r
}
