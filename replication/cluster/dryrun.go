package cluster

import (
	"context"
	"errors"

	"github.com/tally-kafka/tally/replication/assign"
	"github.com/tally-kafka/tally/replication/ownership"
)

// dryRunRequest asks for what would come of a drain, or of a move; exactly one is set.
type dryRunRequest struct {
	Drain string              `json:"drain,omitempty"` // node id
	Move  *ownership.MoveLane `json:"move,omitempty"`
}

type dryRunAnswer struct {
	routed
	Foreseen assign.Foreseen `json:"foreseen"`
}

// ErrOlderLeader says that the leader is of a release that cannot be asked what would come of a
// change. It makes the change all the same, by the rules of its own release.
var ErrOlderLeader = errors.New("the leader's release is older and cannot foresee it")

// DryRunDrain asks the leader, who knows the health of all, what a drain of a member would come to.
// It waits for a leader up to Timing.Propose, and then returns a NoLeaderError; an ErrOlderLeader
// where that one cannot say.
func (c *Cluster) DryRunDrain(ctx context.Context, id string) (assign.Foreseen, error) {
	return c.dryRun(ctx, dryRunRequest{Drain: id})
}

// DryRunMove asks the leader what a move of a lane would come to, or that a move away from target
// is taken back. It waits as DryRunDrain does.
func (c *Cluster) DryRunMove(ctx context.Context, ref ownership.LaneRef, target string) (assign.Foreseen, error) {
	return c.dryRun(ctx, dryRunRequest{Move: &ownership.MoveLane{LaneRef: ref, Target: target}})
}

// dryRun asks until a leader answers, up to Timing.Propose.
func (c *Cluster) dryRun(ctx context.Context, r dryRunRequest) (assign.Foreseen, error) {
	ctx, cancel := context.WithTimeout(ctx, c.c.Timing.Propose)
	defer cancel()
	for {
		if f, ok := c.foresee(r); ok {
			return f, nil
		}
		answer, _, why := askLeader[dryRunAnswer](ctx, c, "", "dry_run", r)
		if why == nil {
			return answer.Foreseen, nil
		}
		if unknownCall(why) {
			return assign.Foreseen{}, ErrOlderLeader
		}
		if c.c.Seam.Sleep(ctx, c.c.Seam.Jitter(c.c.Timing.Retry)) != nil {
			return assign.Foreseen{}, &NoLeaderError{why.Error()}
		}
	}
}

func (c *Cluster) foresee(r dryRunRequest) (assign.Foreseen, bool) {
	if r.Move != nil {
		return c.leader.DryRunMove(r.Move.LaneRef, r.Move.Target)
	}
	return c.leader.DryRunDrain(r.Drain)
}

func (c *Cluster) serveDryRun(_ context.Context, r dryRunRequest) (any, error) {
	f, ok := c.foresee(r)
	if !ok {
		return dryRunAnswer{routed: c.route()}, nil
	}
	return dryRunAnswer{Foreseen: f}, nil
}

// unknownCall reports whether a node of another release does not know a call. Its error says so of
// itself.
func unknownCall(err error) bool {
	var u interface{ UnknownCall() bool }
	return errors.As(err, &u) && u.UnknownCall()
}
