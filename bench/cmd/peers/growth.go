package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/bench/peers"
	"github.com/tally-kafka/tally/bench/report"
	"github.com/tally-kafka/tally/bench/trial"
)

// growth (i): how the rate, beside the limit's, changes with groups, lanes, the size of events, and
// memory that is less than the state.
func (r *runner) growth(ctx context.Context, id string) error {
	work := r.add(&report.Work{ID: id, Kind: report.Throughput, Title: "growth",
		Note: fmt.Sprintf("What is compared is the ratio to the limit, which keeps nothing. tally has all groups, of one event each, when it\n"+
			"is started to count %d events over them; what counting those first events took are the rows \"all new\".",
			r.scaled(grownEvents))})
	tally, limit := r.field.tally(0), peers.Limit{}
	for _, groups := range []int{10_000, 100_000, 1_000_000, 10_000_000, 50_000_000, 100_000_000} {
		if err := r.grown(ctx, work, r.scaled(groups), "", tally); err != nil {
			return err
		}
	}
	// The state takes about 60 bytes a group.
	if err := r.grown(ctx, work, r.scaled(5_000_000), ", --memory 64MB", peers.Tally{Binary: r.field.binary, Memory: "64MB"}); err != nil {
		return err
	}
	for _, lanes := range []int{1, 2, 4, 8} {
		w := bench.Workload{Events: r.scaled(5_000_000), Keys: r.scaled(100_000), Partitions: 8}
		if err := r.grow(ctx, work, w, "8 partitions", r.field.tally(lanes)); err != nil {
			return err
		}
	}
	for _, size := range []int{10, 100, 1000, 10_000} {
		w := bench.Workload{Events: r.scaled(min(5_000_000, 2_000_000_000/size)), Keys: r.scaled(100_000), Bytes: size, Partitions: 4}
		if err := r.grow(ctx, work, w, fmt.Sprintf("%d events of %d B", w.Events, size), tally, limit); err != nil {
			return err
		}
	}
	return r.compacted(ctx, id+"-latency")
}

// grownEvents are counted over groups that are there.
const grownEvents = 5_000_000

// grown measures events over groups that tally has: even ones and skewed ones, one after the other
// over the same state. The limit has no state, and counts the same events alone, in turn with it.
func (r *runner) grown(ctx context.Context, work *report.Work, groups int, suffix string, tally peers.Peer) (err error) {
	fill := bench.Workload{Name: r.topic(work), Events: groups, Keys: groups, Each: true, Partitions: 4}
	even := bench.Workload{Name: fill.Name + "l", Events: r.scaled(grownEvents), Keys: groups, Partitions: 4}
	skewed := even
	skewed.Name, skewed.Skewed = fill.Name+"z", true
	names := []string{
		fmt.Sprintf("%d groups%s, all new", groups, suffix), fmt.Sprintf("%d groups%s, even", groups, suffix),
		fmt.Sprintf("%d groups%s, zipf(1.1)", groups, suffix),
	}
	if !r.room(work, fill.Events+even.Events+skewed.Events, 100, groups+even.Events+skewed.Events, tally, names[1]) {
		return nil
	}
	var limits []*cell
	for i, w := range []bench.Workload{even, skewed} {
		for _, p := range r.field.only(peers.Limit{}) {
			in, e := r.lab.Fill(ctx, w)
			if e != nil {
				return e
			}
			defer func() { err = errors.Join(err, r.lab.Drop(ctx, in)) }()
			c := r.count(p, in, intervals[0])
			c.variant = names[i+1]
			limits = append(limits, c)
		}
	}
	until, took := r.deadline(work.ID), time.Duration(0)
	for round := range r.o.reps {
		if err := r.round(ctx, work, limits, until, round); err != nil {
			return err
		}
		if round > 0 && late(r.sm, took, until) {
			continue // the limit takes less time
		}
		began := r.sm.Now()
		all, err := r.lab.Grown(ctx, tally, fill, []bench.Workload{even, skewed}, intervals[0])
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		if err != nil {
			r.failed(work, work.Row(tally.Name(), intervals[0], names[1]), err)
			return nil
		}
		took = r.sm.Since(began)
		r.addGrown(work, tally, names, all, round, groups)
	}
	return nil
}

