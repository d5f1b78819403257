package cluster

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tally-kafka/tally/replication/ownership"
)

// TestDryRunWaitsForALeader: a dry run that is asked for during an election is answered by whoever
// is elected.
func TestDryRunWaitsForALeader(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, 3)
	for _, n := range nodes {
		n.conf.Timing.Propose = patience
	}
	inCluster(nodes)
	for _, n := range nodes {
		n.voters(3)
	}
	leader := leaderOf(t, nodes...)
	rest := others(nodes, leader)
	leader.stop()
	f, err := rest[0].DryRunDrain(limit(t), rest[1].conf.ID)
	if err != nil || f.Refused != "" {
		t.Errorf("a drain: %+v, %v", f, err)
	}
	f, err = rest[1].DryRunMove(limit(t), ownership.LaneRef{App: "none"}, rest[0].conf.ID)
	if err != nil || f.Refused == "" {
		t.Errorf("a move of a lane that there is not: %+v, %v", f, err)
	}
}

// TestDryRunWithoutMajority: without a leader nothing is foreseen, and after a while that is said.
func TestDryRunWithoutMajority(t *testing.T) {
	t.Parallel()
	nodes := firstOfThree(t)
	eventually(t, func() error { // node 0 may lead for as long as its lease lasts
		if _, err := nodes[0].DryRunDrain(limit(t), nodes[1].conf.ID); !errors.As(err, new(*NoLeaderError)) {
			return fmt.Errorf("it says %v", err)
		}
		return nil
	})
}

type unknownCallError struct{}

func (unknownCallError) Error() string     { return "this node knows no such call" }
func (unknownCallError) UnknownCall() bool { return true }

// TestDryRunOfAnOlderLeader: a leader of a release that cannot be asked is not asked again.
func TestDryRunOfAnOlderLeader(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, 2)
	for _, n := range nodes {
		n.refuse(func(call string) error {
			if call == "dry_run" {
				return fmt.Errorf("post: %w", unknownCallError{})
			}
			return nil
		})
	}
	inCluster(nodes)
	leader := leaderOf(t, nodes...)
	_, err := others(nodes, leader)[0].DryRunDrain(limit(t), leader.conf.ID)
	if !errors.Is(err, ErrOlderLeader) {
		t.Errorf("it says %v", err)
	}
}
