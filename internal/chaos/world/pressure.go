package world

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/chaos/plan"
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
	Rate     int     // events a second, of all apps
	LagP50   float64 // events that wait
	LagMax   float64
	GetP50ms float64
	GetP99ms float64
	Topics   int
	Aside    int // directories beside the stores, at the moment when there were fewest; see asideOf
}

// Pressure is what came of a run at the highest rate: the figures before the faults and after them,
// and what the processes had meanwhile.
type Pressure struct {
	Before, After Figures
	Gauges        []Gauge // while there are faults
	LagMax        float64 // meanwhile
}

const (
	rateStep    = 6 * time.Second  // at each rate that is tried
	rateFirst   = 1500             // of each app
	rateMost    = 60_000           // of each app
	rateGrowth  = 1.3              // from one to the next
	rateOf      = 0.75             // of the highest that was kept up with: faults need room to catch up
	rateBehind  = 1.5              // seconds' worth of events that may wait
	rateCalm    = 30 * time.Second // to catch up, before a lower rate is tried
	lagMost     = 60.0             // seconds' worth of events that may wait while there are faults
	figuresTake = 30 * time.Second // before, and after
	gaugeEach   = 5 * time.Second
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
	w.caughtUp(ctx) // the processes have only just started
	for rate := rateFirst; rate <= rateMost && ctx.Err() == nil; rate = int(float64(rate) * rateGrowth) {
		w.setRate(rate)
		sleepUntil(ctx, time.Now().Add(rateStep))
		st, err := w.status(ctx)
		behind := float64(lagOf(st)) / float64(rate*len(w.loads))
		w.opt.Say("at %d events a second %.2f s of them wait", rate*len(w.loads), behind)
		if err != nil || behind > rateBehind {
			break
		}
		kept = rate
	}
	for ctx.Err() == nil {
		kept = int(float64(kept) * rateOf)
		w.setRate(kept)
		if w.caughtUp(ctx) { // what has gathered is no part of the figures
			return
		}
	}
}

