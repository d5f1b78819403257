package consensus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestLoneNodeLeadsAtOnce: with the timeouts of a cluster, a node alone would wait 0.5 to 1 s for
// the heartbeat of a leader that there is not.
func TestLoneNodeLeadsAtOnce(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 1, Timing{})
	for _, what := range []string{"formed", "opened again"} {
		start := time.Now()
		n := g.nodes[0].open()
		if what == "formed" {
			if err := n.Bootstrap([]Server{{ID: n.id, Addr: n.addr}}); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-n.led:
		case <-time.After(patience):
			t.Fatal("no leader")
		}
		took := time.Since(start)
		t.Logf("%s: leads %s after Open", what, took.Round(100*time.Microsecond))
		if took > 400*time.Millisecond {
			t.Errorf("%s: took %s", what, took)
		}
		n.propose(member(what))
		n.kill()
	}
}

func TestLeaderKilled(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3, quick)
	leader := g.form()
	leader.propose(member("x"))
	for _, n := range g.nodes {
		n.has("x")
	}
	old := leader
	old.kill()
	leader = g.leader()
	leader.propose(member("y"))
	if _, _, ok := leader.Leading(); !ok {
		t.Fatal("a leader that does not lead")
	}
	old.open().has("y")
	g.leader()
	for _, n := range g.nodes {
		n.propagates(t, leader)
	}
}

// TestSilentLeader: the others elect one of them as soon as their patience ends. By the timers that
// Raft has for it they would have done so by then in one of six groups; four of five must.
func TestSilentLeader(t *testing.T) {
	t.Parallel()
	timing := Timing{Heartbeat: slow * 2 * time.Second, Election: slow * 4 * time.Second, Lease: slow * time.Second}
	var soon atomic.Int32
	t.Run("groups", func(t *testing.T) {
		for i := range 5 {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				g := newGroup(t, 3, timing)
				leader := g.form()
				leader.propose(member("x"))
				g.settled(leader)
				g.cut(leader, true)
				cut := time.Now()
				g.leader()
				took := time.Since(cut)
				t.Logf("another leader after %s", took.Round(time.Millisecond))
				if took < timing.Heartbeat+timing.silenceStep()+timing.Heartbeat/10 {
					soon.Add(1)
				}
			})
		}
	})
	if n := soon.Load(); n < 4 {
		t.Errorf("%d of 5 groups had another leader when the patience of both others had ended", n)
	}
}

// propagates checks that a node that does not lead refuses and names the leader.
func (n *node) propagates(t *testing.T, leader *node) {
	t.Helper()
	if n == leader {
		return
	}
	_, err := n.Propose(limit(t), member("z"))
	var not *NotLeaderError
	if !errors.As(err, &not) || not.ID != leader.id || not.Addr != leader.addr {
		t.Errorf("%s: %v, want the leader %s named", n.id, err, leader.id)
	}
}

// TestLostQuorum: the state stays readable, a change gets a clear answer, and nothing counts as the
// leader any more.
func TestLostQuorum(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3, quick)
	leader := g.form()
	leader.propose(member("x"))
	for _, n := range g.nodes {
		if n != leader {
			n.has("x")
			n.kill()
		}
	}
	eventually(t, func() error {
		if _, _, ok := leader.Leading(); ok {
			return errors.New("it leads alone")
		}
		return nil
	})
	leader.has("x")
	_, err := leader.Propose(limit(t), member("y"))
	var not *NotLeaderError
	if !errors.As(err, &not) || not.ID != "" || !strings.Contains(err.Error(), "most of its voters") {
		t.Errorf("a proposal without quorum: %v", err)
	}
	if _, err := leader.Read(limit(t)); err == nil {
		t.Error("a read without quorum was answered")
	}
}

