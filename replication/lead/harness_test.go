package lead

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/replication/ownership"
	"github.com/tally-kafka/tally/replication/session"
)

// cluster is a leader, its members and a log in one process. In a synctest bubble its time is the
// test's. Members do at once what the state says.
type cluster struct {
	t     testing.TB
	table *session.Table
	lead  *Lead
	conns chan net.Conn
	ctx   context.Context
	end   context.CancelFunc
	done  sync.WaitGroup

	mu      sync.Mutex
	state   *ownership.State
	news    chan struct{}
	entries []ownership.Command // that changed something
	tried   int                 // proposals of the leader's
	members map[string]*member
	// before runs before each proposal of the leader's; an answer of it is the proposal's.
	before func(ownership.Plan) (*ownership.Result, error)
	fence  func(ctx context.Context, ref ownership.LaneRef) error
	fences []ownership.LaneRef // calls, in order
	now    int                 // calls under way
	most   int
	// taken looks at each entry; nil: nobody does.
	taken func(before, after *ownership.State, cmd ownership.Command)
}

type member struct {
	id, incarnation string
	session         *session.Member
	ctx             context.Context
	stop            context.CancelFunc
	hang            chan struct{}
	since, woken    time.Time // when it began to hang, or to do so no more
	killed          bool      // also when the process only outlives its incarnation
}

func newCluster(t testing.TB, cfg Config) *cluster {
	c := &cluster{
		t: t, state: ownership.New(), news: make(chan struct{}), conns: make(chan net.Conn), members: map[string]*member{},
		fence: func(context.Context, ownership.LaneRef) error { return nil },
	}
	c.ctx, c.end = context.WithCancel(context.Background())
	c.table = session.NewTable(session.TableConfig{
		ID: "n0", Seam: seam.World(), Log: slog.New(slog.DiscardHandler), State: c.read,
		Leader: func() (string, string) { return "n0", "n0" }, Dial: c.dial,
	})
	cfg.Seam, cfg.Log, cfg.Table = seam.World(), slog.New(slog.DiscardHandler), c.table
	cfg.State, cfg.Changed, cfg.Propose, cfg.Fence = c.read, c.changed, c.propose, c.fenced
	c.lead = New(cfg)
	c.done.Go(func() { _ = c.table.Serve(c.ctx, c) })
	t.Cleanup(func() {
		c.end()
		c.done.Wait()
	})
	return c
}

func (c *cluster) Accept() (net.Conn, error) {
	select {
	case conn := <-c.conns:
		return conn, nil
	case <-c.ctx.Done():
		return nil, net.ErrClosed
	}
}
func (c *cluster) Close() error   { return nil }
func (c *cluster) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

// dial reaches the table at n0's address; at another it reaches nobody, or is refused where the
// process has ended.
func (c *cluster) dial(ctx context.Context, addr string) (net.Conn, error) {
	c.mu.Lock()
	m := c.members[addr]
	c.mu.Unlock()
	if m == nil {
		return nil, fmt.Errorf("dial %s: %w", addr, syscall.ECONNREFUSED)
	}
	near, far := net.Pipe()
	if addr != "n0" {
		return near, nil
	}
	select {
	case c.conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *cluster) read() *ownership.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

func (c *cluster) changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.news
}

// take applies a command, whoever it is from.
func (c *cluster) take(cmd ownership.Command) ownership.Result {
	c.mu.Lock()
	next, result := c.state.Take(cmd)
	if next != c.state {
		if c.taken != nil {
			c.taken(c.state, next, cmd)
		}
		c.state = next
		c.entries = append(c.entries, cmd)
		close(c.news)
		c.news = make(chan struct{})
	}
	members := make([]*member, 0, len(c.members))
	for _, m := range c.members {
		members = append(members, m)
	}
	c.mu.Unlock()
	for _, m := range members {
		m.session.Nudge()
	}
	return result
}

func (c *cluster) propose(ctx context.Context, cmd ownership.Command) (ownership.Result, error) {
	c.mu.Lock()
	c.tried++
	before := c.before
	c.mu.Unlock()
	if before != nil {
		switch result, err := before(*cmd.Plan); {
		case err != nil:
			return ownership.Result{}, err
		case result != nil:
			return *result, nil
		}
	}
	if ctx.Err() != nil {
		return ownership.Result{}, ctx.Err()
	}
	return c.take(cmd), nil
}

func (c *cluster) fenced(ctx context.Context, app string, lane int) error {
	ref := ownership.LaneRef{App: app, Lane: lane}
	c.mu.Lock()
	if l, _ := c.state.Lane(ref); l.Owner != "" || !l.Unfenced {
		c.t.Errorf("%s is fenced while the log says %+v", ref, l)
	}
	c.fences = append(c.fences, ref)
	c.now++
	c.most = max(c.most, c.now)
	fence := c.fence
	c.mu.Unlock()
	defer func() { c.mu.Lock(); c.now--; c.mu.Unlock() }()
	return fence(ctx, ref)
}

// fencedSoFar are the lanes that were fenced, in that order.
func (c *cluster) fencedSoFar() []ownership.LaneRef {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.fences)
}

