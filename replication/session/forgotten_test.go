package session

import (
	"testing"
	"time"

	"github.com/tally-kafka/tally/replication/ownership"
)

// TestForgottenAndBack: a member that is forgotten and registers again between two pings of one
// connection is asked for a whole report; without one it would never count as live.
func TestForgottenAndBack(t *testing.T) {
	now := time.Unix(0, 0)
	m := ownership.Member{ID: "a", Name: "a", Incarnation: "1", Addr: "a:1", Format: 1, Capacity: 1}
	with, _ := ownership.New().Take(ownership.Command{Register: &ownership.Register{Member: m}})
	without, _ := with.Take(ownership.Command{Forget: &ownership.Forget{ID: "a"}})
	again, _ := without.Take(ownership.Command{Register: &ownership.Register{Member: m}})
	r := roster{ttl: time.Second, pauseMax: time.Second, copiesMax: 10}
	r.lead(1)
	say := func(full bool) (known bool) {
		t.Helper()
		known, _, err := r.ping(1, ping{Report: Report{ID: "a", Incarnation: "1"}, Full: full}, now)
		if err != nil {
			t.Fatal(err)
		}
		return known
	}
	r.observe(with, now)
	if !say(true) || !say(false) || !r.view(now).Sessions["a"].Live {
		t.Fatal("a member with a whole report is not live")
	}
	r.observe(without, now)
	r.observe(again, now)
	if say(false) {
		t.Error("what was said before it was forgotten counts")
	}
	if !say(true) || !r.view(now).Sessions["a"].Live {
		t.Error("it does not come back")
	}
}
