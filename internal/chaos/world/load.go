package world

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// load sends a workload's events at a rate, in order, until it is stopped, or the run is given up.
// What Kafka has acknowledged goes into the history.
type load struct {
	w    *World
	work *workload
	cl   *kgo.Client
	quit chan struct{}
	done chan struct{}
	rate atomic.Int64 // events a second

	mu    sync.Mutex
	acked []history.Record
	sent  int64
	last  history.Record // acknowledged last
	err   error
}

// ackedMax is how many events a line of the history has.
const ackedMax = 500

func (w *World) newLoad(ctx context.Context, brokers []string, work *workload) (*load, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(work.app.Input),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(5*time.Millisecond),
		kgo.MaxBufferedRecords(200_000), kgo.ClientID("chaos-load"))
	if err != nil {
		return nil, err
	}
	l := &load{w: w, work: work, cl: cl, quit: make(chan struct{}), done: make(chan struct{})}
	l.rate.Store(int64(w.opt.Rate))
	go l.run(ctx)
	return l, nil
}

func (l *load) run(ctx context.Context) {
	defer close(l.done)
	defer l.cl.Close()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	last, due := time.Now(), 0.0
	for {
		now := time.Now()
		due += now.Sub(last).Seconds() * float64(l.rate.Load())
		for last = now; due >= 1; due-- {
			l.send(ctx, l.work.event())
		}
		select {
		case <-tick.C:
			l.flush(ackedMax)
		case <-l.quit:
			if err := l.cl.Flush(ctx); err != nil {
				l.fail(err)
			}
			l.flush(1)
			return
		case <-ctx.Done():
			return
		}
	}
}

func (l *load) send(ctx context.Context, e event) {
	rec := &kgo.Record{Partition: e.partition, Key: []byte(e.key), Value: e.value}
	l.cl.Produce(ctx, rec, func(rec *kgo.Record, err error) {
		if err != nil {
			l.fail(fmt.Errorf("the load of %s was refused: %w", l.work.app.Name, err))
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.last = e.record(rec.Offset)
		l.acked = append(l.acked, l.last)
		l.sent++
	})
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
}

// flush writes what was acknowledged when it is enough for a line.
func (l *load) flush(least int) {
	l.mu.Lock()
	acked := l.acked
	if len(acked) < least {
		l.mu.Unlock()
		return
	}
	l.acked = nil
	l.mu.Unlock()
	for len(acked) > 0 {
		n := min(ackedMax, len(acked))
		l.w.write(history.Event{Kind: history.KindSent, Sent: &history.Sent{App: l.work.app.Name, Topic: l.work.app.Input, Events: acked[:n]}})
		acked = acked[n:]
	}
}

// stop sends what is due, waits until all of it is acknowledged or the run is given up, and says
// how much it was.
func (l *load) stop() (sent int64, err error) {
	select {
	case <-l.quit:
	default:
		close(l.quit)
	}
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent, l.err
}

// now is how many events are acknowledged, and the last one.
func (l *load) now() (sent int64, last history.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent, l.last
}