// start starts and registers a member.
func (c *cluster) start(id, incarnation string) *member {
	m := &member{id: id, incarnation: incarnation}
	m.ctx, m.stop = context.WithCancel(c.ctx)
	m.session = session.NewMember(session.MemberConfig{
		Seam: seam.World(), Log: slog.New(slog.DiscardHandler), Dial: c.dial,
		Leader: func() (string, string, <-chan struct{}) { return "n0", "n0", nil },
		Report: func() session.Report { return c.report(m) },
	})
	c.mu.Lock()
	c.members[id] = m
	c.mu.Unlock()
	c.done.Go(func() { _ = m.session.Run(m.ctx) })
	result := c.take(ownership.Command{Register: &ownership.Register{Member: ownership.Member{
		ID: id, Name: id, Incarnation: incarnation, Addr: id, Release: "1", Format: ownership.Format, Capacity: 1,
	}}})
	if result.Refused != "" {
		c.t.Fatal(result.Refused)
	}
	return m
}

// report is of a member that has done all that the state says.
func (c *cluster) report(m *member) session.Report {
	c.mu.Lock()
	hang := m.hang
	state := c.state
	c.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-c.ctx.Done():
		}
	}
	r := session.Report{ID: m.id, Incarnation: m.incarnation, Version: state.Version}
	for ref, l := range state.Lanes() {
		switch {
		case l.Owner == m.id && l.Incarnation == m.incarnation:
			r.Copies = append(r.Copies, session.Copy{LaneRef: ref, Role: session.Owner, Running: true, Epoch: l.Epoch})
		case l.Copies(m.id):
			r.Copies = append(r.Copies, session.Copy{LaneRef: ref, Role: session.Standby, Ready: true, Epoch: l.Epoch})
		}
	}
	return r
}

// kill ends a member as SIGKILL does.
func (c *cluster) kill(id string) {
	c.mu.Lock()
	m := c.members[id]
	delete(c.members, id)
	m.killed, m.since = true, time.Now()
	c.mu.Unlock()
	m.stop()
}

// hang lets a member do nothing, with its connection open; the func returned wakes it up.
func (c *cluster) hang(id string) (wake func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.members[id]
	m.hang, m.since = make(chan struct{}), time.Now()
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		close(m.hang)
		m.hang, m.woken = nil, time.Now()
	}
}

func (c *cluster) put(app string, lanes, standbys int) {
	result := c.take(ownership.Command{PutApp: &ownership.PutApp{App: ownership.App{
		Name: app, ID: app, Generation: 1, Partitions: lanes, Standbys: standbys, Lanes: make([]ownership.Lane, lanes),
	}}})
	if result.Refused != "" {
		c.t.Fatal(result.Refused)
	}
}

// run leads in the background; stop ends the leadership and returns when Run has.
func (c *cluster) run(term uint64) (stop func()) {
	ctx, cancel := context.WithCancel(c.ctx)
	returned := make(chan error, 1)
	c.done.Go(func() { returned <- c.lead.Run(ctx, term) })
	return func() {
		cancel()
		if err := <-returned; !errors.Is(err, context.Canceled) {
			c.t.Errorf("Run returned %v", err)
		}
	}
}

// settled starts n members with an app, and returns when all is as it shall be.
func settled(t testing.TB, cfg Config, n, lanes, standbys int) *cluster {
	c := newCluster(t, cfg)
	for i := range n {
		c.start(fmt.Sprintf("n%d", i), "1")
	}
	c.put("app", lanes, standbys)
	stop := c.run(1)
	t.Cleanup(func() { c.end(); stop() })
	c.until(func() bool { return c.allOwned() })
	c.pass(2*time.Second, func() bool { return true })
	return c
}

func (c *cluster) allOwned() bool {
	for _, l := range c.read().Lanes() {
		if c.read().OwnerOf(l) == nil || l.Target != "" || l.From != "" {
			return false
		}
	}
	return true
}

// of are the lanes of an owner.
func (c *cluster) of(id string) (refs []ownership.LaneRef) {
	for ref, l := range c.read().Lanes() {
		if l.Owner == id {
			refs = append(refs, ref)
		}
	}
	return refs
}

// log is the number of entries so far.
func (c *cluster) log() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries)
}

func (c *cluster) entry(n int) ownership.Command {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entries[n]
}

// until steps the bubble's time until it is so, and returns how long that took.
func (c *cluster) until(so func() bool) time.Duration {
	c.t.Helper()
	for began := time.Now(); ; <-time.After(time.Millisecond) {
		synctest.Wait()
		if so() {
			return time.Since(began)
		}
		if time.Since(began) > time.Minute {
			c.t.Fatalf("it never was so; problems: %q", c.lead.Problems())
		}
	}
}

// pass lets a length of the bubble's time go by while it stays so.
func (c *cluster) pass(d time.Duration, so func() bool) {
	c.t.Helper()
	for began := time.Now(); time.Since(began) < d; <-time.After(10 * time.Millisecond) {
		synctest.Wait()
		if !so() {
			c.t.Fatalf("it was so for %v alone, not for %v", time.Since(began), d)
		}
	}
	synctest.Wait()
}
