package world

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/chaos/link"
	"github.com/tally-kafka/tally/internal/chaos/plan"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/testkafka"
)

// Options say how large a world is.
type Options struct {
	Dir    string                        // of everything that the run writes; made, or emptied where it is that of a run
	Bin    string                        // the binary under test, built with the tag failpoint
	Seed   uint64                        // of the load and of chance
	Length time.Duration                 // from the first event to the quiet
	Rate   int                           // events a second of each app; default 800
	Keys   int                           // of the app that sums by key; default 1,200
	Even   bool                          // see plan.Options
	Press  bool                          // at the highest rate that the machine sustains, and watched for what is left behind
	Nodes  []string                      // default a, b, c
	Spare  []string                      // nodes that join and leave; default d, e
	Say    func(format string, a ...any) // progress, a line at a time
}

// Brokers is how many there are.
const Brokers = 3

// quietMost is how long the end may take until nothing waits and no transaction is open.
const quietMost = 30 * time.Second

// World is a run that is under way.
type World struct {
	opt      Options
	apps     []history.App
	links    *link.Network
	cluster  *testkafka.Cluster
	kafka    *kgo.Client
	admin    *kadm.Client
	nodes    map[string]*node
	loads    []*load
	out      *history.Lines
	began    time.Time
	join     string // the addresses of those that form the cluster
	copies   history.Copies
	brokers  sync.Mutex
	compacts sync.Mutex
	passing  sync.Mutex
	beside   sync.WaitGroup // what a fault has begun, and that may outlast it
	cells    cells
	forget   func() bool // of the end of New's context

	mu       sync.Mutex
	broke    time.Time // when the schedule began
	calm     time.Time // when the last fault was over, with all that faults had begun
	failed   time.Time // when the first problem behind that came
	views    map[string]view
	whole    view                      // the cluster's, while a lane moves or a node drains
	doing    map[string]map[string]int // by node: transitions that a command has begun
	problems []string
	more     int // problems beyond problemsMax
	notes    []string
	faults   []history.Fault
	broken   map[string]int // starts of brokers
	ended    bool           // the world is being taken away
	reads    int64
	gets     []asked // of a run under pressure
}

// Result is what a run came to, beside its folder.
type Result struct {
	Events   int64
	Reads    int64
	Faults   []history.Fault
	Problems []string      // that only the world can see
	Broke    time.Time     // when the schedule began
	Seen     time.Duration // since then, when the first of the problems came; 0: none has
	Notes    []string      // what is worth knowing, and no fault of the product's
	Pressure *Pressure
}

// OptionsOf is what there is to break in a world with these options.
func OptionsOf(o Options) plan.Options {
	o = withDefaults(o)
	if o.Press {
		return plan.Options{Nodes: o.Nodes, Apps: Apps, Lanes: Lanes, Brokers: Brokers, Quiet: quietMost, Spacing: 10 * time.Second, Kinds: PressureKinds}
	}
	return plan.Options{Nodes: o.Nodes, Spare: o.Spare, Apps: Apps, Lanes: Lanes, Brokers: Brokers, Quiet: quietMost, Even: o.Even}
}

// memory is what each node may use: little, so that what goes to its disk goes there often, but
// enough for transactions of the size that a high rate asks for.
func (o Options) memory() string {
	if o.Press || o.Rate >= 2000 {
		return "256MB"
	}
	return "64MB"
}

func withDefaults(o Options) Options {
	if o.Rate == 0 {
		o.Rate = 800
	}
	if o.Keys == 0 {
		o.Keys = keysUsual
	}
	if o.Nodes == nil {
		o.Nodes, o.Spare = []string{"a", "b", "c"}, []string{"d", "e"}
	}
	if o.Say == nil {
		o.Say = func(string, ...any) {}
	}
	return o
}

// New starts the brokers and the nodes, and submits the apps. When ctx ends no node is started any
// more. What it gives has to be closed, also with an error.
func New(ctx context.Context, opt Options) (*World, error) {
	w := &World{
		opt: withDefaults(opt), apps: theApps(), links: link.New(seam.World(), opt.Seed), nodes: map[string]*node{},
		views: map[string]view{}, doing: map[string]map[string]int{}, broken: map[string]int{}, cells: newCells(),
		copies: history.Copies{Dir: opt.Dir},
	}
	w.began, w.forget = time.Now(), context.AfterFunc(ctx, w.end)
	if err := w.prepare(); err != nil {
		return w, err
	}
	w.links.Register(placeReaders, os.Getpid())
	if err := w.startKafka(ctx); err != nil {
		return w, err
	}
	if err := w.makeNodes(); err != nil {
		return w, err
	}
	w.opt.Say("three brokers run after %.1f s", time.Since(w.began).Seconds())
	for _, name := range w.opt.Nodes {
		if err := w.nodes[name].start(); err != nil {
			return w, err
		}
	}
	for _, a := range w.apps {
		if err := w.writeSpec(a); err != nil {
			return w, err
		}
		if !a.Passing {
			if err := w.submit(ctx, a, time.Minute); err != nil {
				return w, err
			}
		}
	}
	if err := w.awaitHealthy(ctx, time.Minute); err != nil {
		return w, err
	}
	w.opt.Say("%d nodes and %d apps run after %.1f s", len(w.opt.Nodes), len(Apps), time.Since(w.began).Seconds())
	return w, nil
}

