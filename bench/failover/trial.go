package failover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// Band is several processes that share the work of one app.
type Band interface {
	Name() string
	// Start starts all processes, and returns when the app is counted and each part of it has its
	// standby.
	Start(ctx context.Context) error
	// Faults are those that it knows.
	Faults() []string
	// Fault does harm; repair mends what does not mend itself, and returns when all is as after
	// Start.
	Fault(ctx context.Context, fault string) (repair func(context.Context) error, err error)
	// Stop ends all processes.
	Stop()
	// Out is the topic of the outputs.
	Out() string
}

// Trial says how to measure.
type Trial struct {
	Feed
	Rate     int // events a second
	Tries    int // of each fault
	Before   time.Duration
	After    time.Duration // that events go on after a fault is over; a longer gap is waited for
	Patience time.Duration // for the last counts of a try
	Say      func(format string, args ...any)
}

// Gaps are the gaps around one fault.
type Gaps struct {
	Band, Fault string
	Ms          []float64 // a try each, sorted
	Wrong       string    // what the counts show that cannot be, or why tries are missing
}

// Median and Max of the tries, in milliseconds.
func (g Gaps) Median() float64 { return quantile(g.Ms, 50) }
func (g Gaps) Max() float64    { return quantile(g.Ms, 100) }

// quantile of sorted values, 0 of none.
func quantile(sorted []float64, q int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)*q/100, len(sorted)-1)]
}

// Run starts a band, does each fault Tries times, and compares the counts in the end. A fault that
// cannot be measured ends the run, and its row says why.
func (t Trial) Run(ctx context.Context, b Band, faults []string) (all []Gaps, err error) {
	if t.Out = b.Out(); len(faults) == 0 {
		faults = b.Faults()
	}
	if err := t.open(ctx); err != nil {
		return nil, err
	}
	defer b.Stop()
	if err := b.Start(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", b.Name(), err)
	}
	for _, fault := range b.Faults() {
		if !slices.Contains(faults, fault) {
			continue
		}
		gaps, e := t.fault(ctx, b, fault)
		if e != nil {
			gaps.Wrong = e.Error()
		}
		all = append(all, gaps)
		if err = e; err != nil {
			break
		}
	}
	wrong, e := t.close(ctx)
	for i := range all {
		if wrong != "" {
			all[i].Wrong = wrong
		}
	}
	return all, errors.Join(err, e)
}

func (t *Trial) fault(ctx context.Context, b Band, fault string) (Gaps, error) {
	g := Gaps{Band: b.Name(), Fault: fault}
	defer func() { slices.Sort(g.Ms) }()
	for range t.Tries {
		ms, err := t.try(ctx, b, fault)
		if err != nil {
			return g, fmt.Errorf("%s, %s: %w", g.Band, fault, err)
		}
		t.Say("%s, %s: %.0f ms", g.Band, fault, ms)
		g.Ms = append(g.Ms, ms)
	}
	return g, nil
}

// faultMax is how long events may go on while a fault is done.
const faultMax = 5 * time.Minute

// try lets events come, does the fault among them, and returns the gap.
func (t *Trial) try(ctx context.Context, b Band, fault string) (ms float64, err error) {
	if err := t.pace(ctx, t.Rate, t.Before); err != nil { // what the last try has left behind
		return 0, err
	}
	if err := t.counted(ctx, t.Patience); err != nil {
		return 0, err
	}
	t.latency.RecordFrom(t.Seam.Now())
	coming, enough := context.WithCancel(ctx)
	defer enough()
	var g errgroup.Group
	g.Go(func() error { return t.paceUntil(ctx, coming, t.Rate, faultMax) })
	var repair func(context.Context) error
	g.Go(func() (err error) {
		defer enough()
		if err := t.Seam.Sleep(ctx, t.Before); err != nil {
			return err
		}
		if repair, err = b.Fault(ctx, fault); err != nil {
			return err
		}
		return t.Seam.Sleep(ctx, t.After)
	})
	if err := g.Wait(); err != nil {
		return 0, err
	}
	if err := t.counted(ctx, t.Patience); err != nil {
		return 0, err
	}
	if ms, err = t.quantile(100); err != nil {
		return 0, err
	}
	return ms, repair(ctx)
}
