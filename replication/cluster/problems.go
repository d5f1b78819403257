package cluster

import (
	"fmt"
	"strings"
)

// say notes what this node waits for, and logs it, once in Timing.Say.
func (c *Cluster) say(what string) {
	now := c.c.Seam.Now()
	c.mu.Lock()
	c.waitsFor = what
	due := now.Sub(c.said) >= c.c.Timing.Say
	if due {
		c.said = now
	}
	c.mu.Unlock()
	if due {
		c.c.Log.Info("waiting for the cluster: " + what)
	}
}

func (c *Cluster) waiting() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waitsFor
}

// Problems are what a person should know of this node's place in the cluster, a line each.
func (c *Cluster) Problems() []string {
	var list []string
	if w := c.waiting(); w != "" {
		list = append(list, w)
	}
	if id, _, _ := c.Leader(); id == "" && c.waiting() == "" {
		list = append(list, noLeader(c.State()))
	}
	return append(list, c.voterProblems()...)
}

func (c *Cluster) voterProblems() []string {
	state := c.State()
	var voters int
	var dead []string
	for _, s := range c.raft.Servers() {
		if !s.Voter {
			continue
		}
		voters++
		if m := state.Members[s.ID]; m != nil && !m.Alive {
			dead = append(dead, m.Name)
		}
	}
	alive := voters - len(dead)
	var list []string
	switch {
	case voters == 2 && len(dead) == 0:
		list = append(list, "with two nodes that vote no lane can be taken over when one of them fails: start a third")
	case len(dead) > 0 && alive-1 < voters/2+1:
		list = append(list, fmt.Sprintf("%d of %d voters are alive: when one more fails, nothing can be taken over", alive, voters))
	}
	if len(dead) > 0 {
		list = append(list, fmt.Sprintf("these nodes vote and are not alive: %s; a node that has no vote gets theirs after %s",
			strings.Join(dead, ", "), c.c.Timing.DeadVoter))
	}
	return list
}
