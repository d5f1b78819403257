package session

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tally-kafka/tally/replication/ownership"
)

// TestBehind: a member that pings, but that the log does not reach, is not vouched for once it
// lacks an entry for long: its lanes may be somebody else's. It is not dead either, and is vouched
// for again as soon as it has the entry.
func TestBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes, _ := three(t)
		a, b := nodes[0], nodes[1]
		c.until(b.member.Renewed)
		b.lacks(c.state.Load())
		c.pass(5*time.Second, b.member.Renewed) // it has all that there is
		c.change(func(map[string]*ownership.Member) {})
		if took := c.until(func() bool { return !b.member.Renewed() }); took > WordMost {
			t.Errorf("it was vouched for until %v after the entry that it lacks", took)
		}
		c.pass(5*time.Second, func() bool { return !b.member.Renewed() && a.live("b") && a.member.Renewed() })
		if lacks := a.view().Sessions["b"].Behind; lacks < 5*time.Second {
			t.Errorf("the leader says that it lacks the entry for %v", lacks)
		}
		b.lacks(nil)
		if took := c.until(b.member.Renewed); took > 300*time.Millisecond {
			t.Errorf("it was vouched for only %v after it had all again", took)
		}
		if lacks := a.view().Sessions["b"].Behind; lacks != 0 {
			t.Errorf("it has all, and the leader says that it lacks something for %v", lacks)
		}
	})
}

// TestAlwaysALittleBehind: a member that has every entry a little later is vouched for all the
// time.
func TestAlwaysALittleBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes, _ := three(t)
		b := nodes[1]
		c.until(b.member.Renewed)
		for range 50 {
			b.lacks(c.state.Load())
			c.change(func(map[string]*ownership.Member) {})
			c.pass(100*time.Millisecond, b.member.Renewed)
		}
	})
}

// TestBehindANewLeader: what an earlier leader has written has been there for long enough.
func TestBehindANewLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes, resign := three(t)
		b := nodes[1]
		c.until(b.member.Renewed)
		b.lacks(c.state.Load())
		c.change(func(map[string]*ownership.Member) {})
		began := time.Now()
		resign()
		c.leads("c")
		t.Cleanup(nodes[2].table.Lead(2))
		c.until(func() bool { return !b.member.Renewed() })
		if took := time.Since(began); took > ttlUsual {
			t.Errorf("the next leader vouched for it until %v after the entry that it lacks", took)
		}
	})
}

// TestStoodStill: a leader that stood still, and that others have deposed meanwhile, vouches for
// nobody, itself least of all, though it does not know of that yet. One that leads still does
// again.
func TestStoodStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes, _ := three(t)
		c.until(func() bool { return nodes[0].member.Renewed() && nodes[1].member.Renewed() })
		nodes[0].deposed.Store(true)
		c.jump.Add(int64(5 * time.Second))
		c.pass(3*time.Second, func() bool { return !nodes[0].member.Renewed() && !nodes[1].member.Renewed() })
		nodes[0].deposed.Store(false)
		took := c.until(func() bool { return nodes[0].member.Renewed() && nodes[1].member.Renewed() })
		if took > 350*time.Millisecond {
			t.Errorf("it vouched for the others only %v after it was sure", took)
		}
		c.pass(5*time.Second, func() bool { return nodes[0].member.Renewed() && nodes[1].member.Renewed() })
	})
}
