package trial

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/bench/measure"
	"github.com/tally-kafka/tally/bench/peers"
)

// Pacing says at which rate events come, and for how long.
type Pacing struct {
	Rate int // a second
	Warm time.Duration
	For  time.Duration
	// Beside runs while the latency is recorded, or is nil.
	Beside Beside
}

const (
	wakeWait  = 90 * time.Second // for the first outputs of a peer that has started
	drainWait = 60 * time.Second // for the counts of the last events
)

// Paced measures how long an event takes to its count at a read-committed reader.
func (l *Lab) Paced(ctx context.Context, peer peers.Peer, w bench.Workload, interval time.Duration, p Pacing) (f Figures, err error) {
	in := fmt.Sprintf("%s-input-%d", w.Name, l.apps+1)
	if err := w.CreateTopic(ctx, l.Kafka, in); err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, l.drop(ctx, in)) }()
	a, err := l.newApp(ctx, peer, w, in, interval)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, a.clean(ctx)) }()
	s, err := l.newSender(w, bench.NewRecount(), func([]byte) string { return in })
	if err != nil {
		return f, err
	}
	defer s.close()
	if _, err := a.start(ctx); err != nil {
		return f, err
	}
	err = a.pacedAndRead(ctx, s, kgo.NewOffset().AtStart(), p, &f)
	return f, err
}

// PacedOver is Paced for a peer that has counted an input, and has the groups of that. The input
// gets the events too.
func (l *Lab) PacedOver(ctx context.Context, peer peers.Peer, in *Input, interval time.Duration, p Pacing) (f Figures, err error) {
	a, err := l.newApp(ctx, peer, in.Workload, in.Topic, interval)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, a.clean(ctx)) }()
	w := in.Workload
	w.Each = false // each group was drawn once
	s, err := l.newSender(w, in.Recount.Clone(), func([]byte) string { return in.Topic })
	if err != nil {
		return f, err
	}
	defer s.close()
	s.sent, s.latency = in.Workload.Events, measure.NewLatency(in.Recount.Of)
	if _, err := a.start(ctx); err != nil {
		return f, err
	}
	if err := a.awaitCounted(ctx, in.ends); err != nil {
		return f, err
	}
	from := kgo.NewOffset().AfterMilli(l.Seam.Now().UnixMilli())
	err = a.pacedAndRead(ctx, s, from, p, &f)
	in.Workload.Events = s.sent
	return f, errors.Join(err, l.noteSent(ctx, in, s))
}

// pacedAndRead measures beside a reader of the outputs, stops the peer, and judges what it wrote.
func (a *app) pacedAndRead(ctx context.Context, s *sender, from kgo.Offset, p Pacing, f *Figures) error {
	reading, stopReading := context.WithCancel(ctx)
	g, reading := errgroup.WithContext(reading)
	g.Go(func() error {
		return bench.WatchCounts(reading, a.lab.Kafka, from, []string{a.job.Out()}, s.latency.Seen)
	})
	err := a.paced(ctx, s, p, f)
	stopReading()
	if err := errors.Join(err, g.Wait()); err != nil {
		return fmt.Errorf("%w\n%s", err, a.proc.Log())
	}
	if p.Beside != nil && f.Wrong == "" {
		if f.Wrong, err = a.lab.answers(ctx, a.job, s.recount); err != nil {
			return err
		}
	}
	a.proc.Stop()
	return a.judgePaced(ctx, s, f, a.job.Out())
}

// judgePaced keeps the figure of outputs an event, which is of what was recorded alone.
func (a *app) judgePaced(ctx context.Context, s *sender, f *Figures, outs ...string) error {
	outputs := f.OutputsPerEvent
	err := a.judge(ctx, s.recount, s.sent, f, outs...)
	f.OutputsPerEvent = outputs
	return err
}

