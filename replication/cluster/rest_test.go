package cluster

import (
	"errors"
	"os"
	"testing"
	"time"
)

// TestAtRest: a cluster in which nothing happens writes no entry.
func TestAtRest(t *testing.T) {
	t.Parallel()
	nodes := inCluster(newNodes(t, 3))
	leader := leaderOf(t, nodes...)
	leader.put("at-rest")
	for _, n := range nodes {
		n.has("at-rest")
	}
	rest := 2 * time.Second
	if os.Getenv("TALLY_PROOF") != "" {
		rest = time.Minute
	}
	var grown uint64
	for range 3 { // on a busy machine a node may be taken for dead, or a leader be elected
		if grown = growth(t, leaderOf(t, nodes...), rest); grown == 0 {
			return
		}
	}
	t.Fatalf("%d entries within %v of rest, and some in each try before", grown, rest)
}

// growth is how many entries the leader's log gets within a time, once all is over that follows the
// last change.
func growth(t *testing.T, leader *tnode, within time.Duration) uint64 {
	t.Helper()
	last, since := leader.raft.LastIndex(), time.Now()
	eventually(t, func() error {
		if now := leader.raft.LastIndex(); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) < 300*time.Millisecond {
			return errors.New("the log grows")
		}
		return nil
	})
	for end := time.Now().Add(within); time.Now().Before(end); <-time.After(10 * time.Millisecond) {
		if now := leader.raft.LastIndex(); now != last {
			return now - last
		}
	}
	return 0
}
