package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/tally-kafka/tally/replication/consensus"
)

// departRequest says that a process is about to end.
type departRequest struct {
	ID          string `json:"id"`
	Incarnation string `json:"incarnation"`
}

type departAnswer struct {
	routed
	Later string `json:"later,omitempty"` // why not now
}

// Depart makes ready for the end of this process, registered or not: nothing else may follow than
// Close. The leader sees to it that the voters who stay can decide without this one, and, while
// nobody leads, a leader is waited for until ctx ends. A node that comes back gets a vote again.
//
// A vote is kept where the others do without it: of three voters whichever two are there can
// decide, so that a second one may fail for good while the first is being started again. Taking the
// vote of everyone who stops would be simpler, and would end that.
func (c *Cluster) Depart(ctx context.Context) error {
	c.endLife() // it forms and registers no more
	for {
		why := c.departOnce(ctx)
		if why == "" {
			return nil
		}
		if c.c.Seam.Sleep(ctx, c.c.Seam.Jitter(c.c.Timing.Retry)) != nil {
			return fmt.Errorf("node %s still votes in its cluster: %s", c.c.Name, why)
		}
	}
}

// departOnce tries once; why says what has to be waited for.
func (c *Cluster) departOnce(ctx context.Context) (why string) {
	select {
	case <-c.failed: // it has no part in the group that it could give up
		return ""
	default:
	}
	voters, votes := c.Voters(c.c.ID)
	if _, _, leads := c.raft.Leading(); leads {
		return c.departLeader(ctx, voters)
	}
	if !votes || voters == 1 {
		return ""
	}
	answer, _, err := askLeader[departAnswer](ctx, c, "", "depart", departRequest{ID: c.c.ID, Incarnation: c.c.Incarnation})
	if err != nil {
		return err.Error()
	}
	return answer.Later
}

// departLeader gives the leadership away; the next leader is asked then.
func (c *Cluster) departLeader(ctx context.Context, voters int) (why string) {
	heir := c.heir()
	switch {
	case heir != "":
		if err := c.raft.TransferLeadership(ctx, heir); err != nil {
			return fmt.Sprintf("it leads, and cannot give the leadership to another: %v", err)
		}
		return "it has just given the leadership to another"
	case voters == 1 && !c.successors():
		return ""
	}
	return "it leads, and no other voter is there to take the leadership"
}

// heir is a voter that can lead in this leader's place, "" for none.
func (c *Cluster) heir() string {
	for _, s := range c.raft.Servers() {
		if s.Voter && s.ID != c.c.ID && c.standing(s.ID) == stays {
			return s.ID
		}
	}
	return ""
}

// successors reports whether another node can be given a vote: keepVoters does that.
func (c *Cluster) successors() bool {
	for id, m := range c.State().Members {
		if id != c.c.ID && m.Alive && !m.Draining && !c.departs(id) {
			return true
		}
	}
	return false
}

// standing is what the leader knows of a voter's time to come.
type standing int

const (
	unsure standing = iota // it has not been heard of by this leader, and is not known to be dead
	stays
	ends // or has ended
)

func (c *Cluster) standing(id string) standing {
	state := c.State()
	m := state.Members[id]
	view, leads := c.table.View(state)
	switch {
	case id == c.c.ID:
		return stays
	case c.departs(id), m != nil && !m.Alive:
		return ends
	case m != nil && leads && view.Sessions[id].Live:
		return stays
	}
	return unsure
}

// departure is a process that has said that it is about to end, and the one that the state had of
// its node then: where that is another, it has ended, even if it is not known to be dead yet.
type departure struct{ incarnation, before string }

// departs reports whether this process of a node has said here that it is about to end.
func (c *Cluster) departs(id string) bool {
	c.mu.Lock()
	said, ok := c.departing[id]
	c.mu.Unlock()
	m := c.State().Members[id]
	return ok && (m == nil || !m.Alive || m.Incarnation == said.incarnation || m.Incarnation == said.before)
}

func (c *Cluster) serveDepart(ctx context.Context, r departRequest) (any, error) {
	return c.letDepart(ctx, r), nil
}

// letDepart takes as many votes as must be taken before a voter may end. The votes change one at a
// time: who asks meanwhile waits.
func (c *Cluster) letDepart(ctx context.Context, r departRequest) departAnswer {
	ctx, done, ok := c.leading(ctx)
	if !ok {
		return departAnswer{routed: c.route()}
	}
	defer done()
	if r.ID == c.c.ID {
		return departAnswer{routed: c.route()}
	}
	c.noteDeparture(r)
	known := c.State().Members[r.ID] != nil
	for {
		next := departStep(c.raft.Servers(), r.ID, known, c.standing)
		switch {
		case next.do == "":
			return departAnswer{}
		case next.do == "wait":
			return departAnswer{Later: next.why}
		}
		name := c.State().NameOf(next.id)
		if err := c.raft.Demote(ctx, next.id); err != nil {
			return departAnswer{Later: fmt.Sprintf("the leader has not got the vote of node %s taken: %v", name, err)}
		}
		c.c.Log.Info("voters: demote", "node", name, "why", next.why)
	}
}

// noteDeparture keeps who has said that it ends, as far as it has a place in the group.
func (c *Cluster) noteDeparture(r departRequest) {
	servers, said := c.raft.Servers(), departure{incarnation: r.Incarnation}
	if m := c.State().Members[r.ID]; m != nil {
		said.before = m.Incarnation
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.departing, func(id string, _ departure) bool {
		return !slices.ContainsFunc(servers, func(s consensus.Server) bool { return s.ID == id })
	})
	c.departing[r.ID] = said
}

// departStep decides what has to be done before a voter ends; the step of "wait" is to ask again.
// Each vote that is taken leaves a majority of nodes that are there. A voter that the state does
// not know, since it has never registered, is not left to be waited for.
func departStep(servers []consensus.Server, asks string, known bool, standing func(id string) standing) step {
	voters, stay, votes := 0, 0, false
	var ended, unheard string
	for _, s := range servers {
		if !s.Voter {
			continue
		}
		voters++
		switch is := standing(s.ID); {
		case s.ID == asks:
			votes = true
		case is == stays:
			stay++
		case is == ends:
			ended = s.ID
		default:
			unheard = s.ID
		}
	}
	majority := func(of int) bool { return stay >= of/2+1 }
	switch {
	case !votes || known && majority(voters):
		return step{}
	case !known && majority(voters-1):
		return step{do: "demote", id: asks, why: "it ends, and has never registered"}
	case ended != "":
		return step{do: "demote", id: ended, why: "it is not alive, or ends, and without another that ends too most voters would be gone"}
	case unheard != "":
		return step{do: "wait", why: fmt.Sprintf("the leader does not know yet whether node %s is there", unheard)}
	}
	return step{do: "demote", id: asks, why: "it ends, and with its vote most voters would be gone"}
}
