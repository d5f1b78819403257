package failover

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/internal/api"
)

const (
	copyRate   = 1000
	copyBefore = 10 * time.Second
)

// NewStandby measures how long a second node takes until it has a copy of all that the first one
// has counted, and what the first one's readers feel of it.
func (l Lab) NewStandby(ctx context.Context, groups int) Table {
	t := Table{Title: fmt.Sprintf("A new standby of %d groups", groups),
		Note: "A node with four lanes counts 1,000 events/s; a second one is started, and the time is from there until each lane's copy there is ready. " +
			"Latencies are from an event to its count.",
		Head: []string{"what", "seconds", "groups/s", "p99 ms before", "p99 ms meanwhile"}}
	b, f := l.bandOf("copy", 1, 4, bench.Workload{Keys: 1000, Partitions: 4})
	f.Groups = groups
	var c copied
	wrong, err := l.with(ctx, b, f, func() (err error) {
		c, err = l.copy(ctx, b, f)
		return err
	})
	if err != nil {
		return t.failed("a new standby", err)
	}
	rate := float64(groups) / c.took.Seconds()
	t.Rows = []Row{{
		Cells: []string{"a new standby", fmt.Sprintf("%.1f", c.took.Seconds()), fmt.Sprintf("%.0f", rate),
			fmt.Sprintf("%.0f", c.before), fmt.Sprintf("%.0f", c.meanwhile)},
		Target: ">= 1,000,000 groups/s, p99 at most doubled", Missed: rate < 1e6 || c.meanwhile > 2*c.before, Wrong: wrong,
	}}
	return t
}

type copied struct {
	took              time.Duration
	before, meanwhile float64 // p99 in ms
}

func (l Lab) copy(ctx context.Context, b *Tally, f *Feed) (c copied, err error) {
	if err := f.pace(ctx, copyRate, copyBefore/5); err != nil { // behind all that was there before
		return c, err
	}
	if err := f.counted(ctx, settleWait); err != nil {
		return c, err
	}
	if err := l.Seam.Sleep(ctx, copyBefore/2); err != nil { // what Pebble still has to do
		return c, err
	}
	f.latency.RecordFrom(l.Seam.Now())
	if err := f.pace(ctx, copyRate, copyBefore); err != nil {
		return c, err
	}
	if err := f.counted(ctx, time.Minute); err != nil {
		return c, err
	}
	if c.before, err = f.quantile(99); err != nil {
		return c, err
	}
	f.latency.RecordFrom(l.Seam.Now())
	coming, enough := context.WithCancel(ctx)
	defer enough()
	var g errgroup.Group
	g.Go(func() error { return f.paceUntil(ctx, coming, copyRate, faultMax) })
	g.Go(func() (err error) {
		defer enough()
		c.took, err = l.second(ctx, b)
		return err
	})
	if err := g.Wait(); err != nil {
		return c, err
	}
	if err := f.counted(ctx, time.Minute); err != nil {
		return c, err
	}
	c.meanwhile, err = f.quantile(99)
	return c, err
}

// second starts another node and waits until it has all lanes. A copy that was ready may be its
// own lane a moment later.
func (l Lab) second(ctx context.Context, b *Tally) (time.Duration, error) {
	b.Nodes++ // from here on they name each other
	n, err := b.add("b")
	if err != nil {
		return 0, err
	}
	began := l.Seam.Now()
	if err := b.start(n); err != nil {
		return 0, err
	}
	err = b.await(ctx, func(st api.Status) error {
		if err := b.running(st); err != nil {
			return err
		}
		for _, lane := range st.Apps[0].Lanes {
			there := lane.Owner == n.name
			for _, c := range lane.Copies {
				there = there || c.Node == n.name && c.Ready
			}
			if !there {
				return fmt.Errorf("lane %d has no copy at %s", lane.Lane, n.name)
			}
		}
		return nil
	})
	return l.Seam.Since(began), err
}
