package main

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/chaos/plan"
)

// total is how much of something came in a run, and how much of it comes at least in one of
// floorsFrom at the usual rate.
type total struct {
	what       string
	got, floor int
}

// floorsFrom is from which length on a run that is drawn has to bring so much of everything.
const floorsFrom = 12 * time.Minute

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
	came := func(f *history.Fault) int {
		if f.Failed != "" {
			return 0
		}
		return 1
	}
	emptied := 0
	for _, fault := range f.result.Faults {
		emptied += len(fault.Emptied)
	}
	return []total{
		{"SIGKILLs", count(signals, plan.Kill, plan.Power, plan.Wipe, plan.Flip) + emptied, 60},
		{"SIGSTOPs", count(signals, plan.Stop, plan.BrokerStop), 20},
		{"network cuts", count(came, plan.Cut, plan.Freeze, plan.OneWay, plan.BrokerCut), 20},
		{"broker kills", count(came, plan.BrokerKill, plan.ControllerKill), 6},
		{"wiped or damaged stores", count(came, plan.Wipe, plan.Flip) + emptied, 6},
		{"events", int(f.result.Events), 1_000_000},
	}
}

// short are the totals that are below their floor, where the run is one that has floors: one that
// was drawn as such a run usually is.
func (f finding) short() (all []total) {
	if f.drawn < floorsFrom || !f.usual {
		return nil
	}
	return slices.DeleteFunc(f.totals(), func(t total) bool { return t.got >= t.floor })
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
