package trial

import (
	"context"
	"errors"
	"time"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/bench/peers"
)

// Grown lets a peer count the events of fill, so that it has their groups, and after those the
// events of each of more, which come to the same topic while it is down. Its figures are those of
// fill and of each of more, in this order: from a start of the process, the first with no state and
// the others with all that was counted before. What is wrong with the outputs is wrong with all.
func (l *Lab) Grown(ctx context.Context, peer peers.Peer, fill bench.Workload, more []bench.Workload, interval time.Duration) (all []Figures, err error) {
	in, err := l.Fill(ctx, fill)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Drop(ctx, in)) }()
	a, err := l.newApp(ctx, peer, fill, in.Topic, interval)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.clean(ctx)) }()
	step, err := a.grow(ctx, in)
	if err != nil {
		return nil, err
	}
	all = append(all, step)
	for _, in.Workload = range more {
		if err := in.Workload.Send(ctx, l.Kafka, in.Topic); err != nil {
			return nil, err
		}
		in.Recount.AddAll(in.Workload)
		if in.ends, err = l.admin.EndOffsets(ctx, in.Topic, true); err != nil {
			return nil, err
		}
		if step, err = a.grow(ctx, in); err != nil {
			return nil, err
		}
		all = append(all, step)
	}
	var verdict Figures
	if err := a.judge(ctx, in.Recount, in.Workload.Events, &verdict, a.job.Out()); err != nil {
		return nil, err
	}
	for i := range all {
		all[i].Wrong, all[i].Groups = verdict.Wrong, verdict.Groups
	}
	return all, nil
}

// grow is count with what it adds to Kafka.
func (a *app) grow(ctx context.Context, in *Input) (f Figures, err error) {
	a.proc = nil // that of the step before has ended, and costs nothing any more
	keptBefore, outputsBefore, err := a.written(ctx)
	if err != nil {
		return f, err
	}
	if f, err = a.count(ctx, in, nil); err != nil {
		return f, err
	}
	kept, outputs, err := a.written(ctx)
	events := float64(in.Workload.Events)
	f.KafkaPerEvent, f.OutputsPerEvent = (kept-keptBefore)/events, (outputs-outputsBefore)/events
	return f, err
}

// written are the bytes that the brokers keep of the app, and how many outputs it has, among them
// the markers of transactions: some a second, beside thousands.
func (a *app) written(ctx context.Context) (kept, outputs float64, err error) {
	if kept, err = a.kept(ctx); err != nil {
		return 0, 0, err
	}
	ends, err := a.lab.admin.EndOffsets(ctx, a.job.Out(), true)
	for _, end := range ends {
		outputs += float64(end)
	}
	return kept, outputs, err
}
