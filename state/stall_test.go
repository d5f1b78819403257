package state

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/tally-kafka/tally/internal/seam"
)

// Who waits for a compaction, as too many tables overlap, hears that the disk has failed: neither
// Publish nor who closes the store behind it hangs.
func TestDiskFailsWhileWritesWait(t *testing.T) {
	var full atomic.Bool
	disk := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return syscall.ENOSPC
		}
		return nil
	}))
	places := NewPlaces(1)
	places.taken = 2 // other stores compact
	o := smallOptions(disk, newClock())
	o.Seam, o.Places, o.FlushBytes, o.ApplyTxns, o.BlockCacheBytes = seam.World(), places, 1<<10, 1, 1
	o.CacheBytes, o.MemTableBytes = 8<<20, 4<<20
	s := mustOpen(t, "lane", o)
	ended := make(chan error, 1)
	go func() { ended <- publishSpread(s, (*Store).Flush) }()
	eventually(t, "writes wait", func() bool { return s.watch.stalls.Load() > 0 })
	full.Store(true) // the disk is full when a compaction has its turn
	places.mu.Lock()
	places.taken = 0
	places.mu.Unlock()
	publishEnds(t, s, ended)
}

// Nor does who waits for a flush, as memtables are full: Pebble's own wait there would hang.
func TestDiskFailsWhileMemtablesAreFull(t *testing.T) {
	gate := &gateFS{FS: vfs.NewMem(), open: make(chan struct{})}
	var full atomic.Bool
	disk := errorfs.Wrap(gate, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return syscall.ENOSPC
		}
		return nil
	}))
	o := smallOptions(disk, newClock())
	o.Seam, o.CacheBytes, o.FlushBytes = seam.World(), 1<<20, 0
	s := mustOpen(t, "lane", o)
	gate.shut.Store(true)
	ended := make(chan error, 1)
	go func() { ended <- publishSpread(s, (*Store).Apply) }()
	eventually(t, "writes wait", func() bool { return s.watch.stalls.Load() > 0 })
	full.Store(true) // the disk is full when the flush goes on
	close(gate.open)
	publishEnds(t, s, ended)
}

// publishEnds waits for who publishes to hear of the failure, and gives the store up.
func publishEnds(t *testing.T, s *Store, ended <-chan error) {
	t.Helper()
	var err error
	eventually(t, "Publish ends", func() bool {
		select {
		case err = <-ended:
			return true
		default:
			return false
		}
	})
	if err == nil || s.watch.failure() == nil {
		t.Errorf("Publish ended with %v, the store's failure is %v", err, s.watch.failure())
	}
	_ = s.Abandon()
}

// publishSpread publishes until it fails, and has each transaction applied, or flushed to a table
// of its own: who flushes behind it, on a slow machine, makes fewer and larger ones. Each has
// groups of the whole range, and enough of them that a compaction writes before it has read all.
func publishSpread(s *Store, settle func(*Store) error) error {
	for n := int64(1); ; n++ {
		var all []Change
		for g := range int64(4000) {
			group := fmt.Appendf(nil, "g%030d", (g*7919+n*104729)%1000003)
			all = append(all, Change{Group: group, Values: []byte("12345678")})
		}
		at := Position{Record: PositionRecord{AppID: "app-id", Generation: 1}, Changelog: n}
		if err := s.Publish([]Position{at}, all); err != nil {
			return err
		}
		if err := settle(s); err != nil {
			return err
		}
	}
}
