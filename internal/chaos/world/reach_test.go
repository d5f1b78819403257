package world

import (
	"slices"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/chaos/plan"
	"github.com/tally-kafka/tally/internal/step"
)

// TestReachFirst: the target alone is waited for at first, and later whoever comes first; the
// others are then armed no more.
func TestReachFirst(t *testing.T) {
	w := newFakeWorld(t, idle)
	for _, name := range []string{"a", "b"} {
		must(t, w.nodes[name].start())
	}
	a, b := inside(t, w.nodes["a"]), inside(t, w.nodes["b"])
	for try, comes := range []string{"a", "b", "a"} {
		f := w.fault(plan.Kill, string(step.Apply))
		reached := make(chan bool, 1)
		go func() { reached <- f.reach(t.Context(), try) }()
		first, other := a, b
		if comes == "b" {
			first, other = b, a
		}
		hits := make(chan bool, 1)
		go func() {
			for f.w.nodes[comes].shared.Count(step.Apply) == 0 || len(reached) == 0 {
				first.Hit(step.Apply)
				<-time.After(time.Millisecond)
			}
			hits <- true
		}()
		until(t, "the step is reached", func() bool { return len(reached) > 0 })
		if !<-reached || f.hurt[0] != comes || f.rec.Step != string(step.Apply) || !f.rec.Exact || len(f.armed) != 1 {
			t.Fatalf("try %d: %v is held at %q, exactly: %t", try, f.hurt, f.rec.Step, f.rec.Exact)
		}
		began := time.Now()
		if other.Hit(step.Apply); time.Since(began) > holdMost/2 {
			t.Errorf("try %d: another node is armed still", try)
		}
		if !w.nodes[comes].shared.Held(f.armed[0].slot) {
			t.Errorf("try %d: %s is not held any more", try, comes)
		}
		reached <- true
		f.release()
		<-hits
		w.nodes[comes].shared.Reset()
	}
}

// TestReleaseApart: a fault that ends, or waits in vain, leaves the node held for another one.
func TestReleaseApart(t *testing.T) {
	w := newFakeWorld(t, idle)
	must(t, w.nodes["a"].start())
	a := inside(t, w.nodes["a"])
	stall, other := w.fault(plan.Stall, string(step.Flush)), w.fault(plan.Kill, string(step.Fence))
	stall.For = time.Minute
	reached := make(chan bool, 1)
	go func() { reached <- stall.reach(t.Context(), 0) }()
	gone := make(chan bool, 1)
	go func() {
		for len(reached) == 0 {
			a.Hit(step.Flush)
		}
		gone <- true
	}()
	if !<-reached {
		t.Fatal("it is not reached")
	}
	reached <- true
	other.end = time.Now().Add(20 * time.Millisecond)
	if other.reach(t.Context(), 0) || len(other.armed) > 0 {
		t.Error("a step that does not come is reached")
	}
	still(t, "the end of another fault lets the stalled node go", gone)
	if !w.nodes["a"].shared.Held(stall.armed[0].slot) {
		t.Error("the node is not held any more")
	}
	stall.release()
	<-gone
}

// TestWhoTrims: a trim is waited for at the nodes that do so.
func TestWhoTrims(t *testing.T) {
	w := newFakeWorld(t, idle)
	for _, name := range []string{"a", "b"} {
		must(t, w.nodes[name].start())
	}
	names := func() (names []string) {
		for _, n := range w.fault(plan.Kill, string(step.Trim)).whoMayCome(0, step.Trim) {
			names = append(names, n.name)
		}
		return names
	}
	if got := names(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("before any trim it is %v", got)
	}
	inside(t, w.nodes["b"]).Hit(step.Trim)
	if got := names(); !slices.Equal(got, []string{"b"}) {
		t.Errorf("it is %v, and b trims", got)
	}
}

// TestReachTransition: a transition is reached when the nodes say that it is under way, and not
// when somebody has asked for it.
func TestReachTransition(t *testing.T) {
	lane := api.LaneStatus{Lane: 1, Owner: "a", State: api.LaneRunning}
	moving, idleNode := lane, api.NodeStatus{Name: "a", Alive: true, Draining: true}
	moving.From = "b"
	drains := idleNode
	drains.Lanes = 2
	of := func(l api.LaneStatus, nodes ...api.NodeStatus) api.Status {
		return api.Status{Nodes: nodes, Leader: "b", Apps: []api.AppStatus{{App: LocalApp, Lanes: []api.LaneStatus{l}}}}
	}
	for _, c := range []struct {
		at          string
		before, now api.Status
		who         string
	}{
		{"moving", of(lane), of(moving), "a"},
		{"draining", of(lane, idleNode), of(lane, drains), "a"},
	} {
		w := newFakeWorld(t, idle)
		must(t, w.nodes["a"].start())
		w.say(c.before)
		f := w.fault(plan.Kill, c.at)
		reached := make(chan bool, 1)
		go func() { reached <- f.reach(t.Context(), 0) }()
		still(t, c.at+" is reached when it was asked for", reached)
		w.say(c.now)
		until(t, c.at+" is reached", func() bool { return len(reached) > 0 })
		if !<-reached || f.hurt[0] != c.who || f.rec.Exact {
			t.Errorf("%s: %v, exactly: %t", c.at, f.hurt, f.rec.Exact)
		}
		f.reached = true
		f.came(0)
		if !slices.Contains(f.rec.Transitions, c.at) {
			t.Errorf("it came during %v, not %s", f.rec.Transitions, c.at)
		}
	}
}

