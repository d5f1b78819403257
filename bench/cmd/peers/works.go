package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/bench/peers"
	"github.com/tally-kafka/tally/bench/report"
	"github.com/tally-kafka/tally/bench/trial"
)

// The commit intervals at which throughput is shown.
var intervals = []time.Duration{250 * time.Millisecond, 100 * time.Millisecond}

// shares divide the budget among the works, by what they take: those of the default run are a
// hundred.
var shares = map[string]float64{
	"a": 26, "c": 26, "d": 22, "f": 20, "r": 6, "w": 15, "b": 60, "e": 30, "g": 90, "h": 15, "j": 6, "k": 6, "i": 90,
}

// parts are those of a work's share that each part of it has which others follow.
var parts = map[string]float64{"b1": 0.3, "w": 0.5, "h": 0.4, "j": 0.5, "i": 0.1}

// deadline is when the last run of a work, or of a part such as b1 of b, should end: its share of
// what is left of the budget. A zero time is none.
func (r *runner) deadline(id string) time.Time {
	if r.o.budget == 0 {
		return time.Time{}
	}
	work := id[:1]
	rest := 0.0
	for _, w := range r.o.works[slices.Index(r.o.works, work):] {
		rest += shares[w]
	}
	share := shares[work] / rest
	if part, is := parts[id]; is {
		share *= part
	}
	now := r.sm.Now()
	left := r.results.Began.Add(r.o.budget).Sub(now)
	return now.Add(time.Duration(float64(left) * share))
}

// scaled is a number of events or groups at the scale of this run.
func (r *runner) scaled(n int) int { return max(int(float64(n)*r.o.scale), 1000) }

func (r *runner) add(w *report.Work) *report.Work {
	r.results.Works = append(r.results.Works, w)
	return w
}

func (r *runner) work(ctx context.Context, id string) error {
	switch id {
	case "a":
		return r.throughput(ctx, id, "count per key: %d events, 4 partitions, 50k keys, values of 100 B",
			bench.Workload{Name: id, Events: r.scaled(5_000_000), Keys: r.scaled(50_000), Partitions: 4})
	case "b":
		return errors.Join(
			r.throughput(ctx, "b1", "count per key: %d events, 1 M keys", bench.Workload{
				Name: "b1", Events: r.scaled(5_000_000), Keys: r.scaled(1_000_000), Partitions: 4}),
			r.throughput(ctx, "b10", "count per key: %d events, 10 M keys", bench.Workload{
				Name: "b10", Events: r.scaled(10_000_000), Keys: r.scaled(10_000_000), Partitions: 4}))
	case "c":
		return r.throughput(ctx, id, "words per key: %d events of 10 words, zipf(1.1) from 50k, 10k keys",
			bench.Workload{Name: id, Events: r.scaled(500_000), Keys: r.scaled(10_000), Words: 10, Partitions: 4})
	case "d":
		return errors.Join(r.paced(ctx, id, 1000), r.idle(ctx))
	case "e":
		return r.paced(ctx, id, 20_000)
	case "f":
		return r.restarts(ctx, id, r.scaled(5_000_000))
	case "g":
		return r.restarts(ctx, id, r.scaled(50_000_000))
	case "h":
		return r.queries(ctx, id)
	case "i":
		return r.growth(ctx, id)
	case "j":
		return r.audits(ctx, id)
	case "k":
		return r.apps(ctx, id)
	case "r":
		return r.replicated(ctx, id)
	case "w":
		return r.byWord(ctx, id)
	}
	return fmt.Errorf("there is no work %q", id)
}

// throughput lets all count the same topic.
func (r *runner) throughput(ctx context.Context, id, title string, w bench.Workload) error {
	work := r.add(&report.Work{ID: id, Kind: report.Throughput, Title: fmt.Sprintf(title, w.Events)})
	if !r.room(work, w.Events, 100, w.Counts(), r.field.tally(0), "") {
		return nil
	}
	r.say("(%s) fill %d events", id, w.Events)
	until := r.deadline(id)
	in, err := r.lab.Fill(ctx, w)
	if err != nil {
		return err
	}
	var cells []*cell
	for i, interval := range intervals {
		field := r.field.only(r.field.tally(0), peers.Limit{}, r.field.tuned())
		if i == 0 {
			field = r.field.only(r.field.tally(0), peers.Limit{}, r.field.tuned(), r.field.streams())
		}
		for _, p := range field {
			cells = append(cells, r.count(p, in, interval))
		}
		if i == 0 {
			// A micro-batch takes what is there, whatever the interval.
			cells = append(cells, r.batches(in)...)
		}
	}
	err = r.rounds(ctx, work, cells, until)
	return errors.Join(err, r.lab.Drop(ctx, in))
}

