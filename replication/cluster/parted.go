package cluster

import (
	"context"
	"fmt"
	"time"
)

// partedMax bounds the nodes that wait to be told that they were left behind. One that finds no
// place comes again with its next connection.
const partedMax = 16

// leftBehind says that another node's cluster has gone on from a recovery that this node was not
// part of: what its log has beyond that counts no more. It is nil if that is not so.
func (c *Cluster) leftBehind(h *Hello) error {
	if h.ClusterID == "" || h.ClusterID != c.ClusterID() || h.Recovered.Compare(c.State().Recovered) <= 0 {
		return nil
	}
	return fmt.Errorf("cluster %s has gone on without this node, since tally node recover was run (so says node %s at %s): "+
		"remove node.json, %s, raft, apps and state in %s, and it joins as a new node",
		h.ClusterID, h.Name, h.Addr, pastFile, c.c.DataDir)
}

// parted is told by Raft of a node whose log is of another recovery.
func (c *Cluster) parted(id string) {
	select {
	case c.partedFrom <- id:
	default:
	}
}

// tellParted asks those nodes who they are and says who this one is, so that whoever was left
// behind ends. They would not hear it otherwise: most voters of before may have come back together,
// and have a leader of their own.
func (c *Cluster) tellParted(ctx context.Context) {
	told := map[string]time.Time{} // of members, so bounded as those are
	for {
		select {
		case id := <-c.partedFrom:
			m, now := c.State().Members[id], c.c.Seam.Now()
			if last, ok := told[id]; m == nil || ok && now.Sub(last) < c.c.Timing.Say {
				continue
			}
			told[id] = now
			c.c.Log.Warn("a node has a log of before or after a recovery of this cluster: one of the two has to begin anew",
				"node", m.Name, "addr", m.Addr)
			if h, err := ask(ctx, c.c, m.Addr, c.hello()); err == nil {
				if err := c.leftBehind(h); err != nil {
					c.failUnless(ctx, err)
				}
			}
		case <-ctx.Done():
			return
		}
	}
}
