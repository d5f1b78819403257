package lead

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tally-kafka/tally/replication/ownership"
)

// TestTakeoverIsOneEntry: the death, and new owners for all its lanes, in a few milliseconds.
func TestTakeoverIsOneEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := settled(t, Config{}, 3, 12, 1)
		lost, before, n := c.of("n1"), c.read(), c.log()
		if len(lost) != 4 {
			t.Fatalf("n1 owns %v", lost)
		}
		c.kill("n1")
		took := c.until(func() bool { return c.log() > n })
		if took > 10*time.Millisecond {
			t.Errorf("the entry came after %v", took)
		}
		plan := c.entry(n).Plan
		if plan == nil || len(plan.Dead) != 1 || plan.Dead[0] != (ownership.Death{ID: "n1", Incarnation: "1"}) {
			t.Fatalf("the entry is %+v", c.entry(n))
		}
		for _, ref := range lost {
			i := slices.IndexFunc(plan.Lanes, func(ch ownership.LaneChange) bool { return ch.LaneRef == ref })
			was, _ := before.Lane(ref)
			if i < 0 || !slices.Contains(was.Standbys, plan.Lanes[i].To.Owner) {
				t.Errorf("%s is not with its standby %v", ref, was.Standbys)
			}
		}
		c.until(c.allOwned)
		if len(c.fencedSoFar()) > 0 {
			t.Errorf("fenced: %v", c.fencedSoFar())
		}
	})
}

// TestHungMember: its lanes go on elsewhere, and it is told to register.
func TestHungMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := settled(t, Config{}, 3, 12, 1)
		m := c.members["n2"]
		wake := c.hang("n2")
		c.before = func(ownership.Plan) (*ownership.Result, error) {
			c.before = nil
			wake() // it pings while the log decides, and is not vouched for
			for range 60 {
				if <-time.After(10 * time.Millisecond); m.session.Renewed() {
					t.Error("it is vouched for while its death is proposed")
				}
			}
			return nil, nil
		}
		took := c.until(func() bool { return len(c.of("n2")) == 0 })
		if took > 2000*time.Millisecond {
			t.Errorf("its lanes went after %v", took)
		}
		<-m.session.Unknown()
		if m.session.Renewed() {
			t.Error("it counts itself as renewed")
		}
		c.take(ownership.Command{Register: &ownership.Register{Member: *c.read().Members["n2"]}})
		c.until(func() bool { return m.session.Renewed() && len(c.of("n2")) == 4 && c.allOwned() })
	})
}

// TestOwnerlessIsFencedFirst: with no copy elsewhere a lane belongs to nobody until its fence has
// ended.
func TestOwnerlessIsFencedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := settled(t, Config{}, 3, 60, 0)
		lost, n := c.of("n1"), c.log()
		ended := map[ownership.LaneRef]uint64{} // and the epoch meanwhile
		c.fence = func(ctx context.Context, ref ownership.LaneRef) error {
			<-time.After(30 * time.Millisecond)
			c.mu.Lock()
			defer c.mu.Unlock()
			l, _ := c.state.Lane(ref)
			if l.Owner != "" || !l.Unfenced {
				t.Errorf("%s is %+v when its fence ends", ref, l)
			}
			ended[ref] = l.Epoch
			return nil
		}
		c.kill("n1")
		took := c.until(func() bool { return c.log() > n && c.allOwned() })
		if took > 200*time.Millisecond { // 20 lanes, 8 at once, 30 ms each
			t.Errorf("all were granted after %v", took)
		}
		first := c.entry(n).Plan
		if len(first.Dead) != 1 || len(first.Lanes) < len(lost) {
			t.Errorf("the first entry is %+v", first)
		}
		for _, ref := range lost {
			l, _ := c.read().Lane(ref)
			epoch, ok := ended[ref]
			if !ok || l.Epoch <= epoch {
				t.Errorf("%s has epoch %d and was fenced (%v) at %d", ref, l.Epoch, ok, epoch)
			}
		}
		if len(c.fencedSoFar()) != len(lost) || c.most != 8 {
			t.Errorf("%d fences for %d lanes, %d at once", len(c.fencedSoFar()), len(lost), c.most)
		}
	})
}

