package failover

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/bench/measure"
	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

// Lab is what all measurements of tally share.
type Lab struct {
	Binary string
	Kafka  kafka.Config
	Dir    string
	Seam   seam.Seam
	Say    func(format string, args ...any)
}

// bandOf is nodes with a feed of their own, whose topics are named after it.
func (l Lab) bandOf(name string, nodes, lanes int, w bench.Workload) (*Tally, *Feed) {
	w.Name = name
	b := &Tally{Binary: l.Binary, Nodes: nodes, Kafka: l.Kafka, Workload: w, In: name + "-in", App: name, Lanes: lanes,
		Dir: filepath.Join(l.Dir, name), Seam: l.Seam}
	return b, &Feed{Kafka: l.Kafka, Workload: w, In: b.In, Out: b.Out(), Seam: l.Seam}
}

// with opens a feed and starts a band, lets do measure, and says what is wrong with the counts.
func (l Lab) with(ctx context.Context, b *Tally, f *Feed, do func() error) (wrong string, err error) {
	defer b.Stop()
	if err := f.open(ctx); err != nil {
		return "", err
	}
	if err := b.Start(ctx); err != nil {
		return "", err
	}
	if err := do(); err != nil {
		return "", err
	}
	if err := f.counted(ctx, time.Minute); err != nil {
		return "", err
	}
	return f.close(ctx)
}

// Starts measures how long three nodes that are started at once take until all lanes run.
func (l Lab) Starts(ctx context.Context, tries int) Table {
	t := Table{Title: "Three nodes started at once", Head: []string{"what", "tries", "p50 ms", "max ms"},
		Note: "Nodes without data, which find each other, form a cluster, make the app's topics and share its six lanes."}
	var all []float64
	for i := range tries {
		b, f := l.bandOf(fmt.Sprintf("start-%d", i), 3, 6, bench.Workload{Keys: 1000, Partitions: 6})
		ms, err := l.start(ctx, b, f)
		b.Stop()
		if err != nil {
			return t.failed("all lanes run", err)
		}
		l.Say("three nodes started at once: %.0f ms", ms)
		all = append(all, ms)
	}
	slices.Sort(all)
	most := quantile(all, 100)
	t.Rows = []Row{{
		Cells:  []string{"all lanes run", fmt.Sprint(len(all)), fmt.Sprintf("%.0f", quantile(all, 50)), fmt.Sprintf("%.0f", most)},
		Target: "max <= 5,000", Missed: most > 5000,
	}}
	return t
}

func (l Lab) start(ctx context.Context, b *Tally, f *Feed) (ms float64, err error) {
	if err := errors.Join(b.Workload.CreateTopic(ctx, l.Kafka, f.In), b.Workload.CreateTopic(ctx, l.Kafka, f.Out)); err != nil {
		return 0, err
	}
	began := l.Seam.Now()
	if err := b.launch(); err != nil {
		return 0, err
	}
	err = b.await(ctx, b.running)
	return float64(l.Seam.Since(began).Microseconds()) / 1000, err
}

const (
	restFor    = time.Minute
	restSettle = 10 * time.Second
)

// Rest measures what nodes cost to which nothing comes.
func (l Lab) Rest(ctx context.Context) Table {
	t := Table{Title: "At rest", Head: []string{"node", "CPU, % of a core", "peak RSS MB"},
		Note: fmt.Sprintf("CPU by /proc over %v.", restFor)}
	for _, c := range []struct {
		name         string
		nodes, lanes int
	}{{"alone-empty", 1, 0}, {"alone", 1, 4}, {"three-empty", 3, 0}, {"three", 3, 6}} {
		b, f := l.bandOf("rest-"+c.name, c.nodes, c.lanes, bench.Workload{Keys: 1, Partitions: max(c.lanes, 1)})
		if c.lanes == 0 {
			b.App = ""
		}
		rows, err := l.rest(ctx, b, f)
		b.Stop()
		if err != nil {
			t = t.failed(c.name, err)
		}
		t.Rows = append(t.Rows, rows...)
	}
	return t
}

func (l Lab) rest(ctx context.Context, b *Tally, f *Feed) (rows []Row, err error) {
	if err := errors.Join(b.Workload.CreateTopic(ctx, l.Kafka, f.In), b.Workload.CreateTopic(ctx, l.Kafka, f.Out)); err != nil {
		return nil, err
	}
	is := b.whole
	if b.App == "" {
		is = func(st api.Status) error {
			if st.Leader == "" || len(st.Nodes) != b.Nodes {
				return fmt.Errorf("it has %d nodes and the leader %q", len(st.Nodes), st.Leader)
			}
			return nil
		}
	}
	if err := b.launch(); err != nil {
		return nil, err
	}
	if err := b.await(ctx, is); err != nil {
		return nil, err
	}
	if err := l.Seam.Sleep(ctx, restSettle); err != nil {
		return nil, err
	}
	var before []measure.Usage
	for _, n := range b.nodes {
		u, err := measure.Of(n.proc.PID())
		if err != nil {
			return nil, err
		}
		before = append(before, u)
	}
	if err := l.Seam.Sleep(ctx, restFor); err != nil {
		return nil, err
	}
	st, err := b.status(ctx)
	for i, n := range b.nodes {
		u, err := measure.Of(n.proc.PID())
		if err != nil {
			return rows, err
		}
		rows = append(rows, l.restRow(b, n.name == st.Leader, u.Sub(before[i])))
	}
	return rows, err
}

func (l Lab) restRow(b *Tally, leads bool, u measure.Usage) Row {
	what := "the only one"
	switch {
	case b.Nodes > 1 && leads:
		what = fmt.Sprintf("the leader of %d", b.Nodes)
	case b.Nodes > 1:
		what = fmt.Sprintf("one of %d", b.Nodes)
	}
	cpu, rss := u.CPU.Seconds()/restFor.Seconds()*100, float64(u.PeakRSS)/1e6
	r := Row{Cells: []string{what + ", no app", fmt.Sprintf("%.2f", cpu), fmt.Sprintf("%.0f", rss)}}
	if b.App != "" {
		r.Cells[0] = fmt.Sprintf("%s, an app of %d lanes", what, b.Lanes)
	}
	switch {
	case b.App == "":
		r.Target, r.Missed = "<= 1%, <= 60 MB", cpu > 1 || rss > 60
	case b.Nodes == 1:
		r.Target, r.Missed = "<= 1%, <= 50 MB", cpu > 1 || rss > 50
	}
	return r
}
