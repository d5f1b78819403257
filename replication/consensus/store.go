package consensus

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/tally-kafka/tally/internal/seam"
)

const (
	storeFile = "raft.db"
	// storeLockWait bounds the wait for the lock of a process that was just killed.
	storeLockWait   = 2 * time.Second
	snapshotsRetain = 2
)

// StalledError says that the disk has kept one write for longer than Timing.Stall. The process has
// to end at once: anything that waits for that write waits as long.
type StalledError struct {
	Op   string
	Dir  string
	Wait time.Duration
}

func (e *StalledError) Error() string {
	return fmt.Sprintf("the disk of %s has not answered a write (%s) for %s: this node ends, so that another can lead",
		e.Dir, e.Op, e.Wait)
}

// DiskError says that the disk has refused a write of Raft's. Nothing of it is in the log.
type DiskError struct {
	Op  string
	Dir string
	Err error
}

func (e *DiskError) Error() string {
	return fmt.Sprintf("the cluster's log in %s cannot be written (%s): %v", e.Dir, e.Op, e.Err)
}

// Unwrap gives what the system said.
func (e *DiskError) Unwrap() error { return e.Err }

// writeRetry is the pause after a write that the disk has refused, where it is insisted on.
const writeRetry = 100 * time.Millisecond

// store is the log and the votes in one bbolt file, whose writes are watched. The errors of reads
// pass unchanged: Raft knows a missing key by the text "not found" alone.
//
// What Raft makes of a write that fails, on a full disk for one: a leader whose entry is refused
// steps down, and the entry is nowhere; a follower says no to the entry, and gets it again; a vote
// that cannot be kept is not given. What must be kept is a term, and what takes the place of a tail
// that was cut off; see insisted.
type store struct {
	*raftboltdb.BoltStore
	dir     string
	seam    seam.Seam
	wait    time.Duration
	stalled func(error)
	refused func(error)           // is told of each write that has failed; nil: nobody is
	fault   func(op string) error // of tests: what a write fails with; nil for nothing
	opened  atomic.Bool           // Raft runs, in goroutines of its own
	closed  <-chan struct{}
	cut     atomic.Bool // the log's tail is cut off, and nothing is in its place yet
	entries error       // of the last StoreLogs
}

func openStore(dir string) (*raftboltdb.BoltStore, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("raft: %w", err)
	}
	db, err := raftboltdb.New(raftboltdb.Options{
		Path:        filepath.Join(dir, storeFile),
		BoltOptions: &bbolt.Options{Timeout: storeLockWait, FreelistType: bbolt.FreelistMapType},
	})
	if err != nil {
		return nil, fmt.Errorf("open Raft's log in %s: %w", dir, err)
	}
	return db, nil
}

func openSnapshots(dir string, log hclog.Logger) (*raft.FileSnapshotStore, error) {
	snaps, err := raft.NewFileSnapshotStoreWithLogger(dir, snapshotsRetain, log)
	if err != nil {
		return nil, fmt.Errorf("open Raft's snapshots in %s: %w", dir, err)
	}
	return snaps, nil
}

// stallParts is how many parts of the wait have to pass one after the other. A process that was
// stopped in the middle of a write finds one of them over, and the disk has still the others.
const stallParts = 10

// watched runs one write, and says that the disk is stalled when it takes too long.
func (s *store) watched(op string, write func() error) error {
	done := make(chan struct{})
	defer close(done)
	go func() {
		for range stallParts {
			timer, stop := s.seam.Timer(s.wait / stallParts)
			select {
			case <-timer:
			case <-done:
				stop()
				return
			}
		}
		s.stalled(&StalledError{Op: op, Dir: s.dir, Wait: s.wait})
	}()
	var err error
	if s.fault != nil {
		err = s.fault(op)
	}
	if err == nil {
		err = write()
	}
	if err == nil || errors.Is(err, bolterrors.ErrDatabaseNotOpen) { // the node has ended
		return err
	}
	err = &DiskError{Op: op, Dir: s.dir, Err: err}
	if s.refused != nil {
		s.refused(err)
	}
	return err
}

func (s *store) StoreLog(l *raft.Log) error {
	return s.watched("entry", func() error { return s.BoltStore.StoreLog(l) })
}

// StoreLogs appends entries. Behind a tail that was cut off they must be kept: Raft counts with
// what was there until others have taken its place, looks for that when it gets them again, and
// would say no to its leader until the node is started anew.
func (s *store) StoreLogs(l []*raft.Log) error {
	write := func() error { return s.BoltStore.StoreLogs(l) }
	if s.cut.Load() {
		s.entries = s.insisted("entries", write)
	} else {
		s.entries = s.watched("entries", write)
	}
	if s.entries == nil {
		s.cut.Store(false)
	}
	return s.entries
}

// DeleteRange takes the tail of a log that another leader has written otherwise, or the head once a
// snapshot has it.
func (s *store) DeleteRange(from, to uint64) error {
	last, err := s.LastIndex()
	if err != nil {
		return err
	}
	err = s.watched("truncation", func() error { return s.BoltStore.DeleteRange(from, to) })
	if err == nil && to >= last {
		s.cut.Store(true)
	}
	return err
}

func (s *store) Set(k, v []byte) error {
	return s.watched("vote", func() error { return s.BoltStore.Set(k, v) })
}

// SetUint64 keeps a term. Raft panics where that fails, and a node must not end in the middle of
// whatever its lanes do because a disk is full.
func (s *store) SetUint64(k []byte, v uint64) error {
	return s.insisted("term", func() error { return s.BoltStore.SetUint64(k, v) })
}

// insisted is a write that Raft has no way back from. So Raft waits here, in its own goroutine,
// until the disk takes it: it has no part in the group meanwhile, and the others go on without it.
func (s *store) insisted(op string, write func() error) error {
	for {
		err := s.watched(op, write)
		if err == nil || !s.opened.Load() {
			return err
		}
		timer, stop := s.seam.Timer(writeRetry)
		select {
		case <-timer:
			stop()
		case <-s.closed:
			stop()
			runtime.Goexit() // the node ends, and Raft's loop with it: there is nothing that it could be told
		}
	}
}

// cached is the store behind Raft's cache of entries, which has what the disk said of a write in
// its text alone.
type cached struct {
	*raft.LogCache
	store *store
}

func (c *cached) StoreLog(l *raft.Log) error { return c.StoreLogs([]*raft.Log{l}) }

func (c *cached) StoreLogs(l []*raft.Log) error {
	if c.LogCache.StoreLogs(l) == nil {
		return nil
	}
	return c.store.entries // of this call: Raft writes its entries from one goroutine
}
