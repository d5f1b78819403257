package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/bench/peers"
	"github.com/tally-kafka/tally/bench/report"
	"github.com/tally-kafka/tally/bench/trial"
	"github.com/tally-kafka/tally/internal/seam"
)

func TestOptions(t *testing.T) {
	none := func(string) string { return "" }
	o, err := parseOptions(nil, none)
	if err != nil || !slices.Equal(o.works, defaultWorks) || o.budget == 0 || !strings.HasSuffix(o.out, "docs/performance.md") {
		t.Errorf("%+v, %v", o, err)
	}
	env := map[string]string{"WORK": "d,f", "PEERS": "limit", "SCALE": "0.1"}
	o, err = parseOptions([]string{"--scale", "0.5"}, func(name string) string { return env[name] })
	if err != nil || joined(o.works) != "d,f" || o.peers != "limit" || o.scale != 0.5 || o.budget != 0 {
		t.Errorf("%+v, %v", o, err)
	}
	// What is not the whole must not take the page's place.
	if !strings.HasSuffix(o.out, ".cache/peers/performance.md") {
		t.Error(o.out)
	}
	if got := command(o); got != "make bench-peers PEERS=limit WORK=d,f SCALE=0.5" {
		t.Error(got)
	}
	o, err = parseOptions([]string{"--budget", "10m"}, none)
	if got := command(o); err != nil || got != "make bench-peers BUDGET=10m0s" {
		t.Error(got, err)
	}
	if o, err := parseOptions([]string{"--work", "all"}, none); err != nil || !slices.Equal(o.works, allWorks) {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err := parseOptions([]string{"--work", "c,a,c,a"}, none); err != nil || joined(o.works) != "c,a" {
		t.Errorf("%+v, %v", o, err)
	}
	for _, list := range []string{"tally", "limit,pyspark", "kafka-streams-tuned,pyspark-500k"} {
		if _, err := parseOptions([]string{"--peers", list}, none); err != nil {
			t.Errorf("%s: %v", list, err)
		}
	}
	for _, args := range [][]string{{"--peers", "spark"}, {"--peers", "limit,"}, {"--work", "x"}, {"--scale", "0"}, {"--reps", "0"}, {"--nothing"}} {
		if _, err := parseOptions(args, none); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}

// TestWrongPeerIsRefused by name, with those that there are, before anything runs.
func TestWrongPeerIsRefused(t *testing.T) {
	err := dispatch(t.Context(), []string{"--peers", "limit,kafka-stream"})
	if err == nil || exitCode(err) != 2 || !strings.Contains(err.Error(), `no peer "kafka-stream": say some of tally,tally-1-lane,limit,kafka-streams,`) {
		t.Errorf("%v", err)
	}
	if exitCode(errors.New("a row is wrong")) != 1 {
		t.Error("a run that failed is taken for a wrong call")
	}
}

// TestPeerOfABatchIsChosenAtAnyScale: its row's name has the scale in it.
func TestPeerOfABatchIsChosenAtAnyScale(t *testing.T) {
	o := options{peers: "pyspark-500k", scale: 0.1, reps: 1}
	r := &runner{o: o, field: newField(o, "")}
	in := &trial.Input{Workload: bench.Workload{Events: r.scaled(5_000_000)}}
	if cells := r.batches(in); len(cells) != 1 || cells[0].peer.Name() != "pyspark-50k" {
		t.Errorf("%+v", cells)
	}
	r.field.chosen = "pyspark"
	if cells := r.batches(in); len(cells) != 2 {
		t.Errorf("%+v", cells)
	}
	r.field.chosen = "kafka-streams"
	if cells := r.batches(in); len(cells) != 0 {
		t.Errorf("%+v", cells)
	}
}

// TestPeersAreChosen by name or family; tally always runs.
func TestPeersAreChosen(t *testing.T) {
	f := field{chosen: "kafka-streams,limit"}
	var names []string
	for _, p := range f.only(f.tally(0), f.tally(1), peers.Limit{}, f.streams(), f.tuned(), f.spark(), f.sparkRealTime()) {
		names = append(names, p.Name())
	}
	if got := joined(names); got != "tally,tally-1-lane,limit,kafka-streams,kafka-streams-tuned" {
		t.Error(got)
	}
}

// clock is a seam whose time moves only by hand.
func clock(at *time.Time) seam.Seam {
	return seam.Seam{Now: func() time.Time { return *at }}
}

// TestRoundsTakeTurns: every row runs once; after that, only what ends before the deadline; a row
// that failed is not run again.
func TestRoundsTakeTurns(t *testing.T) {
	now := time.Unix(0, 0)
	r := &runner{o: options{reps: 3}, sm: clock(&now), results: &report.Results{Began: now}}
	var order []string
	make := func(name string, lanes int, took time.Duration, err error) *cell {
		return &cell{peer: peers.Tally{Lanes: lanes}, variant: name, run: func(context.Context) (trial.Figures, error) {
			order = append(order, name)
			now = now.Add(took)
			return trial.Figures{EventsPerSec: 1}, err
		}}
	}
	work := &report.Work{ID: "a", Kind: report.Throughput}
	cells := []*cell{
		make("quick", 1, 10*time.Second, nil), make("slow", 2, 100*time.Second, nil),
		make("broken", 3, time.Second, errors.New("no")),
	}
	if err := r.rounds(t.Context(), work, cells, time.Unix(200, 0)); err != nil {
		t.Fatal(err)
	}
	if got := joined(order); got != "quick,slow,broken,quick,quick" {
		t.Error(got)
	}
	if n := len(work.Row("tally-1-lane", 0, "quick").Runs); n != 3 {
		t.Errorf("%d runs of the quick one", n)
	}
	if work.Row("tally-3-lanes", 0, "broken").Failed == "" {
		t.Error("the broken one has not failed")
	}
}

// TestAbsentPeerIsSaid: who asks for a peer that a work has not gets no table that looks whole.
func TestAbsentPeerIsSaid(t *testing.T) {
	d, idle := &report.Work{ID: "d"}, &report.Work{ID: "d0"}
	d.Row("tally", 0, "")
	d.Row("kafka-streams-tuned", time.Second, "")
	idle.Row("tally", 0, "")
	field{chosen: "limit,kafka-streams,tally"}.noteAbsent([]*report.Work{d, idle})
	if n := len(d.Rows); n != 3 || d.Rows[2].Peer != "limit" || d.Rows[2].LeftOut == "" || len(idle.Rows) != 1 {
		t.Errorf("%d rows, and %d", n, len(idle.Rows))
	}
	field{}.noteAbsent([]*report.Work{d})
	if len(d.Rows) != 3 {
		t.Error("nobody asked for more")
	}
}

// TestDeadlines give each work its share of what is left.
func TestDeadlines(t *testing.T) {
	now := time.Unix(0, 0)
	r := &runner{o: options{works: []string{"a", "c"}, budget: 57 * time.Minute}, sm: clock(&now), results: &report.Results{Began: now}}
	if d := r.deadline("a").Sub(now); d != 28*time.Minute+30*time.Second {
		t.Errorf("(a) gets %v of 57 minutes", d)
	}
	now = now.Add(10 * time.Minute)
	if d := r.deadline("c").Sub(now); d != 47*time.Minute {
		t.Errorf("(c) gets %v of the 47 minutes that are left", d)
	}
	r.o.works = []string{"b"}
	if d := r.deadline("b1").Sub(now).Round(time.Second); d != 47*time.Minute*3/10 {
		t.Errorf("(b)'s first part gets %v of 47 minutes", d)
	}
	if d := r.deadline("b10").Sub(now); d != 47*time.Minute {
		t.Errorf("(b)'s last part gets %v of 47 minutes", d)
	}
	r.o.works = []string{"i", "r"}
	if d := r.deadline("i").Sub(now).Round(time.Second); d != 4*time.Minute+24*time.Second {
		t.Errorf("a step of (i) gets %v of 47 minutes", d)
	}
	for _, w := range allWorks {
		if shares[w] == 0 {
			t.Errorf("(%s) has no share of a budget", w)
		}
	}
	r.o.budget = 0
	if !r.deadline("c").IsZero() {
		t.Error("a deadline without a budget")
	}
}

// TestInterruptedRunLeavesThePage: a run that ended with an error replaces no table and no plot of
// the page, and what it measured is kept beside it.
func TestInterruptedRunLeavesThePage(t *testing.T) {
	dir := t.TempDir()
	o := options{out: filepath.Join(dir, "performance.md"), results: filepath.Join(dir, "results.json")}
	whole := &report.Work{ID: "a", Kind: report.Throughput, Title: "whole"}
	whole.Row("tally", time.Second, "").Runs = []trial.Figures{{EventsPerSec: 1_000_000, CPUPerM: 1}}
	if err := finish(&report.Results{Scale: 1, Works: []*report.Work{whole}}, o, nil); err != nil {
		t.Fatal(err)
	}
	page := files(t, dir, "performance.md", "performance/a-rate.svg", "performance/results.json")

	cut := &report.Work{ID: "a", Kind: report.Throughput, Title: "cut short"}
	cut.Row("tally", time.Second, "")
	c := &report.Work{ID: "c", Kind: report.Throughput, Title: "words"}
	c.Row("tally", time.Second, "").Runs = []trial.Figures{{EventsPerSec: 1}}
	c.Row("limit", time.Second, "")
	err := finish(&report.Results{Scale: 1, Works: []*report.Work{cut, c}}, o, context.Canceled)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "--from "+o.results) {
		t.Errorf("%v", err)
	}
	if got := files(t, dir, "performance.md", "performance/a-rate.svg", "performance/results.json"); got != page {
		t.Errorf("the page has changed:\n%s", got)
	}
	kept, err := report.Load(o.results)
	if err != nil || len(kept.Works) != 1 || len(kept.Works[0].Rows) != 1 {
		t.Errorf("kept is %+v, %v", kept, err)
	}
	// Nothing was run: the results of before stay.
	if err := finish(&report.Results{Works: []*report.Work{cut}}, o, context.Canceled); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if kept, err := report.Load(o.results); err != nil || len(kept.Works) != 1 {
		t.Errorf("kept is %+v, %v", kept, err)
	}
}

func files(t *testing.T, dir string, names ...string) string {
	t.Helper()
	all := ""
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		}
		all += string(text)
	}
	return all
}

