package failover

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/bench/measure"
	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
)

const (
	fast       = 20_000 // events a second
	standbyFor = 20 * time.Second
	sampleGap  = 10 * time.Millisecond
)

// Standby measures what a node costs that only stands by, and how old what it has is.
func (l Lab) Standby(ctx context.Context) Table {
	t := Table{Title: "A standby beside 20,000 events/s",
		Note: "Two nodes, one lane, so that one of them owns it and the other stands by; 50k keys. CPU is of the whole node that stands by. " +
			"The lag is how long the oldest event that it does not have yet has been due, by stale reads of it every 10 ms after the CPU was taken: " +
			"the owner's commit is in it.",
		Head: []string{"what", "CPU s/M changelog records", "records/s", "lag p50 ms", "p99 ms"}}
	b, f := l.bandOf("standby", 2, 1, bench.Workload{Keys: 50_000, Partitions: 1})
	s := &standing{b: b, f: f}
	f.sent = s.sent
	wrong, err := l.with(ctx, b, f, func() error { return s.measure(ctx) })
	if err != nil {
		return t.failed("a standby", err)
	}
	perM, p99 := s.cpu.Seconds()/float64(s.records)*1e6, quantile(s.lags, 99)
	t.Rows = []Row{{
		Cells: []string{"a standby", fmt.Sprintf("%.2f", perM), fmt.Sprintf("%.0f", float64(s.records)/standbyFor.Seconds()),
			fmt.Sprintf("%.0f", quantile(s.lags, 50)), fmt.Sprintf("%.0f", p99)},
		Target: "<= 0.5, p99 <= 200", Missed: perM > 0.5 || p99 > 200, Wrong: wrong,
	}}
	return t
}

// standing is such a measurement. The one partition's offsets are the events in their order.
type standing struct {
	b *Tally
	f *Feed

	mu  sync.Mutex
	due []time.Time // by offset

	cpu     time.Duration
	records int64
	lags    []float64 // ms, sorted
}

func (s *standing) sent(due time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.due = append(s.due, due)
}

func (s *standing) measure(ctx context.Context) error {
	n, err := s.node(ctx)
	if err != nil {
		return err
	}
	coming, enough := context.WithCancel(ctx)
	defer enough()
	var g errgroup.Group
	g.Go(func() error { return s.f.paceUntil(ctx, coming, fast, faultMax) })
	g.Go(func() error {
		defer enough()
		if err := s.f.Seam.Sleep(ctx, 5*time.Second); err != nil {
			return err
		}
		if err := s.cost(ctx, n); err != nil {
			return err
		}
		return s.sample(ctx, n)
	})
	return g.Wait()
}

// node is the one that stands by.
func (s *standing) node(ctx context.Context) (*node, error) {
	st, err := s.b.status(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range s.b.nodes {
		if n.name != st.Apps[0].Lanes[0].Owner {
			return n, nil
		}
	}
	return nil, fmt.Errorf("no node stands by")
}

func (s *standing) cost(ctx context.Context, n *node) error {
	admin, err := kafka.NewAdmin(s.f.Kafka)
	if err != nil {
		return err
	}
	defer admin.Close()
	var before, after measure.Usage
	var from, to map[int32]int64
	if before, err = measure.Of(n.proc.PID()); err != nil {
		return err
	}
	if from, err = admin.EndOffsets(ctx, s.b.App+".changelog", true); err != nil {
		return err
	}
	if err := s.f.Seam.Sleep(ctx, standbyFor); err != nil {
		return err
	}
	if to, err = admin.EndOffsets(ctx, s.b.App+".changelog", true); err != nil {
		return err
	}
	after, err = measure.Of(n.proc.PID())
	s.cpu, s.records = after.Sub(before).CPU, to[0]-from[0]
	return err
}

// sample asks the standby how far it is.
func (s *standing) sample(ctx context.Context, n *node) error {
	group, err := json.Marshal([]string{livePrefix + "key-1"})
	if err != nil {
		return err
	}
	for end := s.f.Seam.Now().Add(standbyFor); s.f.Seam.Now().Before(end); {
		answer, err := n.client.Get(ctx, s.b.App, group, api.ReadOptions{Wait: 0, Stale: true})
		if err != nil {
			return err
		}
		now := s.f.Seam.Now()
		part := answer.Parts[0]
		if part.Node != n.name {
			return fmt.Errorf("node %s has answered for %s", part.Node, n.name)
		}
		at := part.Position[s.f.In+"/0"]
		s.mu.Lock()
		lag := 0.0
		if at < int64(len(s.due)) {
			lag = max(float64(now.Sub(s.due[at]).Microseconds())/1000, 0)
		}
		s.mu.Unlock()
		s.lags = append(s.lags, lag)
		if err := s.f.Seam.Sleep(ctx, sampleGap); err != nil {
			return err
		}
	}
	slices.Sort(s.lags)
	return nil
}
