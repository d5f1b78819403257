package failover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/bench/measure"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

// Band is several processes that share the work of one app.
type Band interface {
	Name() string
	// Start starts all processes, and returns when the app is counted and each part of it has its
	// standby.
	Start(ctx context.Context) error
	// Faults are those that it knows.
	Faults() []string
	// Fault does harm; repair mends what does not mend itself, and returns when all is as after
	// Start.
	Fault(ctx context.Context, fault string) (repair func(context.Context) error, err error)
	// Stop ends all processes.
	Stop()
	// Out is the topic of the outputs.
	Out() string
}

// Trial says how to measure.
type Trial struct {
	Kafka    kafka.Config
	Workload bench.Workload
	In       string // the input topic, which is there
	Rate     int    // events a second
	Tries    int    // of each fault
	Before   time.Duration
	After    time.Duration // that events go on after a fault; a longer gap is waited for
	Patience time.Duration // for the last counts of a try
	Seam     seam.Seam
	Say      func(format string, args ...any)
}

// Gaps are the gaps around one fault.
type Gaps struct {
	Band, Fault string
	Ms          []float64 // a try each, sorted
	Wrong       string    // what the counts show that cannot be
}

// Median and Max of the tries, in milliseconds.
func (g Gaps) Median() float64 { return g.Ms[len(g.Ms)/2] }
func (g Gaps) Max() float64    { return g.Ms[len(g.Ms)-1] }

// Run starts a band, does each fault Tries times, and compares the counts in the end.
func (t Trial) Run(ctx context.Context, b Band, faults []string) (all []Gaps, err error) {
	r, err := t.newRun(b)
	if err != nil {
		return nil, err
	}
	defer r.cl.Close()
	defer b.Stop()
	if err := b.Start(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", b.Name(), err)
	}
	reading, stop := context.WithCancel(ctx)
	g, reading := errgroup.WithContext(reading)
	g.Go(func() error { return bench.WatchCounts(reading, t.Kafka, []string{b.Out()}, r.latency.Seen) })
	for _, fault := range b.Faults() {
		if len(faults) > 0 && !slices.Contains(faults, fault) {
			continue
		}
		gaps, e := r.fault(ctx, fault)
		if len(gaps.Ms) > 0 {
			all = append(all, gaps)
		}
		if err = e; err != nil {
			break
		}
	}
	stop()
	err = errors.Join(err, g.Wait())
	verdict, e := r.recount.Judge(ctx, t.Kafka, b.Out())
	for i := range all {
		if s := verdict.String(); e == nil && s != "" {
			all[i].Wrong = s
		}
	}
	return all, errors.Join(err, e)
}

// run is a trial under way.
type run struct {
	Trial
	band    Band
	cl      *kgo.Client
	source  *bench.Source
	recount *bench.Recount
	latency *measure.Latency
}

func (t Trial) newRun(b Band) (*run, error) {
	cl, err := t.Kafka.Client(kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(1<<20))
	return &run{Trial: t, band: b, cl: cl, source: t.Workload.Source(), recount: bench.NewRecount(), latency: measure.NewLatency()}, err
}

func (r *run) fault(ctx context.Context, fault string) (Gaps, error) {
	g := Gaps{Band: r.band.Name(), Fault: fault}
	for range r.Tries {
		ms, err := r.try(ctx, fault)
		if err != nil {
			return g, fmt.Errorf("%s, %s: %w", g.Band, fault, err)
		}
		r.Say("%s, %s: %.0f ms", g.Band, fault, ms)
		g.Ms = append(g.Ms, ms)
	}
	slices.Sort(g.Ms)
	return g, nil
}

// try lets events come, does the fault among them, and returns the gap.
func (r *run) try(ctx context.Context, fault string) (ms float64, err error) {
	if err := r.pace(ctx, r.Before); err != nil { // what the last try has left behind
		return 0, err
	}
	if err := r.counted(ctx); err != nil {
		return 0, err
	}
	r.latency.RecordFrom(r.Seam.Now())
	var g errgroup.Group
	g.Go(func() error { return r.pace(ctx, r.Before+r.After) })
	var repair func(context.Context) error
	g.Go(func() (err error) {
		if err := r.Seam.Sleep(ctx, r.Before); err != nil {
			return err
		}
		repair, err = r.band.Fault(ctx, fault)
		return err
	})
	if err := g.Wait(); err != nil {
		return 0, err
	}
	if err := r.counted(ctx); err != nil {
		return 0, err
	}
	h, _, wrong := r.latency.Result()
	if wrong != "" {
		return 0, errors.New(wrong)
	}
	return float64(h.Max()) / 1000, repair(ctx)
}

func (r *run) pace(ctx context.Context, d time.Duration) error {
	_, err := measure.Pace(ctx, r.Seam, r.Rate, d, func(due time.Time) {
		key, value := r.source.Next()
		r.recount.Add(r.Workload, key, value)
		r.latency.Sent(string(key), due)
		r.cl.Produce(ctx, &kgo.Record{Topic: r.In, Key: key, Value: value, Timestamp: due}, nil)
	})
	if err == nil {
		err = r.cl.Flush(ctx)
	}
	return err
}

// counted waits until every event has its count.
func (r *run) counted(ctx context.Context) error {
	for end := r.Seam.Now().Add(r.Patience); r.latency.Open() > 0; {
		if r.Seam.Now().After(end) {
			return fmt.Errorf("%d events have no count after %v", r.latency.Open(), r.Patience)
		}
		if err := r.Seam.Sleep(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}
