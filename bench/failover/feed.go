package failover

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/bench/measure"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

// livePrefix begins the keys of the events that come at a rate, so that the groups that were there
// before have no latency.
const livePrefix = "live-"

// Feed sends the events of one app, and knows what they must be counted to and how long each took.
type Feed struct {
	Kafka    kafka.Config
	Workload bench.Workload
	In, Out  string // topics, which it makes
	Groups   int    // that are there before, one event each
	Seam     seam.Seam

	cl      *kgo.Client
	source  *bench.Source
	recount *bench.Recount
	latency *measure.Latency
	sent    func(due time.Time) // of each live event, in order; nil for nobody
	watch   *errgroup.Group
	stop    context.CancelFunc
}

// open makes the topics, sends what is there before, and begins to read the outputs.
func (f *Feed) open(ctx context.Context) (err error) {
	f.source, f.recount, f.latency = f.Workload.Source(), bench.NewRecount(), measure.NewLatency(nil)
	if err := f.fill(ctx); err != nil {
		return err
	}
	if err := f.Workload.CreateTopic(ctx, f.Kafka, f.Out); err != nil {
		return err
	}
	f.cl, err = f.Kafka.Client(kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(1<<20))
	if err != nil {
		return err
	}
	reading, stop := context.WithCancel(ctx)
	f.stop = stop
	f.watch, reading = errgroup.WithContext(reading)
	f.watch.Go(func() error {
		return bench.WatchCounts(reading, f.Kafka, kgo.NewOffset().AtStart(), []string{f.Out}, func(group string, count int64, now time.Time) {
			if strings.HasPrefix(group, livePrefix) {
				f.latency.Seen(group, count, now)
			}
		})
	})
	return nil
}

func (f *Feed) fill(ctx context.Context) error {
	if f.Groups == 0 {
		return f.Workload.CreateTopic(ctx, f.Kafka, f.In)
	}
	w := f.Workload
	w.Each, w.Keys, w.Events = true, f.Groups, f.Groups
	f.recount = w.Recount()
	return w.Fill(ctx, f.Kafka, f.In)
}

// close compares all counts with the recount, and says what is wrong; "" for nothing.
func (f *Feed) close(ctx context.Context) (wrong string, err error) {
	if f.cl == nil {
		return "", nil
	}
	f.cl.Close()
	f.stop()
	if err := f.watch.Wait(); err != nil {
		return "", err
	}
	verdict, err := f.recount.Judge(ctx, f.Kafka, f.Out)
	return verdict.String(), err
}

// pace sends events at a rate for d.
func (f *Feed) pace(ctx context.Context, rate int, d time.Duration) error {
	return f.paceUntil(ctx, ctx, rate, d)
}

// paceUntil sends events at a rate for d at most, and only while until has not ended.
func (f *Feed) paceUntil(ctx, until context.Context, rate int, d time.Duration) error {
	_, err := measure.Pace(until, f.Seam, rate, d, func(due time.Time) {
		key, value := f.source.Next()
		key = append([]byte(livePrefix), key...)
		f.recount.Add(f.Workload, key, value)
		f.latency.Sent(string(key), due)
		f.cl.Produce(ctx, &kgo.Record{Topic: f.In, Key: key, Value: value, Timestamp: due}, nil)
		if f.sent != nil {
			f.sent(due)
		}
	})
	if err != nil && (until.Err() == nil || ctx.Err() != nil) {
		return err
	}
	return f.cl.Flush(ctx)
}

// counted waits until every live event has its count.
func (f *Feed) counted(ctx context.Context, patience time.Duration) error {
	for end := f.Seam.Now().Add(patience); f.latency.Open() > 0; {
		if f.Seam.Now().After(end) {
			return fmt.Errorf("%d events have no count after %v", f.latency.Open(), patience)
		}
		if err := f.Seam.Sleep(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// quantile of the latencies since the last RecordFrom, in milliseconds.
func (f *Feed) quantile(q float64) (float64, error) {
	h, _, wrong := f.latency.Result()
	if wrong != "" {
		return 0, errors.New(wrong)
	}
	return float64(h.ValueAtQuantile(q)) / 1000, nil
}
