package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/replication/ownership"
	"github.com/tally-kafka/tally/replication/session"
)

// TestSessions: every node, the leader too, is renewed by its leader, who knows them all and can be
// asked from anywhere; with the quorum the leader's word ends.
func TestSessions(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, 3)
	for i, n := range nodes {
		n.conf.Report = func() session.Report {
			return session.Report{Copies: []session.Copy{{LaneRef: ownership.LaneRef{App: "a", Lane: i}, Role: session.Owner, Lag: int64(i)}}}
		}
		n.start()
	}
	for _, n := range nodes {
		n.in()
	}
	leader := leaderOf(t, nodes...)
	for _, n := range nodes {
		eventually(t, func() error {
			h, err := n.Health(limit(t))
			if err != nil || !n.Renewed() {
				return fmt.Errorf("%s: renewed %t, %w", n.conf.Name, n.Renewed(), err)
			}
			if h.LeaderID != leader.conf.ID || h.Term == 0 {
				return fmt.Errorf("%s: %+v", n.conf.Name, h)
			}
			return nil
		})
	}
	eventually(t, func() error {
		view, _ := leader.table.View(leader.State())
		if len(view.Sessions) != 3 {
			return fmt.Errorf("%+v", view)
		}
		for _, s := range view.Sessions {
			if !s.Live || len(s.Copies) != 1 || s.Report.Version == 0 {
				return fmt.Errorf("%+v", s)
			}
		}
		return nil
	})
	for _, n := range others(nodes, leader) {
		n.stop()
	}
	eventually(t, func() error {
		var none *NoLeaderError
		if _, err := leader.Health(limit(t)); leader.Renewed() || !errors.As(err, &none) {
			return fmt.Errorf("without a quorum: renewed %t, %w", leader.Renewed(), err)
		}
		return nil
	})
}

// TestHealth: of any node that is asked, the leader says why a lane has no owner.
func TestHealth(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, 3)
	for _, n := range nodes {
		n.conf.Fence = func(context.Context, string, int) error { return errors.New("no broker answers") }
		n.obey()
	}
	inCluster(nodes)
	leader := leaderOf(t, nodes...)
	put := app("count")
	put.PutApp.App.Halted = ""
	put.PutApp.App.Partitions, put.PutApp.App.Lanes = 3, make([]ownership.Lane, 3)
	if result, err := leader.Propose(limit(t), put); err != nil || result.Refused != "" {
		t.Fatal(err, result)
	}
	killed := others(nodes, leader)[0]
	var of ownership.LaneRef
	eventually(t, func() error {
		for ref, l := range leader.State().Lanes() {
			if l.Owner == killed.conf.ID && l.From == "" { // else the one that has it still has it back, without a fence
				of = ref
				return nil
			}
		}
		return errors.New("it has no lane")
	})
	killed.stop()
	for _, n := range others(nodes, killed) {
		eventually(t, func() error {
			h, err := n.Health(limit(t))
			said := slices.ContainsFunc(h.Ownerless, func(o Ownerless) bool {
				return o.LaneRef == of && strings.Contains(o.Why, "its fence has failed") && strings.Contains(o.Why, "no broker answers")
			})
			if err != nil || !said {
				return fmt.Errorf("%s: %+v, %w", n.conf.Name, h, err)
			}
			return nil
		})
	}
}