// placeReaders is where those who ask are, and the world itself.
const placeReaders = "readers"

func (w *World) prepare() error {
	if err := makeEmpty(w.opt.Dir); err != nil {
		return err
	}
	run := w.describe(plan.Schedule{Seed: w.opt.Seed, Length: w.opt.Length})
	if err := history.WriteRun(filepath.Join(w.opt.Dir, history.RunFile), run); err != nil {
		return err
	}
	for _, dir := range []string{history.LogDir, history.DataDir} {
		if err := os.MkdirAll(filepath.Join(w.opt.Dir, dir), 0o755); err != nil {
			return err
		}
	}
	var err error
	w.out, err = history.Create(filepath.Join(w.opt.Dir, history.HistoryFile))
	return err
}

// makeEmpty makes a folder, or takes out of it what an earlier run has left there. Another folder
// that has something in it is refused.
func makeEmpty(dir string) error {
	found, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(found) > 0 && !IsRun(dir) {
		return fmt.Errorf("%s has something in it, and is no folder of an earlier run (there is no %s): name another one", dir, history.RunFile)
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.MkdirAll(dir, 0o755)
}

// IsRun tells whether a folder is that of a run, which has its description from its first moment.
func IsRun(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, history.RunFile))
	return err == nil
}

// Run describes the world to those who judge it. A world that did not come about may have no
// brokers.
func (w *World) Run(s plan.Schedule) history.Run {
	r := w.describe(s)
	if w.cluster != nil {
		r.Brokers = w.cluster.Addrs()
	}
	return r
}

// Problems are those so far, of a world that did not come about too.
func (w *World) Problems() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.problemsSoFar()
}

func (w *World) problemsSoFar() []string {
	all := slices.Clone(w.problems)
	if w.more > 0 {
		all = append(all, fmt.Sprintf("and %d more", w.more))
	}
	return all
}

// describe is what is known before the brokers run.
func (w *World) describe(s plan.Schedule) history.Run {
	r := history.Run{
		Seed: s.Seed, Began: w.began, Length: s.Length.String(), Apps: w.apps, Nodes: slices.Concat(w.opt.Nodes, w.opt.Spare),
		Rate: w.opt.Rate, Keys: w.opt.Keys, Even: s.Load.Even, Press: w.opt.Press,
	}
	for _, f := range s.Faults {
		r.Schedule = append(r.Schedule, f.String())
	}
	return r
}

// Live carries the schedule out under load, waits for the quiet, and has tally audit itself. Run's
// answer has to be written before. When ctx ends it gives up at once, with the error of that.
func (w *World) Live(ctx context.Context, s plan.Schedule) (Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	if err := w.startLoads(ctx, s.Seed); err != nil {
		return Result{}, err
	}
	var watching sync.WaitGroup
	w.watch(ctx, &watching)
	stopReading := w.read(ctx, s.Seed)
	progress := time.NewTicker(10 * time.Second)
	defer progress.Stop()
	watching.Go(func() { w.progress(ctx, progress.C, began) })
	pressure, err := w.underFaults(ctx, s, began)
	over := time.Now() // which is when the last events are sent
	sent, loadErr := w.stopLoads()
	w.settle(ctx, over, stopReading)
	err = errors.Join(err, loadErr, ctx.Err())
	cancel()
	stopReading()
	watching.Wait()
	w.stopNodes()
	if err == nil {
		w.awaitEnded()
	}
	err = errors.Join(err, w.writeAnswers(), w.out.Close())
	w.mu.Lock()
	defer w.mu.Unlock()
	r := Result{Events: sent, Reads: w.reads, Faults: w.faults, Problems: w.problemsSoFar(), Notes: w.notes, Pressure: pressure,
		Broke: w.broke}
	if !w.failed.IsZero() {
		r.Seen = w.failed.Sub(w.broke)
	}
	return r, err
}