// TestFenceThatNeverReturns costs its own lane and no other, and a lane has one at a time.
func TestFenceThatNeverReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := settled(t, Config{FencesMax: 2}, 3, 30, 0)
		lost := c.of("n1")
		stuck, release := lost[:2], make(chan struct{})
		c.fence = func(_ context.Context, ref ownership.LaneRef) error {
			if slices.Contains(stuck, ref) {
				<-release
			}
			return nil
		}
		c.kill("n1")
		ownerless := func() (refs []ownership.LaneRef) {
			for ref, l := range c.read().Lanes() {
				if c.read().OwnerOf(l) == nil {
					refs = append(refs, ref)
				}
			}
			return refs
		}
		took := c.until(func() bool { return len(c.fencedSoFar()) > 2 && slices.Equal(ownerless(), stuck) })
		if took < 14*time.Second || took > 16*time.Second {
			t.Errorf("the others were granted after %v", took)
		}
		if why := c.lead.Ownerless()[stuck[0]]; !strings.Contains(why, "it waits for its fence, which Kafka has not answered for 1") {
			t.Errorf("%s has no owner: %q", stuck[0], why)
		}
		c.pass(20*time.Second, func() bool { return slices.Equal(ownerless(), stuck) })
		if len(c.fencedSoFar()) != len(lost) {
			t.Errorf("%d fences for %d lanes", len(c.fencedSoFar()), len(lost))
		}
		close(release)
		if took := c.until(c.allOwned); took > 10*time.Millisecond {
			t.Errorf("the last ones were granted %v after their fence ended", took)
		}
	})
}

// TestFailedFence is tried again, more and more seldom, and nothing is granted before it has ended
// well.
func TestFailedFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := settled(t, Config{}, 2, 2, 0)
		c.fence = func(context.Context, ownership.LaneRef) error { return errors.New("no broker answers") }
		lost := c.of("n1")[0]
		c.kill("n1")
		c.until(func() bool { return len(c.fencedSoFar()) > 0 })
		c.pass(30*time.Second, func() bool { return !c.allOwned() })
		if n := len(c.fencedSoFar()); n < 8 || n > 12 {
			t.Errorf("%d fences in 30 s", n)
		}
		if why := c.lead.Ownerless()[lost]; !strings.Contains(why, "its fence has failed") || !strings.Contains(why, "no broker answers") {
			t.Errorf("it has no owner: %q", why)
		}
		c.mu.Lock()
		c.fence = func(context.Context, ownership.LaneRef) error { return nil }
		c.mu.Unlock()
		if took := c.until(c.allOwned); took > 5100*time.Millisecond {
			t.Errorf("granted after %v", took)
		}
		c.until(func() bool { return len(c.lead.Ownerless()) == 0 })
	})
}

// TestDeposedInAFence: a leader that has lost its leadership grants nothing, and a later leadership
// waits for the call that the earlier one has begun, and fences again.
func TestDeposedInAFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, Config{})
		for _, id := range []string{"n0", "n1"} {
			c.start(id, "1")
		}
		c.put("app", 2, 0)
		stop := c.run(1)
		c.until(func() bool { return c.allOwned() })
		release := make(chan struct{})
		c.fence = func(context.Context, ownership.LaneRef) error { <-release; return nil }
		c.kill("n1")
		c.until(func() bool { return len(c.fencedSoFar()) == 1 })
		stop()
		if p := c.lead.Problems(); len(p) > 0 || len(c.lead.Ownerless()) > 0 || c.lead.Decision().Fence != nil {
			t.Errorf("problems after the leadership: %q", p)
		}
		n := c.log()
		stop = c.run(2)
		t.Cleanup(func() { c.end(); stop() })
		c.pass(10*time.Second, func() bool { return c.log() == n && len(c.fencedSoFar()) == 1 })
		release <- struct{}{}
		c.until(func() bool { return len(c.fencedSoFar()) == 2 })
		c.pass(time.Second, func() bool { return c.log() == n })
		close(release)
		c.until(c.allOwned)
	})
}

