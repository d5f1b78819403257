package session

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// MemberConfig is what a Member needs. Zero durations and limits mean their defaults.
type MemberConfig struct {
	Seam seam.Seam
	Log  *slog.Logger
	// Leader is the node that this one takes for the leader, "" for none, and a channel that is
	// closed when that changes. Where the channel is nil the member looks often enough.
	Leader func() (id, addr string, changed <-chan struct{})
	// Dial opens a session's connection to an address.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Gone is told of a leader whose process has ended, with the time by which it had. Nil: nobody
	// is told.
	Gone func(id string, by time.Time)
	// Alone reports whether the log has no other member now. If not, an answer vouches for TTL at
	// most, even one that a leader gave while it knew of nobody else. Nil: as the answer says.
	Alone func() bool
	// Deposed reports whether a leader, by its node id, is this node, and knows that it leads no
	// more: its word to itself ends with its leadership. Nil: nobody's does.
	Deposed func(leader string) bool
	// Report is asked for before each ping, from one goroutine at a time.
	Report func() Report

	Every         time.Duration // between pings (250 ms), and longer by as much as a leader's TTL is
	NudgeMin      time.Duration // between pings, if nudged (10 ms)
	TTL           time.Duration // that an answer vouches for, unless it says (1.25 s)
	DialTimeout   time.Duration // (1 s)
	LookEvery     time.Duration // for a leader, while there is no connection to one (50 ms)
	RefusedGap    time.Duration // between two refusals that say that a leader's process is gone (50 ms)
	BackoffMin    time.Duration // between connections to one address (20 ms)
	BackoffMax    time.Duration // (500 ms)
	CopiesPerLine int           // (1,000)
	AnswerMax     int           // bytes of an answer (64 KiB)
}

func (c MemberConfig) withDefaults() MemberConfig {
	c.Every = cmp.Or(c.Every, 250*time.Millisecond)
	c.NudgeMin = cmp.Or(c.NudgeMin, 10*time.Millisecond)
	c.TTL = cmp.Or(c.TTL, ttlUsual)
	c.DialTimeout = cmp.Or(c.DialTimeout, time.Second)
	c.LookEvery = cmp.Or(c.LookEvery, 50*time.Millisecond)
	c.RefusedGap = cmp.Or(c.RefusedGap, 50*time.Millisecond)
	c.BackoffMin = cmp.Or(c.BackoffMin, 20*time.Millisecond)
	c.BackoffMax = cmp.Or(c.BackoffMax, 500*time.Millisecond)
	c.CopiesPerLine = cmp.Or(c.CopiesPerLine, 1000)
	c.AnswerMax = cmp.Or(c.AnswerMax, 64<<10)
	return c
}

// Member is a node's half of its session. Its methods may be called from anywhere; Run runs once.
type Member struct {
	cfg     MemberConfig
	nudge   chan struct{}
	unknown chan struct{}

	mu sync.Mutex
	// term is the newest that a leader has answered in: a leader of an older one is none any more.
	term uint64
	// renewed is when the last ping was sent that a leader has answered with its word; ttl is for
	// how long from then on that holds.
	renewed time.Time
	by      string // the leader
	ttl     time.Duration
	known   bool
	hint    string // an address that the last node, which did not lead, has named
}

// NewMember makes a member without a session.
func NewMember(cfg MemberConfig) *Member {
	cfg = cfg.withDefaults()
	return &Member{cfg: cfg, nudge: make(chan struct{}, 1), unknown: make(chan struct{}, 1), ttl: cfg.TTL}
}

// Nudge sends a report at once: something has changed that others wait for.
func (m *Member) Nudge() {
	select {
	case m.nudge <- struct{}{}:
	default: // one is due already
	}
}

// Unknown gets a value when a leader does not know this incarnation, or has it for dead: the node
// has to register, again if need be. It is repeated with each ping until that has been done.
func (m *Member) Unknown() <-chan struct{} { return m.unknown }

// every is the time until the next ping: as many of them a TTL as the configured ones have.
func (m *Member) every() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ttl > m.cfg.TTL {
		return m.cfg.Seam.InStep(time.Duration(float64(m.cfg.Every) * float64(m.ttl) / float64(m.cfg.TTL)))
	}
	return m.cfg.Every
}

// Known reports whether the last answer of a leader was that it counts on this incarnation.
func (m *Member) Known() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known
}

// Renewed reports whether the leader counts on this incarnation now: it cannot have been found dead
// unless its process is.
func (m *Member) Renewed() bool {
	alone := m.cfg.Alone == nil || m.cfg.Alone()
	m.mu.Lock()
	by, ttl := m.by, m.ttl
	if !alone {
		ttl = min(ttl, m.cfg.TTL)
	}
	renewed := m.known && !m.renewed.IsZero() && m.cfg.Seam.Age(m.renewed) < ttl
	m.mu.Unlock()
	return renewed && (m.cfg.Deposed == nil || !m.cfg.Deposed(by))
}

