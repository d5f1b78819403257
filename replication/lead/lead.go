package lead

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/replication/assign"
	"github.com/tally-kafka/tally/replication/ownership"
	"github.com/tally-kafka/tally/replication/session"
)

// Config is what a leader needs. Zero durations and limits mean their defaults.
type Config struct {
	Seam seam.Seam
	Log  *slog.Logger
	// Table has the members' sessions. Run begins and ends its leaderships.
	Table *session.Table
	// State is the newest state of the log here; Changed is closed at its next change.
	State   func() *ownership.State
	Changed func() <-chan struct{}
	// Propose puts a command into the log. When it returns without an error State has its effect.
	Propose func(ctx context.Context, c ownership.Command) (ownership.Result, error)
	// Fence ends what the last owner of a lane may have open at Kafka: InitProducerID on the lane's
	// transactional id.
	Fence func(ctx context.Context, app string, lane int) error
	// Settings are the assignor's limits.
	Settings assign.Settings

	SettleMax    time.Duration // that the first look waits for the members' reports (250 ms)
	Tick         time.Duration // without a change, between two looks (250 ms)
	Rest         int           // how many times longer Tick is while there is one member and nothing to do (8)
	RestMax      time.Duration // between two looks; else as long as the last one took (100 ms)
	RefusedMax   time.Duration // until a plan is made again that was refused as wrong (5 s)
	UnsureMax    time.Duration // that a plan without an answer is waited for (1 min)
	FenceTimeout time.Duration // of one call (15 s)
	FenceRetry   time.Duration // after a fence that has failed, at first (250 ms)
	FenceWaitMax time.Duration // after one that has failed often (5 s)
	FencesMax    int           // calls at a time (8)
	OverdueMax   int           // calls that have not returned although their time is over (64)
}

func (c Config) withDefaults() Config {
	c.SettleMax = cmp.Or(c.SettleMax, 250*time.Millisecond)
	c.Tick = cmp.Or(c.Tick, 250*time.Millisecond)
	c.Rest = cmp.Or(c.Rest, 8)
	c.RestMax = cmp.Or(c.RestMax, 100*time.Millisecond)
	c.RefusedMax = cmp.Or(c.RefusedMax, 5*time.Second)
	c.UnsureMax = cmp.Or(c.UnsureMax, time.Minute)
	c.FenceTimeout = cmp.Or(c.FenceTimeout, 15*time.Second)
	c.FenceRetry = cmp.Or(c.FenceRetry, 250*time.Millisecond)
	c.FenceWaitMax = cmp.Or(c.FenceWaitMax, 5*time.Second)
	c.FencesMax = cmp.Or(c.FencesMax, 8)
	c.OverdueMax = cmp.Or(c.OverdueMax, 64)
	return c
}

// Lead is a node's part as a leader. It lives as long as the node does, through many leaderships.
type Lead struct {
	cfg    Config
	fences *fences

	mu        sync.Mutex
	decision  assign.Decision
	problems  []string
	ownerless map[ownership.LaneRef]string
	hindered  bool   // by something that time may mend
	refusal   string // why the last proposal came to nothing, "" when it did not
}

// New makes the part of a node that does not lead.
func New(cfg Config) *Lead {
	cfg = cfg.withDefaults()
	return &Lead{cfg: cfg, fences: newFences(cfg)}
}

// Run leads until ctx ends, with the leadership of a term. All that was committed before it has to
// be applied here. It returns ctx's error; one runs at a time.
func (l *Lead) Run(ctx context.Context, term uint64) error {
	resign := l.cfg.Table.Lead(term)
	defer resign()
	defer l.keep(assign.Decision{}, "", nil)
	l.fences.begin()
	l.settle(ctx)
	refused := time.Duration(0)
	for ctx.Err() == nil {
		changes := []<-chan struct{}{l.cfg.Changed(), l.cfg.Table.Changed(), l.fences.changed()}
		began := l.cfg.Seam.Now()
		next := l.turn(ctx)
		if next == wrong {
			refused = min(max(2*refused, l.cfg.Tick), l.cfg.RefusedMax)
			_ = l.cfg.Seam.Sleep(ctx, refused)
			continue
		}
		refused = 0
		_ = l.cfg.Seam.Sleep(ctx, min(l.cfg.Seam.Since(began), l.cfg.RestMax))
		if next == wait {
			l.wait(ctx, changes)
		}
	}
	return ctx.Err()
}

