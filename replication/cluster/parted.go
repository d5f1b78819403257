package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tally-kafka/tally/replication/ownership"
)

// partedMax bounds the nodes that wait to be told that they were left behind, and those that are
// known to have been told. One that finds no place comes again with its next connection.
const partedMax = 64

// partedNode is one whose log is of another recovery than this node's.
type partedNode struct {
	id, addr string // addr "": where the state says
}

// leftBehind says that another node's cluster has gone on from a recovery that this node was not
// part of: what its log has beyond that counts no more. It is nil if that is not so.
func (c *Cluster) leftBehind(h *Hello) error {
	if h.ClusterID == "" || h.ClusterID != c.ClusterID() || h.Recovered.Compare(c.State().Recovered) <= 0 {
		return nil
	}
	return errors.New(goneOn(h.ClusterID, "this node", fmt.Sprintf("node %s at %s", h.Name, h.Addr), c.c.DataDir))
}

// goneOn tells who was left behind what to do.
func goneOn(cluster, without, says, dataDir string) string {
	return fmt.Sprintf("cluster %s has gone on without %s, since tally node recover was run (so says %s): "+
		"remove node.json, %s, raft, apps and state in %s, and it joins as a new node", cluster, without, says, pastFile, dataDir)
}

// parted is told by Raft of a node whose connection it has refused.
func (c *Cluster) parted(id, addr string) {
	select {
	case c.partedFrom <- partedNode{id, addr}:
	default:
	}
}

// tellParted tells those nodes who this one is, so that whoever was left behind ends. They would
// not hear it otherwise: most voters of before may have come back together, and have a leader of
// their own. A leader also looks for those who do not know where it is.
func (c *Cluster) tellParted(ctx context.Context) {
	told := map[string]time.Time{}
	look := c.c.Timing.Say
	for {
		timer, stop := c.c.Seam.Timer(look)
		select {
		case p := <-c.partedFrom:
			if now := c.c.Seam.Now(); now.Sub(told[p.id]) >= c.c.Timing.Say {
				if len(told) >= partedMax {
					clear(told)
				}
				told[p.id] = now
				c.c.Log.Warn("a node has a log of before or after a recovery of this cluster: one of the two has to begin anew",
					"node", c.State().NameOf(p.id), "addr", p.addr)
				c.tell(ctx, p)
			}
		case <-timer:
			look = c.c.Timing.Unknown
			c.lookForParted(ctx)
		case <-ctx.Done():
		}
		stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// lookForParted tells the members that are not alive, if this node leads a cluster that was
// recovered: they may be those of before, and ask for it where it was then.
func (c *Cluster) lookForParted(ctx context.Context) {
	state := c.State()
	if _, _, leads := c.raft.Leading(); !leads || state.Recovered == (ownership.Recovery{}) {
		return
	}
	for _, m := range state.SortedMembers() {
		if !m.Alive && m.ID != c.c.ID {
			c.tell(ctx, partedNode{m.ID, m.Addr})
		}
	}
}

// tell says to a node who this one is, and hears who that is.
func (c *Cluster) tell(ctx context.Context, p partedNode) {
	if m := c.State().Members[p.id]; m != nil {
		p.addr = cmp.Or(p.addr, m.Addr)
	}
	if p.addr == "" || p.addr == c.c.Addr {
		return
	}
	h, err := ask(ctx, c.c, p.addr, c.hello())
	if err != nil {
		return // it comes again, or is looked for again
	}
	if err := c.leftBehind(h); err != nil {
		c.failUnless(ctx, err)
	}
}