// RenewedAt is when the last ping was sent that a leader has answered with its word; zero: never.
func (m *Member) RenewedAt() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.renewed
}

// Run keeps the session until ctx ends. It returns ctx's error.
func (m *Member) Run(ctx context.Context) error {
	backoff, hops := m.cfg.BackoffMin, 0
	for ctx.Err() == nil {
		aim := m.target()
		if aim.addr == "" {
			m.look(ctx, aim, m.cfg.LookEvery)
			continue
		}
		began := m.cfg.Seam.Now()
		broken, err := m.hold(ctx, aim)
		m.cfg.Log.Debug("the session ended", "leader", aim.id, "addr", aim.addr, "err", err)
		if broken && m.gone(ctx, aim) {
			m.cfg.Gone(aim.id, m.cfg.Seam.Now())
		}
		if hops++; m.hinted(aim.addr) && hops < hopsMax {
			continue
		}
		if m.cfg.Seam.Since(began) > time.Second || aim.old(m.cfg.Leader) {
			backoff = m.cfg.BackoffMin
		}
		hops = 0
		m.look(ctx, aim, m.cfg.Seam.Jitter(backoff))
		backoff = min(2*backoff, m.cfg.BackoffMax)
	}
	return ctx.Err()
}

// gone reports whether the leader whose session just broke has no process any more: its address
// refuses, twice. Once may be a listener that is made anew.
func (m *Member) gone(ctx context.Context, a aim) bool {
	if m.cfg.Gone == nil || a.addr != a.at || !m.refuses(ctx, a) {
		return false
	}
	return m.cfg.Seam.Sleep(ctx, m.cfg.RefusedGap) == nil && m.refuses(ctx, a)
}

func (m *Member) refuses(ctx context.Context, a aim) bool {
	if a.old(m.cfg.Leader) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.DialTimeout)
	defer cancel()
	conn, err := m.cfg.Dial(ctx, a.addr)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// hopsMax bounds the nodes that are asked one after the other, without a wait, since the one before
// has named them: two may take each other for the leader.
const hopsMax = 3

// aim is where a session should be.
type aim struct {
	addr string // to be dialed
	// What this node took for the leader when it aimed.
	id, at  string
	changed <-chan struct{} // closed when it takes another for it
}

// target is the node that the last one has named, once, or else the one that this node takes for
// the leader.
func (m *Member) target() aim {
	id, at, changed := m.cfg.Leader()
	m.mu.Lock()
	defer m.mu.Unlock()
	a := aim{addr: cmp.Or(m.hint, at), id: id, at: at, changed: changed}
	m.hint = ""
	return a
}

// old reports whether this node takes another one for the leader by now than the one aimed at.
func (a *aim) old(leader func() (id, addr string, changed <-chan struct{})) bool {
	id, at, _ := leader()
	return at != "" && at != a.addr && (id != a.id || at != a.at)
}

// hinted reports whether there is another address to be tried at once.
func (m *Member) hinted(tried string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hint == tried {
		m.hint = ""
	}
	return m.hint != ""
}

// look waits for d, or until this node takes another one for the leader.
func (m *Member) look(ctx context.Context, a aim, d time.Duration) {
	changed := a.changed
	for until := m.cfg.Seam.Now().Add(d); ctx.Err() == nil && !a.old(m.cfg.Leader); {
		left := min(until.Sub(m.cfg.Seam.Now()), m.cfg.LookEvery)
		if left <= 0 {
			return
		}
		c, stop := m.cfg.Seam.Timer(left)
		select {
		case <-c:
		case <-changed:
			changed = nil // it is looked at often enough
		case <-ctx.Done():
		}
		stop()
	}
}

// answered takes an answer to a ping that was sent at a time.
func (m *Member) answered(a Answer, sent time.Time) (again bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a.NotLeader {
		m.hint = a.LeaderAddr
		return false, errNotLeader
	}
	if a.Term < m.term {
		return false, errDeposed
	}
	m.term, m.known = a.Term, a.Known
	if !a.Known {
		select {
		case m.unknown <- struct{}{}:
		default:
		}
		return true, nil
	}
	if a.Behind {
		return false, nil
	}
	m.renewed, m.by, m.ttl = sent, a.Leader, m.cfg.TTL
	if a.TTLMs > 0 {
		m.ttl = time.Duration(a.TTLMs) * time.Millisecond
	}
	return false, nil
}
