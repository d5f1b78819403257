package consensus

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

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

// store is the log and the votes in one bbolt file, whose writes are watched. Errors pass
// unchanged: Raft knows a missing key by the text "not found" alone.
type store struct {
	*raftboltdb.BoltStore
	dir     string
	seam    seam.Seam
	wait    time.Duration
	stalled func(error)
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

// watched runs one write, and says that the disk is stalled when it takes too long.
func (s *store) watched(op string, write func() error) error {
	done := make(chan struct{})
	defer close(done)
	timer, stop := s.seam.Timer(s.wait)
	go func() {
		defer stop()
		select {
		case <-timer:
			s.stalled(&StalledError{Op: op, Dir: s.dir, Wait: s.wait})
		case <-done:
		}
	}()
	return write()
}

func (s *store) StoreLog(l *raft.Log) error {
	return s.watched("entry", func() error { return s.BoltStore.StoreLog(l) })
}

func (s *store) StoreLogs(l []*raft.Log) error {
	return s.watched("entries", func() error { return s.BoltStore.StoreLogs(l) })
}

func (s *store) DeleteRange(from, to uint64) error {
	return s.watched("truncation", func() error { return s.BoltStore.DeleteRange(from, to) })
}

func (s *store) Set(k, v []byte) error {
	return s.watched("vote", func() error { return s.BoltStore.Set(k, v) })
}

func (s *store) SetUint64(k []byte, v uint64) error {
	return s.watched("term", func() error { return s.BoltStore.SetUint64(k, v) })
}
