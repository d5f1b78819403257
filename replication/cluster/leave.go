package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/tally-kafka/tally/replication/ownership"
)

type leaveRequest struct {
	ID string `json:"id"`
}

type leaveAnswer struct {
	routed
	Refused string `json:"refused,omitempty"`
}

// Leave makes ready for this node's end: a leader gives the leadership to another voter, if there
// is one that can take it. For good also means that the node is taken out of the cluster, which is
// refused while it has a part in a lane, and of the last node. ctx bounds it.
func (c *Cluster) Leave(ctx context.Context, forGood bool) error {
	err := c.handOver(ctx)
	if !forGood {
		return err
	}
	c.stay(false)
	if err := c.leaveForGood(ctx); err != nil {
		c.stay(true)
		return err
	}
	return nil
}

// stay says whether this node registers. A registration that is under way ends first: after the
// node has left it would bring it back.
func (c *Cluster) stay(yes bool) {
	c.place.Lock()
	defer c.place.Unlock()
	c.leaving = !yes
}

func (c *Cluster) leaveForGood(ctx context.Context) error {
	for ctx.Err() == nil {
		answer, done := c.askToLeave(ctx)
		switch {
		case done && answer.Refused != "":
			return errors.New(answer.Refused)
		case done:
			return nil
		}
		_ = c.c.Seam.Sleep(ctx, c.c.Seam.Jitter(c.c.Timing.Retry))
	}
	return fmt.Errorf("leave the cluster: %w: %s", ctx.Err(), noLeader(c.State()))
}

// handOver gives the leadership away.
func (c *Cluster) handOver(ctx context.Context) error {
	if _, _, ok := c.raft.Leading(); !ok || len(c.liveVoters()) < 2 {
		return nil
	}
	if err := c.raft.TransferLeadership(ctx, c.heir()); err != nil {
		return fmt.Errorf("give the leadership to another node: %w", err)
	}
	return nil
}

// askToLeave asks once; not done means once more.
func (c *Cluster) askToLeave(ctx context.Context) (answer leaveAnswer, done bool) {
	request := leaveRequest{ID: c.c.ID}
	if _, _, ok := c.raft.Leading(); ok {
		answer = c.release(ctx, request)
		return answer, !answer.NotLeader
	}
	answer, _, why := askLeader[leaveAnswer](ctx, c, "", "leave", request)
	return answer, why == nil
}

func (c *Cluster) serveLeave(ctx context.Context, r leaveRequest) (any, error) {
	return c.release(ctx, r), nil
}

// release takes a node out of the cluster, at the leader: its vote, its place in Raft's group, its
// name. A leader that is asked to let itself go hands over first, and the next one does it.
func (c *Cluster) release(ctx context.Context, r leaveRequest) leaveAnswer {
	held, done, ok := c.leading(ctx)
	if !ok {
		return leaveAnswer{routed: c.route()}
	}
	defer done()
	forget := ownership.Command{Forget: &ownership.Forget{ID: r.ID}}
	if c.State().Members[r.ID] == nil {
		return leaveAnswer{} // it asks again, and has left
	}
	if _, result := c.State().Take(forget); result.Refused != "" {
		return leaveAnswer{Refused: result.Refused}
	}
	if r.ID == c.c.ID {
		if len(c.liveVoters()) < 2 {
			return leaveAnswer{Refused: fmt.Sprintf("node %s is the last that can lead: start another one before it leaves for good", c.c.Name)}
		}
		if err := c.raft.TransferLeadership(ctx, ""); err != nil {
			c.c.Log.Warn("leave: the leadership stays here", "err", err)
		}
		return leaveAnswer{routed: routed{NotLeader: true}}
	}
	if err := c.dismiss(held, r.ID); err != nil {
		c.c.Log.Warn("leave", "node", c.State().NameOf(r.ID), "err", err)
		return leaveAnswer{routed: routed{NotLeader: true}} // it asks again
	}
	result, err := c.raft.Propose(held, forget)
	if err != nil {
		return leaveAnswer{routed: routed{NotLeader: true}}
	}
	return leaveAnswer{Refused: result.Refused}
}

func (c *Cluster) dismiss(ctx context.Context, id string) error {
	for _, s := range c.raft.Servers() {
		if s.ID != id {
			continue
		}
		if s.Voter {
			if err := c.raft.Demote(ctx, id); err != nil {
				return err
			}
		}
		return c.raft.Remove(ctx, id)
	}
	return nil
}

// liveVoters are the names of the voters that are alive.
func (c *Cluster) liveVoters() (names []string) {
	for _, s := range c.raft.Servers() {
		if m := c.State().Members[s.ID]; s.Voter && m != nil && m.Alive {
			names = append(names, m.Name)
		}
	}
	return names
}
