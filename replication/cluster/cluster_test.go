package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/replication/consensus"
	"github.com/tally-kafka/tally/replication/ownership"
)

// TestLoneNode: a node without seeds is a cluster of one, named after it, at once and again after a
// restart.
func TestLoneNode(t *testing.T) {
	t.Parallel()
	n := newNode(t, "alone")
	n.conf.Raft, n.conf.Timing = consensus.Timing{}, Timing{} // as in life
	for _, what := range []string{"formed", "started again"} {
		begin := time.Now()
		n.start().in()
		took := time.Since(begin)
		t.Logf("%s: registered %s after Start", what, took.Round(100*time.Microsecond))
		if took > 400*time.Millisecond {
			t.Errorf("%s: took %s", what, took)
		}
		if n.ClusterID() != n.conf.ID {
			t.Errorf("%s: cluster %q, not %q", what, n.ClusterID(), n.conf.ID)
		}
		if id, name, addr := n.Leader(); id != n.conf.ID || name != "alone" || addr != n.gate.addr {
			t.Errorf("%s: the leader is %s %s %s", what, id, name, addr)
		}
		if why := n.Waits(); why != "" {
			t.Errorf("%s: it waits: %s", what, why)
		}
		n.put(strings.ReplaceAll(what, " ", "-"))
		n.stop()
	}
}

// TestJoinLater: nodes that name a lone one join it, get a vote when they live, and change things
// from wherever they are.
func TestJoinLater(t *testing.T) {
	t.Parallel()
	a := newNode(t, "a").start().in()
	a.put("first")
	nodes := []*tnode{a}
	for i := 1; i < 5; i++ {
		n := newNode(t, fmt.Sprint("late", i), a.gate.addr).start().in()
		n.has("first")
		if n.ClusterID() != a.conf.ID {
			t.Errorf("%s is in cluster %s", n.conf.Name, n.ClusterID())
		}
		nodes = append(nodes, n)
		if i == 3 {
			a.voters(3) // of four, three vote
		}
	}
	a.voters(5)
	leaderOf(t, nodes...)
	for _, n := range nodes {
		n.put("by-" + n.conf.Name)
	}
	for _, n := range nodes {
		n.has("by-late4")
	}
}

// TestLeaderKilled: another leads, proposals from a node that does not lead go on, and the killed
// one comes back.
func TestLeaderKilled(t *testing.T) {
	t.Parallel()
	nodes := inCluster(newNodes(t, 3))
	old := leaderOf(t, nodes...)
	rest := others(nodes, old)
	rest[0].put("before")
	old.stop()
	begin := time.Now()
	rest[1].put("after")
	t.Logf("a proposal %s after the leader was killed", time.Since(begin).Round(time.Millisecond))
	leaderOf(t, rest...)
	old.start().in().has("after")
	leaderOf(t, nodes...)
}

