package world

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/chaos/plan"
	"github.com/tally-kafka/tally/internal/seam"
)

// Gauge is what a process had at a moment.
type Gauge struct {
	At         time.Time
	Node       string
	MB         float64 // resident
	Goroutines float64
	Files      float64 // that it has open
}

// Figures are what a run under pressure measures while nothing is broken.
type Figures struct {
	Rate       int     // events a second that are sent, of all apps
	Counted    float64 // events a second that the nodes count, by their positions
	Looks      int     // at the whole cluster's lag and positions
	LagP50     float64 // events that wait
	LagP99     float64
	Gets       int // of which GetsFailed were not answered; the times are of the others
	GetsFailed int
	GetP50ms   float64
	GetP99ms   float64
	Topics     int
	Aside      int               // directories beside the stores, at the moment when there were fewest; see asideOf
	Least      map[string]Gauge  // of each node, the least of several readings
	Lanes      map[string]string // how many lanes and copies each node has
}

// Pressure is what came of a run at the highest rate: the figures before the faults and after them,
// and what the processes had meanwhile.
type Pressure struct {
	Before, After Figures
	Gauges        []Gauge // while there are faults
	LagP50        float64 // meanwhile
	LagMax        float64
}

const (
	rateStep  = 6 * time.Second  // at each rate that is tried
	rateWarm  = 20 * time.Second // at the first: the processes have only just started
	rateFirst = 1500             // of each app
	// rateMost is of each app: the run itself can write down and judge no more in the time that it
	// takes. On two cores nodes and brokers keep up with three times as much for a minute.
	rateMost   = 20_000
	rateGrowth = 1.3              // from one to the next
	rateOf     = 0.75             // of the highest that was kept up with: faults need room to catch up
	rateBehind = 1.5              // seconds' worth of events that may wait
	rateCalm   = 30 * time.Second // to catch up, before a lower rate is tried
	// lagMost is how many seconds' worth of events may wait at any moment while there are faults,
	// and lagUsual at most moments. A broker stands still for up to 20 s, in which no transaction
	// ends that it has a part in; what gathers is counted with the third of the rate that is left,
	// in a minute, so that one more such fault can come on top of it.
	lagMost     = 40.0
	lagUsual    = 15.0
	lagCalm     = time.Minute     // to catch up behind the last fault
	keysWait    = 2 * time.Minute // until the state has nearly all its groups
	figuresTake = time.Minute     // before, and after
	gaugeEach   = 5 * time.Second
	looksLeast  = 20 // in that time
)

// PressureKinds are faults that processes live through, so that what they leave behind adds up.
var PressureKinds = []plan.Kind{
	plan.Stop, plan.Cut, plan.Freeze, plan.OneWay, plan.Slow, plan.Lossy, plan.Drop, plan.Disk, plan.Stall, plan.Fsync, plan.Clock,
	plan.Drain, plan.Move, plan.Submit, plan.BrokerKill, plan.BrokerStop, plan.BrokerCut, plan.ControllerKill, plan.Compact,
}

// findRate raises the rate of the loads until the nodes do not keep up, and leaves it at a part of
// the last at which they did.
func (w *World) findRate(ctx context.Context) {
	kept := rateFirst
	w.setRate(kept)
	sleepUntil(ctx, time.Now().Add(rateWarm))
	for rate := rateFirst; rate <= rateMost && ctx.Err() == nil; rate = int(float64(rate) * rateGrowth) {
		steady := w.keepsUp(ctx, rate)
		if !steady {
			steady = w.keepsUp(ctx, rate) // once may be a stumble
		}
		if !steady {
			break
		}
		kept = rate
	}
	for ctx.Err() == nil {
		kept = int(float64(kept) * rateOf)
		w.setRate(kept)
		if w.caughtUp(ctx, rateCalm) { // what has gathered is no part of the figures
			return
		}
	}
}

// keepsUp tries a rate.
func (w *World) keepsUp(ctx context.Context, rate int) bool {
	w.setRate(rate)
	sleepUntil(ctx, time.Now().Add(rateStep))
	st, err := w.status(ctx)
	behind := float64(lagOf(st)) / float64(rate*len(w.loads))
	w.opt.Say("at %d events a second %.2f s of them wait", rate*len(w.loads), behind)
	return err == nil && behind <= rateBehind
}

