package cluster

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
)

// at gives a node another one's address, which has ended.
func (n *tnode) at(g *gate) *tnode {
	n.gate, n.conf.Addr = g, g.addr
	n.conf.DialRaft, n.conf.DialSession = g.dialer("R"), g.dialer("S")
	return n
}

// hasDead waits until the node has another one as a member that is dead.
func (n *tnode) hasDead(gone *tnode) {
	n.t.Helper()
	eventually(n.t, func() error {
		if m := n.State().Members[gone.conf.ID]; m == nil || m.Alive {
			return fmt.Errorf("%s has %s as %+v", n.conf.Name, gone.conf.Name, m)
		}
		return nil
	})
}

// agreed waits until all of these nodes have each other alive, where they are.
func agreed(t *testing.T, nodes ...*tnode) {
	t.Helper()
	for _, n := range nodes {
		for _, o := range nodes {
			eventually(t, func() error {
				if m := n.State().Members[o.conf.ID]; m == nil || !m.Alive || m.Addr != o.conf.Addr {
					return fmt.Errorf("%s has %s at %+v", n.conf.Name, o.conf.Name, m)
				}
				return nil
			})
		}
	}
}

// TestAddressPassesOn: a node that comes where another one was is a node like any other, and the
// other one stays a member; once it is back elsewhere, both count on.
func TestAddressPassesOn(t *testing.T) {
	t.Parallel()
	nodes := inCluster(newNodes(t, 3))
	gone := others(nodes, leaderOf(t, nodes...))[0]
	rest := others(nodes, gone)
	gone.stop()
	came := newNode(t, "n3", rest[0].gate.addr).at(gone.gate).start().in()
	came.voters(3)
	rest[0].put("meanwhile")
	came.has("meanwhile")
	came.hasDead(gone)
	gone.at(newGate(t)).start().in().has("meanwhile")
	agreed(t, append(nodes, came)...)
}

// TestAddressesSwapped: nodes that come back each where the other one was find their places, be one
// of them the only voter that is left, and the address of a leader that has moved is free.
func TestAddressesSwapped(t *testing.T) {
	t.Parallel()
	nodes := inCluster(newNodes(t, 3))
	pair := others(nodes, leaderOf(t, nodes...))
	for _, n := range pair {
		n.stop()
	}
	a, b := pair[0].gate, pair[1].gate
	pair[0].at(b).start()
	pair[1].at(a).start()
	for _, n := range pair {
		n.in()
	}
	nodes[0].put("after")
	agreed(t, nodes...)

	lone := newNode(t, "lone").start().in()
	free := lone.gate
	lone.stop()
	lone.at(newGate(t)).start().in()
	second := newNode(t, "second", lone.gate.addr).at(free).start().in()
	agreed(t, lone, second)
	lone.put("x")
	second.has("x")
}

// TestAddressPassedOnBeforeAColdStart: voters that start again find each other where they were,
// before anybody leads, also the one whose address another node has had meanwhile.
func TestAddressPassedOnBeforeAColdStart(t *testing.T) {
	t.Parallel()
	a := newNode(t, "a").start().in()
	b := newNode(t, "b", a.gate.addr).start().in()
	a.voters(2)
	c := newNode(t, "c", a.gate.addr).start().in()
	for _, n := range []*tnode{a, b, c} {
		n.voters(3)
		n.remembered()
	}
	b.stop()
	newNode(t, "d", leaderOf(t, a, c).gate.addr).at(b.gate).start().in().stop()
	a.put("x")
	c.has("x")
	a.stop() // for good
	c.stop()
	b.start()
	c.start()
	leaderOf(t, b, c)
}

// TestAddressOfOneThatStarts: a voter that has not registered yet keeps its address, too, and who
// is refused for an address has taken nobody's place.
func TestAddressOfOneThatStarts(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, 3)
	slow, held := nodes[2], atomic.Bool{}
	held.Store(true)
	slow.refuse(func(call string) error {
		if call == "join" && held.Load() {
			return errors.New("held")
		}
		return nil
	})
	for _, n := range nodes {
		n.start()
	}
	for _, n := range nodes[:2] {
		n.in()
	}
	if leaderOf(t, nodes...) == slow { // which registers with itself
		slow.in()
	}
	d := newNode(t, "d", nodes[0].gate.addr)
	d.conf.Addr = slow.gate.addr
	d.refused("is that of node " + slow.conf.Name)
	held.Store(false)
	slow.in()
	agreed(t, nodes...)

	gone := others(nodes, leaderOf(t, nodes...))[0]
	gone.stop()
	came := newNode(t, "came", others(nodes, gone)[0].gate.addr).at(gone.gate).start().in()
	came.hasDead(gone)
	again := newNode(t, gone.conf.Name, came.gate.addr, others(nodes, gone)[0].gate.addr)
	again.conf.Addr = came.conf.Addr
	again.refused("is that of node came")
	if leaderOf(t, others(nodes, gone)...).State().Members[gone.conf.ID] == nil {
		t.Error("a node that was refused has another one's place")
	}
}

// TestAddressOfAnother: a node that says an address at which another member answers is not let in.
func TestAddressOfAnother(t *testing.T) {
	t.Parallel()
	a := newNode(t, "a").start().in()
	b := newNode(t, "b", a.gate.addr).start().in()
	c := newNode(t, "c", a.gate.addr)
	c.conf.Addr = b.gate.addr
	c.refused("which node c says is its own, is that of node b", "--advertise")
	agreed(t, a, b)
	if members := a.State().Members; len(members) != 2 {
		t.Errorf("%d members", len(members))
	}
}