// settle waits until each member that the log has for alive has reported or is lost, but not for
// long: the first to report would get all that is free, and give it away again.
func (l *Lead) settle(ctx context.Context) {
	for until := l.cfg.Seam.Now().Add(l.cfg.SettleMax); ctx.Err() == nil; {
		changed := l.cfg.Table.Changed()
		state := l.cfg.State()
		left := until.Sub(l.cfg.Seam.Now())
		if view, _ := l.cfg.Table.View(state); left <= 0 || reported(state, view) {
			return
		}
		timer, stop := l.cfg.Seam.Timer(left)
		select {
		case <-changed:
		case <-timer:
		case <-ctx.Done():
		}
		stop()
	}
}

func reported(state *ownership.State, v session.View) bool {
	for id, m := range state.Members {
		if s := v.Sessions[id]; m.Alive && !s.Live && s.Lost == "" {
			return false
		}
	}
	return true
}

// after is what follows a turn.
type after int

const (
	wait  after = iota // for a change, or for the next tick
	again              // at once: there is something new
	wrong              // a plan was refused as one that can never be taken
)

// turn looks once, decides, and has the log decide.
func (l *Lead) turn(ctx context.Context) after {
	state := l.cfg.State()
	view, ok := l.cfg.Table.View(state)
	if !ok {
		panic("lead: a leader's table that does not lead")
	}
	d := assign.Decide(l.input(state, view))
	l.fences.want(ctx, d.Fence, state)
	l.keep(d, view.Paused, l.fences.hindrances())
	if d.Plan == nil {
		l.setRefusal("")
		return wait
	}
	return l.propose(ctx, *d.Plan)
}

func (l *Lead) input(state *ownership.State, view session.View) assign.Input {
	return assign.Input{
		State:    state,
		Health:   health(view),
		Dead:     view.Dead,
		Paused:   view.Paused != "",
		Fenced:   l.fences.ended(),
		Settings: l.cfg.Settings,
	}
}

// DryRunDrain says what a drain of a member would come to; false when this node does not lead.
func (l *Lead) DryRunDrain(id string) (assign.Foreseen, bool) {
	state := l.cfg.State()
	view, ok := l.cfg.Table.View(state)
	if !ok {
		return assign.Foreseen{}, false
	}
	return assign.DryRunDrain(l.input(state, view), id), true
}

// DryRunMove says what a move of a lane would come to; false when this node does not lead.
func (l *Lead) DryRunMove(ref ownership.LaneRef, target string) (assign.Foreseen, bool) {
	state := l.cfg.State()
	view, ok := l.cfg.Table.View(state)
	if !ok {
		return assign.Foreseen{}, false
	}
	return assign.DryRunMove(l.input(state, view), ref, target), true
}

// propose puts a plan into the log. None of those that it declares dead is vouched for meanwhile.
func (l *Lead) propose(ctx context.Context, p ownership.Plan) after {
	release, ok := l.cfg.Table.Condemn(p.Dead)
	if !ok { // one of them is back
		return again
	}
	defer release()
	result, err := l.cfg.Propose(ctx, ownership.Command{Plan: &p})
	switch {
	case ctx.Err() != nil:
		return wait
	case err != nil:
		l.cfg.Log.Warn("a plan was not taken", "version", p.Base, "err", err)
		l.setRefusal(fmt.Sprintf("the plan for version %d has not come into the log: %v", p.Base, err))
		return l.outcome(ctx, p, err)
	case result.Code == ownership.Stale:
		if l.cfg.State().Version != p.Base {
			return again
		}
		return wait
	case result.Refused != "":
		l.cfg.Log.Error("a plan was refused", "version", p.Base, "why", result.Refused)
		l.setRefusal(fmt.Sprintf("the plan for version %d was refused: %s", p.Base, result.Refused))
		return wrong
	}
	l.setRefusal("")
	l.say(p)
	return again
}