// caughtUp waits until less than a second's worth of events waits, and says whether that came.
func (w *World) caughtUp(ctx context.Context, within time.Duration) bool {
	for end := time.Now().Add(within); time.Now().Before(end) && ctx.Err() == nil; sleepUntil(ctx, time.Now().Add(watchEach)) {
		if st, err := w.status(ctx); err == nil && lagOf(st) < int64(w.rate()) {
			return true
		}
	}
	return false
}

// awaitKeys waits until nearly all groups have come, so that the state grows no more.
func (w *World) awaitKeys(ctx context.Context) {
	for end := time.Now().Add(keysWait); ctx.Err() == nil; sleepUntil(ctx, time.Now().Add(watchEach)) {
		groups, all := 0, 0
		for _, l := range w.loads {
			groups, all = groups+l.work.groups(), all+l.work.keys
			if !l.work.app.Local {
				all += wordsAll - l.work.keys
			}
		}
		if groups*100 >= all*99 {
			return
		}
		if time.Now().After(end) {
			w.note("the state still grows when it is measured: it has %d groups of %d", groups, all)
			return
		}
	}
}

func (w *World) setRate(each int) {
	for _, l := range w.loads {
		l.rate.Store(int64(each))
	}
}

// rate is that of all loads.
func (w *World) rate() (sum int) {
	for _, l := range w.loads {
		sum += int(l.rate.Load())
	}
	return sum
}

// figures measures for a while.
func (w *World) figures(ctx context.Context) (f Figures) {
	f.Rate, f.Least, f.Lanes = w.rate(), map[string]Gauge{}, map[string]string{}
	began, gauged := time.Now(), time.Time{}
	var lags, aside []float64
	var counts counting
	for time.Since(began) < figuresTake && ctx.Err() == nil {
		if st, err := w.status(ctx); err == nil && counts.add(time.Now(), st) {
			lags = append(lags, float64(lagOf(st)))
			for _, n := range st.Nodes {
				f.Lanes[n.Name] = fmt.Sprintf("%d+%d", n.Lanes, n.Standbys)
			}
		}
		if time.Since(gauged) >= gaugeEach {
			gauged = time.Now()
			f.least(w.gauges(ctx))
		}
		aside = append(aside, float64(len(w.asideOf())))
		sleepUntil(ctx, time.Now().Add(watchEach))
	}
	f.Counted, f.Looks = counts.rate(), len(lags)
	f.LagP50, f.LagP99, f.Aside = quantile(lags, 0.5), quantile(lags, 0.99), int(quantile(aside, 0))
	f.ofGets(w.getsSince(began))
	topics, err := w.admin.ListTopics(ctx)
	if err != nil {
		w.problem("the topics cannot be listed: %v", err)
	}
	for name := range topics {
		if !strings.HasPrefix(name, PassingApp) { // whose deletion leaves them there, but for --topics: see awaitGone
			f.Topics++
		}
	}
	return f
}

// counting is how far the positions of the apps' inputs have come between two looks.
type counting struct {
	first, last         time.Time
	firstSum, latestSum int64
}

// add is false where not every partition's position is known.
func (c *counting) add(at time.Time, st api.Status) bool {
	sum, partitions := int64(0), 0
	for _, a := range st.Apps {
		if !slices.Contains(Apps, a.App) {
			continue
		}
		for _, l := range a.Lanes {
			for partition, position := range l.Position {
				if strings.HasPrefix(partition, a.Input+"/") {
					sum, partitions = sum+position, partitions+1
				}
			}
		}
	}
	if partitions != len(Apps)*Partitions {
		return false
	}
	if c.first.IsZero() {
		c.first, c.firstSum = at, sum
	}
	c.last, c.latestSum = at, sum
	return true
}

// rate is in events a second; 0 where nobody knows.
func (c *counting) rate() float64 {
	if took := c.last.Sub(c.first).Seconds(); took > 0 {
		return float64(c.latestSum-c.firstSum) / took
	}
	return 0
}

