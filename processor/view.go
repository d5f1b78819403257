package processor

import (
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/state"
)

// view is what others may ask of a running lane, from any goroutine.
type view struct {
	mu     sync.Mutex
	stray  *Stray
	txns   atomic.Int64
	events atomic.Int64
}

// Stray is an example of an event that no known partitioner would have put where it is.
type Stray struct {
	Key       []byte
	Null      bool
	Partition int32
	Offset    int64
}

func (v *view) setStray(rec *kgo.Record) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.stray == nil {
		key := append([]byte(nil), rec.Key...)
		v.stray = &Stray{Key: key, Null: rec.Key == nil, Partition: rec.Partition, Offset: rec.Offset}
	}
}

// taskView is how far one task has read and committed. All are next offsets, except lastEvent.
//
// Invariant: what lies below position() is in the published values, or is no event.
type taskView struct {
	read      atomic.Int64 // behind all that was folded or passed
	lastEvent atomic.Int64 // the last event folded, -1 for none
	committed atomic.Int64
}

// position is the read position: the committed one, moved past control records, aborted data and
// gaps behind it when no event lies between.
func (v *taskView) position() int64 {
	committed := v.committed.Load()
	read := v.read.Load() // before lastEvent: a later event then only makes the answer smaller
	if v.lastEvent.Load() < committed {
		return max(read, committed)
	}
	return committed
}

// Position is the next input offset of a partition: all events below it are in the published values.
func (l *Lane) Position(partition int32) int64 {
	v, ok := l.views[partition]
	if !ok {
		return 0
	}
	return v.position()
}

// Progress counts what this lane has done since the process started.
func (l *Lane) Progress() (transactions, events int64) {
	return l.view.txns.Load(), l.view.events.Load()
}

// StrayExample is the first event seen since the start that no known partitioner explains, or nil.
func (l *Lane) StrayExample() *Stray {
	l.view.mu.Lock()
	defer l.view.mu.Unlock()
	return l.view.stray
}

// passed moves the view to what a known commit made of a task.
func (v *taskView) passed(pos state.Position) { v.committed.Store(pos.Record.Input) }