// TestDeposedLeader: a leader that was cut off writes what is never committed; back among the
// others it drops that, and still has dropped it after a restart.
func TestDeposedLeader(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3, quick)
	old := g.form()
	old.propose(member("x"))
	for _, n := range g.nodes {
		n.has("x")
	}
	g.cut(old, true)
	_, err := old.Propose(limit(t), member("lost"))
	var unsure *UncertainError
	if !errors.As(err, &unsure) {
		t.Fatalf("a proposal of a leader that is cut off: %v", err)
	}
	tail := old.LastIndex()
	leader := g.leader()
	if who, again := leader.Former(), leader.Former(); who != old.id || again != "" {
		t.Errorf("the leader that was silent is %q, and then %q", who, again)
	}
	for i := range 5 {
		leader.propose(member(fmt.Sprint("kept", i)))
	}
	if tail < 4 {
		t.Fatalf("the cut off leader has written nothing: its log ends at %d", tail)
	}
	g.cut(old, false)
	old.has("kept4")
	old.kill()
	old.open().has("kept4")
	leader = g.leader()
	for _, n := range g.nodes {
		eventually(t, func() error {
			if got, want := n.State().Snapshot(), leader.State().Snapshot(); string(got) != string(want) {
				return fmt.Errorf("%s has %s\nnot %s", n.id, got, want)
			}
			return nil
		})
		if n.State().Members["lost"] != nil {
			t.Errorf("%s has what was never committed", n.id)
		}
	}
}

// TestReadIsNotOld: a leader that does not know yet that it was deposed answers no read.
func TestReadIsNotOld(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3, quick)
	g.timing.Lease = g.timing.Heartbeat // so that the old leader believes in itself for long
	old := g.form()
	if state, err := old.Read(limit(t)); err != nil || state != old.State() {
		t.Fatalf("a read at the leader: %v", err)
	}
	g.cut(old, true)
	var err error
	for range len(g.nodes) { // an answer of each follower may have been under way
		_, err = old.Read(limit(t))
	}
	if err == nil {
		t.Error("a leader that is cut off has answered a read")
	}
	leader := g.leader()
	leader.propose(member("x"))
	if state, err := leader.Read(limit(t)); err != nil || state.Members["x"] == nil {
		t.Errorf("a read at the new leader: %v", err)
	}
}

// TestCommitSpreads: a node that does not lead hears of a change at once, not with Raft's next
// round.
func TestCommitSpreads(t *testing.T) {
	t.Parallel()
	rare := quick
	rare.Commit = time.Minute
	g := newGroup(t, 3, rare)
	leader := g.form()
	var worst time.Duration
	for i := range 20 {
		id := fmt.Sprint("x", i)
		leader.propose(member(id))
		start := time.Now()
		for _, n := range g.nodes {
			n.has(id)
		}
		worst = max(worst, time.Since(start))
	}
	t.Logf("at all nodes at most %s after it was committed", worst.Round(100*time.Microsecond))
}

// TestIdle: a cluster at rest writes nothing. An election is no rest, and writes two entries: on a
// busy machine the short timeouts of tests bring one about, and then it is looked once more.
func TestIdle(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3, quick)
	g.form()
	rest := time.Second
	if os.Getenv("TALLY_PROOF") != "" {
		rest = time.Minute
	}
	for end := time.Now().Add(patience + 2*rest); ; {
		leader := g.leader()
		term, _, _ := leader.Leading()
		_, err := leader.Propose(limit(t), member("x"))
		written := g.settled(leader)
		<-time.After(rest)
		after := leader.LastIndex()
		now, _, leads := leader.Leading()
		switch {
		case err == nil && leads && now == term && after <= written+1:
			return
		case err == nil && leads && now == term:
			t.Fatalf("%d entries in %s at rest", after-written, rest)
		case time.Now().After(end):
			t.Fatalf("no term lasts for %s: %v", rest, err)
		}
	}
}

// settled waits until the entry that spreads a proposal has come after it.
func (g *group) settled(leader *node) (last uint64) {
	settled := time.Now()
	eventually(g.t, func() error {
		if now := leader.LastIndex(); now != last {
			last, settled = now, time.Now()
		}
		if time.Since(settled) < 100*time.Millisecond {
			return errors.New("still writing")
		}
		return nil
	})
	return last
}