// addGrown notes what a run over a growing state has given.
func (r *runner) addGrown(work *report.Work, tally peers.Peer, names []string, all []trial.Figures, round, groups int) {
	for i, f := range all {
		if i == 0 && groups < r.scaled(grownEvents) {
			continue // so short that it would say nothing
		}
		row := work.Row(tally.Name(), intervals[0], names[i])
		row.Runs = append(row.Runs, f)
		r.say("(%s) %d/%d %s %s: %s", work.ID, round+1, r.o.reps, tally.Name(), names[i], summary(work.Kind, f))
	}
}

// compacted is the latency of (e) where nearly each event changes another row of a large store, so
// that Pebble flushes and compacts all the time.
func (r *runner) compacted(ctx context.Context, id string) error {
	w := bench.Workload{Name: id, Events: r.scaled(10_000_000), Keys: r.scaled(10_000_000), Partitions: 5, Each: true}
	work := r.add(&report.Work{ID: id, Kind: report.Latency,
		Title: fmt.Sprintf("latency at 20000 events/s over a store of %d groups, while Pebble compacts", w.Keys)})
	if !r.room(work, w.Events, 100, w.Events, r.field.tally(1), "") {
		return nil
	}
	r.say("(%s) fill %d events", id, w.Events)
	in, err := r.lab.Fill(ctx, w)
	if err != nil {
		return err
	}
	pacing := r.pacing(20_000)
	work.Note = fmt.Sprintf("As in (e), each run of %v; the events are spread evenly over all groups, which were counted before.",
		pacing.For.Round(time.Second))
	var cells []*cell
	for _, p := range r.field.only(r.field.tally(1), r.field.tally(0)) {
		cells = append(cells, &cell{peer: p, run: func(ctx context.Context) (trial.Figures, error) {
			return r.lab.PacedOver(ctx, p, in, 0, pacing)
		}})
	}
	return errors.Join(r.rounds(ctx, work, cells, r.deadline(id)), r.lab.Drop(ctx, in))
}

// grow lets all count the same events. What the disk cannot hold is a row that says so.
func (r *runner) grow(ctx context.Context, work *report.Work, w bench.Workload, variant string, all ...peers.Peer) error {
	all = r.field.only(all...)
	if len(all) == 0 || !r.room(work, w.Events, max(w.Bytes, 100), w.Keys, all[0], variant) {
		return nil
	}
	until := r.deadline(work.ID)
	w.Name = r.topic(work)
	r.say("(%s) fill %d events: %s", work.ID, w.Events, variant)
	in, err := r.lab.Fill(ctx, w)
	if err != nil {
		return err
	}
	var cells []*cell
	for _, p := range all {
		c := r.count(p, in, intervals[0])
		c.variant = variant
		cells = append(cells, c)
	}
	return errors.Join(r.rounds(ctx, work, cells, until), r.lab.Drop(ctx, in))
}

// topic is a name that no other step of a work has.
func (r *runner) topic(work *report.Work) string { return fmt.Sprintf("%s%d", work.ID, len(work.Rows)) }

// room says whether the disk can hold some events of so many bytes, and for each of some changes of
// a group an output and a changelog record, of 120 bytes together, and twice its row in the store,
// of 60 at most. What it cannot hold has a row that says so.
func (r *runner) room(work *report.Work, events, size, changes int, p peers.Peer, variant string) bool {
	// The brokers' data is in another place than the states, and perhaps on another disk.
	need, free := uint64(events*(size+30)+changes*240+10<<30), min(freeDisk(r.lab.Dir), freeDisk(os.TempDir()))
	if need <= free {
		return true
	}
	work.Row(p.Name(), intervals[0], variant).LeftOut = fmt.Sprintf("it needs about %d GB of disk, and %d GB are free", need>>30, free>>30)
	return false
}

func freeDisk(dir string) uint64 {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0
	}
	return fs.Bavail * uint64(fs.Bsize)
}