// settle waits until all is at rest. The further nodes leave behind that: what they give away then
// has to be found again, and is no rest.
func (w *World) settle(ctx context.Context, over time.Time, stopReading func()) {
	if ctx.Err() != nil {
		return
	}
	end := w.awaitQuiet(ctx, over)
	if end.QuietAfterMs >= 0 {
		w.partSpares(ctx)
	}
	stopReading()
	w.write(history.Event{Kind: history.KindEnd, End: &end})
	w.audit(ctx)
}

// underFaults carries the schedule out, and mends what is still broken. Under pressure it measures
// before and after.
func (w *World) underFaults(ctx context.Context, s plan.Schedule, began time.Time) (*Pressure, error) {
	if !w.opt.Press {
		w.carryOut(ctx, s, began)
		return nil, w.heal()
	}
	w.findRate(ctx)
	w.awaitKeys(ctx)
	p := &Pressure{Before: w.figures(ctx)}
	gauging, enough := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() { w.gauge(gauging, p) })
	w.carryOut(ctx, s, time.Now())
	err := w.heal()
	if unwell := w.awaitHealthy(ctx, quietMost); unwell != nil && ctx.Err() == nil {
		w.problem("after the last fault: %v", unwell)
	}
	enough()
	done.Wait()
	if !w.caughtUp(ctx, lagCalm) && ctx.Err() == nil {
		w.problem("more than a second's worth of events still waits %v after the faults", lagCalm)
	}
	p.After = w.figures(ctx)
	p.judge(w.opt.Nodes, w.problem)
	return p, err
}

func (w *World) startLoads(ctx context.Context, seed uint64) error {
	for _, a := range w.apps {
		if a.Passing {
			continue
		}
		l, err := w.newLoad(ctx, w.cluster.Addrs(), newWorkload(a, seed, w.opt.Keys))
		if err != nil {
			return err
		}
		w.loads = append(w.loads, l)
	}
	return nil
}

func (w *World) stopLoads() (sent int64, err error) {
	for _, l := range w.loads {
		n, loadErr := l.stop()
		sent, err = sent+n, errors.Join(err, loadErr)
	}
	return sent, err
}

func (w *World) writeAnswers() error {
	out, err := history.Create(filepath.Join(w.opt.Dir, history.AnswerFile))
	if err != nil {
		return err
	}
	for _, l := range w.loads {
		if err := l.work.writeAnswers(out); err != nil {
			return err
		}
	}
	return out.Close()
}

// Close takes everything away but the folder.
func (w *World) Close() {
	w.forget()
	w.stopNodes()
	if w.out != nil {
		_ = w.out.Flush() // of a world that did not come about; else Live has said how that went
	}
	for _, l := range w.loads {
		l.cl.Close()
	}
	if w.kafka != nil {
		w.kafka.Close()
	}
	if w.cluster != nil {
		w.saveBrokerLogs()
		w.cluster.Close()
	}
	w.links.Close()
}

// stopNodes kills what still runs: what it has committed is seen in the topics.
func (w *World) stopNodes() {
	w.end()
	for _, n := range w.nodes {
		n.kill()
	}
}

// end says that the world is being taken away: what ends now is no news, and nothing starts again.
func (w *World) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
}

// over reports whether the world is being taken away.
func (w *World) over() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended
}

// write adds a line to the history, with the time.
func (w *World) write(e history.Event) {
	e.At = time.Now()
	_ = w.out.Write(e) // the error is that of the history's end
}

// problemsMax is how many problems are kept in words: a node that ends at once has one a start.
const problemsMax = 100

// problem is what the world itself has to say against the product.
func (w *World) problem(format string, a ...any) {
	text := fmt.Sprintf(format, a...)
	w.mu.Lock()
	if len(w.problems) == problemsMax {
		w.more++
		w.mu.Unlock()
		return
	}
	w.problems = append(w.problems, text)
	if w.failed.IsZero() && !w.broke.IsZero() {
		w.failed = time.Now()
	}
	w.mu.Unlock()
	w.opt.Say("PROBLEM: %s", text)
}

// note is what a reader of the result should know.
func (w *World) note(format string, a ...any) {
	text := fmt.Sprintf(format, a...)
	w.mu.Lock()
	w.notes = append(w.notes, text)
	w.mu.Unlock()
	w.opt.Say("note: %s", text)
}

// Build builds the binary under test into dir. What GOFLAGS says holds for it: an -overlay there
// makes it another program than the one that this one is of, and by which it is judged.
func Build(ctx context.Context, dir string) (bin string, err error) {
	bin = filepath.Join(dir, "tally")
	cmd := exec.CommandContext(ctx, "go", "build", "-pgo=off", "-tags", "failpoint", "-o", bin, "github.com/tally-kafka/tally/cmd/tally")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build of the binary under test: %w\n%s", err, out)
	}
	return bin, nil
}