// TestUnsoundRowsAreAnError: the page has the row, and who waits for the command learns of it.
func TestUnsoundRowsAreAnError(t *testing.T) {
	dir := t.TempDir()
	o := options{out: filepath.Join(dir, "performance.md"), results: filepath.Join(dir, "results.json")}
	w := &report.Work{ID: "a", Kind: report.Throughput}
	w.Row("tally", time.Second, "").Runs = []trial.Figures{{EventsPerSec: 1}, {Wrong: "3 groups wrong"}}
	w.Row("limit", time.Second, "").Failed = "out of memory"
	w.Row("pyspark", 0, "").LeftOut = "no room"
	err := finish(&report.Results{Scale: 1, Works: []*report.Work{w}}, o, nil)
	if err == nil || !strings.Contains(err.Error(), "2 rows") || !strings.Contains(err.Error(), "(a) limit 1000 ms: failed: out of memory") {
		t.Errorf("%v", err)
	}
	if page := files(t, dir, "performance.md"); !strings.Contains(page, "| limit | 1000 ms | 0 | **wrong**: failed: out of memory |") {
		t.Error(page)
	}
	// Rows that an earlier run had are on the page, and no fault of this one.
	d := &report.Work{ID: "d", Kind: report.Latency}
	d.Row("tally", 0, "").Runs = []trial.Figures{{P50: 1}}
	if err := finish(&report.Results{Scale: 1, Works: []*report.Work{d}}, o, nil); err != nil {
		t.Error(err)
	}
}

// TestBrokerThatEndsStopsTheWorks, and they say why.
func TestBrokerThatEndsStopsTheWorks(t *testing.T) {
	log := filepath.Join(t.TempDir(), "kafka.log")
	if err := os.WriteFile(log, []byte("out of memory\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	ended := make(chan struct{})
	go watchBroker(ctx, stop, 2, ended, log)
	now := time.Unix(0, 0)
	r := &runner{o: options{reps: 3}, sm: clock(&now), results: &report.Results{Began: now}}
	err := r.rounds(ctx, &report.Work{ID: "a"}, []*cell{{peer: peers.Limit{}, run: func(ctx context.Context) (trial.Figures, error) {
		close(ended)
		<-ctx.Done()
		return trial.Figures{}, ctx.Err()
	}}}, time.Time{})
	if err == nil || !strings.Contains(err.Error(), "broker 2 has ended by itself: out of memory") {
		t.Errorf("%v", err)
	}
}
