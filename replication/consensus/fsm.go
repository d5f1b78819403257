package consensus

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/tally-kafka/tally/replication/ownership"
)

// snapshotBytesMax bounds a snapshot that is read: 10,000 lanes are 1 MB.
const snapshotBytesMax = 256 << 20

// fsm gives Raft's committed entries to ownership and publishes each state that comes of it.
type fsm struct {
	state atomic.Pointer[ownership.State]

	mu      sync.Mutex
	changed chan struct{} // closed at the next change
	err     error         // why nothing is applied any more
	halted  chan struct{} // closed with err
}

func newFSM() *fsm {
	f := &fsm{changed: make(chan struct{}), halted: make(chan struct{})}
	f.state.Store(ownership.New())
	return f
}

// Apply returns an ownership.Result, or an error that has halted this node.
func (f *fsm) Apply(entry *raft.Log) any {
	if err := f.failed(); err != nil {
		return err
	}
	next, result, err := f.state.Load().Apply(entry.Data)
	if err != nil {
		return f.halt(fmt.Errorf("entry %d of the log cannot be applied: %w", entry.Index, err))
	}
	f.publish(next)
	return result
}

func (f *fsm) publish(s *ownership.State) {
	if f.state.Swap(s) == s {
		return // refused: nothing has changed
	}
	f.mu.Lock()
	close(f.changed)
	f.changed = make(chan struct{})
	f.mu.Unlock()
}

func (f *fsm) watch() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *fsm) halt(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
		close(f.halted)
	}
	return f.err
}

func (f *fsm) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// Snapshot refuses once the node is halted: Raft counts the entry that halted it as applied, and a
// snapshot would put a state without it in its place.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.failed(); err != nil {
		return nil, err
	}
	return &snapshot{f.state.Load()}, nil
}

// Restore replaces the state. A snapshot that cannot be read halts the node like an entry does.
func (f *fsm) Restore(r io.ReadCloser) error {
	data, err := io.ReadAll(io.LimitReader(r, snapshotBytesMax+1))
	if err == nil && len(data) > snapshotBytesMax {
		err = errors.New("it is larger than 256 MiB")
	}
	if err != nil {
		return fmt.Errorf("read a snapshot: %w", err)
	}
	state, err := ownership.Restore(data)
	if err != nil {
		return f.halt(fmt.Errorf("the snapshot cannot be used: %w", err))
	}
	f.publish(state)
	return nil
}

// snapshot is one state: it never changes, so that it can be written while entries are applied.
type snapshot struct{ state *ownership.State }

func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	_, err := sink.Write(s.state.Snapshot())
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (s *snapshot) Release() {}
