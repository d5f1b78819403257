package node

import (
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/replication/ownership"
)

// A reset goes from a dead node to the first by id that is alive and not drained; from one that
// lives and has left it to the next one, so that each has its turn.
func TestSuccessor(t *testing.T) {
	t.Parallel()
	st := ownership.New()
	for id, m := range map[string]*ownership.Member{
		"b": {Alive: true}, "c": {}, "d": {Alive: true}, "e": {Alive: true, Draining: true}, "f": {Alive: true},
	} {
		m.ID, st.Members[id] = id, m
	}
	for left, want := range map[string]string{"": "b", "a": "b", "b": "d", "c": "d", "d": "f", "e": "f", "f": "b", "g": "b"} {
		if got := successor(st, left); got != want {
			t.Errorf("after %q it is %q, not %q", left, got, want)
		}
	}
	for _, m := range st.Members {
		m.Alive = m.ID == "e" || m.ID == "d"
	}
	if got := successor(st, "d"); got != "d" {
		t.Errorf("beside a drained node it is %q", got)
	}
	st.Members["d"].Draining = true
	if got := successor(st, "d"); got != "e" {
		t.Errorf("of two that are drained it is %q", got)
	}
}

// A node that has lost Kafka leaves a reset to another, once it has had it in hand for a while and
// if there is another; the app stays halted, with the same reset.
func TestResetIsPassedOn(t *testing.T) {
	t.Parallel()
	now := seam.World().Now()
	n := &Node{dir: &dataDir{}, started: now.Add(-time.Hour)}
	n.cfg.Seam, n.cfg.Name, n.cfg.PassResetAfter = seam.Seam{Now: func() time.Time { return now }}, "node-a", 15*time.Second
	n.dir.id.ID = "a"
	in := &intent{App: "x", Node: "a", AppID: "id", Generation: 2, Start: []int64{0}}
	app := &ownership.App{Name: "x", ID: "id", Generation: 1, Halted: n.resetting(), Intent: in.log()}
	st := ownership.New()
	st.Apps["x"] = app
	st.Members["a"] = &ownership.Member{ID: "a", Alive: true}
	st.Members["b"] = &ownership.Member{ID: "b", Alive: true}
	held := map[string]time.Time{}
	passes := func(what string, want int) (passed []ownership.HaltApp) {
		t.Helper()
		if held, passed = n.heldTooLong(st, held); len(passed) != want {
			t.Errorf("%s: %d are passed on", what, len(passed))
		}
		return passed
	}
	passes("it has just got it in hand", 0)
	now = now.Add(16 * time.Second)
	for _, halt := range passes("it has had it for a while", 1) {
		left := *app
		left.Halted, left.Intent = halt.Halted, halt.Intent
		got, err := resetOf(&left)
		if err != nil || got.Node != "" || got.Left != "a" || got.Generation != 2 || halt.Name != "x" || halt.Halted == app.Halted {
			t.Errorf("it is left as %+v, %v; %q", got, err, halt.Halted)
		}
		if mine := n.mine(got); mine.Left != "" || mine.Node != "a" {
			t.Errorf("who takes it up has %+v", mine)
		}
	}
	n.contactAt = now.Add(-time.Second)
	passes("it reaches Kafka", 0)
	n.contactAt = time.Time{}
	st.Members["b"].Alive = false
	passes("there is no other node", 0)
	st.Members["b"].Alive = true
	app.Intent = (&intent{App: "x", Node: "b", Generation: 2}).log()
	passes("another has it in hand", 0)
	app.Intent = in.log()
	passes("it has it again", 0)
	now = now.Add(16 * time.Second)
	app.Halted = deleting
	passes("the app is being deleted", 0)
}
