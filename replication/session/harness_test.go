package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/replication/ownership"
)

// cluster is some nodes in one process, whose time and network are the test's: in a synctest bubble
// nothing waits for the real clock.
type cluster struct {
	t     *testing.T
	state atomic.Pointer[ownership.State]
	jump  atomic.Int64 // what the clocks of all nodes are ahead

	mu     sync.Mutex
	leader string
	news   chan struct{}
	at     map[string]*pipes // who listens, by address
	nodes  map[string]*node  // the newest of each id
}

// node is one of them.
type node struct {
	id, incarnation string
	c               *cluster
	table           *Table
	member          *Member
	pipes           *pipes
	stop            context.CancelFunc
	done            sync.WaitGroup
	deposed         atomic.Bool // most voters say that it leads no more
	former          string      // who led before this one does

	mu     sync.Mutex
	asked  int // for reports
	copies []Copy
	has    *ownership.State // not nil: it has nothing newer of the log
	hang   chan struct{}    // not nil: the node does nothing until it is closed
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{t: t, news: make(chan struct{}), at: map[string]*pipes{}, nodes: map[string]*node{}}
	c.state.Store(&ownership.State{Format: 1, Members: map[string]*ownership.Member{}, Apps: map[string]*ownership.App{}})
	return c
}

func (c *cluster) seam() seam.Seam {
	s := seam.World()
	s.Now = func() time.Time { return time.Now().Add(time.Duration(c.jump.Load())) }
	return s
}

// change makes the next state of the log.
func (c *cluster) change(do func(members map[string]*ownership.Member)) {
	next := *c.state.Load()
	next.Members = maps.Clone(next.Members)
	do(next.Members)
	next.Version++
	c.state.Store(&next)
}

func (c *cluster) register(id, incarnation string) {
	c.change(func(m map[string]*ownership.Member) {
		m[id] = &ownership.Member{ID: id, Name: id, Incarnation: incarnation, Addr: id, Capacity: 1, Alive: true}
	})
}

func (c *cluster) bury(id string) {
	c.change(func(m map[string]*ownership.Member) {
		dead := *m[id]
		dead.Alive = false
		m[id] = &dead
	})
}

func (c *cluster) leads(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leader = id
	close(c.news)
	c.news = make(chan struct{})
}

func (c *cluster) whoLeads() (id, addr string, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leader, c.leader, c.news
}

func (c *cluster) dial(ctx context.Context, addr string) (net.Conn, error) {
	c.mu.Lock()
	l := c.at[addr]
	c.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("dial %s: %w", addr, syscall.ECONNREFUSED)
	}
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.closed:
		return nil, fmt.Errorf("dial %s: %w", addr, syscall.ECONNREFUSED)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// listens lets an address refuse connections, or take them again; those that there are stay.
func (c *cluster) listens(id string, yes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if yes {
		c.at[id] = c.nodes[id].pipes
	} else {
		delete(c.at, id)
	}
}

// start starts a node, registered or not.
func (c *cluster) start(id, incarnation string) *node {
	n := &node{id: id, incarnation: incarnation, c: c, pipes: &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}}
	c.mu.Lock()
	c.at[id] = n.pipes
	c.nodes[id] = n
	c.mu.Unlock()
	n.table = NewTable(TableConfig{
		ID: id, Seam: c.seam(), Log: slog.New(slog.DiscardHandler), State: c.state.Load, Dial: c.dial,
		Leader: func() (string, string) { id, addr, _ := c.whoLeads(); return id, addr },
		Former: func() string { return n.former },
		Leads: func(context.Context) error {
			if n.deposed.Load() {
				return errors.New("deposed")
			}
			return nil
		},
	})
	n.member = NewMember(MemberConfig{
		Seam: c.seam(), Log: slog.New(slog.DiscardHandler), Leader: c.whoLeads, Dial: c.dial, Report: n.report,
		Alone: func() bool { return len(c.state.Load().Members) == 1 },
		Deposed: func(leader string) bool {
			_, leads := n.table.View(c.state.Load())
			return leader == id && !leads
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	n.done.Go(func() { _ = n.table.Serve(ctx, n.pipes) })
	n.done.Go(func() { _ = n.member.Run(ctx) })
	c.t.Cleanup(n.kill)
	return n
}

func (n *node) report() Report {
	n.mu.Lock()
	n.asked++
	hang, copies, has := n.hang, append([]Copy(nil), n.copies...), n.has
	n.mu.Unlock()
	if hang != nil {
		<-hang
	}
	if has == nil {
		has = n.c.state.Load()
	}
	return Report{ID: n.id, Incarnation: n.incarnation, Copies: copies, Version: has.Version}
}

// lacks lets a node have nothing of the log that is newer than this; nil: it has all of it.
func (n *node) lacks(all *ownership.State) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.has = all
}

func (n *node) set(copies []Copy) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.copies = copies
}

// pings counts the pings of a length of time.
func (n *node) pings(d time.Duration) int {
	asked := func() int {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.asked
	}
	before := asked()
	n.c.pass(d, func() bool { return true })
	return asked() - before
}

// kill ends a node as SIGKILL does: nobody listens there any more, and its connections end.
func (n *node) kill() {
	n.wake()
	n.c.mu.Lock()
	if n.c.at[n.id] == n.pipes {
		delete(n.c.at, n.id)
	}
	n.c.mu.Unlock()
	n.stop()
	n.done.Wait()
}

// sleep lets a node do nothing, with its connections open, until wake.
func (n *node) sleep() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hang = make(chan struct{})
}

func (n *node) wake() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hang != nil {
		close(n.hang)
		n.hang = nil
	}
}

func (n *node) view() View {
	v, ok := n.table.View(n.c.state.Load())
	if !ok {
		n.c.t.Fatalf("node %s does not lead", n.id)
	}
	return v
}

func (n *node) lost(id string) bool { return n.view().Sessions[id].Lost != "" }
func (n *node) live(id string) bool { return n.view().Sessions[id].Live }

// three starts a, b and c under the leader a, and returns when it knows them.
func three(t *testing.T) (c *cluster, nodes []*node, resign func()) {
	c = newCluster(t)
	for _, id := range []string{"a", "b", "c"} {
		nodes = append(nodes, c.start(id, "1"))
		c.register(id, "1")
	}
	c.leads("a")
	resign = nodes[0].table.Lead(1)
	t.Cleanup(resign)
	took := c.until(func() bool { return nodes[0].live("a") && nodes[0].live("b") && nodes[0].live("c") })
	if took > 500*time.Millisecond {
		t.Fatalf("the members were known after %v", took)
	}
	return c, nodes, resign
}

// until steps the bubble's time until it is so, and returns how long that took.
func (c *cluster) until(so func() bool) time.Duration {
	c.t.Helper()
	began := time.Now()
	for {
		synctest.Wait()
		if so() {
			return time.Since(began)
		}
		if time.Since(began) > time.Minute {
			c.t.Fatal("it never was so")
		}
		<-time.After(time.Millisecond)
	}
}

// pass lets a length of the bubble's time go by while it stays so.
func (c *cluster) pass(d time.Duration, so func() bool) {
	c.t.Helper()
	for began := time.Now(); time.Since(began) < d; <-time.After(5 * time.Millisecond) {
		synctest.Wait()
		if !so() {
			c.t.Fatalf("it was so for %v alone, not for %v", time.Since(began), d)
		}
	}
	synctest.Wait()
}

// pipes is a listener whose connections are made in memory.
type pipes struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }
