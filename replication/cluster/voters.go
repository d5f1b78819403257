package cluster

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tally-kafka/tally/replication/consensus"
	"github.com/tally-kafka/tally/replication/ownership"
)

// A step is one change of Raft's group, "" for none.
type step struct {
	do   string // promote, demote, remove
	id   string
	addr string
	why  string
}

// watch is what the leader has seen of the servers since it leads.
type watch struct {
	dead map[string]time.Time // not alive since
}

// look notes which servers are not alive.
func (w *watch) look(state *ownership.State, servers []consensus.Server, now time.Time) {
	dead := map[string]time.Time{}
	for _, s := range servers {
		if m := state.Members[s.ID]; m != nil && m.Alive {
			continue
		}
		since, ok := w.dead[s.ID]
		if !ok {
			since = now
		}
		dead[s.ID] = since
	}
	w.dead = dead
}

// gone reports whether a server has not been alive for so long.
func (w *watch) gone(id string, now time.Time, d time.Duration) bool {
	since, ok := w.dead[id]
	return ok && now.Sub(since) >= d
}

// votersWanted is how many voters a cluster should have. Five only with five members that are
// alive: a vote beyond three that is given beside a dead voter makes the quorum larger, and then
// one more node that ends takes it away.
func votersWanted(state *ownership.State) int {
	alive := 0
	for _, m := range state.Members {
		if m.Alive {
			alive++
		}
	}
	if alive >= 5 {
		return 5
	}
	return 3
}

// nextStep decides the next change of the group; one at a time, and each leaves a quorum of nodes
// that are alive. A dead voter keeps its vote until another takes its place, or for as long as
// there are no more than wanted; that waits where it can, since the dead mostly come back.
func nextStep(t Timing, state *ownership.State, servers []consensus.Server, w *watch, now time.Time, healthy func(id string) bool) step {
	for _, s := range servers {
		if !s.Voter && state.Members[s.ID] == nil && w.gone(s.ID, now, t.Unknown) {
			return step{do: "remove", id: s.ID, why: "it has never registered, or was forgotten"}
		}
	}
	var voters, dead []consensus.Server
	for _, s := range servers {
		if s.Voter {
			voters = append(voters, s)
			if !w.dead[s.ID].IsZero() {
				dead = append(dead, s)
			}
		}
	}
	patience := t.DeadVoter
	if alive := len(voters) - len(dead); alive == len(voters)/2+1 {
		patience = t.BareVoter
	}
	gone := ""
	if i := slices.IndexFunc(dead, func(s consensus.Server) bool { return w.gone(s.ID, now, patience) }); i >= 0 {
		gone = dead[i].ID
	}
	wanted := votersWanted(state)
	if gone != "" && len(voters) > wanted {
		return step{do: "demote", id: gone, why: fmt.Sprintf("it has been dead for %s, and there are more than %d voters", patience, wanted)}
	}
	if len(voters) < wanted || gone != "" && len(voters) == wanted {
		if s, ok := candidate(state, servers, voters, w, healthy); ok {
			return step{do: "promote", id: s.ID, addr: s.Addr, why: fmt.Sprintf("%d voters, %d wanted", len(voters), wanted)}
		}
	}
	return step{}
}

// candidate picks a healthy server without a vote, in a zone that has no voter if there is one.
func candidate(
	state *ownership.State, servers, voters []consensus.Server, w *watch, healthy func(id string) bool,
) (consensus.Server, bool) {
	zones := map[string]bool{}
	for _, v := range voters {
		if m := state.Members[v.ID]; m != nil && w.dead[v.ID].IsZero() {
			zones[m.Zone] = true
		}
	}
	var best consensus.Server
	for _, s := range servers {
		m := state.Members[s.ID]
		if s.Voter || m == nil || !m.Alive || m.Draining || !healthy(s.ID) {
			continue
		}
		if best.ID == "" || zones[state.Members[best.ID].Zone] && !zones[m.Zone] {
			best = s
		}
	}
	return best, best.ID != ""
}

