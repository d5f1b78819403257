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
	// What follows the last change is over once the log has not grown for a moment.
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
	for end := time.Now().Add(rest); time.Now().Before(end); <-time.After(10 * time.Millisecond) {
		if now := leader.raft.LastIndex(); now != last {
			t.Fatalf("%d entries within %v of rest", now-last, rest)
		}
	}
}
