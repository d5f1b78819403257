package api

import (
	"fmt"
	"log/slog"
	"sync"
)

// clockSkewMs is how far a clock may be off before people should know. It is right again at half of
// that, so that one at the limit is not said over and over.
const clockSkewMs = 2000

func skewText(r report, node string) string {
	off, from := r.skewMs, "ahead of"
	if off < 0 {
		off, from = -off, "behind"
	}
	return fmt.Sprintf("the clock of node %s is %d ms %s node %s's: set both by NTP", r.member.Name, off, from, node)
}

// clocks remembers whose clocks were off when the nodes last said what time it is, so that the log
// has a line a change and not one a status. It holds members alone.
type clocks struct {
	mu  sync.Mutex
	off map[string]bool // by member id
}

// look takes what all members say of themselves. Who did not answer is as before.
func (c *clocks) look(log *slog.Logger, reports []report, node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := map[string]bool{}
	for _, r := range reports {
		id, off := r.member.ID, max(r.skewMs, -r.skewMs)
		switch was := c.off[id]; {
		case r.member.Self:
		case r.err != nil || r.status.AtMs == 0:
			now[id] = was
		case !was && off > clockSkewMs:
			now[id] = true
			log.Warn(skewText(r, node))
		case was && off <= clockSkewMs/2:
			log.Info("the clock of a node agrees with this one's again", "node", r.member.Name, "ms", r.skewMs)
		default:
			now[id] = was
		}
	}
	c.off = now
}