// caughtUp waits until less than a second's worth of events waits, and says whether that came.
func (w *World) caughtUp(ctx context.Context) bool {
	for end := time.Now().Add(rateCalm); time.Now().Before(end) && ctx.Err() == nil; sleepUntil(ctx, time.Now().Add(watchEach)) {
		if st, err := w.status(ctx); err == nil && lagOf(st) < int64(w.rate()) {
			return true
		}
	}
	return false
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
	f.Rate = w.rate()
	began := time.Now()
	var lags, aside []float64
	for time.Since(began) < figuresTake && ctx.Err() == nil {
		if st, err := w.status(ctx); err == nil {
			lags = append(lags, float64(lagOf(st)))
		}
		aside = append(aside, float64(len(w.asideOf())))
		sleepUntil(ctx, time.Now().Add(watchEach))
	}
	f.LagP50, f.LagMax, f.Aside = quantile(lags, 0.5), quantile(lags, 1), int(quantile(aside, 0))
	gets := w.getsSince(began)
	f.GetP50ms, f.GetP99ms = quantile(gets, 0.5), quantile(gets, 0.99)
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

// asideOf are the directories that nodes have beside their stores: damaged stores that were set
// aside, copies that they receive, and checkpoints that they give out. The last two are there for
// as long as that takes.
func (w *World) asideOf() (dirs []string) {
	for _, mark := range []string{".damaged-", ".seeding", ".checkpoint"} {
		found, err := filepath.Glob(filepath.Join(w.opt.Dir, history.DataDir, "*", "state", "*", "*"+mark+"*"))
		if err != nil {
			panic("world: " + err.Error()) // the pattern is bad
		}
		dirs = append(dirs, found...)
	}
	return dirs
}

// asked is an answered get.
type asked struct {
	at time.Time
	ms float64
}

func (w *World) getsSince(began time.Time) (ms []float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, g := range w.gets {
		if g.at.After(began) {
			ms = append(ms, g.ms)
		}
	}
	return ms
}

// gauge looks at every process and at the lag from time to time.
func (w *World) gauge(ctx context.Context, p *Pressure) {
	for sleepUntil(ctx, time.Now().Add(gaugeEach)) {
		for _, name := range w.alive() {
			if g, err := w.nodes[name].gauge(ctx); err == nil {
				p.Gauges = append(p.Gauges, g)
			}
		}
		if st, err := w.status(ctx); err == nil {
			p.LagMax = max(p.LagMax, float64(lagOf(st)))
		}
	}
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

// judge says what is not as it was. These nodes ran all the time.
func (p *Pressure) judge(nodes []string, problem func(format string, a ...any)) {
	if p.After.Topics > p.Before.Topics {
		problem("there are %d topics after the faults, and there were %d", p.After.Topics, p.Before.Topics)
	}
	if p.After.Aside > p.Before.Aside {
		problem("%d directories lie beside the stores after the faults, and there were %d", p.After.Aside, p.Before.Aside)
	}
	if most := lagMost * float64(p.Before.Rate); p.LagMax > most {
		problem("during the faults up to %.0f events waited, more than %.0f s' worth at %d a second", p.LagMax, lagMost, p.Before.Rate)
	}
	if most := 2*p.Before.GetP99ms + 20; p.After.GetP99ms > most {
		problem("after the faults a get takes %.1f ms (p99), and %.1f before", p.After.GetP99ms, p.Before.GetP99ms)
	}
	if most := 2*p.Before.LagMax + float64(p.Before.Rate); p.After.LagMax > most {
		problem("after the faults up to %.0f events wait, and %.0f before", p.After.LagMax, p.Before.LagMax)
	}
	if p.Before.GetP99ms == 0 || p.After.GetP99ms == 0 {
		problem("nobody has measured how long a get takes: %.1f ms (p99) before the faults, %.1f after", p.Before.GetP99ms, p.After.GetP99ms)
	}
	for _, name := range nodes {
		p.judgeNode(name, problem)
	}
}

// judgeNode compares the last quarter of the time with the second, the first being that in which
// caches fill. What was not measured is no sign of anything.
func (p *Pressure) judgeNode(name string, problem func(format string, a ...any)) {
	early, late := p.quarter(name, 1), p.quarter(name, 3)
	switch {
	case early.Node == "" || late.Node == "":
		problem("node %s: its gauges were not read often enough to say what it leaves behind", name)
		return
	case min(early.MB, early.Goroutines, early.Files, late.MB, late.Goroutines, late.Files) <= 0:
		problem("node %s: a gauge is zero: %.0f MB, %.0f goroutines, %.0f open files in the second quarter, %.0f, %.0f and %.0f in the last",
			name, early.MB, early.Goroutines, early.Files, late.MB, late.Goroutines, late.Files)
		return
	}
	if late.MB > early.MB*1.25+16 {
		problem("node %s: %.0f MB in the last quarter, %.0f in the second", name, late.MB, early.MB)
	}
	if late.Goroutines > early.Goroutines*1.1+20 {
		problem("node %s: %.0f goroutines in the last quarter, %.0f in the second", name, late.Goroutines, early.Goroutines)
	}
	if late.Files > early.Files*1.1+20 {
		problem("node %s: %.0f open files in the last quarter, %.0f in the second", name, late.Files, early.Files)
	}
}

func (p *Pressure) nodes() (names []string) {
	for _, g := range p.Gauges {
		names = append(names, g.Node)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// quarter has the medians of a node in the nth quarter of the time, from 0; nothing where it did
// not run long enough to say.
func (p *Pressure) quarter(name string, nth int) (g Gauge) {
	if len(p.Gauges) == 0 {
		return g
	}
	first, last := p.Gauges[0].At, p.Gauges[len(p.Gauges)-1].At
	each := last.Sub(first) / 4
	var mb, goroutines, files []float64
	for _, of := range p.Gauges {
		if of.Node == name && min(int(of.At.Sub(first)/max(each, 1)), 3) == nth {
			mb, goroutines, files = append(mb, of.MB), append(goroutines, of.Goroutines), append(files, of.Files)
		}
	}
	if len(mb) < 3 {
		return g
	}
	return Gauge{Node: name, MB: quantile(mb, 0.5), Goroutines: quantile(goroutines, 0.5), Files: quantile(files, 0.5)}
}

// Table is for people.
func (p *Pressure) Table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "at the highest rate: %d events a second; during the faults up to %.0f events waited (at most %.0f may)\n",
		p.Before.Rate, p.LagMax, lagMost*float64(p.Before.Rate))
	fmt.Fprintf(&b, "%-8s %12s %12s %10s %10s %8s %8s\n", "", "lag p50", "lag max", "get p50 ms", "p99 ms", "topics", "aside")
	for _, row := range []struct {
		name string
		f    Figures
	}{{"before", p.Before}, {"after", p.After}} {
		fmt.Fprintf(&b, "%-8s %12.0f %12.0f %10.1f %10.1f %8d %8d\n",
			row.name, row.f.LagP50, row.f.LagMax, row.f.GetP50ms, row.f.GetP99ms, row.f.Topics, row.f.Aside)
	}
	fmt.Fprintf(&b, "%-8s %12s %12s %12s   (medians, by quarter of the time with faults)\n", "node", "MB", "goroutines", "open files")
	for _, name := range p.nodes() {
		for n := range 4 {
			if g := p.quarter(name, n); g.Node != "" {
				fmt.Fprintf(&b, "%-8s %12.0f %12.0f %12.0f\n", fmt.Sprintf("%s, %d/4", name, n+1), g.MB, g.Goroutines, g.Files)
			}
		}
	}
	return b.String()
}

// quantile of values in any order; 0 of none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(int(math.Ceil(q*float64(len(values)))), len(values))-1]
}
