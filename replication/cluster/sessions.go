package cluster

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/tally-kafka/tally/replication/lead"
	"github.com/tally-kafka/tally/replication/ownership"
	"github.com/tally-kafka/tally/replication/session"
)

// makeSessions makes both halves of the sessions, this node's with the leader and the leader's, and
// what the leader does with them.
func (c *Cluster) makeSessions() {
	c.table = session.NewTable(session.TableConfig{
		ID: c.c.ID, Seam: c.c.Seam, Log: c.c.Log, State: c.State, Leader: c.raft.Leader, Dial: c.dialSession,
		TTL: c.c.Timing.TTL, FormerTTL: c.c.formerTTL(), Former: c.raft.Former, Leads: func(ctx context.Context) error { _, err := c.raft.Read(ctx); return err },
	})
	c.member = session.NewMember(session.MemberConfig{
		Seam: c.c.Seam, Log: c.c.Log, Dial: c.dialSession, Report: c.report,
		Leader: func() (id, addr string, changed <-chan struct{}) {
			changed = c.raft.LeaderChanged()
			id, addr = c.raft.Leader()
			return id, addr, changed
		},
		Gone: func(id string, by time.Time) {
			c.run(func(ctx context.Context) { c.raft.Stand(ctx, id, by) })
		},
		Alone: c.alone,
		Deposed: func(leader string) bool {
			_, _, leads := c.raft.Leading()
			return leader == c.c.ID && !leads
		},
		Every: c.c.Timing.Ping, TTL: c.c.Timing.TTL,
	})
	c.inside = newLobby(c.c.SessionListener)
	c.leader = lead.New(lead.Config{
		Seam: c.c.Seam, Log: c.c.Log, Table: c.table, State: c.State, Changed: c.Changed,
		Propose: c.raft.Propose, Fence: c.c.Fence, Settings: c.c.Assign,
	})
}

// formerTTL is what is left of a TTL when a leader is elected since another one was silent: most
// voters had not heard of that for Raft's heartbeat timeout. 0: of the defaults.
func (c *Config) formerTTL() time.Duration {
	if c.Timing.TTL == 0 || c.Raft.Heartbeat == 0 {
		return 0
	}
	return c.Timing.TTL - c.Raft.Heartbeat
}

// alone reports whether this node is the only member.
func (c *Cluster) alone() bool { return len(c.State().Members) == 1 }

func (c *Cluster) holdSessions() {
	c.run(func(ctx context.Context) { _ = c.table.Serve(ctx, c.inside) }) // ends with ctx
	c.run(func(ctx context.Context) { _ = c.member.Run(ctx) })
	c.run(c.tellChanges)
}

// dialSession reaches the leader; where that is this node, within the process, so that no network
// and no certificate comes between a leader and itself.
func (c *Cluster) dialSession(ctx context.Context, addr string) (net.Conn, error) {
	if addr == c.c.Addr {
		return c.inside.dial(ctx)
	}
	return c.c.DialSession(ctx, addr)
}

// report is what this node says of itself.
func (c *Cluster) report() session.Report {
	var r session.Report
	version := c.State().Version // before the copies are looked at, which may be newer then, never older
	if c.c.Report != nil {
		r = c.c.Report()
	}
	if r.Version == 0 || r.Version > version {
		r.Version = version
	}
	r.ID, r.Incarnation = c.c.ID, c.c.Incarnation
	return r
}

// tellChanges has each new state answered at once by a report that knows it: the leader waits for
// that before it goes on with a move.
func (c *Cluster) tellChanges(ctx context.Context) {
	for {
		changed := c.Changed()
		c.member.Nudge()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// Nudge sends the node's report to the leader at once: something has changed that others wait for.
func (c *Cluster) Nudge() { c.member.Nudge() }

// Renewed reports whether the leader counts on this process now: it cannot have given its lanes to
// another unless it has said so.
func (c *Cluster) Renewed() bool { return c.Registered() && c.member.Renewed() }

// Health is what keeps the cluster from being as it shall be, as its leader sees it.
type Health struct {
	LeaderID  string      `json:"leader_id"` // "": the one who was asked does not lead
	Term      uint64      `json:"term"`
	Problems  []string    `json:"problems,omitempty"`  // for people, a line each
	Ownerless []Ownerless `json:"ownerless,omitempty"` // by app and number
}

// Ownerless says why a lane has nobody who runs it.
type Ownerless struct {
	ownership.LaneRef
	Why string `json:"why"`
}

// Health asks the leader. Without one it returns a NoLeaderError.
func (c *Cluster) Health(ctx context.Context) (Health, error) {
	if h := c.serveHealth(); h.LeaderID != "" {
		return h, nil
	}
	_, addr := c.raft.Leader()
	if addr == "" || addr == c.c.Addr {
		return Health{}, &NoLeaderError{noLeader(c.State())}
	}
	var h Health
	if err := c.call(ctx, addr, "health", struct{}{}, &h); err != nil {
		return Health{}, err
	}
	if h.LeaderID == "" {
		return Health{}, &NoLeaderError{noLeader(c.State())}
	}
	return h, nil
}

func (c *Cluster) serveHealth() Health {
	term, _, ok := c.raft.Leading()
	if !ok {
		return Health{}
	}
	h := Health{LeaderID: c.c.ID, Term: term, Problems: c.leader.Problems()}
	for ref, why := range c.leader.Ownerless() {
		h.Ownerless = append(h.Ownerless, Ownerless{ref, why})
	}
	slices.SortFunc(h.Ownerless, func(a, b Ownerless) int { return a.LaneRef.Compare(b.LaneRef) })
	return h
}

// lobby is a listener that connections from within the process come to as well.
type lobby struct {
	net.Listener
	conns chan net.Conn
	errs  chan error
	done  chan struct{}
	close sync.Once
}

func newLobby(l net.Listener) *lobby {
	b := &lobby{Listener: l, conns: make(chan net.Conn), errs: make(chan error), done: make(chan struct{})}
	go b.fetch()
	return b
}

// fetch ends with the listener. Any other error is told, once somebody asks for a connection.
func (b *lobby) fetch() {
	for {
		conn, err := b.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			b.end()
			return
		}
		if err != nil {
			select {
			case b.errs <- err:
				continue
			case <-b.done:
				return
			}
		}
		select {
		case b.conns <- conn:
		case <-b.done:
			conn.Close()
			return
		}
	}
}

func (b *lobby) end() { b.close.Do(func() { close(b.done) }) }

func (b *lobby) Accept() (net.Conn, error) {
	select {
	case conn := <-b.conns:
		return conn, nil
	case err := <-b.errs:
		return nil, err
	case <-b.done:
		return nil, net.ErrClosed
	}
}

func (b *lobby) Close() error {
	b.end()
	return b.Listener.Close()
}

func (b *lobby) dial(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case b.conns <- far:
		return near, nil
	case <-b.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
