package world

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/chaos/history"
)

// reader asks one question after another.
type reader struct {
	w     *World
	name  string
	load  *load
	rand  *rand.Rand
	token string
	kind  readerKind
	lanes map[string]int // of groups, as answers have told
}

// readerKind is what a reader asks, and whom.
type readerKind struct {
	name   string
	passes bool // it passes its token on
	stale  bool // standbys may answer
	after  bool // it asks for what it knows to be sent
	at     string
	asks   []string
}

var readerKinds = []readerKind{
	{name: "with token", passes: true, at: "any", asks: []string{"get", "get", "get", "get", "get", "get", "top", "scan"}},
	{name: "at owners", at: "owner", asks: []string{"get"}},
	{name: "at standbys", passes: true, stale: true, at: "standby", asks: []string{"get", "get", "get", "get", "get", "get", "top", "top", "scan"}},
	{name: "of all", stale: true, at: "any", asks: []string{"get", "get", "scan", "top"}},
	{name: "after an event", passes: true, after: true, at: "any", asks: []string{"get"}},
}

const (
	readWait = 3 * time.Second // how long an answer may wait for what was asked
	readEach = 60 * time.Millisecond
	// readAll is how long readers ask that often: in a longer run they ask as much, and less often,
	// since every answer is written down and judged.
	readAll  = 12 * time.Minute
	readTop  = 20
	scanMost = 20_000 // groups: of more, a scan is a rare thing
)

// read starts the readers, and gives what stops them after a last question of each, for which all
// has to be quiet.
func (w *World) read(ctx context.Context, seed uint64) (stop func()) {
	var asking sync.WaitGroup
	quit := make(chan struct{})
	for i, l := range w.loads {
		for j, kind := range readerKinds {
			r := &reader{w: w, name: l.work.app.Name + " " + kind.name, load: l, kind: kind, lanes: map[string]int{}, rand: rand.New(rand.NewPCG(seed, uint64(100+10*i+j)))}
			asking.Go(func() { r.run(ctx, quit) })
		}
	}
	return sync.OnceFunc(func() {
		close(quit)
		asking.Wait()
	})
}

func (r *reader) run(ctx context.Context, quit <-chan struct{}) {
	tick := time.NewTicker(time.Duration(float64(readEach) * max(1, r.w.opt.Length.Seconds()/readAll.Seconds())))
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-quit:
			r.askLast(ctx, lastMost)
			return
		case <-tick.C:
			if h := r.ask(ctx, scanSeldom); h != nil {
				r.note(h)
			}
		case <-ctx.Done():
			return
		}
	}
}

const (
	// scanSeldom is of how many scans of more than scanMost groups one is asked for.
	scanSeldom = 200
	// lastMost is for how long the last question of a reader is asked again: nothing is broken any
	// more, and on a busy machine an answer may be late all the same.
	lastMost = 30 * time.Second
	lastEach = 500 * time.Millisecond
)

// askLast asks until there is an answer, or for so long, and writes down under Last which it was.
// It does not ask for a scan of very many groups, which may take longer than a question may.
func (r *reader) askLast(ctx context.Context, within time.Duration) {
	for end := time.Now().Add(within); ctx.Err() == nil; <-time.After(lastEach) {
		h := r.ask(ctx, 0)
		if h == nil {
			return
		}
		h.Last = h.Error == "" || time.Now().After(end)
		if r.note(h); h.Last {
			return
		}
	}
}

