package cluster

import "errors"

// say notes what this node waits for, and logs it, once in Timing.Say: as a warning where waiting
// alone does not mend it.
func (c *Cluster) say(why error, warn bool) {
	now := c.c.Seam.Now()
	c.mu.Lock()
	c.waitsFor = why
	due := now.Sub(c.said) >= c.c.Timing.Say
	if due {
		c.said = now
	}
	c.mu.Unlock()
	switch {
	case due && warn:
		c.c.Log.Warn("waiting for the cluster: " + why.Error())
	case due:
		c.c.Log.Info("waiting for the cluster: " + why.Error())
	}
}

func (c *Cluster) waiting() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waitsFor
}

// Waits says what this node waits for before it has its place in the cluster, "" for nothing. That
// there is no leader is no such thing for one that knows its cluster: State and Leader say it.
func (c *Cluster) Waits() string {
	why := c.waiting()
	if why == nil || errors.As(why, new(*NoLeaderError)) && len(c.State().Members) > 0 {
		return ""
	}
	return why.Error()
}

// untrusted reports whether two nodes do not take each other's certificates. Whoever dials wraps
// such an error in one that says so of itself.
func untrusted(err error) bool {
	var u interface{ Untrusted() bool }
	return errors.As(err, &u) && u.Untrusted()
}
