package session

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/replication/ownership"
)

// TableConfig is what a Table needs. Zero durations and limits mean their defaults.
type TableConfig struct {
	ID   string // of this node
	Seam seam.Seam
	Log  *slog.Logger
	// State is the newest state of the log that this node has.
	State func() *ownership.State
	// Leader is the node that this one takes for the leader, for members that ask the wrong one.
	Leader func() (id, addr string)
	// Former is the node that led when this one began to, "" where it handed over or none is known.
	// Its word to itself has ended with its leadership, so it is waited for less long than the
	// others, who may have its word still. Nil: it is not known.
	Former func() string
	// Leads asks most voters whether this node leads still; nil means that it does. Nil: it is
	// believed.
	Leads func(ctx context.Context) error
	// Dial opens a session's connection to an address. Its error wraps syscall.ECONNREFUSED where
	// nobody listens there.
	Dial func(ctx context.Context, addr string) (net.Conn, error)

	TTL           time.Duration // without a ping until a member is dead (1.25 s)
	FormerTTL     time.Duration // the same of the former leader, from when this one leads (750 ms)
	Tick          time.Duration // between judgements, twice as long while nobody is late (50 ms)
	Rest          int           // how many times longer TTL is while the log has one member (4)
	SlipMax       time.Duration // that a judgement may be late before it counts as a slip (100 ms)
	RedialTimeout time.Duration // of a look whether a member's address refuses (200 ms)
	PauseMax      time.Duration // while more than half are gone (10 s)
	BehindMax     time.Duration // that a member that is vouched for may lack what the log has (250 ms)
	IdleMax       time.Duration // without a line until a connection is closed (30 s)
	ConnsMax      int           // connections at a time (1,024)
	LineBytesMax  int           // of one ping (1 MiB)
	CopiesMax     int           // that one member may report (100,000)
}

// The defaults of a session.
const (
	ttlUsual    = 1250 * time.Millisecond
	formerUsual = 750 * time.Millisecond
	behindUsual = 250 * time.Millisecond
	tickUsual   = 50 * time.Millisecond
)

// WordMost is for how long, with the defaults, a member can count itself as the leader's behind an
// entry of the log that does not reach it. The leader sees an entry a judgement late at most.
const WordMost = ttlUsual + behindUsual + 2*tickUsual

func (c TableConfig) withDefaults() TableConfig {
	c.TTL = cmp.Or(c.TTL, ttlUsual)
	c.FormerTTL = min(cmp.Or(c.FormerTTL, formerUsual), c.TTL)
	c.Tick = cmp.Or(c.Tick, tickUsual)
	c.Rest = cmp.Or(c.Rest, 4)
	c.SlipMax = cmp.Or(c.SlipMax, 100*time.Millisecond)
	c.RedialTimeout = cmp.Or(c.RedialTimeout, 200*time.Millisecond)
	c.BehindMax = cmp.Or(c.BehindMax, behindUsual)
	c.PauseMax = cmp.Or(c.PauseMax, 10*time.Second)
	c.IdleMax = cmp.Or(c.IdleMax, 30*time.Second)
	c.ConnsMax = cmp.Or(c.ConnsMax, 1024)
	c.LineBytesMax = cmp.Or(c.LineBytesMax, 1<<20)
	c.CopiesMax = cmp.Or(c.CopiesMax, 100_000)
	return c
}

// Table is the leader's half of all sessions. Its methods may be called from anywhere.
type Table struct {
	cfg TableConfig

	mu      sync.Mutex
	r       roster
	changed chan struct{} // closed at the next change that somebody should look at
	ctx     context.Context
	probes  sync.WaitGroup // of this leadership
	probing map[probed]bool
	conns   map[uint64]*served
	conn    uint64 // the number of the last one

	// A node that stood still, and led, may have been deposed meanwhile: until it has asked, it
	// vouches for nobody, itself least of all. turn is when it was last seen not to stand still,
	// tick for how long that is so; doubts is how often it stood still since it was sure, and asks
	// that it asks.
	turn   time.Time
	tick   time.Duration
	doubts int
	asks   bool
}

// NewTable makes the table of a node that does not lead.
func NewTable(cfg TableConfig) *Table {
	cfg = cfg.withDefaults()
	return &Table{
		cfg:     cfg,
		r:       roster{ttl: cfg.TTL, rest: cfg.Rest, pauseMax: cfg.PauseMax, behindMax: cfg.BehindMax, copiesMax: cfg.CopiesMax},
		changed: make(chan struct{}),
		probing: map[probed]bool{},
		conns:   map[uint64]*served{},
	}
}

// Lead begins the leadership of a term: from now on the table judges, after a fresh TTL for all. It
// ends with resign, which returns when all that it began has ended; there is one at a time.
func (t *Table) Lead(term uint64) (resign func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var ticks sync.WaitGroup
	t.mu.Lock()
	if t.r.leading {
		panic(fmt.Sprintf("session: a leadership of term %d begins within that of term %d", term, t.r.term))
	}
	t.r.lead(term)
	t.turn, t.tick, t.doubts = t.cfg.Seam.Now(), t.cfg.Tick, 0
	t.r.observe(t.cfg.State(), t.turn)
	if t.cfg.Former != nil {
		t.r.hasSeen(t.cfg.Former(), t.turn.Add(t.cfg.FormerTTL-t.cfg.TTL))
	}
	t.ctx = ctx
	for id, e := range t.r.sessions {
		if e.alive {
			t.probe(id, e.incarnation, 2)
		}
	}
	t.mu.Unlock()
	ticks.Go(func() { t.judge(ctx) })
	return func() {
		cancel()
		ticks.Wait()
		t.mu.Lock()
		t.r.resign()
		t.mu.Unlock()
		t.probes.Wait()
	}
}