// batches are PySpark's rows: all in one, and in several where that is something else.
func (r *runner) batches(in *trial.Input) []*cell {
	all := r.field.only(r.field.spark())
	// It is chosen by its name at scale 1, whatever its batches have here.
	if r.field.has(r.field.spark500k(1).Name()) && in.Workload.Events > r.scaled(sparkBatch) {
		all = append(all, r.field.spark500k(r.o.scale))
	}
	var cells []*cell
	for _, p := range all {
		cells = append(cells, r.count(p, in, 0))
	}
	return cells
}

func (r *runner) count(p peers.Peer, in *trial.Input, interval time.Duration) *cell {
	return &cell{peer: p, interval: interval, run: func(ctx context.Context) (trial.Figures, error) {
		return r.lab.Throughput(ctx, p, in, interval, nil)
	}}
}

// replicated is (a) on three brokers.
func (r *runner) replicated(ctx context.Context, id string) error {
	w := bench.Workload{Name: id, Events: r.scaled(5_000_000), Keys: r.scaled(50_000), Partitions: 4}
	r.say("(%s) fill %d events", id, w.Events)
	until := r.deadline(id)
	in, err := r.lab.Fill(ctx, w)
	if err != nil {
		return err
	}
	work := r.add(&report.Work{ID: id, Kind: report.Throughput, Title: "as (a), on three brokers: replication factor 3, acks=all",
		Note: "Three brokers share the machine with the program. CPU of the brokers is that of all three, bytes to Kafka those of all replicas."})
	var cells []*cell
	for _, p := range r.field.only(r.field.tally(0), peers.Limit{}, r.field.tuned()) {
		cells = append(cells, r.count(p, in, intervals[0]))
	}
	err = r.rounds(ctx, work, cells, until)
	return errors.Join(err, r.lab.Drop(ctx, in))
}

// pacing gives each run of a row its share of a minute, behind a warm-up.
func (r *runner) pacing(rate int) trial.Pacing {
	return trial.Pacing{
		Rate: rate,
		Warm: time.Duration(r.o.scale * float64(8*time.Second)),
		For:  max(time.Duration(r.o.scale*float64(time.Minute)/float64(r.o.reps)), time.Second),
	}
}

// paced measures latency. A row is three runs of a third of the minute, so that peers take turns.
func (r *runner) paced(ctx context.Context, id string, rate int) error {
	w := bench.Workload{Name: id, Keys: 50_000, Partitions: 5}
	pacing := r.pacing(rate)
	work := r.add(&report.Work{ID: id, Kind: report.Latency,
		Title: fmt.Sprintf("latency at %d events/s, 5 partitions, 50k keys", rate),
		Note: fmt.Sprintf("From an event's timestamp, which is the moment at which it was due, to its count at a read-committed\n"+
			"reader. Each run records %v behind a warm-up of %v.%s", pacing.For.Round(time.Second), pacing.Warm.Round(time.Second),
			r.realTimeNote())})
	var cells []*cell
	at := func(p peers.Peer, interval time.Duration) {
		cells = append(cells, &cell{peer: p, interval: interval, run: func(ctx context.Context) (trial.Figures, error) {
			return r.lab.Paced(ctx, p, w, interval, pacing)
		}})
	}
	for _, p := range r.field.only(r.field.tally(1), r.field.tally(0)) {
		at(p, 0)
	}
	for _, p := range r.field.only(r.field.tuned()) {
		for _, ms := range []int{10, 25, 100} {
			at(p, time.Duration(ms)*time.Millisecond)
		}
	}
	for _, p := range r.field.only(r.field.spark()) {
		at(p, 0)
	}
	for _, p := range r.field.only(r.field.sparkRealTime()) {
		for _, ms := range r.realTimeBatches() {
			at(p, time.Duration(ms)*time.Millisecond)
		}
	}
	return r.rounds(ctx, work, cells, r.deadline(id))
}

// realTimeBatches are those of real-time mode, in ms. On a busy machine one of 100 ms ends before
// its tasks have begun, for ever, and a row that fails costs the budget a minute and a half.
func (r *runner) realTimeBatches() []int {
	if r.o.budget > 0 {
		return []int{250, 1000}
	}
	return []int{100, 250, 1000}
}

