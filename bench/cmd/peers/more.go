package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
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
		Note: "200 gets and 2 top-20s a second, by HTTP, each measured from the moment at which it was due; one scan of all\n" +
			"groups. The row without queries is there to be compared with the one beside it."})
	tally := r.field.tally(0)
	pacing := trial.Pacing{Rate: 20_000, Warm: r.seconds(8), For: r.seconds(20), Beside: r.lab.Queries}
	paced := bench.Workload{Name: "he", Keys: 50_000, Partitions: 5}
	cells := []*cell{{peer: tally, variant: "beside 20,000 events/s", run: func(ctx context.Context) (trial.Figures, error) {
		return r.lab.Paced(ctx, tally, paced, 0, pacing)
	}}}
	if err := r.rounds(ctx, work, cells, time.Time{}); err != nil {
		return err
	}
	if err := r.queriesBesideAll(ctx, work); err != nil {
		return err
	}
	return r.queriesOfMany(ctx, work)
}

func (r *runner) queriesBesideAll(ctx context.Context, work *report.Work) error {
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
	}, time.Time{})
	return errors.Join(err, r.lab.Drop(ctx, in))
}

func (r *runner) queriesOfMany(ctx context.Context, work *report.Work) error {
	groups := r.scaled(5_000_000)
	in, err := r.lab.Fill(ctx, bench.Workload{Name: "hf", Events: groups, Keys: groups, Each: true, Partitions: 4})
	if err != nil {
		return err
	}
	tally := r.field.tally(0)
	err = r.rounds(ctx, work, []*cell{{peer: tally, interval: intervals[0], variant: "at rest",
		run: func(ctx context.Context) (trial.Figures, error) {
			return r.lab.Asked(ctx, tally, in, intervals[0], r.seconds(10))
		}}}, time.Time{})
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
		in, err := r.lab.Fill(ctx, w)
		if err != nil {
			return err
		}
		tally := peers.Tally{Binary: r.field.binary}
		err = r.rounds(ctx, work, []*cell{{peer: tally, interval: intervals[0], variant: "of (" + w.Name[1:] + ")",
			run: func(ctx context.Context) (trial.Figures, error) {
				return r.lab.Audit(ctx, tally, in, intervals[0])
			}}}, time.Time{})
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
	}}}, time.Time{})
}

// idle is printed behind (d).
func (r *runner) idle(ctx context.Context) error {
	work := r.add(&report.Work{ID: "d0", Kind: report.Idle, Title: "no traffic"})
	tally := peers.Tally{Binary: r.field.binary}
	return r.rounds(ctx, work, []*cell{{peer: tally, run: func(ctx context.Context) (trial.Figures, error) {
		return r.lab.Idle(ctx, tally, r.seconds(15))
	}}}, r.sm.Now()) // one round
}

// growth (i): how the rate, beside the limit's, changes with groups, lanes, the size of events, and
// memory that is less than the state.
func (r *runner) growth(ctx context.Context, id string) error {
	work := r.add(&report.Work{ID: id, Kind: report.Throughput, Title: "growth",
		Note: "What is compared is the ratio to the limit, which keeps nothing. From 10 M groups on the even rows count each\n" +
			"group once: groups that come again are those of (b) and of the rows by Zipf's law."})
	tally, limit := r.field.tally(0), peers.Limit{}
	for _, groups := range []int{10_000, 100_000, 1_000_000, 10_000_000, 50_000_000, 100_000_000} {
		for _, skewed := range []bool{false, true} {
			w := bench.Workload{Events: max(r.scaled(5_000_000), r.scaled(groups)), Keys: r.scaled(groups), Partitions: 4, Each: !skewed, Skewed: skewed}
			variant := fmt.Sprintf("%d groups, even", groups)
			if skewed {
				variant = fmt.Sprintf("%d keys, zipf(1.1)", groups)
			}
			if err := r.grow(ctx, work, w, variant, tally, limit); err != nil {
				return err
			}
		}
	}
	for _, lanes := range []int{1, 2, 4, 8} {
		w := bench.Workload{Events: r.scaled(5_000_000), Keys: r.scaled(100_000), Partitions: 8}
		if err := r.grow(ctx, work, w, "8 partitions", r.field.tally(lanes)); err != nil {
			return err
		}
	}
	for _, size := range []int{10, 100, 1000, 10_000} {
		w := bench.Workload{Events: r.scaled(min(5_000_000, 2_000_000_000/size)), Keys: r.scaled(100_000), Bytes: size, Partitions: 4}
		if err := r.grow(ctx, work, w, fmt.Sprintf("events of %d B", size), tally, limit); err != nil {
			return err
		}
	}
	w := bench.Workload{Events: r.scaled(10_000_000), Keys: r.scaled(5_000_000), Partitions: 4, Each: true}
	err := r.grow(ctx, work, w, "5 M groups, --memory 64MB", peers.Tally{Binary: r.field.binary, Memory: "64MB"})
	return errors.Join(err, r.compacted(ctx, id+"-latency"))
}

// compacted is the latency of (e) where nearly each event changes another row of a large store, so
// that Pebble flushes and compacts all the time.
func (r *runner) compacted(ctx context.Context, id string) error {
	w := bench.Workload{Name: id, Events: r.scaled(10_000_000), Keys: r.scaled(10_000_000), Partitions: 5, Each: true}
	r.say("(%s) fill %d events", id, w.Events)
	in, err := r.lab.Fill(ctx, w)
	if err != nil {
		return err
	}
	pacing := r.pacing(20_000)
	work := r.add(&report.Work{ID: id, Kind: report.Latency,
		Title: fmt.Sprintf("latency at 20000 events/s over a store of %d groups, while Pebble compacts", w.Keys),
		Note: fmt.Sprintf("As in (e), each run of %v; the events are spread evenly over all groups, which were counted before.",
			pacing.For.Round(time.Second))})
	var cells []*cell
	for _, p := range r.field.only(r.field.tally(1), r.field.tally(0)) {
		cells = append(cells, &cell{peer: p, run: func(ctx context.Context) (trial.Figures, error) {
			return r.lab.PacedOver(ctx, p, in, 0, pacing)
		}})
	}
	return errors.Join(r.rounds(ctx, work, cells, time.Time{}), r.lab.Drop(ctx, in))
}

// grow is one step of growth. What the disk cannot hold is a row that says so.
func (r *runner) grow(ctx context.Context, work *report.Work, w bench.Workload, variant string, all ...peers.Peer) error {
	w.Name = fmt.Sprintf("i%d", len(work.Rows))
	// The input, and for each group an output and a changelog record, of 120 bytes together, and
	// twice its row in the store, of 60 at most.
	size := max(w.Bytes, 100)
	if need, free := uint64(w.Events*(size+30)+w.Keys*240+10<<30), freeDisk(r.lab.Dir); need > free {
		work.Row(all[0].Name(), intervals[0], variant).LeftOut = fmt.Sprintf("it needs about %d GB of disk, and %d GB are free", need>>30, free>>30)
		return nil
	}
	r.say("(%s) fill %d events: %s", work.ID, w.Events, variant)
	in, err := r.lab.Fill(ctx, w)
	if err != nil {
		return err
	}
	var cells []*cell
	for _, p := range r.field.only(all...) {
		c := r.count(p, in, intervals[0])
		c.variant = variant
		cells = append(cells, c)
	}
	return errors.Join(r.rounds(ctx, work, cells, time.Time{}), r.lab.Drop(ctx, in))
}

func freeDisk(dir string) uint64 {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0
	}
	return fs.Bavail * uint64(fs.Bsize)
}
