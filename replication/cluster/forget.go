package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tally-kafka/tally/replication/consensus"
	"github.com/tally-kafka/tally/replication/ownership"
)

type forgetRequest struct {
	ID     string `json:"id"`
	DryRun bool   `json:"dry_run,omitempty"`
}

type forgetAnswer struct {
	routed
	Alive   bool   `json:"alive,omitempty"`
	Refused string `json:"refused,omitempty"` // for good, and why
	Later   string `json:"later,omitempty"`   // why not now
}

// ErrAlive says that a member cannot be forgotten, since it is alive.
var ErrAlive = errors.New("the node is alive")

// Forget takes a member that is not alive out of the cluster: its vote, its place in Raft's group,
// its name. While it has a part in a lane it waits, up to Timing.Propose: the leader gives the
// lanes of the dead to others. One that was forgotten already is no error. Without a leader it
// returns a NoLeaderError. A dry run only looks whether the leader has the member for alive.
func (c *Cluster) Forget(ctx context.Context, id string, dryRun bool) error {
	ctx, cancel := context.WithTimeout(ctx, c.c.Timing.Propose)
	defer cancel()
	for {
		answer, why := c.askToForget(ctx, forgetRequest{id, dryRun})
		switch {
		case why == nil && answer.Alive:
			return ErrAlive
		case why == nil && answer.Refused != "":
			return errors.New(answer.Refused)
		case why == nil && answer.Later == "":
			return nil
		}
		if c.c.Seam.Sleep(ctx, c.c.Seam.Jitter(c.c.Timing.Retry)) == nil {
			continue
		}
		if why != nil {
			return &NoLeaderError{why.Error()}
		}
		return errors.New(answer.Later)
	}
}

func (c *Cluster) askToForget(ctx context.Context, r forgetRequest) (answer forgetAnswer, why error) {
	if _, _, ok := c.raft.Leading(); ok {
		if answer = c.forget(ctx, r); !answer.NotLeader {
			return answer, nil
		}
		return answer, &NoLeaderError{noLeader(c.State())}
	}
	answer, _, why = askLeader[forgetAnswer](ctx, c, "", "forget", r)
	return answer, why
}

func (c *Cluster) serveForget(ctx context.Context, r forgetRequest) (any, error) {
	return c.forget(ctx, r), nil
}

// forget is the leader's side. A group that is led without a voter is led without its vote, too.
func (c *Cluster) forget(ctx context.Context, r forgetRequest) forgetAnswer {
	ctx, done, ok := c.leading(ctx)
	if !ok {
		return forgetAnswer{routed: c.route()}
	}
	defer done()
	m := c.State().Members[r.ID]
	forget := ownership.Command{Forget: &ownership.Forget{ID: r.ID}}
	_, result := c.State().Take(forget)
	switch {
	case m != nil && m.Alive:
		return forgetAnswer{Alive: true}
	case m == nil:
		return c.forgetUnregistered(ctx, r)
	case r.DryRun:
		return forgetAnswer{}
	case result.Refused != "":
		return forgetAnswer{Later: notYet(m.Name, result)}
	}
	if err := c.dismiss(ctx, r.ID); err != nil {
		return forgetAnswer{Later: fmt.Sprintf("the leader has not got it written: %v", err)}
	}
	result, err := c.raft.Propose(ctx, forget)
	if err != nil {
		return forgetAnswer{Later: fmt.Sprintf("the leader has not got it written: %v", err)}
	}
	c.c.Log.Info("a node was forgotten", "node", m.Name, "id", r.ID)
	return forgetAnswer{Refused: result.Refused}
}

// forgetUnregistered takes a node out of Raft's group that has never registered, or that was
// forgotten but for that. One that answers is still starting.
func (c *Cluster) forgetUnregistered(ctx context.Context, r forgetRequest) forgetAnswer {
	servers := c.Unregistered()
	i := slices.IndexFunc(servers, func(s consensus.Server) bool { return s.ID == r.ID })
	if i < 0 {
		return forgetAnswer{}
	}
	if h, err := ask(ctx, c.c, servers[i].Addr, c.hello()); err == nil && h.NodeID == r.ID {
		return forgetAnswer{Alive: true}
	}
	if r.DryRun {
		return forgetAnswer{}
	}
	if err := c.dismiss(ctx, r.ID); err != nil {
		return forgetAnswer{Later: fmt.Sprintf("the leader has not got it written: %v", err)}
	}
	c.c.Log.Info("a node was forgotten that had never registered", "addr", servers[i].Addr, "id", r.ID)
	return forgetAnswer{}
}

// notYet says why a member that is dead cannot be forgotten: while it has a part in a lane the
// leader gives that to others, and nobody has to do anything.
func notYet(name string, no ownership.Result) string {
	if no.Code != ownership.NotEmpty {
		return no.Refused
	}
	return fmt.Sprintf("what node %s was a part of is given to others first, by itself: %s", name, no.Refused)
}

// Unregistered are the nodes of the group, as far as this node knows it, have never registered:
// of those that form a cluster, the ones that are still starting.
func (c *Cluster) Unregistered() (nodes []consensus.Server) {
	state := c.State()
	for _, s := range c.raft.Servers() {
		if state.Members[s.ID] == nil {
			nodes = append(nodes, s)
		}
	}
	return nodes
}

// Voters is how many nodes vote, and whether one does, as far as this node knows.
func (c *Cluster) Voters(id string) (voters int, votes bool) {
	for _, s := range c.raft.Servers() {
		if s.Voter {
			voters++
			votes = votes || s.ID == id
		}
	}
	return voters, votes
}
