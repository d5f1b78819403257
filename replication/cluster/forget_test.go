package cluster

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tally-kafka/tally/replication/ownership"
)

// TestForget: a node that is gone for good loses its vote, its place in the group and its name, by
// the word of any other node; one that is alive keeps them. Where most voters are gone nothing is
// decided. Who was forgotten and comes back after all is let in anew.
func TestForget(t *testing.T) {
	t.Parallel()
	nodes := inCluster(newNodes(t, 3))
	for _, n := range nodes {
		n.voters(3)
	}
	leader := leaderOf(t, nodes...)
	rest := others(nodes, leader)
	asked, gone := rest[0], rest[1]
	if err := asked.Forget(limit(t), gone.conf.ID, false); !errors.Is(err, ErrAlive) {
		t.Errorf("a node that is alive: %v", err)
	}
	gone.stop()
	eventually(t, func() error {
		if m := leader.State().Members[gone.conf.ID]; m.Alive {
			return errors.New("it is alive")
		}
		return nil
	})
	for range 2 {
		if err := asked.Forget(limit(t), gone.conf.ID, false); err != nil {
			t.Fatal(err)
		}
	}
	if len(leader.raft.Servers()) != 2 || leader.State().Members[gone.conf.ID] != nil {
		t.Errorf("it is still there: %v", leader.raft.Servers())
	}
	leader.put("by-two")
	newNode(t, gone.conf.Name, leader.gate.addr).start().in().has("by-two")
	leader.voters(3)
	gone.conf.Name = "back"
	gone.start().in().has("by-two")
}

// TestForgetWithoutMajority: it is no way around a lost majority.
func TestForgetWithoutMajority(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, 3)
	for _, n := range nodes {
		n.conf.Timing.Propose = slow * 300_000_000
		n.start()
	}
	for _, n := range nodes {
		n.in()
	}
	nodes[1].stop()
	nodes[2].stop()
	eventually(t, func() error { // node 0 may lead for as long as its lease lasts, and say what it knows
		var none *NoLeaderError
		if err := nodes[0].Forget(limit(t), nodes[2].conf.ID, false); !errors.As(err, &none) {
			return fmt.Errorf("it says %v", err)
		}
		return nil
	})
}

// TestVetted: what the node that is asked does not know yet, the leader refuses.
func TestVetted(t *testing.T) {
	t.Parallel()
	a, b := newNode(t, "a"), newNode(t, "b")
	b.conf.Seeds = []string{a.gate.addr}
	a.conf.Vet = func(_ *ownership.State, app *ownership.App) string { return "not " + app.Name }
	a.start().in()
	b.start().in()
	for _, n := range []*tnode{a, b} {
		result, err := n.Propose(limit(t), app("x"))
		if err != nil || result.Refused != "not x" || result.Code != ownership.Unfit {
			t.Errorf("%s: %+v %v", n.conf.Name, result, err)
		}
	}
}
