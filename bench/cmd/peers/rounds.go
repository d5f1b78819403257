package main

import (
	"context"
	"errors"
	"time"

	"github.com/tally-kafka/tally/bench/peers"
	"github.com/tally-kafka/tally/bench/report"
	"github.com/tally-kafka/tally/bench/trial"
	"github.com/tally-kafka/tally/internal/seam"
)

// A cell is a row that is to be run.
type cell struct {
	peer     peers.Peer
	interval time.Duration
	variant  string
	run      func(ctx context.Context) (trial.Figures, error)

	took time.Duration // the last time
}

// runMax bounds one run; what takes longer is a failed row.
const runMax = 20 * time.Minute

// rounds runs all cells once, then all again, so that what else the machine does meets all alike.
// From the second round on a cell is left out that would not end before the deadline.
func (r *runner) rounds(ctx context.Context, work *report.Work, cells []*cell, until time.Time) error {
	for round := range r.o.reps {
		if err := r.round(ctx, work, cells, until, round); err != nil {
			return err
		}
	}
	return nil
}

// round runs all cells once.
func (r *runner) round(ctx context.Context, work *report.Work, cells []*cell, until time.Time, round int) error {
	for _, c := range cells {
		row := work.Row(c.peer.Name(), c.interval, c.variant)
		if row.Failed != "" || round > 0 && late(r.sm, c.took, until) {
			continue
		}
		began := r.sm.Now()
		runCtx, cancel := context.WithTimeout(ctx, runMax)
		f, err := c.run(runCtx)
		cancel()
		c.took = r.sm.Since(began)
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		if err != nil {
			r.failed(work, row, err)
			continue
		}
		row.Runs = append(row.Runs, f)
		r.say("(%s) %d/%d %s %s %v: %s", work.ID, round+1, r.o.reps, c.peer.Name(), c.variant, c.interval, summary(work.Kind, f))
	}
	return nil
}

// failed notes what kept a row from being measured.
func (r *runner) failed(work *report.Work, row *report.Row, err error) {
	row.Failed = err.Error()
	r.say("(%s) %s %s %v: FAILED: %v", work.ID, row.Peer, row.Variant, row.Interval, err)
}

// late says that what took so long would end behind the deadline; there may be none.
func late(sm seam.Seam, took time.Duration, until time.Time) bool {
	return !until.IsZero() && sm.Now().Add(took).After(until)
}
