package node

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/replication/ownership"
)

// TestGrantThatWasOverAtOnce: a lane goes to a node and from there to the next before the first of
// them has looked. That one has never run it, and its successor waits for its word all the same.
func TestGrantThatWasOverAtOnce(t *testing.T) {
	w := newBandTrial(t, 1, nil)
	w.input.send()
	w.settle()
	passed := 0
	for range 20 {
		for _, l := range w.whole().Lanes {
			if w.passOn(l) {
				passed++
			}
		}
	}
	if passed == 0 {
		t.Fatal("no lane was passed on")
	}
	for _, m := range w.up() {
		noWaitInVain(t, m.node.cfg.Name, m.tally)
	}
}

// passOn gives a lane to one node after the other, in two entries of the log at a time. It reports
// whether the log took both.
func (w *bandTrial) passOn(l api.LaneStatus) bool {
	w.t.Helper()
	leader := w.leader()
	st, ref := leader.cluster.State(), ownership.LaneRef{App: w.app, Lane: l.Lane}
	owner := st.Apps[w.app].Lanes[l.Lane].Owner
	ids := slices.DeleteFunc(slices.Sorted(maps.Keys(st.Members)), func(id string) bool { return id == owner })
	give := func(base uint64, from, to string) bool {
		lane := ownership.Lane{Owner: to, Incarnation: st.Members[to].Incarnation, From: from, Standbys: []string{from}}
		plan := &ownership.Plan{Base: base, Lanes: []ownership.LaneChange{{LaneRef: ref, To: lane}}}
		result, err := leader.cluster.Propose(w.ctx(), ownership.Command{Plan: plan})
		return err == nil && result.Refused == ""
	}
	return give(st.Version, owner, ids[0]) && give(st.Version+1, ids[0], ids[1])
}

// leader is the node that leads Raft.
func (w *bandTrial) leader() (leader *Node) {
	w.t.Helper()
	w.until(func() error {
		for _, m := range w.up() {
			if id, _, _ := m.node.cluster.Leader(); id == m.node.dir.id.ID {
				leader = m.node
				return nil
			}
		}
		return errors.New("nobody leads")
	})
	return leader
}
