package consensus

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/tally-kafka/tally/internal/seam"
)

// TestReach: entries for a node that cannot be reached wait for a heartbeat that gets through, for
// the end of the leadership, or until the node is in the group no more.
func TestReach(t *testing.T) {
	t.Parallel()
	look := make(chan time.Time)
	r := newReach(seam.Seam{Timer: func(time.Duration) (<-chan time.Time, func()) { return look, func() {} }})
	var out atomic.Bool
	r.memberIs(func(string) bool { return !out.Load() })
	failed := errors.New("refused")
	r.note("a", false, failed)
	if err := r.wait("a"); err != nil {
		t.Errorf("one who does not lead waits: %v", err)
	}
	r.lead()
	if err := r.wait("a"); err != nil {
		t.Errorf("a node that was never lost: %v", err)
	}
	waits := func() chan error {
		t.Helper()
		r.note("a", false, failed)
		r.note("a", true, failed)
		done := make(chan error)
		go func() { done <- r.wait("a") }()
		look <- time.Time{} // it waits, since it looks
		select {
		case err := <-done:
			t.Fatalf("it does not wait: %v", err)
		default:
		}
		return done
	}
	done := waits()
	r.note("a", false, nil) // an answer to an entry that was sent before
	look <- time.Time{}
	r.note("a", true, nil)
	if err := <-done; err != nil {
		t.Errorf("reached: %v", err)
	}
	done = waits()
	r.end()
	if err := <-done; !errors.Is(err, errLeadershipEnded) {
		t.Errorf("the leadership ended: %v", err)
	}
	r.lead()
	done = waits()
	out.Store(true)
	look <- time.Time{}
	if err := <-done; err == nil {
		t.Error("a node that is out of the group is waited for")
	}
}

func TestIsHeartbeat(t *testing.T) {
	t.Parallel()
	if !isHeartbeat(&raft.AppendEntriesRequest{Term: 3}) {
		t.Error("a heartbeat is not known")
	}
	for i, a := range []raft.AppendEntriesRequest{
		{Term: 3, PrevLogEntry: 1}, {Term: 3, PrevLogTerm: 1}, {Term: 3, LeaderCommitIndex: 1}, {Term: 3, Entries: []*raft.Log{{}}},
	} {
		if isHeartbeat(&a) {
			t.Errorf("%d is no heartbeat", i)
		}
	}
}