// realTimeNote says what of real-time mode is not in the table, and what is taken for granted.
func (r *runner) realTimeNote() string {
	if !r.field.has(r.field.sparkRealTime().Name()) {
		return ""
	}
	note := " Spark's real-time mode runs\naggregations only with its list of what is vouched for turned off"
	if !slices.Contains(r.realTimeBatches(), 100) {
		note += ", and is left out at 100 ms in a run with a budget"
	}
	return note + "."
}

// slowestPerSec is how many events or groups a second a peer must do not to be taken for hung.
const slowestPerSec = 20_000

// restarts kills each peer under load. Building the state takes the longest, so each builds once
// and is then killed several times.
func (r *runner) restarts(ctx context.Context, id string, groups int) error {
	w := bench.Workload{Name: id, Events: groups, Keys: groups, Each: true, Partitions: 4}
	work := r.add(&report.Work{ID: id, Kind: report.Restart,
		Title: fmt.Sprintf("restart with %d groups", groups),
		Note: "The process ends while 1,000 events/s come; then it is started. An event of each partition waits for it, and what\n" +
			"counts is the time from the start to the first output of one of them, at a read-committed reader. Restored groups/s\n" +
			"are all groups by the time of the last of these outputs, the program's start included: then each partition has its\n" +
			"groups again. Peers do not take turns here."})
	if !r.room(work, groups, 100, groups, r.field.tally(0), trial.Killed) {
		return nil
	}
	r.say("(%s) fill %d events", id, groups)
	until := r.deadline(id)
	in, err := r.lab.Fill(ctx, w)
	if err != nil {
		return err
	}
	for _, p := range r.field.only(r.field.tally(0), r.field.tuned(), r.field.spark()) {
		enough := func(took time.Duration) bool { return late(r.sm, took, until) }
		interval := intervals[1]
		if _, batches := p.(peers.Spark); batches { // as they come
			interval = 0
		}
		if !trial.CanDropCaches() {
			work.Row(p.Name(), interval, trial.KilledCold).LeftOut = "only root may drop the page cache"
		}
		all, err := r.lab.Restarts(ctx, p, in, interval, trial.Endings{
			Ways: r.ways(p), Enough: enough, StepMax: max(runMax, time.Duration(groups/slowestPerSec)*time.Second),
		})
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		if err != nil {
			r.failed(work, work.Row(p.Name(), interval, trial.Killed), err)
			continue
		}
		for _, one := range all {
			row := work.Row(p.Name(), interval, one.Way)
			row.Runs = append(row.Runs, one.Figures)
			r.say("(%s) %s %s: %s", id, p.Name(), one.Way, summary(work.Kind, one.Figures))
		}
	}
	return r.lab.Drop(ctx, in)
}

// ways are how often a peer is ended how. Whoever keeps its state in files beside Kafka restores it
// too.
func (r *runner) ways(p peers.Peer) []string {
	all := []string{trial.Killed, trial.Stopped}
	if trial.CanDropCaches() {
		all = append(all, trial.KilledCold)
	}
	if p.State(peers.Job{}) != "" {
		all = append(all, trial.Emptied)
	}
	return slices.Repeat(all, r.o.reps)
}

// summary is a run in a line, for who waits.
func summary(kind report.Kind, f trial.Figures) string {
	if f.Wrong != "" {
		return "WRONG: " + f.Wrong
	}
	switch kind {
	case report.Latency:
		return fmt.Sprintf("p50 %.0f p99 %.0f max %.0f ms, %.2f cores", f.P50, f.P99, f.Max, f.CPUShare)
	case report.Idle:
		return fmt.Sprintf("%.4f cores, %.0f MB", f.CPUShare, f.RSSMB)
	case report.Queries:
		return fmt.Sprintf("%.0f events/s, get p99 %.1f ms, top p99 %.1f ms, scan %.0f groups/s", f.EventsPerSec, f.GetP99, f.TopP99, f.RecordsPerSec)
	case report.Restart:
		return fmt.Sprintf("first output after %.0f ms, %.0f groups/s", f.FirstOutputMs, f.RecordsPerSec)
	}
	return fmt.Sprintf("%.0f events/s, %.2f CPU s/M, %.0f MB, %.2f outputs an event", f.EventsPerSec, f.CPUPerM, f.RSSMB, f.OutputsPerEvent)
}
