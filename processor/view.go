package processor

import (
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/state"
)

// view is what others may ask of a running lane, from any goroutine.
type view struct {
	strays [Partitioners]atomic.Pointer[Stray]
	txns   atomic.Int64
	events atomic.Int64
}

// Stray is an example of an event that one known partitioner would have put elsewhere.
type Stray struct {
	Key       []byte
	Null      bool
	Partition int32
	Offset    int64
}

// strayKeyBytes bounds the key of an example: it goes into every position record, which must fit
// into the changelog's limit whatever keys the input has.
const strayKeyBytes = 128

// setStray keeps the first example of each partitioner. Only the lane's loop calls it.
func (v *view) setStray(partitioner int, rec *kgo.Record) {
	if v.strays[partitioner].Load() == nil {
		key := append([]byte(nil), rec.Key[:min(len(rec.Key), strayKeyBytes)]...)
		v.strays[partitioner].Store(&Stray{Key: key, Null: rec.Key == nil, Partition: rec.Partition, Offset: rec.Offset})
	}
}

// taskView is how far one task has read and committed. All are next offsets, except lastEvent.
//
// Invariant: what lies below position() is in the published values, or is no event.
type taskView struct {
	read      atomic.Int64 // behind all that was folded or passed
	lastEvent atomic.Int64 // the last event folded, -1 for none
	committed atomic.Int64
	// reached is where position stood when the first event that is not committed yet was folded, so
	// that it never goes back.
	reached atomic.Int64
	// begun counts the Runs. It changes between what begin takes back: who has seen the old read
	// and no event has seen two numbers.
	begun atomic.Int64
}

// begin forgets the events that the Run before had folded and not committed.
func (v *taskView) begin(at int64) {
	v.read.Store(at)
	v.begun.Add(1)
	v.lastEvent.Store(-1)
}

// position is the read position: the committed one, moved past control records, aborted data and
// gaps behind it when no event lies between.
func (v *taskView) position() int64 {
	committed, begun := v.committed.Load(), v.begun.Load()
	read := v.read.Load() // before lastEvent: a later event then only makes the answer smaller
	if v.lastEvent.Load() < committed && v.begun.Load() == begun {
		committed = max(read, committed)
	}
	return max(committed, v.reached.Load())
}

// folded notes an event that the filling batch has taken.
func (v *taskView) folded(offset int64) {
	if committed := v.committed.Load(); v.lastEvent.Load() < committed {
		v.reached.Store(max(v.read.Load(), committed))
	}
	v.lastEvent.Store(offset)
	v.read.Store(offset + 1)
}

// Position is the next offset of a task's source: all events below it are in the published values,
// or, of the first of two stages, in what was sent.
func (l *Lane) Position(task state.Task) int64 {
	v, ok := l.views[task]
	if !ok {
		return 0
	}
	return v.position()
}

// Progress counts what this lane has done since the process started.
func (l *Lane) Progress() (transactions, events int64) {
	return l.view.txns.Load(), l.view.events.Load()
}

// Better is the partitioner that explains more of the events that were counted into h.
func Better(h state.Hints) int {
	if h.Murmur2 <= h.CRC32 {
		return 0
	}
	return 1
}

// hintExample is the key that a position record keeps as an example, so that a later process has
// one. Which partitioner is the better one is known only over all partitions; here the better one
// of this partition comes first.
func (l *Lane) hintExample(h state.Hints) []byte {
	for _, k := range []int{Better(h), Partitioners - 1 - Better(h)} {
		if s := l.StrayExample(k); s != nil && !s.Null {
			return s.Key
		}
	}
	return nil
}

// StrayExample is the first event seen since the start that a partitioner does not explain, or nil.
func (l *Lane) StrayExample(partitioner int) *Stray { return l.view.strays[partitioner].Load() }

// passed moves the view to what a known commit made of a task.
func (v *taskView) passed(pos state.Position) { v.committed.Store(pos.Record.Input) }

// Pass tells the lane that a task's source holds no record from offset from up to offset to. It is
// without effect when the lane has read on meanwhile.
func (l *Lane) Pass(task state.Task, from, to int64) {
	v := l.views[task]
	if v.position() != from {
		return
	}
	if read := v.read.Load(); read <= from {
		v.read.CompareAndSwap(read, to)
	}
}