// paced wakes the peer, warms it up, and records.
func (a *app) paced(ctx context.Context, s *sender, p Pacing, f *Figures) error {
	if err := s.pace(ctx, 50, time.Second); err != nil {
		return err
	}
	if err := s.await(ctx, a, wakeWait); err != nil {
		return fmt.Errorf("the first events: %w", err)
	}
	if err := s.pace(ctx, p.Rate, p.Warm); err != nil {
		return err
	}
	before, err := a.cost()
	if err != nil {
		return err
	}
	kept, err := a.kept(ctx)
	if err != nil {
		return err
	}
	from := a.lab.Seam.Now()
	s.latency.RecordFrom(from)
	// The group has no context of its own: its end would drop the events that are just being sent.
	var g errgroup.Group
	g.Go(func() error { return s.pace(ctx, p.Rate, p.For) })
	if p.Beside != nil {
		beside, stop := context.WithTimeout(ctx, p.For)
		defer stop()
		g.Go(func() error { return p.Beside(beside, a.job, f) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	after, err := a.cost()
	if err != nil {
		return err
	}
	_ = s.await(ctx, a, drainWait) // what is still open makes the row wrong
	a.record(s, before, after, p, f)
	keptNow, err := a.kept(ctx)
	if err != nil {
		return err
	}
	if _, many := a.peer.(*manyApps); !many { // whose inputs are among what is kept
		f.KafkaPerEvent = (keptNow - kept) / (float64(p.Rate) * p.For.Seconds())
	}
	return errors.Join(ctx.Err(), s.refused())
}

func (a *app) record(s *sender, before, after cost, p Pacing, f *Figures) {
	used := after.since(before)
	f.CPUShare = used.peer.CPU.Seconds() / p.For.Seconds()
	f.BrokerCPUShare = used.brokers.CPU.Seconds() / p.For.Seconds()
	f.RSSMB = float64(used.peer.PeakRSS) / mega
	events := float64(p.Rate) * p.For.Seconds()
	f.DiskPerEvent = float64(used.peer.Written) / events
	h, outputs, wrong := s.latency.Result()
	ms := func(q float64) float64 { return float64(h.ValueAtQuantile(q)) / 1000 }
	f.P50, f.P95, f.P99, f.P999, f.Max = ms(50), ms(95), ms(99), ms(99.9), float64(h.Max())/1000
	f.OutputsPerEvent, f.Wrong = float64(outputs)/events, wrong
	if n := h.TotalCount(); wrong == "" && n != int64(events)*int64(max(1, s.w.Words)) {
		f.Wrong = fmt.Sprintf("%d latencies of %.0f events", n, events)
	}
}

// sender sends a workload's events at their moments, and knows what they must be counted to.
type sender struct {
	lab     *Lab
	w       bench.Workload
	cl      *kgo.Client
	topic   func(key []byte) string
	source  *bench.Source
	recount *bench.Recount
	latency *measure.Latency
	sent    int
	failed  chan error // holds one
}

func (l *Lab) newSender(w bench.Workload, recount *bench.Recount, topic func(key []byte) string) (*sender, error) {
	cl, err := l.Kafka.Client(
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.ProducerLinger(0),
		kgo.MaxBufferedRecords(1<<20),
	)
	return &sender{lab: l, w: w, cl: cl, topic: topic, source: w.Source(), recount: recount, latency: measure.NewLatency(nil),
		failed: make(chan error, 1)}, err
}

func (s *sender) close() { s.cl.Close() }

// pace sends at a rate. A record that cannot be sent ends it.
func (s *sender) pace(ctx context.Context, rate int, d time.Duration) error {
	_, err := measure.Pace(ctx, s.lab.Seam, rate, d, func(due time.Time) {
		key, value := s.source.Next()
		s.send(ctx, key, value, due)
	})
	if err != nil {
		return err
	}
	return s.refused()
}

// refused is the error of a record that could not be sent.
func (s *sender) refused() error {
	select {
	case err := <-s.failed:
		return fmt.Errorf("an event could not be sent: %w", err)
	default:
		return nil
	}
}

func (s *sender) send(ctx context.Context, key, value []byte, due time.Time) {
	s.sent++
	s.recount.Add(s.w, key, value)
	s.w.Items(key, value, func(group string) { s.latency.Sent(group, due) })
	s.cl.Produce(ctx, &kgo.Record{Topic: s.topic(key), Key: key, Value: value, Timestamp: due}, func(_ *kgo.Record, err error) {
		if err != nil {
			select {
			case s.failed <- err:
			default:
			}
		}
	})
}

// await waits until every event has its count, as long as the peer lives.
func (s *sender) await(ctx context.Context, a *app, wait time.Duration) error {
	end := s.lab.Seam.Now().Add(wait)
	for open := s.latency.Open(); open > 0; open = s.latency.Open() {
		if s.lab.Seam.Now().After(end) {
			return fmt.Errorf("%d events have no count after %v", open, wait)
		}
		if err := a.proc.Check(); err != nil {
			return err
		}
		if err := s.lab.Seam.Sleep(ctx, pollEvery); err != nil {
			return err
		}
	}
	return nil
}