// TestEpochRaisedInAFence: the fence of an earlier epoch says nothing, but it is waited for.
func TestEpochRaisedInAFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := settled(t, Config{}, 2, 2, 0)
		release := make(chan struct{})
		c.fence = func(context.Context, ownership.LaneRef) error { <-release; return nil }
		ref := c.of("n1")[0]
		c.kill("n1")
		c.until(func() bool { return len(c.fencedSoFar()) == 1 })
		l, _ := c.read().Lane(ref)
		c.take(ownership.Command{RaiseEpoch: &ownership.RaiseEpoch{LaneRef: ref, Floor: l.Epoch + 5}})
		c.pass(time.Second, func() bool { return len(c.fencedSoFar()) == 1 && !c.allOwned() })
		release <- struct{}{}
		c.until(func() bool { return len(c.fencedSoFar()) == 2 })
		c.pass(time.Second, func() bool { return !c.allOwned() })
		close(release)
		c.until(c.allOwned)
		if got, _ := c.read().Lane(ref); got.Epoch <= l.Epoch+6 {
			t.Errorf("granted under %d", got.Epoch)
		}
	})
}

// TestStalePlan: what was decided of an older state is refused, and decided again.
func TestStalePlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := settled(t, Config{}, 3, 12, 1)
		n, refused := c.log(), 0
		c.before = func(p ownership.Plan) (*ownership.Result, error) {
			if refused == 0 && len(p.Dead) > 0 {
				c.take(ownership.Command{Drain: &ownership.Drain{ID: "n2", Draining: true}})
				if r := c.take(ownership.Command{Plan: &p}); r.Code == ownership.Stale {
					refused++
					return &r, nil
				}
			}
			return nil, nil
		}
		c.kill("n1")
		took := c.until(func() bool { return c.log() > n+1 && c.allOwned() && len(c.of("n1")) == 0 })
		if refused != 1 || took > 100*time.Millisecond {
			t.Errorf("%d plans were refused; all was well after %v", refused, took)
		}
	})
}

// TestDeposedLeader: another leader's entries make its plans stale; it changes nothing.
func TestDeposedLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := settled(t, Config{}, 3, 12, 1)
		old, stale := c.read(), 0
		var dead ownership.Plan
		c.before = func(p ownership.Plan) (*ownership.Result, error) {
			// The real log went on without this leader, which reads what it had.
			next, _ := old.Take(ownership.Command{Drain: &ownership.Drain{ID: "n2", Draining: true}})
			after, r := next.Take(ownership.Command{Plan: &p})
			if after != next || r.Code != ownership.Stale {
				t.Errorf("taken: %+v", r)
			}
			stale++
			dead = p
			return &r, nil
		}
		c.kill("n1")
		c.until(func() bool { return stale > 0 })
		c.pass(5*time.Second, func() bool { return c.read() == old })
		if stale > 25 || len(dead.Dead) != 1 {
			t.Errorf("%d stale plans in 5 s, the last one with %d deaths", stale, len(dead.Dead))
		}
	})
}

// TestRefusedPlan: one that can never be taken is not proposed four times a second.
func TestRefusedPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := settled(t, Config{}, 3, 12, 1)
		c.before = func(ownership.Plan) (*ownership.Result, error) {
			return &ownership.Result{Refused: "it is bad", Code: ownership.Bad}, nil
		}
		tried := c.tried
		c.kill("n1")
		c.pass(time.Minute, func() bool { return true })
		if n := c.tried - tried; n < 5 || n > 20 {
			t.Errorf("proposed %d times in a minute", n)
		}
		if p := strings.Join(c.lead.Problems(), "\n"); !strings.Contains(p, "it is bad") {
			t.Errorf("problems are %q", p)
		}
	})
}

