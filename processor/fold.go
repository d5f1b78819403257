package processor

import (
	"sort"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/step"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

// batch is what one transaction will say: the deltas of the events folded so far. It reads nothing
// and writes nothing, so the next one fills while this one commits.
type batch struct {
	tasks      map[state.Task]*taskDelta
	sends      map[int32]*deltas // of the first of two stages, by repartition partition
	increments []increment       // in input order; only with emit: every
	dead       []deadLetter
	numbers    []spec.Decimal // a slab of those of increments
	width      int            // of all deltas
	spare      []*deltas      // emptied tables of an earlier batch

	events int   // input records folded
	groups int   // distinct groups
	bytes  int64 // held in the arena and by dead letters
	first  time.Time
	slot   time.Time // of the commit budget
	behind bool      // as many events as a poll holds had come, or waited at the broker
	force  bool      // commit although no event came: a group offset has grown old, or a position moved without one
}

// taskDelta is what a batch adds to one task.
type taskDelta struct {
	groups *deltas

	next      int64 // next input offset: behind the last event, control record or gap seen
	lastEvent int64 // offset of the last event, -1 for none
	refresh   bool  // gets a position record even though its position stays

	processed, filtered, skipped, dead int64
	strays                             [Partitioners]int64

	// Of the second stage: how far the sources have come, and, once the batch is taken, the lanes
	// of which the batch ends in the middle of a transaction.
	sources map[int32]int64
	midway  []int
}

// increment is one item, kept singly for emit: every.
type increment struct {
	task  state.Task
	delta uint32 // its place in the task's deltas
	inc   []spec.Decimal
	time  int64
}

type deadLetter struct {
	rec    *kgo.Record
	reason string
}

// newBatch makes an empty batch, with the memory of one that was committed.
func (l *Lane) newBatch() *batch {
	b := &batch{tasks: map[state.Task]*taskDelta{}, sends: map[int32]*deltas{}, width: l.numbers, spare: l.spare}
	l.spare = nil
	return b
}

// recycle keeps the memory of a batch of which nothing is needed any more.
func (l *Lane) recycle(b *batch) {
	for _, t := range b.tasks {
		l.spare = append(l.spare, t.groups)
	}
	for _, g := range b.sends {
		l.spare = append(l.spare, g)
	}
	l.spare = l.spare[:min(len(l.spare), len(l.views)+l.cfg.Repartitions)]
	for _, g := range l.spare {
		g.reset(b.width)
	}
}

// empty reports whether there is nothing to commit. A batch that only saw control records is empty:
// its position goes along with the next event, or a while later alone.
func (b *batch) empty() bool { return b.events == 0 && !b.force }

func (b *batch) task(task state.Task) *taskDelta {
	t := b.tasks[task]
	if t == nil {
		t = &taskDelta{groups: b.table(), lastEvent: -1}
		b.tasks[task] = t
	}
	return t
}

func (b *batch) table() *deltas {
	if n := len(b.spare); n > 0 {
		t := b.spare[n-1]
		b.spare = b.spare[:n-1]
		return t
	}
	t := &deltas{}
	t.reset(b.width)
	return t
}

// beginBatch notes the time of a batch's first event.
func (l *Lane) beginBatch() {
	if b := l.filling; b.empty() {
		b.first = l.cfg.Seam.Now()
		b.slot = l.cfg.Budget.Reserve(b.first, l.stages())
	}
}

// foldPending folds fetched records until the batch is full or the lane has to stop at an event.
func (l *Lane) foldPending() error {
	if len(l.pending) == 0 {
		return nil
	}
	folded, bounds := l.pending, l.bounds()
	defer l.cursor.tell()
	for len(l.pending) > 0 && !l.filling.full(bounds) && l.stop == nil {
		taken, err := l.foldRecord(l.pending[0])
		if err != nil {
			return err
		}
		if taken {
			l.pending = l.pending[1:]
		}
	}
	l.foldStaged()
	for _, rec := range folded[:len(folded)-len(l.pending)] {
		rec.Recycle() // a batch has copies of all that it needs
	}
	l.cfg.Step.At(step.Fold)
	return nil
}

// foldRecord folds one record and reports whether it was taken. One that is not taken stops the
// lane (on_error: stop) and stays the next to read.
func (l *Lane) foldRecord(rec *kgo.Record) (taken bool, err error) {
	c := l.goTo(rec)
	if rec.Attrs.IsControl() {
		c.pass(rec)
		return true, nil
	}
	if c.task.Stage == state.SecondStage {
		return true, l.foldRepartitioned(c, rec)
	}
	return l.foldEvent(c, rec), nil
}

// A cursor is where the records of one partition of a source go. What is fetched has runs of them,
// and all this is looked up once a run.
type cursor struct {
	batch     *batch // in which delta is; nil: nothing was looked up
	topic     string
	partition int32
	task      state.Task
	delta     *taskDelta
	view      *taskView
	last      int64 // offset of the last event folded that the view does not know of yet, -1 for none
}

// tell lets the view know of the last event folded. It is told before the loop does anything but
// fold, and before the view hears of a record behind that event. Until then its position is older,
// and true.
func (c *cursor) tell() {
	if c.view != nil && c.last >= 0 {
		c.view.folded(c.last)
		c.last = -1
	}
}

// goTo moves the lane's cursor to a record's partition.
func (l *Lane) goTo(rec *kgo.Record) *cursor {
	c := &l.cursor
	if c.batch != l.filling || c.partition != rec.Partition || c.topic != rec.Topic {
		c.tell()
		task := l.taskOf(rec)
		*c = cursor{l.filling, rec.Topic, rec.Partition, task, l.filling.task(task), l.views[task], -1}
	}
	return c
}

// pass moves a task over a record that is no event, which Lane.Pass may have known of before.
func (c *cursor) pass(rec *kgo.Record) {
	c.tell()
	next, read := rec.Offset+1, &c.view.read
	c.delta.next = next
	for at := read.Load(); at < next && !read.CompareAndSwap(at, next); at = read.Load() {
	}
}

// took counts a record that the batch has folded.
func (c *cursor) took(rec *kgo.Record) {
	c.batch.events++
	c.delta.next, c.delta.lastEvent = rec.Offset+1, rec.Offset
	c.last = rec.Offset
}

// foldEvent folds one event of the input.
func (l *Lane) foldEvent(c *cursor, rec *kgo.Record) (taken bool) {
	if l.direct && l.foldDirect(c, rec) {
		return true
	}
	t := c.delta
	items, verdict, err := l.evaluate(c.task, rec)
	if err != nil && l.cfg.Spec.OnError == spec.Stop {
		l.stop = &StopError{Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Reason: err.Error()}
		return false
	}
	l.beginBatch()
	switch {
	case err != nil:
		l.foldUnreadable(t, rec, err)
	case verdict == spec.Filtered:
		t.filtered++
	default:
		t.processed++
		l.foldItems(t, rec, items)
	}
	c.took(rec)
	return true
}

// foldDirect folds one event of an app whose every event counts once, for its key. It takes none of
// which evaluate might say anything else.
func (l *Lane) foldDirect(c *cursor, rec *kgo.Record) (taken bool) {
	s := &l.stage
	if s.full() {
		l.foldStaged()
	}
	from := len(s.groups)
	s.groups = l.cfg.Program.AppendDirect(s.groups, spec.Event{Key: rec.Key, Value: rec.Value, Partition: rec.Partition})
	if len(s.groups)-from > l.directMax || l.halving.knows() {
		s.groups = s.groups[:from]
		return false
	}
	l.beginBatch()
	c.delta.processed++
	s.put(stagedItem{task: c.delta, set: c.delta.groups, rec: rec, from: from, ms: rec.Timestamp.UnixMilli(), count: 1, first: true})
	c.took(rec)
	return true
}

// directMax is how long a group may be that foldDirect takes.
func (c *Config) directMax() int {
	if c.RecordBytes == 0 {
		return spec.MaxGroupBytes
	}
	return sort.Search(spec.MaxGroupBytes, func(n int) bool { return c.Program.MaxRecordSize(n+1)+recordOverhead > c.RecordBytes })
}

// evaluate applies the spec, the bound on a record's size and what halving has found out.
func (l *Lane) evaluate(task state.Task, rec *kgo.Record) ([]spec.Item, spec.Verdict, error) {
	if reason, ok := l.halving.refused(task, rec); ok {
		return nil, spec.Unreadable, &spec.EventError{Field: "output", Reason: reason}
	}
	ev := spec.Event{Key: rec.Key, Value: rec.Value, Partition: rec.Partition}
	items, verdict, err := l.cfg.Program.Eval(ev, &l.scratch)
	if err != nil || l.cfg.RecordBytes == 0 {
		return items, verdict, err
	}
	for i := range items {
		n := l.cfg.Program.MaxRecordSize(len(items[i].Group)) + recordOverhead
		if n > l.cfg.RecordBytes {
			return nil, spec.Unreadable, tooLarge(n, l.cfg.RecordBytes)
		}
	}
	return items, verdict, nil
}

func (l *Lane) foldUnreadable(t *taskDelta, rec *kgo.Record, err error) {
	if l.cfg.Spec.OnError == spec.Skip {
		t.skipped++
		return
	}
	t.dead++
	l.filling.dead = append(l.filling.dead, deadLetter{copyRecord(rec), err.Error()})
	l.filling.bytes += int64(deadOverhead + dataBytes(rec))
}

// dataBytes is what a record has in it.
func dataBytes(rec *kgo.Record) int {
	n := len(rec.Key) + len(rec.Value)
	for _, h := range rec.Headers {
		n += len(h.Key) + len(h.Value) + headerOverhead
	}
	return n
}

// copyRecord copies a record with all that is in it: the client's is a part of all that was fetched
// with it, which would stay in memory as long.
func copyRecord(rec *kgo.Record) *kgo.Record {
	data := make([]byte, 0, dataBytes(rec))
	copied := func(b []byte) []byte {
		if b == nil {
			return nil
		}
		data = append(data, b...)
		return data[len(data)-len(b) : len(data) : len(data)]
	}
	c := *rec
	c.Key, c.Value, c.Headers = copied(rec.Key), copied(rec.Value), make([]kgo.RecordHeader, len(rec.Headers))
	for i, h := range rec.Headers {
		c.Headers[i] = kgo.RecordHeader{Key: strings.Clone(h.Key), Value: copied(h.Value)}
	}
	return &c
}

// strays says for each known partitioner whether it would have put the event elsewhere. A null key
// is placed by none. Where the grouping has the partition in it, or there is one, nothing strays.
func (l *Lane) strays(rec *kgo.Record) (stray [Partitioners]bool) {
	if !l.canStray {
		return stray
	}
	for k, place := range l.cfg.Partitioners {
		if stray[k] = rec.Key == nil || place(rec.Key, l.cfg.Partitions) != rec.Partition; stray[k] {
			l.view.setStray(k, rec)
		}
	}
	return stray
}

const (
	slabNumbers = 1024

	// What a delta and an increment weigh in memory besides their bytes: their places in the table,
	// and the records that the commit makes of them, with what the client holds of each until it is
	// acknowledged.
	deltaOverhead = 1200
	// groupCopies is how often a group's bytes are in memory meanwhile: its delta, two records,
	// what the client holds of them, the cache.
	groupCopies       = 4
	incrementOverhead = 600
	// What a header of a dead letter weighs besides its bytes.
	headerOverhead = 48
)

func (b *batch) copyNumbers(src []spec.Decimal) []spec.Decimal {
	if len(b.numbers) < len(src) {
		b.numbers = make([]spec.Decimal, slabNumbers)
	}
	dst := b.numbers[:len(src):len(src)]
	b.numbers = b.numbers[len(src):]
	copy(dst, src)
	return dst
}
