package world

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/chaos/plan"
)

// fault is one that is being carried out.
type fault struct {
	plan.Fault
	w    *World
	rand *rand.Rand
	rec  history.Fault
	end  time.Time // when it has to be over

	hurt    []string // who gets it
	reached bool     // it comes at Step
	armed   []armed  // until they are released
}

// carryOut lets every fault come at its time, and waits until all are over, with all that they have
// begun.
func (w *World) carryOut(ctx context.Context, s plan.Schedule, began time.Time) {
	w.mu.Lock()
	w.broke = began
	w.mu.Unlock()
	var all sync.WaitGroup
	end := began.Add(s.Length - quietMost)
	for _, planned := range s.Faults {
		if !sleepUntil(ctx, began.Add(planned.At)) {
			break
		}
		if !s.Load.Dealt {
			planned.Step = w.cells.deal(planned.Kind, planned.Step)
		}
		f := &fault{Fault: planned, w: w, rand: rand.New(rand.NewPCG(s.Seed, uint64(999+planned.ID))), end: end,
			rec: history.Fault{ID: planned.ID, Kind: string(planned.Kind), Line: planned.String()}}
		all.Go(func() { f.run(ctx) })
	}
	all.Wait()
	w.beside.Wait()
	w.mu.Lock()
	w.calm = time.Now()
	w.mu.Unlock()
	sleepUntil(ctx, end)
}

