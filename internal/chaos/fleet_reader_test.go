package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/seam"
)

// readers ask a cluster all the time, at nodes by chance, as a client does that passes on its
// token: what it is shown never goes back.
type readers struct {
	f      *fleet
	quit   context.CancelFunc
	asking sync.WaitGroup
	asked  atomic.Int64
	scans  atomic.Int64
	slow   atomic.Int64 // the longest wait for an answer, in ms

	mu     sync.Mutex
	failed []failedRead
}

// failedRead is a question that a living node did not answer within the wait.
type failedRead struct {
	at   time.Time
	what string
}

const readWait = 10 * time.Second

// freeze is the last time that a node was stopped as a zombie is: who asks it then has no answer.
type freeze struct {
	mu   sync.Mutex
	name string
	to   time.Time // zero while it lasts
}

func (z *freeze) begin(name string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.name, z.to = name, time.Time{}
}

func (z *freeze) end() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.to = time.Now()
}

// met reports whether a node stood still at any moment of a question that ends now.
func (z *freeze) met(name string, began time.Time) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.name == name && (z.to.IsZero() || z.to.After(began))
}

func (f *fleet) read() *readers {
	ctx, quit := context.WithCancel(f.ctx)
	r := &readers{f: f, quit: quit}
	clients := map[string]*api.Client{}
	for _, name := range []string{"a", "b", "c"} {
		c, err := api.NewClient(f.guard.url(f.machines[name].listen), seam.World(), f.guard.options()...)
		must(f.t, err)
		clients[name] = c
	}
	for i, g := range f.gauges {
		seed := rand.New(rand.NewPCG(f.s.seed, uint64(i)))
		r.asking.Go(func() { r.ask(ctx, g, clients, seed) })
	}
	f.t.Cleanup(r.stop)
	return r
}

func (r *readers) stop() {
	r.quit()
	r.asking.Wait()
}

// ask asks for one word of each partition in turn, and sometimes for all there is.
func (r *readers) ask(ctx context.Context, g *gauge, clients map[string]*api.Client, by *rand.Rand) {
	shown, names := map[string]int64{}, slices.Sorted(maps.Keys(clients))
	token := ""
	for n := 0; ctx.Err() == nil; n++ {
		name := names[by.IntN(len(names))]
		c := clients[name]
		began := time.Now()
		var err error
		if n%40 == 39 {
			err = r.scan(ctx, g, c, &token, shown)
		} else {
			err = r.get(ctx, g, c, n%partitions, &token, shown)
		}
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			r.asked.Add(1)
			r.slow.Store(max(r.slow.Load(), time.Since(began).Milliseconds()))
		} else if time.Since(began) > readWait-time.Second && !r.f.frozen.met(name, began) {
			r.mu.Lock()
			r.failed = append(r.failed, failedRead{began, err.Error()})
			r.mu.Unlock()
		} // else: the node that was asked is dead, or dies, or stands still
		<-time.After(5 * time.Millisecond)
	}
}

func (r *readers) get(ctx context.Context, g *gauge, c *api.Client, p int, token *string, shown map[string]int64) error {
	word := g.words[p][0]
	of := groupOf(g.keys[p], word)
	if g.j.spec.byItem {
		of = groupOf([]byte(word))
	}
	ctx, cancel := context.WithTimeout(ctx, readWait+5*time.Second)
	defer cancel()
	answer, err := c.Get(ctx, g.j.app, []byte(of), api.ReadOptions{Wait: readWait, MinPosition: *token})
	if err != nil {
		return err
	}
	r.show(g, shown, word, answer.Found, answer.Values)
	*token = answer.Token
	return nil
}

func (r *readers) scan(ctx context.Context, g *gauge, c *api.Client, token *string, shown map[string]int64) error {
	ctx, cancel := context.WithTimeout(ctx, readWait+20*time.Second)
	defer cancel()
	end, err := c.Scan(ctx, g.j.app, nil, api.ReadOptions{Wait: readWait, MinPosition: *token}, func(c api.Count) error {
		var parts []*string
		if err := json.Unmarshal(c.Group, &parts); err != nil {
			return err
		}
		if word := parts[len(parts)-1]; word != nil && shown[*word] > 0 {
			r.show(g, shown, *word, true, c.Values)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.scans.Add(1)
	*token = end.Token
	return nil
}

func (r *readers) show(g *gauge, shown map[string]int64, word string, found bool, values json.RawMessage) {
	n := int64(0)
	if found {
		_, v, err := parseValue(values)
		if err != nil {
			r.f.t.Errorf("%s: %v", word, err)
		}
		n = v.count
	}
	if n < shown[word] {
		r.f.t.Errorf("app %s: %s is %d, and %d were shown before under the token", g.j.app, word, n, shown[word])
	}
	shown[word] = n
}

// since is what failed after a moment, in a line.
func (r *readers) since(at time.Time) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, last := 0, ""
	for _, f := range r.failed {
		if f.at.After(at) {
			n, last = n+1, f.what
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d reads failed, the last with %q", n, last)
}
