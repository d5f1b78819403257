package session

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tally-kafka/tally/replication/ownership"
)

// TestOldIncarnation: a process that outlives its incarnation is not vouched for, and keeps nobody
// alive.
func TestOldIncarnation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes, _ := three(t)
		c.register("b", "2") // which never pings
		c.until(func() bool { return !nodes[1].member.Known() })
		if took := c.until(func() bool { return nodes[0].lost("b") }); took > 1500*time.Millisecond {
			t.Errorf("the new incarnation was kept alive for %v by the old one", took)
		}
		want := ownership.Death{ID: "b", Incarnation: "2"}
		if v := nodes[0].view(); len(v.Dead) != 1 || v.Dead[0] != want {
			t.Errorf("dead are %v", v.Dead)
		}
		select {
		case <-nodes[1].member.Unknown():
		default:
			t.Error("the old process was not told to register")
		}
	})
}

// TestRegisteredAfterItsFirstPing: the report that the leader did not take is said again in whole.
func TestRegisteredAfterItsFirstPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes, _ := three(t)
		d := c.start("d", "1")
		ref := ownership.LaneRef{App: "app", Lane: 1}
		d.set([]Copy{{LaneRef: ref, Ready: true}})
		<-d.member.Unknown()
		c.pass(time.Second, func() bool { return !d.member.Known() })
		c.register("d", "1")
		took := c.until(func() bool { return nodes[0].live("d") && d.member.Renewed() })
		if took > 600*time.Millisecond || !nodes[0].view().Sessions["d"].Copies[ref].Ready {
			t.Errorf("known after %v with %v", took, nodes[0].view().Sessions["d"])
		}
	})
}

// TestCondemned: between the decision and the log's answer nobody is vouched for that is to be
// dead; after it, who lives registers again and has a fresh TTL.
func TestCondemned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes, _ := three(t)
		nodes[1].sleep()
		c.until(func() bool { return nodes[0].lost("b") })
		release, ok := nodes[0].table.Condemn(nodes[0].view().Dead)
		if !ok {
			t.Fatal("not condemned")
		}
		nodes[1].wake()
		c.pass(time.Second, func() bool { return !nodes[1].member.Renewed() })
		c.bury("b")
		release()
		c.pass(500*time.Millisecond, func() bool { return !nodes[1].member.Renewed() && len(nodes[0].view().Dead) == 0 })
		<-nodes[1].member.Unknown()
		c.register("b", "1")
		c.until(func() bool { return nodes[0].live("b") && nodes[1].member.Renewed() })
		c.pass(2*time.Second, func() bool { return nodes[0].live("b") })
	})
}

// TestCondemnedTooLate: who has pinged since the look at it stays.
func TestCondemnedTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes, _ := three(t)
		nodes[1].sleep()
		c.until(func() bool { return nodes[0].lost("b") })
		dead := nodes[0].view().Dead
		nodes[1].wake()
		c.until(func() bool { return nodes[0].live("b") })
		if _, ok := nodes[0].table.Condemn(dead); ok {
			t.Error("condemned although it is back")
		}
	})
}

// TestRefusedDeath: the log did not take it, so the member is as good as before.
func TestRefusedDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes, _ := three(t)
		nodes[1].sleep()
		c.until(func() bool { return nodes[0].lost("b") })
		release, _ := nodes[0].table.Condemn(nodes[0].view().Dead)
		nodes[1].wake()
		c.pass(500*time.Millisecond, func() bool { return nodes[0].lost("b") })
		release()
		c.until(func() bool { return nodes[0].live("b") && nodes[1].member.Renewed() })
	})
}

// TestRegisteredAgainUnheard: who has just registered has a fresh TTL, though its pings are on
// their way.
func TestRegisteredAgainUnheard(t *testing.T) {
	r := roster{ttl: time.Second, pauseMax: time.Second, copiesMax: 100}
	r.lead(1)
	c := newCluster(t)
	for _, id := range []string{"b", "c", "d"} {
		c.register(id, "1")
	}
	now := time.Now()
	r.observe(c.state.Load(), now)
	if !r.refused("b", "1", now) || !r.condemn(r.view(now).Dead) {
		t.Fatal("not condemned")
	}
	c.bury("b")
	r.observe(c.state.Load(), now)
	r.settle([]ownership.Death{{ID: "b", Incarnation: "1"}}, now)
	now = now.Add(500 * time.Millisecond)
	c.register("b", "1")
	r.observe(c.state.Load(), now)
	now = now.Add(999 * time.Millisecond)
	r.tick(now, 0)
	if v := r.view(now); v.Sessions["b"].Lost != "" {
		t.Error("lost within its TTL")
	}
	r.tick(now.Add(10*time.Millisecond), 0)
	if v := r.view(now); v.Sessions["b"].Lost == "" {
		t.Error("not lost after its TTL")
	}
}

