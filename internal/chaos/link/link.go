package link

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// Unknown is the place of connections that no registered process has open.
const Unknown = "unknown"

// Rule is what happens to what flows from one place to another. The zero value is a sound network.
type Rule struct {
	// Cut closes the connections between the two, whoever opened them, and refuses new ones.
	Cut bool
	// Frozen lets nothing pass in this direction; connections stay, and new ones open.
	Frozen bool
	// Delay holds each piece back for so long. A piece is at most 32 KiB.
	Delay time.Duration
	// BytesPerSecond bounds each connection; 0 does not.
	BytesPerSecond int
	// StallPerMille of 1,000 pieces are held back for StallFor, and all behind them, as by lost
	// packets.
	StallPerMille int
	StallFor      time.Duration
	// ResetPerMille of 1,000 pieces are cut in two: half of one comes out, then the connection is
	// reset.
	ResetPerMille int
}

// and is both rules at once.
func (r Rule) and(o Rule) Rule {
	rate := max(r.BytesPerSecond, o.BytesPerSecond)
	if r.BytesPerSecond > 0 && o.BytesPerSecond > 0 {
		rate = min(r.BytesPerSecond, o.BytesPerSecond)
	}
	return Rule{
		Cut: r.Cut || o.Cut, Frozen: r.Frozen || o.Frozen, Delay: r.Delay + o.Delay, BytesPerSecond: rate,
		StallPerMille: max(r.StallPerMille, o.StallPerMille), StallFor: max(r.StallFor, o.StallFor),
		ResetPerMille: max(r.ResetPerMille, o.ResetPerMille),
	}
}

// way is a direction between two places.
type way struct{ from, to string }

func (w way) back() way { return way{w.to, w.from} }

// broken is one rule in force.
type broken struct {
	way
	rule Rule
	hits int64 // of pieces and connections that it was not good for
}

// Network is the proxies of all places. Its methods may be called from any goroutine.
type Network struct {
	seam    seam.Seam
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	workers sync.WaitGroup
	looking chan struct{} // holds one for each look at the kernel that is under way

	mu        sync.Mutex
	changed   *sync.Cond // broadcast when a rule, a connection or the network ends
	rand      *rand.Rand
	rules     map[*broken]struct{}
	pids      map[int]*process
	listeners []net.Listener
	conns     map[*conn]struct{}
	closed    bool
}

// looksMax bounds how many connections are looked up at a time.
const looksMax = 4

// New makes a network without places. The seed decides which pieces stalls and resets hit.
func New(sm seam.Seam, seed uint64) *Network {
	ctx, cancel := context.WithCancel(context.Background())
	n := &Network{
		seam: sm, ctx: ctx, cancel: cancel, rand: rand.New(rand.NewPCG(seed, 1)), rules: map[*broken]struct{}{},
		pids: map[int]*process{}, conns: map[*conn]struct{}{}, looking: make(chan struct{}, looksMax),
	}
	n.changed = sync.NewCond(&n.mu)
	return n
}

// Listen makes an address of a place, at which others reach what listens at target; that need not
// listen yet. A place may have several.
func (n *Network) Listen(place, target string) (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listen for %s: %w", place, err)
	}
	n.mu.Lock()
	n.listeners = append(n.listeners, l)
	n.mu.Unlock()
	n.workers.Go(func() { n.accept(l, place, target) })
	return l.Addr().String(), nil
}

// Register says that a process's connections come from a place. It may be called again for another
// place; a process that is gone is forgotten with Forget.
func (n *Network) Register(place string, pid int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pids[pid] = &process{pid: pid, place: place}
}

// Forget undoes Register.
func (n *Network) Forget(pid int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.pids, pid)
}

// Break puts a rule in force for what flows from one place to another, until heal is called, which
// says how often the rule hit something: a connection that it ended or refused, a piece that it
// held back or cut in two.
func (n *Network) Break(from, to string, r Rule) (heal func() (hits int64)) {
	b := &broken{way: way{from, to}, rule: r}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rules[b] = struct{}{}
	for c := range n.conns {
		if !c.dead && n.cuts(way{c.from, c.to}) {
			c.reset()
		}
	}
	n.changed.Broadcast()
	return func() int64 {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.rules, b)
		n.changed.Broadcast()
		return b.hits
	}
}

// BreakBoth breaks both directions.
func (n *Network) BreakBoth(a, b string, r Rule) (heal func() (hits int64)) {
	one, other := n.Break(a, b, r), n.Break(b, a, r)
	return func() int64 { return one() + other() }
}

// Heal ends all rules.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.rules)
	n.changed.Broadcast()
}

// Conns counts the open connections that one place has opened to another.
func (n *Network) Conns(from, to string) (count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		if c.from == from && c.to == to {
			count++
		}
	}
	return count
}

// Close ends all connections and waits for them.
func (n *Network) Close() {
	n.mu.Lock()
	n.closed = true
	for _, l := range n.listeners {
		_ = l.Close()
	}
	for c := range n.conns {
		c.reset()
	}
	n.changed.Broadcast()
	n.mu.Unlock()
	n.cancel()
	n.workers.Wait()
}

// ruleFor adds the rules up; a cut of the other direction cuts this one too. mu is held.
func (n *Network) ruleFor(w way) (all Rule) {
	for b := range n.rules {
		switch b.way {
		case w:
			all = all.and(b.rule)
		case w.back():
			all.Cut = all.Cut || b.rule.Cut
		}
	}
	return all
}

// cuts tells whether the connections between two places are cut, and counts the one that is asked
// for. mu is held.
func (n *Network) cuts(w way) bool {
	cut := func(r Rule) bool { return r.Cut }
	n.hit(w, cut)
	n.hit(w.back(), cut)
	return n.ruleFor(w).Cut
}

// hit counts something for the rules that it met on its way. mu is held.
func (n *Network) hit(w way, met func(Rule) bool) {
	for b := range n.rules {
		if b.way == w && met(b.rule) {
			b.hits++
		}
	}
}

func (n *Network) accept(l net.Listener, place, target string) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		n.workers.Go(func() { n.serve(client, place, target) })
	}
}

// serve is one connection from its beginning to its end.
func (n *Network) serve(client net.Conn, place, target string) {
	defer client.Close()
	from := n.whose(client)
	if n.refuses(way{from, place}) {
		return
	}
	ctx, cancel := context.WithTimeout(n.ctx, dialTimeout)
	server, err := n.seam.Dial(ctx, "tcp", target)
	cancel()
	if err != nil {
		return
	}
	c := &conn{n: n, from: from, to: place, client: client, server: server}
	if !n.track(c) {
		c.reset()
		return
	}
	var answers sync.WaitGroup
	answers.Go(func() { c.pump(server, client, way{place, from}) })
	c.pump(client, server, way{from, place})
	answers.Wait()
	n.untrack(c)
}

// dialTimeout bounds the way from the proxy to what listens behind it, which is on this machine.
const dialTimeout = 5 * time.Second

func (n *Network) refuses(w way) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.closed || n.cuts(w)
}

// track refuses a connection that was cut while it was being made.
func (n *Network) track(c *conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || n.cuts(way{c.from, c.to}) {
		return false
	}
	n.conns[c] = struct{}{}
	return true
}

func (n *Network) untrack(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
	c.close()
	n.changed.Broadcast()
}