func sleepUntil(ctx context.Context, at time.Time) bool {
	select {
	case <-time.After(time.Until(at)):
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// run carries one fault out, and writes down what came of it.
func (f *fault) run(ctx context.Context) {
	do := f.deed()
	if do == nil {
		panic(fmt.Sprintf("world: nobody carries out %q", f.Kind))
	}
	kind, row := f.Kind, f.Step
	f.rec.Began = time.Now()
	if err := do(ctx); err != nil {
		f.rec.Failed = err.Error()
	}
	f.release()
	f.rec.Ended = time.Now()
	f.w.cells.note(kind, row, f.rec)
	f.w.write(history.Event{Kind: history.KindFault, Fault: &f.rec})
	f.w.mu.Lock()
	f.w.faults = append(f.w.faults, f.rec)
	f.w.mu.Unlock()
}

func (f *fault) deed() func(context.Context) error {
	return map[plan.Kind]func(context.Context) error{
		plan.Kill: f.kill, plan.Power: f.cutPower, plan.Stop: f.stop, plan.Restart: f.restart, plan.Roll: f.roll, plan.Cut: f.cut, plan.Freeze: f.cut,
		plan.OneWay: f.oneWay, plan.Slow: f.cut, plan.Lossy: f.cut, plan.Drop: f.drop, plan.Disk: f.disk, plan.Stall: f.stall, plan.Fsync: f.fsync,
		plan.Clock: f.clock, plan.Wipe: f.wipe, plan.Flip: f.flip, plan.Join: f.join, plan.Drain: f.drain, plan.Move: f.move,
		plan.Submit: f.submit, plan.BrokerKill: f.brokerKill, plan.BrokerStop: f.brokerStop, plan.BrokerCut: f.brokerCut,
		plan.ControllerKill: f.brokerKill, plan.Compact: f.compact,
	}[f.Kind]
}

// came writes down that the fault has begun, to whom, and where they were.
func (f *fault) came(signals int) {
	f.rec.Began, f.rec.Signal = time.Now(), signals
	f.rec.Target = strings.Join(f.hurt, " ")
	if len(f.hurt) == 1 && f.w.nodes[f.hurt[0]] != nil {
		n := f.w.nodes[f.hurt[0]]
		f.rec.Step = cmp.Or(f.rec.Step, string(n.shared.Last()))
		f.rec.Transitions = f.w.transitions(n.name)
		if f.reached && slices.Contains(plan.Transitions, f.Step) && !slices.Contains(f.rec.Transitions, f.Step) {
			f.rec.Transitions = append(f.rec.Transitions, f.Step) // it was seen a moment ago
		}
	}
	rec := f.rec
	f.w.write(history.Event{Kind: history.KindFault, Fault: &rec})
}

// last waits for as long as the fault lasts.
func (f *fault) last(ctx context.Context) {
	at := time.Now().Add(f.For)
	if at.After(f.end) {
		at = f.end
	}
	sleepUntil(ctx, at)
}

// counter gives how much has come since now to what a node counts. A node that starts meanwhile
// counts anew.
func (f *fault) counter(count func() uint64) (since func() int64) {
	before := count()
	return func() int64 {
		now := count()
		if now < before {
			before = 0
		}
		return int64(now - before)
	}
}

// hitMost is how long a fault may last longer than it was to until it has hit something: a store
// flushes at least every 5 s where it has what is new.
const hitMost = 10 * time.Second

// lastUntilHit waits for as long as the fault lasts, and for a while until it has hit something,
// which it counts.
func (f *fault) lastUntilHit(ctx context.Context, hits func() int64) {
	f.last(ctx)
	end := time.Now().Add(hitMost)
	if end.After(f.end) {
		end = f.end
	}
	for hits() == 0 && time.Now().Before(end) && ctx.Err() == nil {
		<-time.After(time.Millisecond)
	}
	f.rec.Effects = hits()
}

// choose resolves the target, and brings it to the step at which the fault shall come. Where it
// does not come there, as when another fault has it meanwhile, it is somebody else; and the fault
// comes anyway where nobody does.
func (f *fault) choose(ctx context.Context) error {
	var waited string
	for try := range reachTimes {
		if f.hurt = f.resolve(); len(f.hurt) == 0 {
			return errors.New("no node runs")
		}
		if len(f.hurt) > 1 || f.Step == "" {
			return nil
		}
		if others := without(f.w.alive(), waited); f.hurt[0] == waited && len(others) > 0 {
			f.hurt[0] = pick(f.rand, others...)
		}
		if f.reached = f.reach(ctx, try); f.reached {
			return nil
		}
		f.release()
		f.rec.Step, f.rec.Exact, waited = "", false, f.hurt[0]
	}
	if f.hurt = f.resolve(); len(f.hurt) == 0 {
		return errors.New("no node runs")
	}
	return nil
}

// resolve says whom a role means now.
func (f *fault) resolve() []string {
	alive := f.w.alive()
	if len(alive) == 0 {
		return nil
	}
	owners := living(f.w.holders(false, ""), alive)
	leader := f.w.leader()
	role, of, _ := strings.Cut(f.Target, " ")
	var among []string
	switch role {
	case "all":
		return alive
	case "two":
		if others := without(owners, leader); len(others) > 0 && slices.Contains(alive, leader) {
			return []string{leader, pick(f.rand, others...)}
		}
		f.rand.Shuffle(len(alive), func(i, j int) { alive[i], alive[j] = alive[j], alive[i] })
		return alive[:min(2, len(alive))]
	case "leader":
		among = living([]string{leader}, alive)
	case "node":
		among = living([]string{of}, alive)
	case "standby":
		among = living(f.w.holders(true, strings.TrimPrefix(of, "of ")), alive)
	case "owner":
		lane := strings.TrimPrefix(of, "of ")
		if among = living(f.w.holders(false, lane), alive); lane == "" && len(without(among, leader)) > 0 {
			among = without(among, leader)
		}
	}
	if len(among) == 0 {
		among = alive
	}
	return []string{pick(f.rand, among...)}
}

func living(names, alive []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !slices.Contains(alive, n) })
}

func without(names []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == name })
}

// kill ends nodes with SIGKILL, and starts them again.
func (f *fault) kill(ctx context.Context) error {
	if err := f.choose(ctx); err != nil {
		return err
	}
	f.came(len(f.hurt))
	killed := 0
	var each sync.WaitGroup
	var mu sync.Mutex
	for _, name := range f.hurt {
		each.Go(func() {
			if f.w.nodes[name].kill() {
				mu.Lock()
				defer mu.Unlock()
				killed++
			}
		})
	}
	each.Wait()
	f.release()
	f.rec.Signal = killed
	f.last(ctx)
	err := f.startAll()
	if killed == 0 {
		err = errors.Join(err, errors.New("there was nothing to kill"))
	}
	return err
}