// ask asks once, and gives what was said; nil where nobody is there, or nothing that could be asked
// for. Of so many scans of very many groups it asks for one; 0: for none.
func (r *reader) ask(ctx context.Context, seldom int) *history.Read {
	group := r.load.work.group(r.rand)
	ask := pick(r.rand, r.kind.asks...)
	if ask == "scan" && r.load.work.groups() > scanMost && (seldom == 0 || r.rand.IntN(seldom) > 0) {
		ask = "get"
	}
	name := r.node(ask, group)
	if name == "" || group == "" {
		return nil
	}
	h := history.Read{Reader: r.name, Ask: ask, App: r.load.work.app.Name, Node: name, Stale: r.kind.stale}
	opt := api.ReadOptions{Wait: readWait, Stale: r.kind.stale}
	if r.kind.passes {
		h.TokenIn, opt.MinPosition = r.token, r.token
	}
	if sent, last := r.load.now(); r.kind.after && sent > 0 {
		h.After = fmt.Sprintf("%s/%d:%d", r.load.work.app.Input, last.Partition, last.Offset)
		opt.After = []string{h.After}
		group = groupOfRecord(last, group)
	}
	ctx, cancel := context.WithTimeout(ctx, readWait+7*time.Second)
	defer cancel()
	h.Began = time.Now()
	err := r.send(ctx, &h, group, opt)
	h.Ended = time.Now()
	if err != nil {
		h.Error, h.Counts, h.Parts, h.TokenOut = err.Error(), nil, nil, ""
	} else if r.kind.passes {
		r.token = h.TokenOut
	}
	if len(h.Parts) == 1 && h.Asked != "" {
		r.lanes[h.Asked] = h.Parts[0].Lane
	}
	return &h
}

// note writes down what was said.
func (r *reader) note(h *history.Read) {
	r.w.write(history.Event{Kind: history.KindRead, Read: h})
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	if !r.kind.after {
		r.w.timeGet(h)
	}
	if h.Error == "" {
		r.w.reads++
	}
}

func (r *reader) send(ctx context.Context, h *history.Read, group string, opt api.ReadOptions) error {
	client := r.w.nodes[h.Node].public
	switch h.Ask {
	case "top":
		h.N = readTop
		a, err := client.Top(ctx, h.App, readTop, opt)
		h.TokenOut, h.Parts = a.Token, partsOf(a.Parts)
		for _, c := range a.Counts {
			h.Counts = append(h.Counts, countOf(c.Group, c.Values))
		}
		return err
	case "scan":
		end, err := client.Scan(ctx, h.App, nil, opt, func(c api.Count) error {
			h.Counts = append(h.Counts, countOf(c.Group, c.Values))
			return nil
		})
		h.TokenOut, h.Parts = end.Token, partsOf(end.Parts)
		return err
	}
	h.Asked = group
	a, err := client.Get(ctx, h.App, []byte(group), opt)
	h.TokenOut, h.Parts = a.Token, partsOf(a.Parts)
	if a.Found {
		h.Counts = []history.Count{countOf(a.Group, a.Values)}
	}
	return err
}

// groupOfRecord is a group that an event counts for, so that who asks after the event sees it; one
// that cannot be read counts for none.
func groupOfRecord(rec history.Record, none string) string {
	switch {
	case rec.Dead:
		return none
	case len(rec.Words) > 0:
		return groupOf(rec.Words[0])
	}
	return groupOf(rec.Key)
}

func countOf(group, values json.RawMessage) history.Count {
	return history.Count{Group: string(group), Values: slices.Clone(values)}
}

func partsOf(parts []api.Part) (of []history.Part) {
	for _, p := range parts {
		of = append(of, history.Part{Partition: p.Partition, Lane: p.Lane, Node: p.Node, Role: string(p.Role), Epoch: p.Epoch,
			Position: p.Position, Lag: p.Lag, InputLag: p.InputLag, AsOfMs: p.AsOfMs, Values: p.Values})
	}
	return of
}

// node is whom to ask; "" when nobody is there. Of a get it is one that has the group's lane, where
// an answer has told which that is.
func (r *reader) node(ask, group string) string {
	alive := r.w.alive()
	var at []string
	lane := ""
	if k, known := r.lanes[group]; known && ask == "get" {
		lane = fmt.Sprintf("%s/%d", r.load.work.app.Name, k)
	}
	switch r.kind.at {
	case "owner":
		at = r.w.holders(false, lane)
	case "standby":
		at = r.w.holders(true, lane)
	}
	at = slices.DeleteFunc(at, func(name string) bool { return !slices.Contains(alive, name) })
	if len(at) == 0 {
		at = alive
	}
	if len(at) == 0 {
		return ""
	}
	return pick(r.rand, at...)
}
