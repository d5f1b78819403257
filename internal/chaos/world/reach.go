package world

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/plan"
	"github.com/tally-kafka/tally/internal/step"
)

const (
	// reachTimes is how many nodes at most are waited for at a step, and reachMost how long each;
	// the fault comes anyway to the last one, which is the second if that lives.
	reachTimes = 3
	reachMost  = 5 * time.Second
	trimMost   = 11 * time.Second // between two trims, and a reserve
	// holdMost is how long a node is held while the fault comes to it.
	holdMost = 2 * time.Second
)

// reach brings the node to the step or the transition at which the fault shall come, and holds it
// there. Where that does not come in time the fault comes wherever the node is.
func (f *fault) reach(ctx context.Context) {
	n := f.w.nodes[f.hurt[0]]
	if slices.Contains(plan.Transitions, f.Step) {
		f.reachTransition(ctx, n)
		return
	}
	name, hits := step.Name(f.Step), 1+f.rand.IntN(f.hitsMost())
	hold := holdMost
	if f.Kind == plan.Stall {
		hold = f.For + time.Second
	}
	if name == step.Ingest || name == step.CatchUp {
		f.startFromNothing(n)
	}
	n.shared.Arm(name, hits, hold)
	f.held = n
	if slices.Contains(acquireSteps, name) {
		go f.w.moveSomeLaneTo(ctx, n.name, f.rand.Uint64())
	}
	if f.poll(ctx, func() bool { return n.shared.Held() == name }) {
		f.rec.Step, f.rec.Exact = f.Step, true
		return
	}
	f.release()
}

// acquireSteps come when the node gets a lane.
var acquireSteps = []step.Name{step.Fence, step.Barrier, step.CompareOffsets}

// hitsMost spreads the hits at which the node is held over what comes within a second or so.
func (f *fault) hitsMost() int {
	switch step.Name(f.Step) {
	case step.ProduceOutput, step.ProduceChangelog, step.ProducePartial:
		return 500
	case step.Poll, step.Fold, step.Read:
		return 15
	case step.ProducePosition, step.Flush, step.Offsets, step.EndTxnSent, step.EndTxnAnswered, step.Publish:
		return 6
	case step.ProduceDead, step.CatchUp:
		return 3
	}
	return 1
}

// release lets the node go on that is held for this fault.
func (f *fault) release() {
	if f.held != nil {
		f.held.shared.Disarm()
		f.held = nil
	}
}

func (f *fault) poll(ctx context.Context, look func() bool) bool {
	most := reachMost
	if f.Step == string(step.Trim) {
		most = trimMost
	}
	for end := time.Now().Add(most); time.Now().Before(end) && ctx.Err() == nil; {
		if look() {
			return true
		}
		<-time.After(time.Millisecond)
	}
	return false
}

// startFromNothing restarts the node without its stores, so that it reads the changelogs from their
// beginning.
func (f *fault) startFromNothing(n *node) {
	if n.kill() {
		f.rec.Signal++
		_ = os.RemoveAll(filepath.Join(n.dir, "state"))
		if err := n.start(); err != nil {
			f.w.problem("node %s does not start again: %v", n.name, err)
		}
	}
}

// reachTransition has a transition begin, and waits until the node is in it.
func (f *fault) reachTransition(ctx context.Context, n *node) {
	switch f.Step {
	case "acquiring", "moving":
		go f.w.moveSomeLaneTo(ctx, n.name, f.rand.Uint64())
	case "restoring", "standby":
		f.startFromNothing(n)
	case "draining":
		go f.w.drainFor(ctx, n.name, reachMost)
	case "joining":
		spare := f.spare()
		if spare == "" {
			return
		}
		f.hurt = []string{spare}
		n = f.w.nodes[spare]
		go f.w.joinFor(ctx, n, 15*time.Second, f.end)
	}
	f.rec.Exact = f.poll(ctx, func() bool {
		if n.lively() && f.Step != "moving" && f.Step != "draining" && f.Step != "joining" {
			_ = f.w.look(ctx, n)
		}
		return slices.Contains(f.w.transitions(n.name), f.Step)
	})
}

// spare is a node that does not run; "" when there is none.
func (f *fault) spare() string {
	var free []string
	for _, name := range f.w.opt.Spare {
		if f.w.nodes[name].running() == nil {
			free = append(free, name)
		}
	}
	if len(free) == 0 {
		return ""
	}
	return pick(f.rand, free...)
}

// moveSomeLaneTo moves a lane to the node that it does not have.
func (w *World) moveSomeLaneTo(ctx context.Context, name string, chance uint64) {
	w.mu.Lock()
	var other []string
	from := map[string]string{}
	for owner, v := range w.views {
		for _, a := range v.st.Apps {
			for _, l := range a.Lanes {
				if owner != name && l.Owner == owner && a.App != PassingApp {
					lane := fmt.Sprintf("%s/%d", a.App, l.Lane)
					other = append(other, lane)
					from[lane] = owner
				}
			}
		}
	}
	w.mu.Unlock()
	if len(other) == 0 {
		return
	}
	slices.Sort(other)
	lane := other[chance%uint64(len(other))]
	_ = w.moveLane(ctx, lane, from[lane], name, 8*time.Second)
}
