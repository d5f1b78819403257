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

// byWord counts words whatever the key of their event, which takes everyone two stages: how many
// events a second, what goes between the stages, and how long an event takes through both.
func (r *runner) byWord(ctx context.Context, id string) error {
	w := bench.Workload{Name: id, Events: r.scaled(500_000), Keys: r.scaled(10_000), Words: 10, Partitions: 4, ByWord: true}
	r.say("(%s) fill %d events", id, w.Events)
	in, err := r.lab.Fill(ctx, w)
	if err != nil {
		return err
	}
	work := r.add(&report.Work{ID: id, Kind: report.Throughput, Title: fmt.Sprintf(
		"words by themselves, through two stages: %d events of 10 words, zipf(1.1) from 50k", w.Events),
		Note: "Kafka Streams is its DSL: flatMapValues, groupBy, count."})
	var cells []*cell
	for _, p := range r.field.only(r.field.tally(0), r.field.streams()) {
		cells = append(cells, r.count(p, in, intervals[0]))
	}
	err = r.rounds(ctx, work, cells, r.deadline(id))
	return errors.Join(err, r.lab.Drop(ctx, in), r.pacedByWord(ctx, id+"-latency", 1000))
}

func (r *runner) pacedByWord(ctx context.Context, id string, rate int) error {
	w := bench.Workload{Name: id, Keys: 10_000, Words: 10, Partitions: 4, ByWord: true}
	var cells []*cell
	pacing := r.pacing(rate)
	at := func(p peers.Peer, interval time.Duration) {
		cells = append(cells, &cell{peer: p, interval: interval, run: func(ctx context.Context) (trial.Figures, error) {
			return r.lab.Paced(ctx, p, w, interval, pacing)
		}})
	}
	for _, p := range r.field.only(r.field.tally(1), r.field.tally(0)) {
		at(p, 0)
	}
	for _, p := range r.field.only(r.field.streams()) {
		at(p, 10*time.Millisecond)
		at(p, 25*time.Millisecond)
		at(p, 100*time.Millisecond)
	}
	work := r.add(&report.Work{ID: id, Kind: report.Latency,
		Title: fmt.Sprintf("latency through both stages at %d events/s of 10 words", rate),
		Note:  "From an event's timestamp to the count of each of its words, as in (d)."})
	return r.rounds(ctx, work, cells, r.deadline(id))
}
