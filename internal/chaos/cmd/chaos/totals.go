package main

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/check"
	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/chaos/plan"
)

// total is how much of something came in a run, and how much of it comes at least in one that has
// floors.
type total struct {
	what       string
	got, floor int
}

// A run that is drawn has to bring so much of everything from a length on: of totals at the usual
// rate, and of soaked with the even deck, whatever the rate is.
const (
	floorsFrom = 12 * time.Minute
	soakFrom   = time.Hour
)

// totals add up what came by kinds that do the same.
func (f finding) totals() []total {
	count := func(of func(*history.Fault) int, kinds ...plan.Kind) (n int) {
		for i := range f.result.Faults {
			if slices.Contains(kinds, plan.Kind(f.result.Faults[i].Kind)) {
				n += of(&f.result.Faults[i])
			}
		}
		return n
	}
	signals := func(f *history.Fault) int { return f.Signal }
	hits := func(f *history.Fault) int {
		if history.Hit(f, plan.Counted) {
			return 1
		}
		return 0
	}
	emptied := 0
	for _, fault := range f.result.Faults {
		emptied += len(fault.Emptied)
	}
	return []total{
		{"SIGKILLs", count(signals, plan.Kill, plan.Power, plan.Wipe, plan.Flip) + emptied, 60},
		{"SIGSTOPs", count(signals, plan.Stop, plan.BrokerStop), 20},
		{"network cuts", count(hits, plan.Cut, plan.Freeze, plan.OneWay, plan.BrokerCut), 20},
		{"broker kills", count(hits, plan.BrokerKill, plan.ControllerKill), 6},
		{"wiped or damaged stores", count(hits, plan.Wipe, plan.Flip) + emptied, 6},
		{"events", int(f.result.Events), 1_000_000},
	}
}

// soaked is what a soak is for: much of everything, and nine of ten cells of the table.
func (f finding) soaked() []total {
	var r check.Report
	if f.report != nil {
		r = *f.report
	}
	faults := 0
	for i := range f.result.Faults {
		if history.Hit(&f.result.Faults[i], plan.Counted) {
			faults++
		}
	}
	return []total{
		{"faults", faults, 1000},
		{"events", int(f.result.Events), 50_000_000},
		{"groups", int(r.Groups), 1_000_000},
		{"cells", r.Cells.Hit, (9*r.Cells.All + 9) / 10},
	}
}

// short are the totals that are below their floor, where the run is one that has floors: one that
// was drawn as such a run usually is, or a soak.
func (f finding) short() (all []total) {
	switch {
	case f.usual && f.drawn >= floorsFrom:
		all = f.totals()
	case f.even && f.drawn >= soakFrom:
		all = f.soaked()
	}
	return slices.DeleteFunc(all, func(t total) bool { return t.got >= t.floor })
}

func (t total) String() string { return fmt.Sprintf("%d %s of %d", t.got, t.what, t.floor) }

func (f finding) printTotals(out io.Writer) {
	fmt.Fprint(out, "in all:")
	for i, t := range f.totals() {
		if i > 0 {
			fmt.Fprint(out, ",")
		}
		fmt.Fprintf(out, " %d %s", t.got, t.what)
	}
	fmt.Fprintln(out)
}
