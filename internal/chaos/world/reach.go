package world

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/chaos/plan"
	"github.com/tally-kafka/tally/internal/failpoint"
	"github.com/tally-kafka/tally/internal/step"
)

const (
	// reachTimes is how often at most a step or a transition is waited for, and reachMost how long
	// each time; then the fault comes anyway.
	reachTimes = 3
	reachMost  = 5 * time.Second
	trimMost   = 11 * time.Second // between two trims, and a reserve
	// holdMost is how long a node is held while the fault comes to it.
	holdMost = 2 * time.Second
)

// armed is a node that stands at a step, or shall, for a fault.
type armed struct {
	n    *node
	slot failpoint.Slot
}

// reach brings a node to the step or the transition at which the fault shall come, and says whether
// that came in time. It is the target of the fault at the first try; at later ones, where the step
// is waited for, whoever comes there first.
func (f *fault) reach(ctx context.Context, try int) bool {
	n := f.w.nodes[f.hurt[0]]
	switch f.Step {
	case "acquiring":
		f.moveHere(ctx, n)
		return f.reachStep(ctx, try, pick(f.rand, step.Fence, step.Barrier)) && f.isIn(ctx)
	case "restoring":
		f.moveHere(ctx, n)
		return f.reachStep(ctx, try, step.CompareOffsets) && f.isIn(ctx)
	case "standby":
		f.startFromNothing(n)
	case "moving":
		f.moveHere(ctx, n)
	case "draining":
		f.w.beside.Go(func() { _ = f.w.drainFor(ctx, n.name, reachMost) })
	case "joining":
		spare := ""
		if !f.poll(ctx, func() bool { spare = f.spare(); return spare != "" }) {
			return false
		}
		f.hurt = []string{spare}
		f.w.beside.Go(func() { _ = f.w.joinFor(ctx, f.w.nodes[spare], 15*time.Second, f.end) })
	default:
		return f.reachStep(ctx, try, step.Name(f.Step))
	}
	return f.poll(ctx, func() bool { return f.isIn(ctx) })
}

// isIn looks whether the target is in the transition at which the fault shall come.
func (f *fault) isIn(ctx context.Context) bool {
	n := f.w.nodes[f.hurt[0]]
	if f.Step == "moving" || f.Step == "draining" {
		f.w.lookAtAll(ctx)
	} else if !n.lively() || f.w.look(ctx, n) != nil {
		return false
	}
	return slices.Contains(f.w.transitions(n.name), f.Step)
}

// reachStep waits until a node comes to the step, and holds it there.
func (f *fault) reachStep(ctx context.Context, try int, name step.Name) bool {
	n, hits := f.w.nodes[f.hurt[0]], 1+f.rand.IntN(hitsMost(name))
	switch {
	case name == step.Ingest || name == step.CatchUp:
		f.startFromNothing(n)
	case slices.Contains(acquireSteps, name) && name == step.Name(f.Step):
		f.moveHere(ctx, n)
	}
	hold := holdMost
	if f.Kind == plan.Stall {
		hold = f.For + time.Second
	}
	for _, n := range f.whoMayCome(try, name) {
		if slot, ok := n.shared.Arm(name, hits, hold); ok {
			f.armed = append(f.armed, armed{n, slot})
		}
	}
	if !f.poll(ctx, f.caught) {
		f.release()
		return false
	}
	f.hurt = []string{f.armed[0].n.name}
	f.rec.Step, f.rec.Exact = string(name), true
	return true
}

// whoMayCome are the nodes that are armed: the target, and at a later try all that live. A trim
// comes each ten seconds where there is something to trim at all, which shows.
func (f *fault) whoMayCome(try int, name step.Name) (nodes []*node) {
	var trim []*node
	for _, alive := range f.w.alive() {
		n := f.w.nodes[alive]
		nodes = append(nodes, n)
		if n.shared.Count(step.Trim) > 0 {
			trim = append(trim, n)
		}
	}
	switch {
	case name == step.Trim && len(trim) > 0:
		return trim
	case name == step.Trim || try > 0:
		return nodes
	}
	return []*node{f.w.nodes[f.hurt[0]]}
}

// caught says whether a node is held, of which the others are then disarmed.
func (f *fault) caught() bool {
	at := slices.IndexFunc(f.armed, func(a armed) bool { return a.n.shared.Held(a.slot) })
	if at < 0 {
		return false
	}
	first := f.armed[at]
	f.armed = slices.Delete(f.armed, at, at+1)
	f.release()
	f.armed = []armed{first}
	return true
}

// release lets the node go on that is held for this fault, and takes back what is armed for it.
func (f *fault) release() {
	for _, a := range f.armed {
		a.n.shared.Disarm(a.slot)
	}
	f.armed = nil
}

// acquireSteps come when the node gets a lane.
var acquireSteps = []step.Name{step.Fence, step.Barrier, step.CompareOffsets}

// hitsMost spreads the hits at which the node is held over what comes within a second or so.
func hitsMost(name step.Name) int {
	switch name {
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

// poll looks until there is something, for as long as the step takes to come at most, and not
// beyond the time at which faults have to be over.
func (f *fault) poll(ctx context.Context, look func() bool) bool {
	most := reachMost
	if f.Step == string(step.Trim) {
		most = trimMost
	}
	end := time.Now().Add(most)
	if end.After(f.end) {
		end = f.end
	}
	for ; time.Now().Before(end) && ctx.Err() == nil; <-time.After(time.Millisecond) {
		if look() {
			return true
		}
	}
	return false
}

// awaitLively waits until the target runs: another fault may have it just now.
func (f *fault) awaitLively(ctx context.Context) (*node, error) {
	n := f.w.nodes[f.hurt[0]]
	if !f.poll(ctx, n.lively) {
		return n, cmp.Or(ctx.Err(), errNotRunning)
	}
	return n, nil
}

// startFromNothing restarts the node without its stores, so that it reads the changelogs from their
// beginning.
func (f *fault) startFromNothing(n *node) {
	began := time.Now()
	if !n.kill() {
		return
	}
	err := n.atRest(func() error { return os.RemoveAll(filepath.Join(n.dir, "state")) })
	if errors.Is(err, errStarted) {
		return
	}
	if err != nil {
		f.w.problem("node %s keeps its stores: %v", n.name, err)
	}
	f.rec.Emptied = append(f.rec.Emptied, history.Emptied{Node: n.name, Began: began, Ended: time.Now()})
	if err := n.start(); err != nil {
		f.w.problem("node %s does not start again: %v", n.name, err)
	}
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

// moveHere has some lane move to the node, beside what the fault does.
func (f *fault) moveHere(ctx context.Context, n *node) {
	chance := f.rand.Uint64()
	f.w.beside.Go(func() { f.w.moveSomeLaneTo(ctx, n.name, chance) })
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