// TestTakeover: lanes are granted to all nodes, each with a standby; when a node is killed, its
// lanes go to the standbys under a new epoch, and everyone sees that.
func TestTakeover(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, 3)
	for _, n := range nodes {
		n.obey()
		n.start()
	}
	for _, n := range nodes {
		n.in()
	}
	leader := leaderOf(t, nodes...)
	put := app("count")
	put.PutApp.App.Halted = ""
	put.PutApp.App.Standbys, put.PutApp.App.Partitions = 1, 6
	put.PutApp.App.Lanes = make([]ownership.Lane, 6)
	if result, err := leader.Propose(limit(t), put); err != nil || result.Refused != "" {
		t.Fatal(err, result)
	}
	spread(t, leader, 2, 2, 2)
	killed := others(nodes, leader)[0]
	var before []ownership.Lane
	for _, l := range leader.State().Apps["count"].Lanes {
		if l.Owner == killed.conf.ID {
			before = append(before, l)
		}
	}
	rest := others(nodes, killed)
	killed.stop()
	begin := time.Now()
	for _, n := range rest {
		eventually(t, func() error {
			for ref, l := range n.State().Lanes() {
				if m := n.State().OwnerOf(l); m == nil || m.ID == killed.conf.ID {
					return fmt.Errorf("%s: %s is %+v", n.conf.Name, ref, l)
				}
			}
			return nil
		})
	}
	t.Logf("the lanes of a killed node have owners at all nodes %s after it", time.Since(begin).Round(time.Millisecond))
	for _, old := range before {
		taken := slices.ContainsFunc(leader.State().Apps["count"].Lanes, func(l ownership.Lane) bool {
			return slices.Contains(old.Standbys, l.Owner) && l.Epoch > old.Epoch
		})
		if !taken {
			t.Errorf("the standby of %+v did not get it", old)
		}
	}
	spread(t, leader, 3, 3)
	killed.start().in()
	spread(t, leader, 2, 2, 2)
}

// spread waits until so many lanes are owned by the nodes, and each lane has its standbys.
func spread(t *testing.T, n *tnode, want ...int) {
	t.Helper()
	eventually(t, func() error {
		owned := map[string]int{}
		for ref, l := range n.State().Lanes() {
			m := n.State().OwnerOf(l)
			if m == nil || l.Target != "" || l.From != "" || len(l.Standbys) != 1 {
				return fmt.Errorf("%s is %+v", ref, l)
			}
			owned[m.ID]++
		}
		if got := slices.Sorted(maps.Values(owned)); !slices.Equal(got, want) {
			return fmt.Errorf("owned: %v, not %v", got, want)
		}
		return nil
	})
}

// TestLeaderReachesItself without a network, and an earlier process of it is not registered.
func TestLeaderReachesItself(t *testing.T) {
	t.Parallel()
	n := newNode(t, "alone")
	n.conf.DialSession = func(context.Context, string) (net.Conn, error) { return nil, errors.New("no network") }
	n.start().in()
	eventually(t, func() error {
		if !n.Renewed() {
			return errors.New("not renewed")
		}
		return nil
	})
	earlier := &Cluster{c: n.Cluster.c, raft: n.raft, member: n.member}
	earlier.c.Incarnation = "earlier"
	if earlier.Registered() || earlier.Renewed() {
		t.Error("an earlier process counts as registered")
	}
}

// TestTakenOut: a node that was taken out of the group while it was away hears it from the leader
// and comes back.
func TestTakenOut(t *testing.T) {
	t.Parallel()
	a := newNode(t, "a").start().in()
	b := newNode(t, "b", a.gate.addr).start().in()
	b.voters(2)
	leader := leaderOf(t, a, b)
	out := others([]*tnode{a, b}, leader)[0]
	answer := leader.release(limit(t), leaveRequest{ID: out.conf.ID})
	if answer.Refused != "" {
		t.Fatal(answer.Refused)
	}
	eventually(t, func() error {
		if leader.State().Members[out.conf.ID] == nil {
			return errors.New("it is still out")
		}
		return nil
	})
	leader.voters(2)
}

// TestLobby: connections from inside and outside come to one listener, and end with it.
func TestLobby(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := newLobby(l)
	go func() {
		for {
			conn, err := b.Accept()
			if err != nil {
				return
			}
			conn.Write([]byte("x"))
		}
	}()
	inside, err := b.dial(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	outside, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, conn := range []net.Conn{inside, outside} {
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		conn.Close()
	}
	b.Close()
	if _, err := b.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := b.dial(limit(t)); err == nil {
		t.Error("dialed after Close")
	}
}