// cutPower ends a node as a power cut does, and starts it again.
func (f *fault) cutPower(ctx context.Context) error {
	if err := f.choose(ctx); err != nil {
		return err
	}
	n := f.w.nodes[f.hurt[0]]
	f.came(1)
	err := n.cutPower()
	if err != nil {
		f.rec.Signal = 0
	}
	f.release()
	f.last(ctx)
	return errors.Join(err, n.start())
}

func (f *fault) startAll() (err error) {
	for _, name := range f.hurt {
		err = errors.Join(err, f.w.nodes[name].start())
	}
	return err
}

// stop freezes a node's process, and lets it go on.
func (f *fault) stop(ctx context.Context) error {
	if err := f.choose(ctx); err != nil {
		return err
	}
	n, err := f.awaitLively(ctx)
	if err != nil {
		return err
	}
	goOn, err := n.stop()
	if err != nil {
		return err
	}
	defer goOn()
	f.came(1)
	f.release() // it goes on from there when it goes on
	f.last(ctx)
	return nil
}

// restart stops a node as an operator does, and starts it again.
func (f *fault) restart(ctx context.Context) error {
	if err := f.choose(ctx); err != nil {
		return err
	}
	f.came(1)
	return f.termAndStart(ctx, f.hurt[0])
}

func (f *fault) termAndStart(ctx context.Context, name string) error {
	n := f.w.nodes[name]
	return errors.Join(n.term(ctx), n.start())
}

// roll restarts every node in turn, the leader last.
func (f *fault) roll(ctx context.Context) error {
	leader := f.w.leader()
	f.hurt = append(without(f.w.alive(), leader), living([]string{leader}, f.w.alive())...)
	f.came(len(f.hurt))
	for _, name := range f.hurt {
		if time.Now().After(f.end) {
			return errors.New("there was no time for all of it")
		}
		if err := f.termAndStart(ctx, name); err != nil {
			return err
		}
		_ = f.w.awaitHealthy(ctx, 5*time.Second) // an operator waits; what else is broken meanwhile may be in the way
	}
	return nil
}

// disk keeps the node's files from growing.
func (f *fault) disk(ctx context.Context) error {
	if err := f.choose(ctx); err != nil {
		return err
	}
	n, err := f.awaitLively(ctx)
	if err != nil {
		return err
	}
	refused := f.counter(n.shared.Refused)
	room, err := n.fill(72 << 10) // above what Raft has: that it cannot rewrite its own pages is another fault
	if err != nil {
		return err
	}
	defer room()
	f.came(0)
	f.release()
	f.lastUntilHit(ctx, refused)
	return nil
}

// fsync has the syncs of the node's stores hang.
func (f *fault) fsync(ctx context.Context) error {
	if err := f.choose(ctx); err != nil {
		return err
	}
	n, err := f.awaitLively(ctx)
	if err != nil {
		return err
	}
	waits := f.counter(n.shared.Waits)
	defer n.hangSyncs()()
	f.came(0)
	f.release()
	f.lastUntilHit(ctx, waits)
	return nil
}

// stall holds one of the node's goroutines at a step.
func (f *fault) stall(ctx context.Context) error {
	f.Step = cmp.Or(f.Step, "memtable-flush")
	if err := f.choose(ctx); err != nil {
		return err
	}
	if !f.rec.Exact {
		return errors.New("the node did not come to the step in time")
	}
	f.came(0)
	f.last(ctx)
	return nil
}

// clock sets the node's clock off.
func (f *fault) clock(ctx context.Context) error {
	if err := f.choose(ctx); err != nil {
		return err
	}
	var seconds int64
	if _, err := fmt.Sscan(f.Param, &seconds); err != nil {
		return fmt.Errorf("%q is no number of seconds: %w", f.Param, err)
	}
	n, err := f.awaitLively(ctx)
	if err != nil {
		return err
	}
	told := f.counter(n.shared.WrongTimes)
	defer n.setClock(seconds)()
	f.came(0)
	f.release()
	f.lastUntilHit(ctx, told)
	return nil
}
