package world

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// judge says what is not as it was. These nodes ran all the time.
func (p *Pressure) judge(nodes []string, problem func(format string, a ...any)) {
	before, after := &p.Before, &p.After
	if after.Topics > before.Topics {
		problem("there are %d topics after the faults, and there were %d", after.Topics, before.Topics)
	}
	if after.Aside > before.Aside {
		problem("%d directories lie beside the stores after the faults, and there were %d", after.Aside, before.Aside)
	}
	second := float64(before.Rate)
	if most := lagMost * second; p.LagMax > most {
		problem("during the faults up to %.0f events waited, more than %.0f s' worth at %d a second", p.LagMax, lagMost, before.Rate)
	}
	if most := lagUsual * second; p.LagP50 > most {
		problem("during the faults %.0f events waited (p50), more than %.0f s' worth at %d a second", p.LagP50, lagUsual, before.Rate)
	}
	for _, c := range []struct {
		what                   string
		before, after, reserve float64
	}{
		{"ms that a get takes (p50)", before.GetP50ms, after.GetP50ms, 5}, {"ms that a get takes (p99)", before.GetP99ms, after.GetP99ms, 10},
		{"events wait (p50)", before.LagP50, after.LagP50, second / 2}, {"events wait (p99)", before.LagP99, after.LagP99, second / 2},
	} {
		if c.after > 1.5*c.before+c.reserve {
			problem("after the faults %.1f %s, and %.1f before", c.after, c.what, c.before)
		}
	}
	before.judge("before", second, "are sent", problem)
	after.judge("after", before.Counted, "were before", problem)
	for _, name := range nodes {
		p.judgeNode(name, problem)
	}
	p.judgeLeft(nodes, problem)
}

// judge says what was not measured, or is not good by itself. So many events a second were sent, or
// counted before.
func (f *Figures) judge(when string, events float64, by string, problem func(format string, a ...any)) {
	if f.GetP99ms == 0 || f.Looks < looksLeast {
		problem("nobody has measured how long a get takes, or how much waits, %s the faults: %.1f ms (p99), %d looks at the lag",
			when, f.GetP99ms, f.Looks)
	}
	if f.GetsFailed*1000 > f.Gets {
		problem("%d of %d gets failed %s the faults", f.GetsFailed, f.Gets, when)
	}
	if math.Abs(f.Counted-events) > events/10 {
		problem("%.0f events a second are counted %s the faults, and %.0f %s", f.Counted, when, events, by)
	}
}

// judgeLeft compares the quiet behind the faults with that before them: all nodes together, and
// each that has as many lanes and copies as before. A node has about 150 files, of which the
// connections depend on where Kafka's leaders lie, and the tables on when they were compacted: so a
// tenth of each gauge may come beside what is allowed. A process is two minutes old before the
// faults, and its caches and pools are not yet as full as they may be: where it has more memory in
// the first quarter of the faults, that counts.
func (p *Pressure) judgeLeft(nodes []string, problem func(format string, a ...any)) {
	var before, after Gauge
	for _, name := range nodes {
		b, was := p.Before.Least[name]
		a, is := p.After.Least[name]
		if !was || !is {
			problem("node %s: its gauges were not read in the quiet", name)
			continue
		}
		b.MB = max(b.MB, p.quarter(name, 0).MB)
		before.add(b)
		after.add(a)
		if p.Before.Lanes[name] == p.After.Lanes[name] {
			judgeGauges("node "+name, 1, b, a, problem)
		}
	}
	judgeGauges("all nodes", float64(len(nodes)), before, after, problem)
}

func (g *Gauge) add(of Gauge) {
	g.MB, g.Goroutines, g.Files = g.MB+of.MB, g.Goroutines+of.Goroutines, g.Files+of.Files
}

func judgeGauges(whose string, nodes float64, before, after Gauge, problem func(format string, a ...any)) {
	for _, c := range []struct {
		what                   string
		before, after, reserve float64
	}{
		{"MB", before.MB, after.MB, 20}, {"goroutines", before.Goroutines, after.Goroutines, 10}, {"open files", before.Files, after.Files, 5},
	} {
		if c.after > 1.1*c.before+c.reserve*nodes+1e-9 {
			problem("%s: %.0f %s in the quiet behind the faults, %.0f before", whose, c.after, c.what, c.before)
		}
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
	second := float64(p.Before.Rate)
	fmt.Fprintf(&b, "%d events a second, %.0f%% of the highest rate that was sustained for %.0f s (up to %d are tried); during the faults %.0f waited (p50), and up to %.0f\n",
		p.Before.Rate, 100*rateOf, rateStep.Seconds(), rateMost*len(Apps), p.LagP50, p.LagMax)
	fmt.Fprintf(&b, "(%.0f and %.0f may: %.0f and %.0f s' worth)\n", lagUsual*second, lagMost*second, lagUsual, lagMost)
	fmt.Fprintf(&b, "%-8s %10s %10s %10s %10s %10s %8s %8s %8s %8s\n", "", "counted/s", "lag p50", "lag p99", "get p50 ms", "p99 ms", "gets", "failed",
		"topics", "aside")
	for _, row := range []struct {
		name string
		f    Figures
	}{{"before", p.Before}, {"after", p.After}} {
		fmt.Fprintf(&b, "%-8s %10.0f %10.0f %10.0f %10.1f %10.1f %8d %8d %8d %8d\n", row.name, row.f.Counted, row.f.LagP50, row.f.LagP99,
			row.f.GetP50ms, row.f.GetP99ms, row.f.Gets, row.f.GetsFailed, row.f.Topics, row.f.Aside)
	}
	p.writeGauges(&b)
	return b.String()
}

// writeGauges writes what each node had at least in the quiet, and usually while there were faults.
func (p *Pressure) writeGauges(b *strings.Builder) {
	fmt.Fprintf(b, "%-10s %10s %12s %12s   (the least in the quiet, with lanes+copies; medians, by quarter of the time with faults)\n",
		"node", "MB", "goroutines", "open files")
	row := func(name string, g Gauge, lanes string) {
		fmt.Fprintf(b, "%-10s %10.0f %12.0f %12.0f   %s\n", name, g.MB, g.Goroutines, g.Files, lanes)
	}
	for _, name := range p.nodes() {
		row(name+" before", p.Before.Least[name], p.Before.Lanes[name])
		for n := range 4 {
			if g := p.quarter(name, n); g.Node != "" {
				row(fmt.Sprintf("%s, %d/4", name, n+1), g, "")
			}
		}
		row(name+" after", p.After.Least[name], p.After.Lanes[name])
	}
}
