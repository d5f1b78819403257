package node

import (
	"fmt"
	"slices"
	"testing"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/replication/ownership"
)

// TestUnheardGrant: an owner that the log does not reach, while all else does, hears nothing of it
// that its lane goes to another node. When that one runs the lane, the old one answers no more as
// its owner, though no event comes by whose commit it would find itself fenced; and before long
// every other node's status names it.
func TestUnheardGrant(t *testing.T) {
	w := newBandTrial(t, 1, nil)
	w.input.send()
	w.settle()
	app := w.whole()
	st, err := w.up()[0].client.Status(w.ctx())
	w.must(err)
	lane, old := -1, 0
	for _, l := range app.Lanes {
		if l.Owner != st.Leader { // which leads no more when its log reaches nobody
			lane, old = l.Lane, int(l.Owner[len(l.Owner)-1]-'a')
		}
	}
	if lane < 0 {
		t.Fatalf("the leader %s owns all of %+v", st.Leader, app.Lanes)
	}
	before, to := app.Lanes[lane], app.Lanes[lane].Standbys[0]
	owner := w.band[old]
	if owner.node.cfg.Name != before.Owner {
		t.Fatalf("%s is not %s", owner.node.cfg.Name, before.Owner)
	}
	w.net.set(old, linkDeaf)
	defer w.net.set(old, linkUp)
	w.moved(old, lane, to)
	w.runsAt(old, before, to)
	l := owner.node.running()[0].lanes[lane]
	if g, _ := l.granted(); g.epoch != before.Epoch {
		t.Fatalf("%s has heard of epoch %d", before.Owner, g.epoch)
	}
	if l.role() == api.RoleOwner {
		t.Errorf("%s answers as the owner of lane %d while %s runs it", before.Owner, lane, to)
	}
	for _, m := range w.up() {
		if m == owner {
			continue
		}
		w.until(func() error { // once it is so for long
			st, err := m.client.Status(w.ctx())
			if err != nil {
				return err
			}
			return oneProblem(st, "though its pings come", ": its lanes are moved", "the cluster's log has not reached node "+before.Owner)
		})
	}
}

// moved has a lane go to a node, by the word of another than old: once the leader has heard of
// where it goes.
func (w *bandTrial) moved(old, lane int, to string) {
	w.t.Helper()
	w.until(func() error {
		_, err := w.besides(old).client.Move(w.ctx(), w.app, lane, api.MoveRequest{To: to})
		return err
	})
}

// runsAt waits until a lane runs at a node under a later grant, by the word of others than old.
func (w *bandTrial) runsAt(old int, before api.LaneStatus, to string) {
	w.t.Helper()
	w.until(func() error {
		st, err := w.besides(old).client.Status(w.ctx())
		if err != nil || len(st.Apps) != 1 {
			return fmt.Errorf("status: %v", err)
		}
		if now := st.Apps[0].Lanes[before.Lane]; now.Owner != to || now.Epoch <= before.Epoch || now.State != api.LaneRunning {
			return fmt.Errorf("lane %+v", now)
		}
		return nil
	})
}

// A node that dies while it is to hand a lane over is not waited for: it has nothing to say any
// more.
func TestDeadNodeIsNotWaitedFor(t *testing.T) {
	w := newBandTrial(t, 1, nil)
	w.input.send()
	w.settle()
	app := w.whole()
	st, err := w.up()[0].client.Status(w.ctx())
	w.must(err)
	lane := slices.IndexFunc(app.Lanes, func(l api.LaneStatus) bool { return l.Owner != st.Leader })
	before := app.Lanes[lane]
	old, to := int(before.Owner[len(before.Owner)-1]-'a'), before.Standbys[0]
	w.net.set(old, linkDeaf) // it does not hear of the move
	defer w.net.set(old, linkUp)
	w.moved(old, lane, to)
	w.until(func() error {
		if now, _ := w.besides(old).node.cluster.State().Lane(ownership.LaneRef{App: w.app, Lane: lane}); now.From == "" {
			return fmt.Errorf("the lane is %+v", now)
		}
		return nil
	})
	w.net.set(old, linkCut)
	next := w.band[int(to[len(to)-1]-'a')]
	w.until(func() error {
		if m := next.node.cluster.State().MemberNamed(before.Owner); m.Alive {
			return fmt.Errorf("%s is not given up yet", m.Name)
		}
		return nil
	})
	late := next.log.count(waitedInVain) // on a machine that is so busy
	w.runsAt(old, before, to)
	if next.log.count(waitedInVain) > late {
		t.Errorf("%s has waited for the word of a node that was given up", to)
	}
}
