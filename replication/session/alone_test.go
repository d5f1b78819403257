package session

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tally-kafka/tally/replication/ownership"
)

// TestAlone: the only member pings a quarter as often, and stays renewed; when a second one
// registers all is as in any cluster, at once and without a death.
func TestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "1")
		c.register("a", "1")
		c.leads("a")
		t.Cleanup(a.table.Lead(1))
		c.until(func() bool { return a.live("a") })
		c.pass(5*time.Second, func() bool { return a.member.Renewed() && a.live("a") }) // the first rest begins
		if n := a.pings(10 * time.Second); n < 8 || n > 12 {
			t.Errorf("alone it pings %d times in 10 s, not once a second", n)
		}
		c.register("b", "1")
		a.member.Nudge()
		c.start("b", "1")
		c.pass(time.Second, func() bool { return !a.lost("a") && a.member.Renewed() })
		if n := a.pings(10 * time.Second); n < 35 || n > 45 {
			t.Errorf("as one of two it pings %d times in 10 s, not four times a second", n)
		}
		c.change(func(m map[string]*ownership.Member) { delete(m, "b") })
		if n := a.pings(10 * time.Second); n > 20 {
			t.Errorf("alone again it pings %d times in 10 s", n)
		}
	})
}

// TestAloneNoMore: what a leader vouched for while it knew of nobody else does not hold for longer
// than in a cluster once there is another member, which may lead by now.
func TestAloneNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "1")
		c.register("a", "1")
		c.leads("a")
		t.Cleanup(a.table.Lead(1))
		c.until(func() bool { return a.member.Renewed() })
		c.pass(5*time.Second, a.member.Renewed)
		a.sleep()
		defer a.wake()
		last := a.member.RenewedAt()
		for time.Since(last) < 2*time.Second {
			<-time.After(10 * time.Millisecond)
		}
		if !a.member.Renewed() {
			t.Error("alone it is not renewed 2 s after its last ping")
		}
		c.register("b", "1")
		if a.member.Renewed() {
			t.Error("as one of two it is renewed 2 s after its last ping")
		}
	})
}