// TestMoreThanHalf: the leader suspects itself first, and for a bounded time.
func TestMoreThanHalf(t *testing.T) {
	for _, back := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c, nodes, _ := three(t)
			for _, id := range []string{"d", "e"} {
				nodes = append(nodes, c.start(id, "1"))
				c.register(id, "1")
			}
			c.until(func() bool { return nodes[0].live("d") && nodes[0].live("e") })
			for _, n := range nodes[2:] {
				n.sleep()
			}
			c.until(func() bool { return nodes[0].view().Paused != "" })
			c.pass(5*time.Second, func() bool { return len(nodes[0].view().Dead) == 0 && nodes[0].view().Paused != "" })
			if back {
				nodes[2].wake()
				took := c.until(func() bool { return nodes[0].view().Paused == "" })
				if dead := nodes[0].view().Dead; len(dead) != 2 || dead[0].ID != "d" || took > 500*time.Millisecond {
					t.Errorf("after %v, with one back, dead are %v", took, dead)
				}
				return
			}
			took := c.until(func() bool { return nodes[0].view().Paused == "" })
			if dead := nodes[0].view().Dead; len(dead) != 3 || took > 5200*time.Millisecond {
				t.Errorf("after %v more dead are %v", took, dead)
			}
			c.pass(3*time.Second, func() bool { return nodes[0].view().Paused == "" })
			release, ok := nodes[0].table.Condemn(nodes[0].view().Dead)
			if !ok {
				t.Fatal("not condemned")
			}
			for _, n := range nodes[2:] {
				c.bury(n.id)
			}
			release()
			nodes[1].kill() // one of two: those that were waited for are no reason to wait for it
			if took := c.until(func() bool { return len(nodes[0].view().Dead) == 1 }); took > 5*time.Millisecond {
				t.Errorf("the next one was dead after %v", took)
			}
		})
	}
}

// TestOneNodeAgainAndAgain: a node that is started in a loop, and ends each time, is one node: the
// death of another is no loss of most.
func TestOneNodeAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes, _ := three(t)
		again := nodes[1]
		for i := range 4 {
			again.kill()
			c.until(func() bool { return nodes[0].lost(again.id) })
			release, ok := nodes[0].table.Condemn(nodes[0].view().Dead)
			if !ok {
				t.Fatalf("%s was not condemned", again.id)
			}
			c.bury(again.id)
			release()
			incarnation := fmt.Sprint(i + 2)
			again = c.start(again.id, incarnation)
			c.register(again.id, incarnation)
			c.until(func() bool { return nodes[0].live(again.id) })
		}
		nodes[2].kill()
		if took := c.until(func() bool { return nodes[0].lost(nodes[2].id) }); took > 50*time.Millisecond {
			t.Errorf("the other one was dead after %v", took)
		}
		if why := nodes[0].view().Paused; why != "" {
			t.Error(why)
		}
	})
}

// TestOneAfterTheOther: deaths that the log has got count with those that follow at once.
func TestOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes, _ := three(t)
		nodes = append(nodes, c.start("d", "1"))
		c.register("d", "1")
		c.until(func() bool { return nodes[0].live("d") })
		die := func(n *node) {
			n.kill()
			c.until(func() bool { return nodes[0].lost(n.id) })
			release, ok := nodes[0].table.Condemn(nodes[0].view().Dead)
			if !ok {
				t.Fatalf("%s was not condemned", n.id)
			}
			c.bury(n.id)
			release()
		}
		die(nodes[1])
		die(nodes[2])
		nodes[3].kill()
		c.until(func() bool { return nodes[0].view().Paused != "" })
		c.pass(9*time.Second, func() bool { return len(nodes[0].view().Dead) == 0 })
	})
}
