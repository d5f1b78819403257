package trial

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/bench/peers"
)

// Input is a topic whose events are all there, and what they must be counted to.
type Input struct {
	Workload bench.Workload
	Topic    string
	Recount  *bench.Recount
	ends     map[int32]int64
}

// Fill sends a workload's events and recounts them.
func (l *Lab) Fill(ctx context.Context, w bench.Workload) (*Input, error) {
	in := &Input{Workload: w, Topic: w.Name + "-input"}
	if err := w.Fill(ctx, l.Kafka, in.Topic); err != nil {
		return nil, fmt.Errorf("fill %s: %w", in.Topic, err)
	}
	in.Recount = w.Recount()
	var err error
	in.ends, err = l.admin.EndOffsets(ctx, in.Topic, true)
	return in, err
}

// Drop deletes the topic.
func (l *Lab) Drop(ctx context.Context, in *Input) error {
	return l.drop(ctx, in.Topic)
}

// Beside is what runs while a peer counts, until ctx ends; it adds its figures.
type Beside func(ctx context.Context, job peers.Job, f *Figures) error

// Throughput lets a peer count all of an input. beside may be nil.
func (l *Lab) Throughput(ctx context.Context, peer peers.Peer, in *Input, interval time.Duration, beside Beside) (f Figures, err error) {
	a, err := l.newApp(ctx, peer, in.Workload, in.Topic, interval)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, a.clean(ctx)) }()
	if f, err = a.count(ctx, in, beside); err != nil {
		return f, err
	}
	kept, err := a.kept(ctx)
	if err != nil {
		return f, err
	}
	between, err := a.between(ctx)
	if err != nil {
		return f, err
	}
	f.KafkaPerEvent, f.BetweenPerEvent = kept/float64(in.Workload.Events), between/float64(in.Workload.Events)
	err = a.judge(ctx, in.Recount, in.Workload.Events, &f, a.job.Out())
	return f, err
}

// count runs the peer to the end of the input and stops it.
func (a *app) count(ctx context.Context, in *Input, beside Beside) (f Figures, err error) {
	before, err := a.cost()
	if err != nil {
		return f, err
	}
	began, err := a.start(ctx)
	if err != nil {
		return f, err
	}
	from := began
	if a.peer.SaysRunning() {
		from = a.lab.Seam.Now()
		f.StartSec = from.Sub(began).Seconds()
		if before, err = a.cost(); err != nil {
			return f, err
		}
	}
	if err := a.awaitBeside(ctx, in.ends, beside, &f); err != nil {
		return f, err
	}
	took := a.lab.Seam.Since(from)
	after, err := a.cost()
	if err != nil {
		return f, err
	}
	if beside != nil {
		if f.Wrong, err = a.lab.answers(ctx, a.job, in.Recount); err != nil {
			return f, err
		}
	}
	a.proc.Stop()
	used, events := after.since(before), float64(in.Workload.Events)
	f.EventsPerSec = events / took.Seconds()
	f.CPUPerM = used.peer.CPU.Seconds() / events * 1e6
	f.BrokerCPUPerM = used.brokers.CPU.Seconds() / events * 1e6
	f.RSSMB = float64(used.peer.PeakRSS) / mega
	f.DiskPerEvent = float64(used.peer.Written) / events
	return f, nil
}

// awaitBeside waits for the end of the input, and for what runs beside until then.
func (a *app) awaitBeside(ctx context.Context, ends map[int32]int64, beside Beside, f *Figures) error {
	if beside == nil {
		return a.awaitCounted(ctx, ends)
	}
	asking, stop := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error { return beside(asking, a.job, f) })
	err := a.awaitCounted(ctx, ends)
	stop()
	return errors.Join(err, g.Wait())
}

// judge compares the outputs with the recount. What was wrong before stays.
func (a *app) judge(ctx context.Context, recount *bench.Recount, events int, f *Figures, outs ...string) error {
	judge := recount.Judge
	if a.peer.Adds() {
		judge = recount.JudgeSums
	}
	v, err := judge(ctx, a.lab.Kafka, outs...)
	if err != nil {
		return err
	}
	wrong := v.String()
	if a.peer.ExactlyOnce() {
		wrong = v.OfExactlyOnce()
	}
	if f.Wrong == "" {
		f.Wrong = wrong
	}
	f.OutputsPerEvent = float64(v.Outputs) / float64(events)
	f.OutputsRepeated = float64(v.Repeated)
	f.Groups = float64(recount.Groups())
	return nil
}