// outcome waits until it is known what became of a plan that the log has not answered: it may come
// into it at any time until then, and nothing else can before. Those that it declares dead stay
// condemned meanwhile.
func (l *Lead) outcome(ctx context.Context, p ownership.Plan, err error) after {
	var unsure interface{ Settled() <-chan struct{} }
	if !errors.As(err, &unsure) || unsure.Settled() == nil {
		return wait
	}
	late, stop := l.cfg.Seam.Timer(l.cfg.UnsureMax)
	defer stop()
	for {
		changed := l.cfg.Changed()
		if l.cfg.State().Version != p.Base {
			return again
		}
		select {
		case <-changed:
		case <-unsure.Settled():
			return again
		case <-late: // Raft has been seen never to answer
			return wait
		case <-ctx.Done():
			return wait
		}
	}
}

// say logs what was decided.
func (l *Lead) say(p ownership.Plan) {
	state := l.cfg.State()
	for _, d := range p.Dead {
		l.cfg.Log.Info("a node is dead", "node", state.NameOf(d.ID), "incarnation", d.Incarnation)
	}
	l.cfg.Log.Info("a plan was taken", "version", p.Base+1, "lanes", len(p.Lanes), "dead", len(p.Dead))
	for _, c := range p.Lanes {
		l.cfg.Log.Debug("a lane's place", "lane", c.LaneRef, "owner", state.NameOf(c.To.Owner), "from", c.To.From,
			"target", c.To.Target, "standbys", c.To.Standbys, "unfenced", c.To.Unfenced)
	}
}

// wait waits for a change or for the next tick.
func (l *Lead) wait(ctx context.Context, changes []<-chan struct{}) {
	tick, stop := l.cfg.Seam.Timer(l.tick())
	defer stop()
	select {
	case <-changes[0]:
	case <-changes[1]:
	case <-changes[2]:
	case <-tick:
	case <-ctx.Done():
	}
}

// tick is the time until the next look: what else than a change may ask for one needs a lane
// without owner, or a second member.
func (l *Lead) tick() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	busy := len(l.decision.Fence) > 0 || l.hindered || l.refusal != ""
	if busy || len(l.cfg.State().Members) > 1 {
		return l.cfg.Tick
	}
	return l.cfg.Seam.InStep(l.cfg.Tick * time.Duration(l.cfg.Rest))
}

// health is what the assignor wants to know of the members.
func health(v session.View) map[string]assign.Health {
	all := make(map[string]assign.Health, len(v.Sessions))
	for id, s := range v.Sessions {
		h := assign.Health{
			Live:        s.Live,
			Incarnation: s.Incarnation,
			Version:     s.Report.Version,
			KafkaAge:    s.KafkaAge(),
			Disk:        s.Report.Disk,
			Behind:      s.Behind,
			Copies:      make(map[ownership.LaneRef]assign.Copy, len(s.Copies)),
		}
		for ref, c := range s.Copies {
			h.Copies[ref] = assign.Copy{Running: c.Running, Stuck: c.Stuck, Epoch: c.Epoch, Ready: c.Ready, Lag: c.Lag}
		}
		all[id] = h
	}
	return all
}

// keep notes a decision, with what the assignor does not know of: why nothing is assigned, and why
// lanes are not fenced.
func (l *Lead) keep(d assign.Decision, paused string, unfenced map[ownership.LaneRef]string) {
	problems, ownerless := d.Problems, map[ownership.LaneRef]string{}
	if paused != "" {
		problems = append([]string{paused}, problems...)
	}
	maps.Copy(ownerless, d.Ownerless)
	maps.Copy(ownerless, unfenced)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.decision, l.problems, l.ownerless, l.hindered = d, problems, ownerless, paused != "" || len(unfenced) > 0
}

func (l *Lead) setRefusal(why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refusal = why
}

// Problems are what keeps the cluster from being as it shall be, a line each, for people, but for
// the lanes of Ownerless. There are none while this node does not lead.
func (l *Lead) Problems() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := append([]string(nil), l.problems...)
	if l.refusal != "" {
		lines = append(lines, l.refusal)
	}
	return lines
}

// Ownerless says why lanes have nobody who runs them, as far as this leader knows; of a bounded
// number of lanes.
func (l *Lead) Ownerless() map[ownership.LaneRef]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ownerless // made anew at each change
}

// Decision is the last one of this leadership; the zero value while this node does not lead.
func (l *Lead) Decision() assign.Decision {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.decision
}
