package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/tally-kafka/tally/replication/consensus"
	"github.com/tally-kafka/tally/replication/ownership"
)

type proposeRequest struct {
	Command ownership.Command `json:"command"`
}

type proposeAnswer struct {
	routed
	Result    ownership.Result `json:"result"`
	Uncertain string           `json:"uncertain,omitempty"`
}

// NoLeaderError says that nothing can be changed now. The node goes on with what it was granted.
type NoLeaderError struct{ Why string }

func (e *NoLeaderError) Error() string { return e.Why }

// Propose changes the state, through the leader wherever it is, and waits for one up to
// Timing.Propose. The error is nil when the command was decided, even if Result says that it was
// refused; a NoLeaderError when nothing has changed; a consensus.UncertainError when that is not
// known. What a second time does not change is made again by itself. State has the outcome when
// this returns, unless this node follows too slowly for the time that is left.
func (c *Cluster) Propose(ctx context.Context, command ownership.Command) (ownership.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, c.c.Timing.Propose)
	defer cancel()
	for {
		result, err := c.proposeOnce(ctx, command)
		var none *NoLeaderError
		var unsure *consensus.UncertainError
		again := errors.As(err, &none) || errors.As(err, &unsure) && repeatable(command)
		if err == nil {
			c.awaitVersion(ctx, result.Version)
		}
		if !again || ctx.Err() != nil {
			return result, err
		}
		if c.c.Seam.Sleep(ctx, c.c.Seam.Jitter(c.c.Timing.Retry)) != nil {
			return ownership.Result{}, err
		}
	}
}

// awaitVersion waits until this node has applied what the leader has decided.
func (c *Cluster) awaitVersion(ctx context.Context, version uint64) {
	for {
		changed := c.raft.Changed()
		if c.State().Version >= version {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (c *Cluster) proposeOnce(ctx context.Context, command ownership.Command) (ownership.Result, error) {
	if _, _, ok := c.raft.Leading(); ok {
		result, err := c.decide(ctx, command)
		var not *consensus.NotLeaderError
		if errors.As(err, &not) {
			return result, &NoLeaderError{noLeader(c.State())}
		}
		return result, err
	}
	_, addr := c.raft.Leader()
	if addr == "" || addr == c.c.Addr {
		return ownership.Result{}, &NoLeaderError{noLeader(c.State())}
	}
	var answer proposeAnswer
	err := c.call(ctx, addr, "propose", proposeRequest{command}, &answer)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return ownership.Result{}, &NoLeaderError{fmt.Sprintf("the leader at %s is gone: %s", addr, noLeader(c.State()))}
	case err != nil:
		return ownership.Result{}, &consensus.UncertainError{Err: fmt.Errorf("the leader at %s: %w", addr, err)}
	case answer.NotLeader:
		return ownership.Result{}, &NoLeaderError{noLeader(c.State())}
	case answer.Uncertain != "":
		return ownership.Result{}, &consensus.UncertainError{Err: errors.New(answer.Uncertain)}
	}
	return answer.Result, nil
}

// decide proposes at the leader. Two apps that are fit to run, but not beside each other, come one
// after the other here, wherever they were submitted; and so do what a submit makes of an app, and
// the halt of that app.
func (c *Cluster) decide(ctx context.Context, command ownership.Command) (ownership.Result, error) {
	term, _, leads := c.raft.Leading()
	if !leads { // or not yet: what was committed before may be missing here
		return ownership.Result{}, &consensus.NotLeaderError{}
	}
	if command.PutApp == nil && command.HaltApp == nil {
		return c.raft.Propose(ctx, command)
	}
	c.puts.Lock()
	defer c.puts.Unlock()
	if err := c.settlePut(ctx, term); err != nil {
		return ownership.Result{}, err
	}
	if put := command.PutApp; put != nil {
		if refused := c.vetPut(&put.App); refused.Refused != "" {
			return refused, nil
		}
	}
	result, err := c.raft.Propose(ctx, command)
	if unsure := new(consensus.UncertainError); errors.As(err, &unsure) {
		c.unsure, c.unsureTerm, c.unsureSince = unsure.Settled(), term, c.c.Seam.Now()
	}
	return result, err
}

// vetPut says why an app must not be put now; the caller holds puts. One that was made before the
// app was halted would have its lanes run in the middle of a reset, whose end alone has its intent.
// It is the leader that refuses it, since nodes of earlier releases obey it where it is in the log.
func (c *Cluster) vetPut(app *ownership.App) (refused ownership.Result) {
	state := c.State()
	before := state.Apps[app.Name]
	if before != nil && before.Halted != "" && app.Halted == "" && !slices.Equal(app.Intent, before.Intent) {
		return ownership.Result{Version: state.Version, Code: ownership.Stale, Refused: fmt.Sprintf("app %s: %s", app.Name, before.Halted)}
	}
	if c.c.Vet == nil {
		return refused
	}
	if why := c.c.Vet(state, app); why != "" {
		return ownership.Result{Version: state.Version, Code: ownership.Unfit, Refused: why}
	}
	return refused
}

// unsureMax is how long what became of an app is waited for.
const unsureMax = time.Minute

// settlePut waits until it is known what has become of the last app that was put or halted, if its
// sender has gone before; the caller holds puts. The barrier of a later term has settled it, and
// Raft has been seen never to answer.
func (c *Cluster) settlePut(ctx context.Context, term uint64) error {
	if c.unsure == nil || c.unsureTerm != term || c.c.Seam.Since(c.unsureSince) > unsureMax {
		c.unsure = nil
		return nil
	}
	select {
	case <-c.unsure:
		c.unsure = nil
		return nil
	case <-ctx.Done():
		return &consensus.NotLeaderError{}
	}
}

func (c *Cluster) servePropose(ctx context.Context, r proposeRequest) (any, error) {
	result, err := c.decide(ctx, r.Command)
	var not *consensus.NotLeaderError
	var unsure *consensus.UncertainError
	switch {
	case errors.As(err, &not):
		return proposeAnswer{routed: c.route()}, nil
	case errors.As(err, &unsure):
		return proposeAnswer{Uncertain: unsure.Err.Error()}, nil
	case err != nil:
		return nil, err
	}
	return proposeAnswer{Result: result}, nil
}

// leading begins one of the things that only the leader does, and that change Raft's group: one at
// a time, and no longer than the leadership lasts. done ends it; not ok: this node does not lead,
// or whoever asked has given up while others were served.
func (c *Cluster) leading(ctx context.Context) (held context.Context, done func(), ok bool) {
	c.joins.Lock()
	_, leadership, ok := c.raft.Leading()
	if !ok || ctx.Err() != nil {
		c.joins.Unlock()
		return ctx, nil, false
	}
	held, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(leadership, cancel)
	return held, func() { stop(); cancel(); c.joins.Unlock() }, true
}

// repeatable reports whether a command that was taken is taken again without a change. Of the
// others the second answer would be a refusal, although the first was taken.
func repeatable(c ownership.Command) bool {
	return c.Found != nil || c.Register != nil || c.Drain != nil || c.HaltApp != nil || c.RaiseEpoch != nil || c.MoveLane != nil
}

// noLeader says in words that nothing can be changed.
func noLeader(s *ownership.State) string {
	if len(s.Members) < 2 {
		return "the cluster has no leader yet"
	}
	return "the cluster has no leader: most of its voters must run and reach each other; " +
		"until then every node goes on with the lanes that it has, and nothing moves"
}
