package world

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/chaos/history"
)

// gauges are those of two nodes over four quarters of three moments each, with something added to
// the first node's in the last quarter.
func gauges(late Gauge) (all []Gauge) {
	began := time.Unix(1_800_000_000, 0)
	for i := range 12 {
		for _, name := range []string{"a", "b"} {
			g := Gauge{At: began.Add(time.Duration(i) * gaugeEach), Node: name, MB: 100, Goroutines: 200, Files: 50}
			if name == "a" && i >= 9 {
				g.MB, g.Goroutines, g.Files = g.MB+late.MB, g.Goroutines+late.Goroutines, g.Files+late.Files
			}
			all = append(all, g)
		}
	}
	return all
}

// TestPressure: what is left behind by the faults, and what grows beyond its bound, is a problem,
// and so is what nobody has measured.
func TestPressure(t *testing.T) {
	least := map[string]Gauge{"a": {MB: 100, Goroutines: 200, Files: 50}, "b": {MB: 100, Goroutines: 200, Files: 50}}
	calm := Pressure{LagP50: 100 * lagUsual, LagMax: 100 * lagMost, Before: Figures{Rate: 100, Counted: 100, Looks: looksLeast, LagP50: 10, LagP99: 20,
		Gets: 2000, GetP50ms: 2, GetP99ms: 10, Topics: 7, Aside: 1, Least: least, Lanes: map[string]string{"a": "4+2", "b": "4+2"}}}
	calm.After = calm.Before
	left := func(g Gauge, lanes string) func(*Pressure) { // by the first node, and half of it by the second
		return func(p *Pressure) {
			p.After.Least, p.After.Lanes = maps.Clone(least), map[string]string{"a": lanes, "b": "4+2"}
			a, b := least["a"], least["b"]
			a.add(g)
			b.add(Gauge{MB: g.MB / 2, Goroutines: g.Goroutines / 2, Files: g.Files / 2})
			p.After.Least["a"], p.After.Least["b"] = a, b
		}
	}
	late := func(g Gauge) func(*Pressure) { return func(p *Pressure) { p.Gauges = gauges(g) } }
	without := func(lost func(*Gauge)) func(*Pressure) {
		return func(p *Pressure) {
			for i := range p.Gauges {
				if lost(&p.Gauges[i]); p.Gauges[i].Node == "a" {
					p.Gauges[i] = gauges(Gauge{})[i]
				}
			}
		}
	}
	for name, c := range map[string]struct {
		change func(*Pressure)
		says   string
	}{
		"as before": {func(*Pressure) {}, ""},
		"at the bounds": {func(p *Pressure) {
			p.Gauges, p.After.GetP50ms, p.After.GetP99ms, p.After.LagP50, p.After.LagP99 = gauges(Gauge{MB: 41, Goroutines: 40, Files: 25}), 8, 25, 65, 80
			p.After.Counted, p.Before.GetsFailed, p.After.GetsFailed = 90, 2, 2
			left(Gauge{MB: 30, Goroutines: 30, Files: 10}, "4+2")(p)
		}, ""},
		"memory":      {late(Gauge{MB: 41.1}), "node a: 141 MB in the last quarter, 100 in the second"},
		"goroutines":  {late(Gauge{Goroutines: 41}), "node a: 241 goroutines in the last quarter"},
		"open files":  {late(Gauge{Files: 26}), "node a: 76 open files in the last quarter"},
		"memory left": {left(Gauge{MB: 31}, "4+2"), "node a: 131 MB in the quiet behind the faults, 100 before"},
		"a cold process": {func(p *Pressure) {
			left(Gauge{MB: 30}, "4+2")(p)
			p.Before.Least = map[string]Gauge{"a": {MB: 60, Goroutines: 200, Files: 50}, "b": least["b"]}
		}, ""},
		"goroutines left":  {left(Gauge{Goroutines: 31}, "4+2"), "node a: 231 goroutines in the quiet behind the faults, 200 before"},
		"files left":       {left(Gauge{Files: 11}, "4+2"), "node a: 61 open files in the quiet behind the faults, 50 before"},
		"other lanes":      {left(Gauge{Files: 13}, "5+2"), ""},
		"files of all":     {left(Gauge{Files: 15}, "5+2"), "all nodes: 122 open files in the quiet behind the faults, 100 before"},
		"none before of b": {func(p *Pressure) { p.Before.Least = map[string]Gauge{"a": least["a"]} }, "node b: its gauges were not read in the quiet"},
		"slow answers":     {func(p *Pressure) { p.After.GetP99ms = 25.1 }, "after the faults 25.1 ms that a get takes (p99), and 10.0 before"},
		"all slower":       {func(p *Pressure) { p.After.GetP50ms = 8.1 }, "after the faults 8.1 ms that a get takes (p50), and 2.0 before"},
		"failed gets":      {func(p *Pressure) { p.After.GetsFailed = 3 }, "3 of 2000 gets failed after the faults"},
		"failed before":    {func(p *Pressure) { p.Before.GetsFailed = 3 }, "3 of 2000 gets failed before the faults"},
		"no answers":       {func(p *Pressure) { p.After.GetP99ms = 0 }, "nobody has measured how long a get takes"},
		"none before":      {func(p *Pressure) { p.Before.GetP99ms, p.After.GetP99ms = 0, 9 }, "nobody has measured how long a get takes"},
		"few looks":        {func(p *Pressure) { p.After.Looks-- }, "nobody has measured how long a get takes, or how much waits, after the faults"},
		"a lag at last":    {func(p *Pressure) { p.After.LagP99 = 81 }, "after the faults 81.0 events wait (p99), and 20.0 before"},
		"a lag that stays": {func(p *Pressure) { p.After.LagP50 = 66 }, "after the faults 66.0 events wait (p50), and 10.0 before"},
		"a lower rate":     {func(p *Pressure) { p.After.Counted = 89 }, "89 events a second are counted after the faults, and 100 were before"},
		"too low a rate":   {func(p *Pressure) { p.Before.Counted, p.After.Counted = 89, 89 }, "89 events a second are counted before the faults, and 100 are sent"},
		"no gauges":        {func(p *Pressure) { p.Gauges = nil }, "node a: its gauges were not read"},
		"none of a node":   {func(p *Pressure) { p.Gauges = slices.DeleteFunc(p.Gauges, func(g Gauge) bool { return g.Node == "b" }) }, "node b: its gauges were not read"},
		"few of a node": {func(p *Pressure) {
			n := 0
			p.Gauges = slices.DeleteFunc(p.Gauges, func(g Gauge) bool { n++; return g.Node == "b" && n > 20 })
		}, "node b: its gauges were not read"},
		"memory lost":     {without(func(g *Gauge) { g.MB = 0 }), "node b: a gauge is zero"},
		"goroutines lost": {without(func(g *Gauge) { g.Goroutines = 0 }), "node b: a gauge is zero"},
		"files lost":      {without(func(g *Gauge) { g.Files = 0 }), "node b: a gauge is zero"},
		"a lag":           {func(p *Pressure) { p.LagMax++ }, "during the faults up to 4001 events waited"},
		"usually a lag":   {func(p *Pressure) { p.LagP50++ }, "during the faults 1501 events waited (p50)"},
		"a directory":     {func(p *Pressure) { p.After.Aside++ }, "2 directories lie beside the stores"},
		"a topic":         {func(p *Pressure) { p.After.Topics++ }, "there are 8 topics"},
	} {
		p, said := calm, ""
		p.Gauges = gauges(Gauge{})
		c.change(&p)
		p.judge([]string{"a", "b"}, func(format string, a ...any) { said += fmt.Sprintf(format, a...) })
		if (said == "") != (c.says == "") || !strings.HasPrefix(said, c.says) {
			t.Errorf("%s: it says %q", name, said)
		}
	}
}