// TestBackAfterLong: a node that was away gets the log as soon as it can be reached. Raft alone
// doubles its pauses up to 10 s, and would wait them out: 4 s were seen here.
func TestBackAfterLong(t *testing.T) {
	if os.Getenv("TALLY_PROOF") == "" {
		return
	}
	t.Parallel()
	g := newGroup(t, 3, quick)
	leader := g.form()
	away := g.nodes[0]
	if away == leader {
		away = g.nodes[1]
	}
	away.kill()
	leader.propose(member("x"))
	<-time.After(7 * time.Second)
	begin := time.Now()
	away.open().has("x")
	took := time.Since(begin)
	t.Logf("has the log %s after its start", took.Round(time.Millisecond))
	if took > slow*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestTransferLeadership(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3, quick)
	leader := g.form()
	var to *node
	for _, n := range g.nodes {
		if n != leader {
			to = n
		}
	}
	if err := leader.TransferLeadership(limit(t), to.id); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if now := g.leader(); now != to {
			return fmt.Errorf("%s leads, not %s", now.id, to.id)
		}
		return nil
	})
	to.propose(member("x"))
	if who := to.Former(); who != "" {
		t.Errorf("%s has handed over, and counts as one that was silent", who)
	}
}

// TestVoters: a node joins without a vote, gets one, loses it, and is taken out.
func TestVoters(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 1, quick)
	leader := g.form()
	leader.propose(member("x"))
	joined := g.newNode("late")
	g.nodes = append(g.nodes, joined)
	joined.open()
	if !joined.Empty() || leader.Empty() {
		t.Errorf("empty: %t and %t", joined.Empty(), leader.Empty())
	}
	votes := func(want string) {
		t.Helper()
		eventually(t, func() error {
			var got []string
			for _, s := range leader.Servers() {
				got = append(got, fmt.Sprintf("%s %t", s.ID, s.Voter))
			}
			if s := strings.Join(got, ", "); s != want {
				return fmt.Errorf("the group is %s, not %s", s, want)
			}
			return nil
		})
	}
	steps := []struct {
		do   func(context.Context) error
		want string
	}{
		{func(ctx context.Context) error { return leader.AddNonvoter(ctx, joined.id, joined.addr) }, "n0 true, late false"},
		{func(ctx context.Context) error { return leader.Promote(ctx, joined.id, joined.addr) }, "n0 true, late true"},
		{func(ctx context.Context) error { return leader.AddNonvoter(ctx, joined.id, joined.addr) }, "n0 true, late true"},
		{func(ctx context.Context) error { return leader.Demote(ctx, joined.id) }, "n0 true, late false"},
		{func(ctx context.Context) error { return leader.Remove(ctx, joined.id) }, "n0 true"},
	}
	for i, step := range steps {
		if err := step.do(limit(t)); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		votes(step.want)
		if i == 0 {
			joined.has("x")
		}
	}
	leader.propose(member("y"))
}

// TestSnapshot: a node that joins late gets a snapshot where the log was cut, and a restart begins
// with one.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 1, quick)
	g.adjust = func(c *Config) { c.SnapshotEvery, c.TrailingLogs = 4, 2 }
	leader := g.form()
	for i := range 30 {
		leader.propose(member(fmt.Sprint("x", i)))
	}
	if err := leader.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	if first, _ := leader.db.FirstIndex(); first < 20 {
		t.Fatalf("the log still begins at %d", first)
	}
	joined := g.newNode("late")
	g.nodes = append(g.nodes, joined)
	joined.open()
	if err := leader.AddNonvoter(limit(t), joined.id, joined.addr); err != nil {
		t.Fatal(err)
	}
	joined.has("x29")
	leader.kill()
	leader.open()
	leader.has("x0")
	leader.has("x29")
}
