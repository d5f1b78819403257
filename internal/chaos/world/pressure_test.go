package world

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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
	calm := Pressure{Before: Figures{Rate: 100, Topics: 7, LagMax: 10, GetP99ms: 5, Aside: 1}, LagMax: 100 * lagMost}
	calm.After = calm.Before
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
			p.Gauges, p.After.GetP99ms, p.After.LagMax = gauges(Gauge{MB: 41, Goroutines: 40, Files: 25}), 30, 120
		}, ""},
		"memory":         {late(Gauge{MB: 41.1}), "node a: 141 MB in the last quarter, 100 in the second"},
		"goroutines":     {late(Gauge{Goroutines: 41}), "node a: 241 goroutines in the last quarter"},
		"open files":     {late(Gauge{Files: 26}), "node a: 76 open files in the last quarter"},
		"slow answers":   {func(p *Pressure) { p.After.GetP99ms = 30.1 }, "after the faults a get takes 30.1 ms (p99), and 5.0 before"},
		"no answers":     {func(p *Pressure) { p.After.GetP99ms = 0 }, "nobody has measured how long a get takes"},
		"none before":    {func(p *Pressure) { p.Before.GetP99ms, p.After.GetP99ms = 0, 19 }, "nobody has measured how long a get takes"},
		"a lag at last":  {func(p *Pressure) { p.After.LagMax = 121 }, "after the faults up to 121 events wait"},
		"no gauges":      {func(p *Pressure) { p.Gauges = nil }, "node a: its gauges were not read"},
		"none of a node": {func(p *Pressure) { p.Gauges = slices.DeleteFunc(p.Gauges, func(g Gauge) bool { return g.Node == "b" }) }, "node b: its gauges were not read"},
		"few of a node": {func(p *Pressure) {
			n := 0
			p.Gauges = slices.DeleteFunc(p.Gauges, func(g Gauge) bool { n++; return g.Node == "b" && n > 20 })
		}, "node b: its gauges were not read"},
		"memory lost":     {without(func(g *Gauge) { g.MB = 0 }), "node b: a gauge is zero"},
		"goroutines lost": {without(func(g *Gauge) { g.Goroutines = 0 }), "node b: a gauge is zero"},
		"files lost":      {without(func(g *Gauge) { g.Files = 0 }), "node b: a gauge is zero"},
		"a lag":           {func(p *Pressure) { p.LagMax++ }, "during the faults up to 6001 events waited"},
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

// TestAside: what lies beside the stores is found, and the stores are not.
func TestAside(t *testing.T) {
	w := &World{opt: Options{Dir: t.TempDir()}}
	for _, name := range []string{"0", "1", "0.damaged-20260101T000000.000", "1.seeding", "1.checkpoint7"} {
		must(t, os.MkdirAll(filepath.Join(w.opt.Dir, history.DataDir, "a", "state", LocalApp, name), 0o700))
	}
	if got := w.asideOf(); len(got) != 3 {
		t.Errorf("beside the stores are %q", got)
	}
}
