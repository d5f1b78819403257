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
)

// builder makes the records of a transaction. What it hands out stays valid until reset.
type builder struct {
	cfg       Config
	now       time.Time
	arena     arena
	slab      []kgo.Record
	positions []*kgo.Record // of the position records, in order
	ends      []*kgo.Record // the last of each partition that partials were sent to
	scratch   []byte
	groups    [][]byte // to be read from the store
	numbers   []spec.Decimal

	generation []kgo.RecordHeader
	perOutput  map[int32][]kgo.RecordHeader // by partition
}

func (o *builder) begin(cfg Config, now time.Time, groups int) {
	o.cfg, o.now = cfg, now
	o.generation = []kgo.RecordHeader{{Key: "tally.generation", Value: strconv.AppendInt(nil, int64(cfg.Stamp.Generation), 10)}}
	if o.perOutput == nil {
		o.perOutput = map[int32][]kgo.RecordHeader{}
	}
	o.slab = make([]kgo.Record, 0, max(64, 2*groups))
	o.ends = o.ends[:0]
}

func (o *builder) reset() { o.slab, o.positions, o.arena = nil, o.positions[:0], arena{} }

func (o *builder) record() *kgo.Record {
	if len(o.slab) == cap(o.slab) {
		o.slab = make([]kgo.Record, 0, 256)
	}
	o.slab = o.slab[:len(o.slab)+1]
	return &o.slab[len(o.slab)-1]
}

// values encodes a group's values.
func (o *builder) values(p *spec.Program, v []spec.Decimal) []byte {
	return o.fill(func(dst []byte) []byte { return p.AppendValues(dst, v) })
}

// fill fills the scratch buffer anew and returns a copy that stays.
func (o *builder) fill(render func([]byte) []byte) []byte {
	o.scratch = render(o.scratch[:0])
	return o.arena.copy(o.scratch)
}

func (o *builder) changelog(task state.Task, group, values []byte) *kgo.Record {
	r := o.record()
	r.Topic, r.Partition, r.Timestamp, r.Headers = o.cfg.Changelog, task.Partition, o.now, o.generation
	r.Key = o.fill(func(dst []byte) []byte { return state.ValueKey(dst, task, group) })
	r.Value = o.fill(func(dst []byte) []byte { return state.AppendValue(dst, values) })
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
		r.Key = o.fill(func(dst []byte) []byte { return o.cfg.Program.AppendGroupJSON(dst, group) })
	} else if key, null := o.cfg.Program.GroupKey(group); !null {
		r.Key = o.arena.copy(key)
	}
	r.Value = o.fill(func(dst []byte) []byte { return o.cfg.Program.AppendOutput(dst, group, values) })
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