// TestFigures: what nodes count is measured by their positions, where all of them are known, and
// not by what is sent; a get that failed is no quick one, and a gauge is the least of its readings.
func TestFigures(t *testing.T) {
	began := time.Unix(1_800_000_000, 0)
	status := func(each int64, partitions int) (st api.Status) {
		for _, app := range Apps {
			a := api.AppStatus{App: app, Input: app + "-in", Lanes: []api.LaneStatus{{Position: map[string]int64{app + ".repartition/0": 7 * each}}}}
			for p := range partitions {
				a.Lanes[0].Position[fmt.Sprintf("%s/%d", a.Input, p)] = each
			}
			st.Apps = append(st.Apps, a)
		}
		st.Apps = append(st.Apps, api.AppStatus{App: PassingApp, Input: Apps[0] + "-in", Lanes: st.Apps[0].Lanes})
		return st
	}
	var c counting
	if c.rate() != 0 || c.add(began, status(9, Partitions-1)) || !c.add(began, status(1000, Partitions)) || !c.add(began.Add(10*time.Second), status(1500, Partitions)) {
		t.Error("positions are not taken as they should be")
	}
	if got, want := c.rate(), 500.0*float64(Partitions*len(Apps))/10; got != want {
		t.Errorf("%.0f events a second, want %.0f", got, want)
	}
	if least, most := quantile([]float64{3, 1, 2}, 0), quantile([]float64{3, 1, 2}, 1); least != 1 || most != 3 {
		t.Errorf("from %v to %v", least, most)
	}
	f := Figures{Least: map[string]Gauge{}}
	f.ofGets([]asked{{ms: 5}, {ms: 1, failed: true}, {ms: 7}})
	f.least([]Gauge{{Node: "a", MB: 9, Goroutines: 5, Files: 3}})
	f.least([]Gauge{{Node: "a", MB: 8, Goroutines: 6, Files: 4}})
	if g := f.Least["a"]; f.Gets != 3 || f.GetsFailed != 1 || f.GetP50ms != 5 || f.GetP99ms != 7 || g.MB != 8 || g.Goroutines != 5 || g.Files != 3 {
		t.Errorf("%+v", f)
	}
	w := &World{opt: Options{Press: true}}
	w.timeGet(&history.Read{Ask: "get", Began: began.Add(time.Second), Ended: began.Add(2 * time.Second), Error: "no"})
	w.timeGet(&history.Read{Ask: "scan", Began: began.Add(time.Second)})
	if got := w.getsSince(began); len(got) != 1 || !got[0].failed || got[0].ms != 1000 {
		t.Errorf("%+v", got)
	}
}

// TestAside: what lies beside the stores is found, and the stores are not.
func TestAside(t *testing.T) {
	w := &World{opt: Options{Dir: t.TempDir()}}
	old := time.Now().Add(-checkpointLife)
	for _, name := range []string{"0", "1", "0.damaged-20260101T000000.000", "1.seeding", "1.checkpoint", "2.checkpoint"} {
		dir := filepath.Join(w.opt.Dir, history.DataDir, "a", "state", LocalApp, name)
		must(t, os.MkdirAll(dir, 0o700))
		if name == "1.checkpoint" { // nobody has read it for so long
			must(t, os.Chtimes(dir, old, old))
		}
	}
	if got := w.asideOf(); len(got) != 3 {
		t.Errorf("beside the stores are %q", got)
	}
}