// judge is the clock of a leadership.
func (t *Table) judge(ctx context.Context) {
	tick := t.cfg.Tick
	for t.cfg.Seam.Sleep(ctx, tick) == nil {
		state := t.cfg.State()
		t.mu.Lock()
		now := t.cfg.Seam.Now()
		if late := seam.Passed(t.turn, now) - tick; late > t.cfg.SlipMax {
			t.cfg.Log.Warn("this node stood still; the sessions of all members are extended", "ms", late.Milliseconds())
			t.doubt(ctx)
		}
		slip := now.Sub(t.turn) - tick // as the sessions' ages go
		if slip <= t.cfg.SlipMax {
			slip = 0
		}
		t.r.observe(state, now)
		if t.r.tick(now, slip) {
			t.notify()
		}
		tick = t.untilJudgement(now)
		t.turn, t.tick = now, tick
		t.mu.Unlock()
	}
}

// doubt asks whether this node leads still. The lock is held.
func (t *Table) doubt(ctx context.Context) {
	if t.cfg.Leads == nil {
		return
	}
	t.doubts++
	if !t.asks {
		t.asks = true
		t.probes.Go(func() { t.makeSure(ctx) })
	}
}

// makeSure ends the doubts, or the leadership does. It asks twice: an answer to what was sent
// before the node stood still counts as one to the first question.
func (t *Table) makeSure(ctx context.Context) {
	for {
		t.mu.Lock()
		doubts := t.doubts
		t.mu.Unlock()
		sure := t.cfg.Leads(ctx) == nil
		sure = sure && t.cfg.Leads(ctx) == nil
		t.mu.Lock()
		over := ctx.Err() != nil || sure && doubts == t.doubts
		if over {
			t.doubts, t.asks = 0, false
		}
		t.mu.Unlock()
		if over {
			return
		}
		_ = t.cfg.Seam.Sleep(ctx, t.cfg.Tick)
	}
}

// doubtful reports whether this node may have been deposed without having heard of it. The lock is
// held.
func (t *Table) doubtful(now time.Time) bool {
	return t.doubts > 0 || t.cfg.Leads != nil && seam.Passed(t.turn, now) > t.tick+t.cfg.SlipMax
}

// untilJudgement is the time until the next one. A member that has just pinged cannot be dead soon,
// but a standstill of this node shall be seen as well. The lock is held.
func (t *Table) untilJudgement(now time.Time) time.Duration {
	if t.r.alone() { // itself, and it pings
		return t.cfg.Seam.InStep(max(t.r.patience(t.cfg.TTL)/5, t.cfg.Tick))
	}
	soon := now.Add(3*t.cfg.Tick - t.cfg.TTL)
	for _, e := range t.r.sessions {
		if e.alive && (!e.lost.IsZero() || e.seen.Before(soon)) {
			return t.cfg.Tick
		}
	}
	return 2 * t.cfg.Tick
}

// notify wakes up who waits for Changed. The lock is held.
func (t *Table) notify() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// Changed is closed when a View is other than one taken before: somebody was lost, is back or has
// caught up with the log, or a copy has become ready or has begun or ended to run. A lag alone
// closes nothing.
func (t *Table) Changed() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changed
}

// View is what the leader knows of all members of one state.
type View struct {
	Term     uint64
	Sessions map[string]Session // by node id
	// Dead are the members that are found dead and alive in the log. While Paused says why nothing
	// shall be assigned, there are none.
	Dead   []ownership.Death
	Paused string
}

// Session is what the leader knows of one member. It never changes.
type Session struct {
	Incarnation string
	// Live: the member has reported to this leader, and pings.
	Live bool
	Lost string // why it is not alive any more, "" while it is
	// Age is the time since its last ping.
	Age time.Duration
	// Behind is for how long it has lacked what the log has, 0 when it does not.
	Behind time.Duration
	Report Report // without its copies
	Copies map[ownership.LaneRef]Copy
}

// KafkaAge is for how long the member has not reached Kafka, by its last ping: what its silence
// since then means is for Live to say. One of an earlier release that never has says the largest
// number that there is.
func (s Session) KafkaAge() time.Duration {
	return time.Duration(min(max(s.Report.KafkaAgeMs, 0), KafkaAgeMax.Milliseconds())) * time.Millisecond
}

// View looks at the members of a state; false when this node does not lead.
func (t *Table) View(state *ownership.State) (View, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.r.leading {
		return View{}, false
	}
	now := t.cfg.Seam.Now()
	t.r.observe(state, now)
	return t.r.view(now), true
}

// Condemn is called before members are proposed to be dead: from here on none of them is vouched
// for, until release is called with the log's answer applied. It fails when one of them has pinged
// since the View that had it among the dead.
func (t *Table) Condemn(deaths []ownership.Death) (release func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.r.condemn(deaths) {
		return nil, false
	}
	return func() {
		state := t.cfg.State()
		t.mu.Lock()
		defer t.mu.Unlock()
		now := t.cfg.Seam.Now()
		t.r.observe(state, now)
		t.r.settle(deaths, now)
	}, true
}
