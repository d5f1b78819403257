package failover

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/internal/api"
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
			"the owner's commit is in it. Who only reads is a bare client that reads the same changelog at the same pace and does nothing with it, for as long behind that.",
		Head: []string{"what", "CPU s/M changelog records", "records/s", "lag p50 ms", "p99 ms"}}
	b, f := l.bandOf("standby", 2, 1, bench.Workload{Keys: 50_000, Partitions: 1})
	s := &standing{b: b, f: f}
	f.sent = s.sent
	wrong, err := l.with(ctx, b, f, func() error { return s.measure(ctx) })
	if err != nil {
		return t.failed("a standby", err)
	}
	perM, p99 := s.node.perMillion(), quantile(s.lags, 99)
	t.Rows = []Row{{
		Cells:  append(s.node.cells("a standby"), fmt.Sprintf("%.0f", quantile(s.lags, 50)), fmt.Sprintf("%.0f", p99)),
		Target: "<= 0.5, p99 <= 200", Missed: perM > 0.5 || p99 > 200, Wrong: wrong,
	}, {Cells: s.bare.cells("who only reads")}}
	return t
}

func (c cost) cells(what string) []string {
	return []string{what, fmt.Sprintf("%.2f", c.perMillion()), fmt.Sprintf("%.0f", float64(c.records)/standbyFor.Seconds())}
}

// standing is such a measurement. The one partition's offsets are the events in their order.
type standing struct {
	b *Tally
	f *Feed

	mu  sync.Mutex
	due []time.Time // by offset

	node, bare cost      // of the node that stands by, and of a Reader
	lags       []float64 // ms, sorted
}

func (s *standing) sent(due time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.due = append(s.due, due)
}

func (s *standing) measure(ctx context.Context) error {
	n, err := s.standby(ctx)
	if err != nil {
		return err
	}
	coming, enough := context.WithCancel(ctx)
	defer enough()
	var g errgroup.Group
	g.Go(func() error { return s.f.paceUntil(ctx, coming, fast, faultMax) })
	g.Go(func() (err error) {
		defer enough()
		if err := s.f.Seam.Sleep(ctx, 5*time.Second); err != nil {
			return err
		}
		if s.node, err = s.cost(ctx, n.proc); err != nil {
			return err
		}
		if err := s.sample(ctx, n); err != nil {
			return err
		}
		s.bare, err = s.read(ctx)
		return err
	})
	return g.Wait()
}

// standby is the node that stands by.
func (s *standing) standby(ctx context.Context) (*node, error) {
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

// ask asks a node for what itself has, as nodes ask each other: as long as the owner answers, a
// question of anybody else goes there.
func (s *standing) ask(ctx context.Context, asker *http.Client, n *node, group []byte) (a api.GetAnswer, err error) {
	ctx, cancel := context.WithTimeout(ctx, statusWait)
	defer cancel()
	url := fmt.Sprintf("http://%s/v1/apps/%s/get?local=true&lanes=0&stale=true&wait=0s", n.listen, s.b.App)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(group))
	if err != nil {
		return a, err
	}
	resp, err := asker.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return a, fmt.Errorf("node %s: %s", n.name, resp.Status)
	}
	return a, json.NewDecoder(resp.Body).Decode(&a)
}

// sample asks the standby how far it is.
func (s *standing) sample(ctx context.Context, n *node) error {
	group, err := json.Marshal([]string{livePrefix + "key-1"})
	if err != nil {
		return err
	}
	asker := &http.Client{Transport: &http.Transport{DialContext: s.f.Seam.Dial}}
	defer asker.CloseIdleConnections()
	for end := s.f.Seam.Now().Add(standbyFor); s.f.Seam.Now().Before(end); {
		answer, err := s.ask(ctx, asker, n, group)
		if err != nil {
			return err
		}
		if len(answer.Parts) != 1 {
			return fmt.Errorf("an answer of %d parts", len(answer.Parts))
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
