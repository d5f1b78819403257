package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

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
	if o, err := parseOptions([]string{"--work", "all"}, none); err != nil || !slices.Equal(o.works, allWorks) {
		t.Errorf("%+v, %v", o, err)
	}
	for _, args := range [][]string{{"--work", "x"}, {"--scale", "0"}, {"--reps", "0"}, {"--nothing"}} {
		if _, err := parseOptions(args, none); err == nil {
			t.Errorf("%v is taken", args)
		}
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
	r.o.budget = 0
	if !r.deadline("c").IsZero() {
		t.Error("a deadline without a budget")
	}
}