// TestLostQuorum: the state can be read, and what is to be changed gets a clear answer in bounded
// time.
func TestLostQuorum(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, 3)
	for _, n := range nodes {
		n.conf.Timing.Propose = 500 * time.Millisecond
		n.start()
	}
	for _, n := range nodes {
		n.in()
	}
	nodes[0].put("kept")
	last := nodes[2]
	last.has("kept")
	nodes[0].stop()
	nodes[1].stop()
	eventually(t, func() error {
		if id, _, _ := last.Leader(); id != "" {
			return fmt.Errorf("%s still counts as the leader", id)
		}
		return nil
	})
	last.has("kept")
	begin := time.Now()
	_, err := last.Propose(t.Context(), app("lost"))
	var none *NoLeaderError
	if !errors.As(err, &none) || !strings.Contains(err.Error(), "most of its voters must run") {
		t.Errorf("a proposal: %v", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	nodes[0].start().in()
	last.put("again")
}

// TestNameTaken: a name that a member has is refused to another node, who learns what would work.
func TestNameTaken(t *testing.T) {
	t.Parallel()
	a := newNode(t, "a").start().in()
	newNode(t, "b", a.gate.addr).start().in()
	newNode(t, "b", a.gate.addr).refused("is named b", "--node")
	if n := len(a.raft.Servers()); n != 2 {
		t.Errorf("the refused node has its place: %d servers", n)
	}
}

// TestLostDisk: a node that has lost its disk takes its old place, a vote too; elsewhere its name
// is refused even while it is dead.
func TestLostDisk(t *testing.T) {
	t.Parallel()
	nodes := inCluster(newNodes(t, 3))
	leader := leaderOf(t, nodes...)
	lost := others(nodes, leader)[0]
	lost.stop()
	was := lost.conf.ID
	lost.conf.ID, lost.conf.DataDir = lost.conf.Seam.NewID(), t.TempDir()
	lost.start().in()
	for _, n := range nodes {
		eventually(t, func() error {
			if st := n.State(); len(st.Members) != 3 || st.Members[was] != nil {
				return fmt.Errorf("%s has %d members", n.conf.Name, len(st.Members))
			}
			return nil
		})
	}
	leader.voters(3)
	lost.stop()
	eventually(t, func() error {
		if leader.State().Members[lost.conf.ID].Alive {
			return errors.New("it is alive")
		}
		return nil
	})
	newNode(t, lost.conf.Name, leader.gate.addr).refused("is named "+lost.conf.Name, "at its old address")
}

// TestOtherCluster: a node with the data of one cluster does not slip into another.
func TestOtherCluster(t *testing.T) {
	t.Parallel()
	a, b := newNode(t, "a").start().in(), newNode(t, "b").start().in()
	b.stop()
	b.conf.Seeds = []string{a.gate.addr}
	b.refused("of cluster "+b.conf.ID, "of cluster "+a.conf.ID, "--join")
	want := fmt.Sprintf("this node is of cluster %s, and seed S of cluster T: start it with another --join or --data-dir; "+
		"or, to give up its place in cluster %[1]s, remove node.json, cluster.json, raft, apps and state in %s, and it joins as a new node",
		a.conf.ID, a.conf.DataDir)
	if said := a.otherCluster("seed S", "T").Error(); said != want {
		t.Errorf("it is said: %s\nwant: %s", said, want)
	}
	if err := a.Registered(); !err {
		t.Error("the other cluster has suffered")
	}
}

type forbidden struct{}

func (forbidden) Error() string   { return "only the nodes of the cluster may call this" }
func (forbidden) Forbidden() bool { return true }

// TestCopiedDataDir: two processes with one node's data; the later one is refused, and does not
// vote.
func TestCopiedDataDir(t *testing.T) {
	t.Parallel()
	nodes := inCluster(newNodes(t, 3))
	original := nodes[1]
	eventually(t, func() error {
		_, err := os.Stat(filepath.Join(original.conf.DataDir, pastFile))
		return err
	})
	copied := newNode(t, "n1", original.conf.Seeds...)
	copied.conf.ID = original.conf.ID
	original.stop()
	if err := os.CopyFS(copied.conf.DataDir, os.DirFS(original.conf.DataDir)); err != nil {
		t.Fatal(err)
	}
	original.start().in()
	if err := copied.try(); err == nil {
		t.Fatal("the copy has opened its log")
	}
	copied.refused("a copy of that one's", original.gate.addr, "remove node.json")
	// Nor where that node does not say who it is, as one with tokens and without certificates.
	silent := Config{DataDir: "/d", Addr: "here:1", Call: func(context.Context, string, string, any, any) error { return forbidden{} }}
	err := notACopy(t.Context(), silent, past{Addr: "there:1"})
	if err == nil || !strings.Contains(err.Error(), "runs at there:1") || !strings.Contains(err.Error(), "start this one once while that one is stopped") {
		t.Error(err)
	}
	// Without the file that says where the original was, and not by its word, the leader finds out.
	copied.conf.Seeds = []string{nodes[0].gate.addr}
	if err := os.Remove(filepath.Join(copied.conf.DataDir, pastFile)); err != nil {
		t.Fatal(err)
	}
	copied.refused("a copy", original.gate.addr)
	original.put("still-here")
}

// TestLogIsGone: a node that has lost its votes with its log does not begin anew under its id.
func TestLogIsGone(t *testing.T) {
	t.Parallel()
	n := newNode(t, "a").start().in()
	path := filepath.Join(n.conf.DataDir, pastFile)
	eventually(t, func() error { _, err := os.Stat(path); return err })
	n.stop()
	if err := os.RemoveAll(filepath.Join(n.conf.DataDir, "raft")); err != nil {
		t.Fatal(err)
	}
	n.refused("its log", "is gone", "remove node.json")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	n.conf.ID = n.conf.Seam.NewID()
	n.start().in()
}

// TestMoved: a node that comes back at another address is found there, by the leader too.
func TestMoved(t *testing.T) {
	t.Parallel()
	nodes := inCluster(newNodes(t, 3))
	moved := others(nodes, leaderOf(t, nodes...))[0]
	moved.stop()
	leaderOf(t, others(nodes, moved)...).put("meanwhile")
	moved.gate = newGate(t)
	moved.conf.Addr = moved.gate.addr
	moved.start().in().has("meanwhile")
	for _, n := range nodes {
		eventually(t, func() error {
			if m := n.State().Members[moved.conf.ID]; m == nil || m.Addr != moved.gate.addr {
				return fmt.Errorf("%s has it at %v", n.conf.Name, m)
			}
			return nil
		})
	}
}

// TestDeclaredDead: a process that lives although the log has it as dead registers again.
func TestDeclaredDead(t *testing.T) {
	t.Parallel()
	a := newNode(t, "a").start().in()
	b := newNode(t, "b", a.gate.addr).start().in()
	m := a.State().Members[b.conf.ID]
	result, err := a.Propose(limit(t), ownership.Command{Plan: &ownership.Plan{
		Base: a.State().Version, Dead: []ownership.Death{{ID: m.ID, Incarnation: m.Incarnation}},
	}})
	if err != nil || result.Refused != "" {
		t.Fatal(err, result)
	}
	eventually(t, func() error {
		if got := a.State().Members[b.conf.ID]; !got.Alive || a.State().Version <= result.Version {
			return errors.New("it is dead")
		}
		return nil
	})
}

// TestLeave: a leader hands over; a node that leaves for good is in neither the group nor the
// members, and the last node stays.
func TestLeave(t *testing.T) {
	t.Parallel()
	nodes := inCluster(newNodes(t, 3))
	old := leaderOf(t, nodes...)
	if err := old.Leave(limit(t), false); err != nil {
		t.Fatal(err)
	}
	now := leaderOf(t, nodes...)
	if now == old {
		t.Error("the leadership has not moved")
	}
	if err := now.Leave(limit(t), true); err != nil { // the leader itself
		t.Fatal(err)
	}
	rest := others(nodes, now)
	leader := leaderOf(t, rest...)
	eventually(t, func() error { // another one may lead by now than the one that has said so
		if len(leader.raft.Servers()) != 2 || leader.State().Members[now.conf.ID] != nil {
			return fmt.Errorf("it has not left: %v", leader.raft.Servers())
		}
		return nil
	})
	leader.put("by-two")
	other := others(rest, leader)[0]
	if err := other.Leave(limit(t), true); err != nil {
		t.Fatal(err)
	}
	leader.put("by-one")
	if err := leader.Leave(limit(t), true); err == nil || !strings.Contains(err.Error(), "last") {
		t.Errorf("the last node leaves: %v", err)
	}
}

// TestIdle: a cluster at rest writes nothing, with sessions and all. On a busy machine a ping may
// be late, and a node given up for it; that is no rest, and it is waited for another one.
func TestIdle(t *testing.T) {
	t.Parallel()
	nodes := inCluster(newNodes(t, 3))
	leader := leaderOf(t, nodes...)
	rest := 500 * time.Millisecond
	if os.Getenv("TALLY_PROOF") != "" {
		rest = time.Minute
	}
	before, written := uint64(0), uint64(0)
	for range 8 {
		before = leader.raft.LastIndex()
		<-time.After(rest)
		if written = leader.raft.LastIndex() - before; written <= 1 {
			return
		}
	}
	t.Errorf("%d entries in %s at rest", written, rest)
}

// TestUncertain: what is not known to be without effect is not made again by itself.
func TestUncertain(t *testing.T) {
	t.Parallel()
	a := newNode(t, "a").start().in()
	b := newNode(t, "b", a.gate.addr)
	lost, lose, calls := errors.New("the answer is lost"), false, 0
	b.wrap = func(real Call) Call {
		return func(ctx context.Context, addr, call string, in, out any) error {
			err := real(ctx, addr, call, in, out)
			if call != "propose" {
				return err
			}
			if calls++; lose {
				lose, err = false, lost
			}
			return err
		}
	}
	b.start().in().voters(2)
	leaderOf(t, a, b)
	var unsure *consensus.UncertainError
	lose = true
	if _, err := b.Propose(limit(t), app("x")); !errors.As(err, &unsure) || !errors.Is(err, lost) || calls != 1 {
		t.Errorf("%d calls: %v", calls, err)
	}
	lose, calls = true, 0
	drain := ownership.Command{Drain: &ownership.Drain{ID: b.conf.ID, Draining: true}}
	if result, err := b.Propose(limit(t), drain); err != nil || result.Refused != "" || calls < 2 {
		t.Errorf("%d calls: %v %v", calls, err, result)
	}
}
