package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tally-kafka/tally/replication/consensus"
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
	eventually(t, func() error { // another one may lead by now
		if len(leader.raft.Servers()) != 2 || leader.State().Members[gone.conf.ID] != nil {
			return fmt.Errorf("it is still there: %v", leader.raft.Servers())
		}
		return nil
	})
	leader.put("by-two")
	newNode(t, gone.conf.Name, leader.gate.addr).start().in().has("by-two")
	leader.voters(3)
	gone.conf.Name = "back"
	gone.start().in().has("by-two")
}

// firstOfThree is three nodes of which only the first still runs, which soon gives a question up.
func firstOfThree(t *testing.T) []*tnode {
	t.Helper()
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
	return nodes
}

// TestForgetWithoutMajority: it is no way around a lost majority.
func TestForgetWithoutMajority(t *testing.T) {
	t.Parallel()
	nodes := firstOfThree(t)
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

// TestForgottenWhileCutOff: who was cut off, and forgotten meanwhile, is let in anew when it is
// back, although nobody of the group speaks to it and its own log has it as a member.
func TestForgottenWhileCutOff(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, 4)
	for _, n := range nodes {
		n.refuse(func(string) error { return n.gate.isCut() })
	}
	nodes = inCluster(nodes)
	leader := leaderOf(t, nodes...)
	rest := others(nodes, leader)
	asked, gone := rest[0], rest[1]
	gone.gate.cutOff(true)
	eventually(t, func() error { return asked.Forget(limit(t), gone.conf.ID, false) })
	eventually(t, func() error {
		if id, _ := gone.raft.Leader(); id != "" {
			return fmt.Errorf("it still hears of leader %s", id)
		}
		return nil
	})
	if !gone.Registered() {
		t.Error("its own log does not have it any more")
	}
	leader.voters(3)
	leader.stop() // Raft goes on to call who was removed for a while; the next leader never has
	leader = leaderOf(t, asked, rest[2])
	gone.gate.cutOff(false)
	eventually(t, func() error {
		now := leaderOf(t, asked, rest[2])
		if m := now.State().Members[gone.conf.ID]; m == nil || !m.Alive {
			return fmt.Errorf("it is not a member: %+v", m)
		}
		return nil
	})
	leader.put("by-three")
	gone.has("by-three")
}

// TestForeignAddress: a node of another cluster at an address that was a member's does not end a
// node that comes back to its own.
func TestForeignAddress(t *testing.T) {
	t.Parallel()
	nodes := inCluster(newNodes(t, 3))
	back := others(nodes, leaderOf(t, nodes...))[0]
	back.stop()
	var asked atomic.Int32
	back.wrap = func(real Call) Call {
		return func(ctx context.Context, addr, call string, in, out any) error {
			if a, ok := out.(*joinAnswer); ok && asked.Add(1) == 1 {
				*a = joinAnswer{ClusterID: "another", Refused: "start it with another --join"}
				return nil
			}
			return real(ctx, addr, call, in, out)
		}
	}
	back.start().in()
	if asked.Load() < 2 {
		t.Errorf("%d nodes were asked", asked.Load())
	}
}

// TestPutAfterAnUnsureOne: an app is not held against the others while it is not known whether the
// last one is among them, nor halted while it is not known whether it is about to change.
func TestPutAfterAnUnsureOne(t *testing.T) {
	t.Parallel()
	n := newNode(t, "n0")
	n.conf.Vet = func(*ownership.State, *ownership.App) string { return "" }
	n.start().in()
	for _, command := range []ownership.Command{putting(anApp()), halting("it is being reset", nil)} {
		settled := make(chan struct{})
		n.puts.Lock()
		n.unsure, n.unsureSince = settled, time.Now()
		n.unsureTerm, _, _ = n.raft.Leading()
		n.puts.Unlock()
		soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := n.decide(soon, command); !errors.As(err, new(*consensus.NotLeaderError)) {
			t.Errorf("decided: %v", err)
		}
		close(settled)
		if r, err := n.decide(limit(t), command); err != nil || r.Refused != "" {
			t.Errorf("%+v, %v", r, err)
		}
	}
}

func anApp() ownership.App {
	return ownership.App{Name: "x", ID: "1", Generation: 1, Partitions: 1, Lanes: make([]ownership.Lane, 1)}
}

func putting(app ownership.App) ownership.Command {
	return ownership.Command{PutApp: &ownership.PutApp{App: app}}
}

func halting(why string, intent json.RawMessage) ownership.Command {
	return ownership.Command{HaltApp: &ownership.HaltApp{Name: "x", Halted: why, Intent: intent}}
}

// TestPutBehindAHalt: what was made of an app before it was halted does not let its lanes run. The
// end of what it was halted for does.
func TestPutBehindAHalt(t *testing.T) {
	t.Parallel()
	n := newNode(t, "n0")
	n.start().in()
	decided := func(command ownership.Command) ownership.Result {
		t.Helper()
		if command.PutApp != nil && n.State().Apps["x"] != nil {
			command.PutApp.Expect = n.State().Apps["x"].Generation
		}
		r, err := n.Propose(limit(t), command)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	decided(putting(anApp()))
	intent := json.RawMessage(`{"generation":2}`)
	decided(halting("it is being reset", intent))
	changed := anApp()
	changed.Standbys = 1
	if r := decided(putting(changed)); r.Code != ownership.Stale || n.State().Apps["x"].Halted == "" {
		t.Errorf("the put came to %+v, and the app is %+v", r, n.State().Apps["x"])
	}
	end := anApp()
	end.Generation, end.Intent = 2, intent
	if r := decided(putting(end)); r.Refused != "" || n.State().Apps["x"].Halted != "" {
		t.Errorf("the end of the reset came to %+v, and the app is %+v", r, n.State().Apps["x"])
	}
}

// TestForgetUnregistered: a voter that is gone before it has ever registered has no name and is
// forgotten all the same; one that answers is still starting.
func TestForgetUnregistered(t *testing.T) {
	t.Parallel()
	nodes := inCluster(newNodes(t, 3))
	for _, n := range nodes {
		n.voters(3)
	}
	leader := leaderOf(t, nodes...)
	starting := newNode(t, "starting")
	starting.wrap = func(real Call) Call {
		return func(ctx context.Context, addr, call string, in, out any) error {
			if call == "join" {
				return errors.New("not now")
			}
			return real(ctx, addr, call, in, out)
		}
	}
	starting.conf.Seeds = []string{leader.gate.addr}
	starting.start()
	id := starting.conf.ID
	if err := leader.raft.AddNonvoter(limit(t), id, starting.gate.addr); err != nil {
		t.Fatal(err)
	}
	if err := leader.raft.Promote(limit(t), id, starting.gate.addr); err != nil {
		t.Fatal(err)
	}
	asked := others(nodes, leader)[0]
	eventually(t, func() error {
		if s := asked.Unregistered(); len(s) != 1 || s[0].ID != id || s[0].Addr != starting.gate.addr {
			return fmt.Errorf("it knows of %+v", s)
		}
		return nil
	})
	if err := asked.Forget(limit(t), id, false); !errors.Is(err, ErrAlive) {
		t.Errorf("a node that answers: %v", err)
	}
	starting.stop()
	for _, dry := range []bool{true, false} {
		eventually(t, func() error { return asked.Forget(limit(t), id, dry) })
	}
	eventually(t, func() error {
		if s := asked.Unregistered(); len(s) != 0 || len(asked.raft.Servers()) != 3 {
			return fmt.Errorf("it still knows of %+v", s)
		}
		return nil
	})
}
