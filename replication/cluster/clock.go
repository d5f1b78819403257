package cluster

import (
	"fmt"
	"time"
)

// clockSkewMax is how far a clock may be off before people should know: as in the status.
const clockSkewMax = 2 * time.Second

// lookAtClock compares this node's clock with the leader's, which has said what time it is between
// began and now, and warns once where they differ: the status says so only to who asks. Place is
// held. A leader of an earlier release does not say the time.
func (c *Cluster) lookAtClock(atMs int64, leader string, began time.Time) {
	now := c.c.Seam.Now()
	theirs := time.UnixMilli(atMs)
	off := max(began.Sub(theirs), 0) + min(now.Sub(theirs), 0) // of this one ahead of it, at least
	if atMs == 0 || c.clockSaid || off.Abs() <= clockSkewMax {
		return
	}
	c.clockSaid = true
	word := "ahead of"
	if off < 0 {
		word = "behind"
	}
	c.c.Log.Warn(fmt.Sprintf("the clock of this node says %s, which is %d ms %s that of the leader at %s, which says %s: set both by NTP",
		now.UTC().Format(time.RFC3339), off.Abs().Milliseconds(), word, leader, theirs.UTC().Format(time.RFC3339)))
}
