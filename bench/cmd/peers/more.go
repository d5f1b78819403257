package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/bench/peers"
	"github.com/tally-kafka/tally/bench/report"
	"github.com/tally-kafka/tally/bench/trial"
)

// These works are tally's alone, or beside the limit: nobody else has what they measure.

// queries (h): beside a paced input, beside a topic that is there, and of many groups.
func (r *runner) queries(ctx context.Context, id string) error {
	work := r.add(&report.Work{ID: id, Kind: report.Queries, Title: "queries",
		Note: "200 gets and 10 top-20s a second, by HTTP, each measured from the moment at which it was due; one scan of all\n" +
			"groups. Beside (a), which is counted in two seconds, a run has some 20 top-20s: their p99 is the slowest. The row without queries is there to be compared with the one beside it."})
	tally := r.field.tally(0)
	pacing := trial.Pacing{Rate: 20_000, Warm: r.seconds(8), For: r.seconds(20), Beside: r.lab.Queries}
	paced := bench.Workload{Name: "he", Keys: 50_000, Partitions: 5}
	cells := []*cell{{peer: tally, variant: "beside 20,000 events/s", run: func(ctx context.Context) (trial.Figures, error) {
		return r.lab.Paced(ctx, tally, paced, 0, pacing)
	}}}
	if err := r.rounds(ctx, work, cells, r.deadline(id)); err != nil {
		return err
	}
	if err := r.queriesBesideAll(ctx, work); err != nil {
		return err
	}
	return r.queriesOfMany(ctx, work)
}

func (r *runner) queriesBesideAll(ctx context.Context, work *report.Work) error {
	until := r.deadline(work.ID)
	in, err := r.lab.Fill(ctx, bench.Workload{Name: "ha", Events: r.scaled(5_000_000), Keys: r.scaled(50_000), Partitions: 4})
	if err != nil {
		return err
	}
	tally := r.field.tally(0)
	run := func(beside trial.Beside) func(context.Context) (trial.Figures, error) {
		return func(ctx context.Context) (trial.Figures, error) {
			return r.lab.Throughput(ctx, tally, in, intervals[0], beside)
		}
	}
	err = r.rounds(ctx, work, []*cell{
		{peer: tally, interval: intervals[0], variant: "(a) without queries", run: run(nil)},
		{peer: tally, interval: intervals[0], variant: "(a) beside queries", run: run(r.lab.Queries)},
	}, until)
	return errors.Join(err, r.lab.Drop(ctx, in))
}

func (r *runner) queriesOfMany(ctx context.Context, work *report.Work) error {
	until := r.deadline(work.ID)
	groups := r.scaled(5_000_000)
	in, err := r.lab.Fill(ctx, bench.Workload{Name: "hf", Events: groups, Keys: groups, Each: true, Partitions: 4})
	if err != nil {
		return err
	}
	tally := r.field.tally(0)
	err = r.rounds(ctx, work, []*cell{{peer: tally, interval: intervals[0], variant: "at rest",
		run: func(ctx context.Context) (trial.Figures, error) {
			return r.lab.Asked(ctx, tally, in, intervals[0], r.seconds(10))
		}}}, until)
	return errors.Join(err, r.lab.Drop(ctx, in))
}

// seconds are those at the scale of this run, at least one.
func (r *runner) seconds(n int) time.Duration {
	return max(time.Duration(r.o.scale*float64(n)*float64(time.Second)), time.Second)
}

// audits (j) are of (a) and (c).
func (r *runner) audits(ctx context.Context, id string) error {
	work := r.add(&report.Work{ID: id, Kind: report.Audit, Title: "tally audit: recount and compare all that an app has written"})
	for _, w := range []bench.Workload{
		{Name: "ja", Events: r.scaled(5_000_000), Keys: r.scaled(50_000), Partitions: 4},
		{Name: "jc", Events: r.scaled(500_000), Keys: r.scaled(10_000), Words: 10, Partitions: 4},
	} {
		until := r.deadline(id)
		in, err := r.lab.Fill(ctx, w)
		if err != nil {
			return err
		}
		tally := peers.Tally{Binary: r.field.binary}
		err = r.rounds(ctx, work, []*cell{{peer: tally, interval: intervals[0], variant: "of (" + w.Name[1:] + ")",
			run: func(ctx context.Context) (trial.Figures, error) {
				return r.lab.Audit(ctx, tally, in, intervals[0])
			}}}, until)
		if err := errors.Join(err, r.lab.Drop(ctx, in)); err != nil {
			return err
		}
	}
	return nil
}

// apps (k): many small apps on one node.
func (r *runner) apps(ctx context.Context, id string) error {
	n := max(int(100*min(r.o.scale, 1)), 2)
	work := r.add(&report.Work{ID: id, Kind: report.Latency, Title: fmt.Sprintf("%d apps on one node, 10 events/s each", n)})
	tally := peers.Tally{Binary: r.field.binary}
	pacing := trial.Pacing{Rate: 10 * n, Warm: r.seconds(8), For: r.seconds(20)}
	return r.rounds(ctx, work, []*cell{{peer: tally, run: func(ctx context.Context) (trial.Figures, error) {
		return r.lab.Apps(ctx, tally, n, pacing)
	}}}, r.deadline(id))
}

// idle is printed behind (d).
func (r *runner) idle(ctx context.Context) error {
	work := r.add(&report.Work{ID: "d0", Kind: report.Idle, Title: "no traffic"})
	tally := peers.Tally{Binary: r.field.binary}
	return r.rounds(ctx, work, []*cell{{peer: tally, run: func(ctx context.Context) (trial.Figures, error) {
		return r.lab.Idle(ctx, tally, r.seconds(15))
	}}}, r.sm.Now()) // one round
}