// lead is what this node does while it leads.
func (c *Cluster) lead(ctx context.Context, term uint64) {
	c.c.Log.Info("leading the cluster", "term", term)
	select {
	case c.led <- struct{}{}:
	default:
	}
	c.nameCluster(ctx)
	var running sync.WaitGroup
	running.Go(func() { c.keepVoters(ctx) })
	_ = c.leader.Run(ctx, term) // ends with ctx
	running.Wait()
}

// nameCluster gives a new cluster its id: that of the node that formed it, the lowest of the first
// voters. Nobody is let in before, so they are still the first ones.
func (c *Cluster) nameCluster(ctx context.Context) {
	for ctx.Err() == nil && c.State().ClusterID == "" {
		var ids []string
		for _, s := range c.raft.Servers() {
			ids = append(ids, s.ID)
		}
		_, err := c.raft.Propose(ctx, ownership.Command{Found: &ownership.Found{ClusterID: slices.Min(ids)}})
		if err != nil && c.c.Seam.Sleep(ctx, c.c.Timing.Retry) != nil {
			return
		}
	}
}

// keepVoters keeps enough nodes with a vote.
func (c *Cluster) keepVoters(ctx context.Context) {
	w := &watch{dead: map[string]time.Time{}}
	for ctx.Err() == nil {
		changed := c.raft.Changed()
		c.yield(ctx)
		c.keepVotersOnce(ctx, w)
		timer, stop := c.c.Seam.Timer(c.c.Seam.InStep(c.c.Timing.Voters))
		select {
		case <-changed:
		case <-timer:
		case <-ctx.Done():
		}
		stop()
	}
}

// yield gives the leadership to a voter that reaches Kafka where this node has not for a while: a
// lane without a standby waits until its leader has fenced it there.
func (c *Cluster) yield(ctx context.Context) {
	view, leads := c.table.View(c.State())
	if !leads || view.Sessions[c.c.ID].KafkaAge() < c.c.Timing.Yield {
		return
	}
	for _, s := range c.raft.Servers() {
		other := view.Sessions[s.ID]
		if s.ID == c.c.ID || !s.Voter || !other.Live || other.KafkaAge() > c.c.Timing.Yield/2 {
			continue
		}
		c.c.Log.Warn("this node leads and does not reach Kafka; another takes the leadership", "node", c.State().NameOf(s.ID))
		if err := c.raft.TransferLeadership(ctx, s.ID); err != nil {
			c.c.Log.Warn("the leadership was not given away", "error", err)
		}
		return
	}
}

// keepVotersOnce makes the next step, if there is one. Nobody joins or leaves between the look at
// the group and the step: a node that is being let go would get its vote back.
func (c *Cluster) keepVotersOnce(ctx context.Context, w *watch) {
	held, done, ok := c.leading(ctx)
	if !ok {
		return
	}
	defer done()
	now, servers, state := c.c.Seam.Now(), c.raft.Servers(), c.State()
	w.look(state, servers, now)
	if next := nextStep(c.c.Timing, state, servers, w, now, c.healthy); next.do != "" {
		c.take(held, next)
	}
}

// take makes one step.
func (c *Cluster) take(ctx context.Context, s step) {
	var err error
	switch s.do {
	case "promote":
		err = c.raft.Promote(ctx, s.id, s.addr)
	case "demote":
		err = c.raft.Demote(ctx, s.id)
	case "remove":
		err = c.raft.Remove(ctx, s.id)
	default:
		panic("cluster: no step named " + s.do)
	}
	name := c.State().NameOf(s.id)
	if err != nil {
		c.c.Log.Warn("voters: "+s.do+" failed", "node", name, "why", s.why, "err", err)
		return
	}
	c.c.Log.Info("voters: "+s.do, "node", name, "why", s.why)
}

// versionLag is how far behind the newest state a node may be that gets a vote.
const versionLag = 16

// healthy reports whether a member can be trusted with a vote: it pings, keeps up with the log, and
// is not about to end.
func (c *Cluster) healthy(id string) bool {
	state := c.State()
	view, ok := c.table.View(state)
	s := view.Sessions[id]
	return ok && s.Live && s.Report.Version+versionLag >= state.Version && !c.departs(id)
}
