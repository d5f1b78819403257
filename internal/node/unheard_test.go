package node

import (
	"errors"
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
	w, old, before := movedUnheard(t)
	owner, to := w.band[old], before.Standbys[0]
	w.runsAt(old, before, to)
	l := owner.node.running()[0].lanes[before.Lane]
	if g, _ := l.granted(); g.epoch != before.Epoch {
		t.Fatalf("%s has heard of epoch %d", before.Owner, g.epoch)
	}
	if l.role() == api.RoleOwner {
		t.Errorf("%s answers as the owner of lane %d while %s runs it", before.Owner, before.Lane, to)
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

// TestGrantHeardLate: a node that hears only now that a lane was granted to it, as one that stood
// still does, and has not the leader's word, looks in Kafka what has come of that grant since, and
// writes nothing under it: epochs never fall in a changelog.
func TestGrantHeardLate(t *testing.T) {
	w, old, before := movedUnheard(t)
	w.runsAt(old, before, before.Standbys[0])
	n := w.band[old].node
	w.until(func() error {
		if n.cluster.Renewed() {
			return fmt.Errorf("%s has the leader's word", before.Owner)
		}
		return nil
	})
	l := n.running()[0].lanes[before.Lane]
	late := &lane{app: l.app, k: l.k, tasks: l.tasks, epoch: before.Epoch, stays: 1, grantedAt: l.seam().Now()}
	var e *epochError
	if err := late.checkGrant(w.ctx()); !errors.As(err, &e) || e.floor <= before.Epoch {
		t.Errorf("a grant in epoch %d, heard when another node runs the lane: %v", before.Epoch, err)
	}
}

// movedUnheard is a band whose node old does not hear that a lane of its own, as it was before,
// goes to the lane's standby: until the test ends the log does not reach it, and all else does.
func movedUnheard(t *testing.T) (w *bandTrial, old int, before api.LaneStatus) {
	t.Helper()
	w = newBandTrial(t, 1, nil)
	w.input.send()
	w.settle()
	app := w.whole()
	st, err := w.up()[0].client.Status(w.ctx())
	w.must(err)
	// Not the leader's, which leads no more when its log reaches nobody.
	lane := slices.IndexFunc(app.Lanes, func(l api.LaneStatus) bool { return l.Owner != st.Leader })
	if lane < 0 {
		t.Fatalf("the leader %s owns all of %+v", st.Leader, app.Lanes)
	}
	before = app.Lanes[lane]
	old = w.indexOf(before.Owner)
	w.net.set(old, linkDeaf)
	t.Cleanup(func() { w.net.set(old, linkUp) })
	w.moved(old, before.Lane, before.Standbys[0])
	return w, old, before
}

func (w *bandTrial) indexOf(name string) int {
	return slices.IndexFunc(w.band, func(m *member) bool { return m.node.cfg.Name == name })
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
	w, old, before := movedUnheard(t)
	to := before.Standbys[0]
	w.until(func() error {
		if now, _ := w.besides(old).node.cluster.State().Lane(ownership.LaneRef{App: w.app, Lane: before.Lane}); now.From == "" {
			return fmt.Errorf("the lane is %+v", now)
		}
		return nil
	})
	w.net.set(old, linkCut)
	next := w.band[w.indexOf(to)]
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
