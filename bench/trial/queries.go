package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"

	"github.com/tally-kafka/tally/bench/measure"
	"github.com/tally-kafka/tally/bench/peers"
	"github.com/tally-kafka/tally/internal/api"
)

const (
	getsPerSec  = 200
	topsPerSec  = 10
	topGroups   = 20
	queriesMost = 64 // at once
	readyWait   = time.Minute
)

// Queries asks a tally node at fixed rates until ctx ends: single groups, and the largest.
// Latencies run from the moment at which a query was due.
func (l *Lab) Queries(ctx context.Context, job peers.Job, f *Figures) error {
	client, err := api.NewClient("http://"+job.Listen, l.Seam)
	if err != nil {
		return err
	}
	if err := l.ready(ctx, client, job); err != nil {
		return ignoreEnd(ctx, err)
	}
	// The queries themselves outlive ctx by a moment: the last ones are answered too.
	asking := context.WithoutCancel(ctx)
	gets, tops := newTimes(), newTimes()
	g, gctx := errgroup.WithContext(ctx)
	source := job.Workload.Source()
	g.Go(func() error {
		return l.askAt(gctx, getsPerSec, gets, func() func() error {
			key, _ := source.Next()
			group, err := json.Marshal([]string{string(key)})
			return func() error {
				if err != nil {
					return err
				}
				_, err := client.Get(asking, job.App, group, api.ReadOptions{Wait: -1})
				return err
			}
		})
	})
	g.Go(func() error {
		return l.askAt(gctx, topsPerSec, tops, func() func() error {
			return func() error {
				_, err := client.Top(asking, job.App, topGroups, api.ReadOptions{Wait: -1})
				return err
			}
		})
	})
	err = ignoreEnd(ctx, g.Wait())
	f.GetP99, f.TopP99 = gets.p99(), tops.p99()
	return err
}

// ready waits until the node answers.
func (l *Lab) ready(ctx context.Context, client *api.Client, job peers.Job) error {
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	for {
		_, err := client.Top(ctx, job.App, 1, api.ReadOptions{Wait: -1})
		if err == nil {
			return nil
		}
		if ended := l.Seam.Sleep(ctx, pollEvery); ended != nil {
			return fmt.Errorf("the node does not answer: %w", err)
		}
	}
}

func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// askAt asks at a rate until ctx ends, side by side where answers take longer than the next
// question does to come; draw makes one question after the other. The first error ends it.
func (l *Lab) askAt(ctx context.Context, rate int, took *times, draw func() func() error) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(queriesMost)
	_, err := measure.Pace(gctx, l.Seam, rate, time.Hour, func(due time.Time) {
		ask := draw()
		g.Go(func() error {
			if err := ask(); err != nil {
				return err
			}
			took.add(l.Seam.Since(due))
			return nil
		})
	})
	return errors.Join(g.Wait(), err)
}

// times are latencies of queries.
type times struct {
	mu   sync.Mutex
	hist *hdrhistogram.Histogram
}

func newTimes() *times {
	return &times{hist: hdrhistogram.New(1, int64(time.Minute/time.Microsecond), 3)}
}

func (t *times) add(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.hist.RecordValue(min(max(d.Microseconds(), 1), int64(time.Minute/time.Microsecond))) // within its bounds
}

// p99 is in milliseconds.
func (t *times) p99() float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return float64(t.hist.ValueAtQuantile(99)) / 1000
}

// Asked counts an input and then, with nothing else to do, answers queries for a while and is
// scanned once.
func (l *Lab) Asked(ctx context.Context, peer peers.Peer, in *Input, interval, d time.Duration) (f Figures, err error) {
	a, err := l.newApp(ctx, peer, in.Workload, in.Topic, interval)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, a.clean(ctx)) }()
	if _, err := a.start(ctx); err != nil {
		return f, err
	}
	if err := a.awaitCounted(ctx, in.ends); err != nil {
		return f, err
	}
	asking, stop := context.WithTimeout(ctx, d)
	defer stop()
	if err := l.Queries(asking, a.job, &f); err != nil {
		return f, err
	}
	if f.Wrong, err = l.answers(ctx, a.job, in.Recount); err != nil {
		return f, err
	}
	before, err := a.cost()
	if err != nil {
		return f, err
	}
	f.BeforeScanMB = float64(before.peer.PeakRSS) / mega
	if err := l.scan(ctx, a, in, &f); err != nil {
		return f, err
	}
	u, err := a.cost()
	f.RSSMB = float64(u.peer.PeakRSS) / mega
	return f, err
}

// scan reads all groups by the API and adds their counts up.
func (l *Lab) scan(ctx context.Context, a *app, in *Input, f *Figures) error {
	client, err := api.NewClient("http://"+a.job.Listen, l.Seam)
	if err != nil {
		return err
	}
	var groups, sum int64
	began := l.Seam.Now()
	_, err = client.Scan(ctx, a.job.App, nil, api.ReadOptions{Wait: -1}, func(c api.Count) error {
		groups++
		text := bytes.TrimSuffix(bytes.TrimPrefix(c.Values, []byte(`{"count":`)), []byte("}")) // json would take longer than the scan
		n, err := strconv.ParseInt(string(text), 10, 64)
		sum += n
		return err
	})
	if err != nil {
		return err
	}
	f.RecordsPerSec = float64(groups) / l.Seam.Since(began).Seconds()
	f.Groups = float64(groups)
	if want := int64(in.Workload.Counts()); sum != want || groups != int64(in.Recount.Groups()) {
		f.Wrong = fmt.Sprintf("a scan gives %d groups and %d counts, not %d and %d", groups, sum, in.Recount.Groups(), want)
	}
	return nil
}
