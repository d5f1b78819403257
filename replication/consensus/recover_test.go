package consensus

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/replication/ownership"
)

func TestRecover(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3, quick)
	g.form().propose(ownership.Command{Found: &ownership.Found{ClusterID: "c1"}})
	g.leader().propose(member("n1"))
	last := g.nodes[2]
	last.has("n1")
	for _, n := range g.nodes {
		n.kill()
	}
	log := slog.New(slog.DiscardHandler)
	done, err := Recover(last.dir, last.id, last.addr, seam.World(), log)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"cluster c1", "only voter", "node-n1 (n1, at", "with an empty data dir"} {
		if !strings.Contains(done.String(), want) {
			t.Errorf("%q does not say %q", done, want)
		}
	}
	g.nodes = []*node{last}
	last.open()
	leader := g.leader()
	if leader.State().ClusterID != "c1" {
		t.Error("the state is lost")
	}
	again := member("again")
	again.Register.Member.Format = ownership.Format
	leader.propose(again)
	if _, err := Recover(t.TempDir(), "a", "b", seam.World(), log); err == nil {
		t.Error("an empty directory was recovered")
	}
	if _, err := Recover(last.dir, last.id, last.addr, seam.World(), log); err == nil {
		t.Error("a running node was recovered")
	}
}

// endAll forms the group, and ends it when the last node has a member "before". It gives that node.
func (g *group) endAll() *node {
	g.t.Helper()
	g.form().propose(member("before"))
	on := g.nodes[2]
	on.has("before")
	for _, n := range g.nodes {
		n.kill()
	}
	return on
}

// TestRecoveredApart: the voters of before a recovery come back with their logs, and are most of
// them. They and the node that goes on have a leader each, and neither's log gets anything of the
// other's.
func TestRecoveredApart(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3, quick)
	parted := make(chan string, 1000)
	g.adjust = func(c *Config) {
		if c.ID == "n2" {
			c.Parted = func(id, _ string) { parted <- id }
		}
	}
	on := g.endAll()
	if _, err := Recover(on.dir, on.id, on.addr, seam.World(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	g.nodes = g.nodes[:2]
	for _, n := range g.nodes {
		n.open()
	}
	old := g.leader()
	old.propose(member("of the old"))
	on.open()
	for ctx, n := limit(t), 0; n < 3; { // connections of the old leader, in each of which it might have sent its log
		select {
		case id := <-parted:
			if id == old.id {
				n++
			}
		case <-ctx.Done():
			t.Fatalf("the old leader was refused %d times", n)
		}
	}
	eventually(t, func() error {
		if _, _, ok := on.Leading(); !ok {
			return errors.New("it does not lead itself")
		}
		return nil
	})
	ours := member("of the new")
	ours.Register.Member.Format = ownership.Format
	on.propose(ours)
	old.propose(member("of the old again"))
	if s := on.State(); s.Members["of the old"] != nil || s.Members["of the old again"] != nil || s.Members["before"] == nil {
		t.Errorf("the one that goes on has %d members", len(s.Members))
	}
	if s := old.State(); s.Members["of the new"] != nil || s.Members["before"] == nil {
		t.Errorf("the old ones have %d members", len(s.Members))
	}
}

// TestRecoveryCutShort: of a recovery that ends between its snapshot and its last step, which drops
// the log of before, nothing is in the way of nodes that join.
func TestRecoveryCutShort(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3, quick)
	on := g.endAll()
	log := filepath.Join(on.dir, storeFile)
	before, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Recover(on.dir, on.id, on.addr, seam.World(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(log, before, 0o600); err != nil {
		t.Fatal(err)
	}
	fresh := g.newNode("fresh")
	g.nodes = []*node{on}
	on.open()
	g.leader()
	fresh.open()
	g.nodes = append(g.nodes, fresh)
	if err := on.AddNonvoter(limit(t), fresh.id, fresh.addr); err != nil {
		t.Fatal(err)
	}
	fresh.has("before")
	if got, want := fresh.State().Recovered, on.State().Recovered; got != want || got.Times != 1 {
		t.Errorf("the new node's log is of %+v, and the one that it has joined of %+v", got, want)
	}
}

// TestRecoveryOfNothing: a node that has never had a state is no cluster to go on with.
func TestRecoveryOfNothing(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 1, quick)
	n := g.nodes[0].open()
	n.kill()
	db, err := openStore(n.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.SetUint64([]byte("CurrentTerm"), 5), db.Close()); err != nil { // it has voted
		t.Fatal(err)
	}
	_, err = Recover(n.dir, n.id, n.addr, seam.World(), slog.New(slog.DiscardHandler))
	if err == nil {
		t.Error("it was recovered")
	}
}

// TestLogOfAnotherSender: a node without a log takes the connections of anybody; when it has got
// one, those of another recovery end with what they send next.
func TestLogOfAnotherSender(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 2, quick)
	parted := make(chan string, 10)
	g.adjust = func(c *Config) { c.Parted = func(id, addr string) { parted <- id + " at " + addr } }
	var hasLog atomic.Bool
	to, from := pairOf(t, g,
		func() (ownership.Recovery, bool) { return ownership.Recovery{Times: 1, ID: "x"}, hasLog.Load() },
		func() (ownership.Recovery, bool) { return ownership.Recovery{}, true })
	reached := make(chan bool, 10)
	go func() {
		for rpc := range to.Consumer() {
			rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
			reached <- true
		}
	}()
	send := func() error {
		heartbeat := &raft.AppendEntriesRequest{Term: 1, RPCHeader: raft.RPCHeader{Addr: []byte("x")}}
		return from.AppendEntries(raft.ServerID(g.nodes[0].id), raft.ServerAddress(g.nodes[0].addr), heartbeat, &raft.AppendEntriesResponse{})
	}
	if err := send(); err != nil {
		t.Fatal(err)
	}
	<-reached
	hasLog.Store(true)
	if err := send(); err == nil || len(reached) > 0 {
		t.Errorf("it has reached Raft: %v", err)
	}
	select {
	case who := <-parted:
		if who != "n1 at "+g.nodes[1].addr {
			t.Errorf("told of %q", who)
		}
	case <-limit(t).Done():
		t.Error("nobody was told")
	}
}