// TestLogDoesNotAnswer: without most voters nothing moves, status says so, and it goes on after it.
func TestLogDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := settled(t, Config{}, 3, 12, 1)
		c.before = func(ownership.Plan) (*ownership.Result, error) { return nil, errors.New("no answer from most voters") }
		n := c.log()
		c.kill("n1")
		c.pass(10*time.Second, func() bool { return c.log() == n })
		if p := strings.Join(c.lead.Problems(), "\n"); !strings.Contains(p, "most voters") {
			t.Errorf("problems are %q", p)
		}
		c.mu.Lock()
		c.before = nil
		c.mu.Unlock()
		if took := c.until(func() bool { return c.log() > n && c.allOwned() }); took > 300*time.Millisecond {
			t.Errorf("all was well after %v", took)
		}
		if p := strings.Join(c.lead.Problems(), "\n"); strings.Contains(p, "most voters") {
			t.Errorf("problems are still %q", p)
		}
	})
}

// unsure is an answer of the log that says nothing yet.
type unsure struct{ settled chan struct{} }

func (u *unsure) Error() string            { return "no answer from most voters" }
func (u *unsure) Settled() <-chan struct{} { return u.settled }

// TestUnsureOfAPlan: while it is not known whether a plan comes into the log, no other is proposed,
// and nobody is vouched for whom it has for dead.
func TestUnsureOfAPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := settled(t, Config{}, 3, 12, 1)
		open := &unsure{make(chan struct{})}
		var tried atomic.Int32
		c.mu.Lock()
		c.before = func(ownership.Plan) (*ownership.Result, error) {
			tried.Add(1)
			return nil, open
		}
		c.mu.Unlock()
		wake, hung := c.hang("n1"), c.members["n1"].session
		c.until(func() bool { return tried.Load() > 0 })
		wake()
		c.pass(30*time.Second, func() bool { return tried.Load() == 1 && !hung.Renewed() })
		c.mu.Lock()
		c.before = nil
		c.mu.Unlock()
		close(open.settled)
		c.until(func() bool { return hung.Renewed() || !c.read().Members["n1"].Alive })
	})
}

// TestMoreThanHalfGone: nothing is proposed until the leader is sure. It may see two of the three
// gone, which are no half, a look before the third, and has their lanes taken over then: so it is
// tried anew.
func TestMoreThanHalfGone(t *testing.T) {
	atOnce := false
	for tries := 0; tries < 10 && !atOnce && !t.Failed(); tries++ {
		synctest.Test(t, func(t *testing.T) { atOnce = threeOfFiveGone(t) })
	}
	if !atOnce && !t.Failed() {
		t.Error("a plan was made before the leader was unsure, each time")
	}
}

// threeOfFiveGone reports whether the leader has seen all three gone at one look.
func threeOfFiveGone(t *testing.T) bool {
	c := settled(t, Config{}, 5, 20, 1)
	n := c.log()
	for _, id := range []string{"n1", "n2", "n3"} {
		c.hang(id)
	}
	c.until(func() bool {
		return c.log() > n || strings.Contains(strings.Join(c.lead.Problems(), "\n"), "were lost at once")
	})
	if c.log() > n {
		return false
	}
	c.take(ownership.Command{Drain: &ownership.Drain{ID: "n4", Draining: true}})
	n++
	c.pass(9*time.Second, func() bool { return c.log() == n })
	c.until(func() bool { return c.log() > n })
	if dead := c.entry(n).Plan.Dead; len(dead) != 3 {
		t.Errorf("dead are %v", dead)
	}
	c.until(c.allOwned)
	return true
}

// TestAtRest: ten minutes without an event are ten minutes without a proposal.
func TestAtRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := settled(t, Config{}, 3, 12, 1)
		n, tried := c.log(), c.tried
		<-time.After(10 * time.Minute)
		synctest.Wait()
		if c.log() != n || c.tried != tried {
			t.Errorf("%d proposals, %d entries", c.tried-tried, c.log()-n)
		}
	})
}

// TestDrain: lanes move away one after the other, and each move ends.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := settled(t, Config{}, 3, 12, 1)
		c.take(ownership.Command{Drain: &ownership.Drain{ID: "n1", Draining: true}})
		took := c.until(func() bool { return len(c.of("n1")) == 0 && c.allOwned() })
		if took > 500*time.Millisecond {
			t.Errorf("drained after %v", took)
		}
	})
}