// TestReachJoining: a node joins once it runs and answers, and can then be stopped.
func TestReachJoining(t *testing.T) {
	w := newFakeWorld(t, idle)
	must(t, w.nodes["a"].start())
	w.fall()
	f := w.fault(plan.Stop, "joining")
	reached := make(chan bool, 1)
	go func() { reached <- f.reach(t.Context(), 0) }()
	still(t, "a node joins that has not answered", reached)
	w.say(api.Status{Leader: "a"})
	until(t, "the node joins", func() bool { return len(reached) > 0 })
	if !<-reached || f.hurt[0] != "d" || !w.nodes["d"].lively() {
		t.Errorf("%v joins, and runs: %t", f.hurt, w.nodes["d"].lively())
	}
	n, err := f.awaitLively(t.Context())
	if err != nil || n.name != "d" {
		t.Errorf("%v: %v", n.name, err)
	}
	w.nodes["d"].kill() // by another fault: who shall end it later finds nobody
}

// TestTransitions: what a process has said that is gone, and what the cluster has said long ago,
// counts for nothing.
func TestTransitions(t *testing.T) {
	w := newFakeWorld(t, idle)
	n := w.nodes["a"]
	restoring := api.Status{Apps: []api.AppStatus{{App: LocalApp, Lanes: []api.LaneStatus{
		{Lane: 0, State: api.LaneRestoring}, {Lane: 1, State: api.LaneStandby, Role: api.RoleStandby}, {Lane: 2, State: api.LaneRunning, Target: "a"},
	}}}}
	w.views["a"], w.whole = view{time.Now(), restoring}, view{time.Now(), restoring}
	defer w.begin("joining", "a")()
	defer w.begin("draining", "a")()
	if got := w.transitions("a"); len(got) > 0 {
		t.Errorf("a node that does not run is %v", got)
	}
	must(t, n.start())
	if got := w.transitions("a"); !slices.Equal(got, []string{"moving"}) {
		t.Errorf("a node that has just started is %v", got)
	}
	w.views["a"], w.whole = view{time.Now(), restoring}, view{time.Now().Add(-2 * wholeMost), restoring}
	if got := w.transitions("a"); !slices.Equal(got, []string{"joining", "restoring", "standby"}) {
		t.Errorf("the node is %v", got)
	}
}

// TestOwed: a pair that was missed is given to a later fault of the kind whose own has come often
// enough, once, and to no other.
func TestOwed(t *testing.T) {
	c := newCells()
	hit := func(kind plan.Kind, row string, f history.Fault) { c.note(kind, c.deal(kind, row), f) }
	hit(plan.Kill, "trim", history.Fault{Step: "poll"})
	hit(plan.Kill, "moving", history.Fault{Step: "moving", Failed: "there was nothing to kill"})
	hit(plan.Stop, "trim", history.Fault{Step: "trim", Transitions: []string{"moving"}})
	for range cellHits - 1 {
		if got := c.deal(plan.Kill, "poll"); got != "poll" {
			t.Fatalf("poll is dealt as %s", got)
		}
		hit(plan.Kill, "poll", history.Fault{Step: "poll"})
	}
	for i, want := range []string{"trim", "moving", "poll"} {
		if got := c.deal(plan.Kill, "poll"); got != want {
			t.Errorf("poll is dealt as %s, not %s, the %d. time", got, want, i)
		}
	}
	hit(plan.Kill, "trim", history.Fault{Step: "flush"})
	for range cellHits {
		c.note(plan.Kill, "trim", history.Fault{Step: "trim"})
	}
	if got := c.deal(plan.Kill, "poll"); got != "poll" {
		t.Errorf("%s is dealt, which has come often enough meanwhile", got)
	}
	if got := c.deal(plan.Stop, "poll"); got != "poll" || c.deal(plan.Kill, "") != "" {
		t.Errorf("another kind is dealt %s", got)
	}
}