// least keeps the least of what each node has had so far.
func (f *Figures) least(now []Gauge) {
	for _, g := range now {
		if l, ok := f.Least[g.Node]; ok {
			g.MB, g.Goroutines, g.Files = min(g.MB, l.MB), min(g.Goroutines, l.Goroutines), min(g.Files, l.Files)
		}
		f.Least[g.Node] = g
	}
}

func (f *Figures) ofGets(gets []asked) {
	var ms []float64
	for _, g := range gets {
		if f.Gets++; g.failed {
			f.GetsFailed++
			continue
		}
		ms = append(ms, g.ms)
	}
	f.GetP50ms, f.GetP99ms = quantile(ms, 0.5), quantile(ms, 0.99)
}

// asideOf are the directories that nodes have beside their stores: damaged stores that were set
// aside, copies that they receive, and checkpoints that they give out. The last two are there for
// as long as that takes, and a checkpoint for a while longer where the one that received it has
// ended meanwhile: such a one is left behind when that is over.
func (w *World) asideOf() (dirs []string) {
	for _, mark := range []string{damagedMark, ".seeding", ".checkpoint"} {
		found, err := filepath.Glob(filepath.Join(w.opt.Dir, history.DataDir, "*", "state", "*", "*"+mark+"*"))
		if err != nil {
			panic("world: " + err.Error()) // the pattern is bad
		}
		dirs = append(dirs, found...)
	}
	return slices.DeleteFunc(dirs, mayBeAskedFor)
}

// damagedMark is in the name of a store that was set aside.
const damagedMark = ".damaged-"

// checkpointLife is for how long a node keeps a checkpoint that nobody reads: Life of
// replication/seed, by default.
const checkpointLife = 10 * time.Minute

func mayBeAskedFor(dir string) bool {
	info, err := os.Stat(dir)
	return strings.Contains(filepath.Base(dir), ".checkpoint") && err == nil && seam.World().Since(info.ModTime()) < checkpointLife
}

// asked is a get, from the moment when it was sent.
type asked struct {
	at     time.Time
	ms     float64
	failed bool
}

// timeGet keeps how long a get of a run under pressure took. w.mu is held.
func (w *World) timeGet(h *history.Read) {
	if w.opt.Press && h.Ask == "get" {
		w.gets = append(w.gets, asked{h.Began, float64(h.Ended.Sub(h.Began).Microseconds()) / 1000, h.Error != ""})
	}
}

func (w *World) getsSince(began time.Time) (gets []asked) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, g := range w.gets {
		if g.at.After(began) {
			gets = append(gets, g)
		}
	}
	return gets
}

// gauges are those of every process that answers.
func (w *World) gauges(ctx context.Context) (all []Gauge) {
	for _, name := range w.alive() {
		if g, err := w.nodes[name].gauge(ctx); err == nil {
			all = append(all, g)
		}
	}
	return all
}

// gauge looks at every process and at the lag from time to time.
func (w *World) gauge(ctx context.Context, p *Pressure) {
	var lags []float64
	for sleepUntil(ctx, time.Now().Add(gaugeEach)) {
		p.Gauges = append(p.Gauges, w.gauges(ctx)...)
		if st, err := w.status(ctx); err == nil {
			lags = append(lags, float64(lagOf(st)))
		}
	}
	p.LagP50, p.LagMax = quantile(lags, 0.5), quantile(lags, 1)
}

// gauge reads what Prometheus would.
func (n *node) gauge(ctx context.Context) (g Gauge, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.listen+"/metrics", nil)
	if err != nil {
		return g, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return g, err
	}
	defer resp.Body.Close()
	g = Gauge{At: time.Now(), Node: n.name}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), " ")
		var value float64
		if _, err := fmt.Sscan(text, &value); err != nil {
			continue // a comment
		}
		switch name {
		case "process_resident_memory_bytes":
			g.MB = value / (1 << 20)
		case "go_goroutines":
			g.Goroutines = value
		case "process_open_fds":
			g.Files = value
		}
	}
	return g, lines.Err()
}

// quantile of values in any order; 0 of none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[max(0, min(int(math.Ceil(q*float64(len(values)))), len(values))-1)]
}
