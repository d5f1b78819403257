package failover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/bench/measure"
	"github.com/tally-kafka/tally/internal/api"
)

const (
	getsPerSec = 200
	getsAtOnce = 64
	quietReads = 20 * time.Second
	faultReads = 10 * time.Second
)

// Reads measures gets at one node beside 20,000 events/s: of lanes that it owns, and of those of
// others; then while another node is killed.
func (l Lab) Reads(ctx context.Context) Table {
	t := Table{Title: "Get beside 20,000 events/s",
		Note: fmt.Sprintf("Three nodes, six lanes, 50k keys; %d gets a second at one node, each from the moment at which it was due, "+
			"with the default wait of 2 s. Local: the asked node owns the group's lane. Beside them as many /healthz, "+
			"which read nothing: what an answer takes here before anything is looked up.", getsPerSec),
		Head: []string{"gets", "number", "p50 ms", "p99 ms", "max ms", "failed"}}
	b, f := l.bandOf("reads", 3, 6, bench.Workload{Keys: 50_000, Partitions: 6})
	var quiet, fault *gets
	wrong, err := l.with(ctx, b, f, func() (err error) {
		quiet, fault, err = l.read(ctx, b, f)
		return err
	})
	if err != nil {
		return t.failed("gets", err)
	}
	t.Rows = []Row{
		quiet.row("/healthz", quiet.health, 0), quiet.row("local", quiet.local, 5), quiet.row("routed", quiet.routed, 10),
		fault.row("all, while an owner is killed", append(fault.local, fault.routed...), 0),
	}
	for i := range t.Rows {
		t.Rows[i].Wrong = wrong
	}
	return t
}

func (l Lab) read(ctx context.Context, b *Tally, f *Feed) (quiet, fault *gets, err error) {
	st, err := b.status(ctx)
	if err != nil {
		return nil, nil, err
	}
	victim := b.victim(st, false)
	asked := b.nodes[(slices.Index(b.nodes, victim)+1)%len(b.nodes)]
	coming, enough := context.WithCancel(ctx)
	defer enough()
	var g errgroup.Group
	g.Go(func() error { return f.paceUntil(ctx, coming, fast, faultMax) })
	g.Go(func() error {
		defer enough()
		if err := l.Seam.Sleep(ctx, 5*time.Second); err != nil {
			return err
		}
		if quiet, err = l.ask(ctx, b, asked, quietReads); err != nil {
			return err
		}
		var dying errgroup.Group
		dying.Go(func() error {
			if err := l.Seam.Sleep(ctx, faultReads/5); err != nil {
				return err
			}
			_, err := b.kill(victim)
			return err
		})
		fault, err = l.ask(ctx, b, asked, faultReads)
		_ = dying.Wait() // it only sleeps and kills
		return err
	})
	err = g.Wait()
	return quiet, fault, err
}

// gets are answers to queries, in milliseconds, by whether the asked node owned the lane.
type gets struct {
	mu            sync.Mutex
	local, routed []float64
	health        []float64 // answers to nothing
	failed        int
	example       error
}

// healthy asks for nothing.
func (g *gets) healthy(ctx context.Context, with *http.Client, l Lab, n *node, due time.Time) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.listen+"/healthz", nil)
	if err == nil {
		var resp *http.Response
		if resp, err = with.Do(req); err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			err = errors.Join(err, resp.Body.Close())
		}
	}
	took := l.Seam.Since(due)
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		g.failed, g.example = g.failed+1, err
		return
	}
	g.health = append(g.health, float64(took.Microseconds())/1000)
}

func (g *gets) add(asked string, took time.Duration, a api.GetAnswer, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	ms := float64(took.Microseconds()) / 1000
	switch {
	case err != nil:
		g.failed, g.example = g.failed+1, err
	case len(a.Parts) == 1 && a.Parts[0].Node == asked:
		g.local = append(g.local, ms)
	default:
		g.routed = append(g.routed, ms)
	}
}

func (g *gets) row(what string, ms []float64, p99 float64) Row {
	slices.Sort(ms)
	r := Row{Cells: []string{what, fmt.Sprint(len(ms))}, Target: "no get fails", Missed: g.failed > 0 || len(ms) == 0}
	for _, q := range []int{50, 99, 100} {
		r.Cells = append(r.Cells, fmt.Sprintf("%.1f", quantile(ms, q)))
	}
	r.Cells = append(r.Cells, fmt.Sprint(g.failed))
	if g.example != nil {
		r.Cells[0] += fmt.Sprintf(" (%v)", g.example)
	}
	if p99 > 0 {
		r.Target = fmt.Sprintf("p99 <= %.0f", p99)
		r.Missed = r.Missed || quantile(ms, 99) > p99
	}
	return r
}

// ask asks a node at a rate for d. The moment of each is fixed before, whatever the others take.
func (l Lab) ask(ctx context.Context, b *Tally, n *node, d time.Duration) (*gets, error) {
	got := &gets{}
	source := b.Workload.Source()
	with := &http.Client{Transport: &http.Transport{DialContext: l.Seam.Dial, MaxIdleConnsPerHost: getsAtOnce}}
	defer with.CloseIdleConnections()
	var g errgroup.Group
	g.SetLimit(2 * getsAtOnce)
	_, err := measure.Pace(ctx, l.Seam, getsPerSec, d, func(due time.Time) {
		key, _ := source.Next()
		group, err := json.Marshal([]string{livePrefix + string(key)})
		if err != nil {
			panic(fmt.Sprintf("failover: a string does not encode: %v", err))
		}
		g.Go(func() error { got.healthy(ctx, with, l, n, due); return nil })
		g.Go(func() error {
			a, err := n.client.Get(ctx, b.App, group, api.ReadOptions{Wait: -1})
			got.add(n.name, l.Seam.Since(due), a, err)
			return nil
		})
	})
	_ = g.Wait() // none of them fails
	return got, err
}
