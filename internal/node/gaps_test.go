package node

import (
	"testing"

	"github.com/tally-kafka/tally/internal/api"
)

// With --on-gap skip a lane counts on behind events that the input lost unread, and says how many
// offsets it passed, over restarts too.
func TestGapIsSkipped(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		n, _ := counted(p)
		p.send(event(0, "a", "lost"), event(0, "a", "lost"), event(0, "a", "kept"), event(1, "b", "y"))
		p.deleteBefore(0, 4)
		n = p.start(inDir(n.dir), skippingGaps)
		passed := func(st api.Status) bool {
			return st.Apps[0].Gaps == 2 && st.Apps[0].Lanes[0].Position[p.in+"/0"] == 5
		}
		n.until("the gap is passed", passed)
		if got := n.counts()[`["a","kept"]`]; got != `{"count":1}` {
			t.Errorf("behind the gap: %s", got)
		}
		if at := p.offset(0); at != 5 {
			t.Errorf("the group's offset is %d, not 5", at)
		}
		n.stop()
		n = p.start(inDir(n.dir))
		n.until("the gap is remembered", passed)
	})
}

func skippingGaps(c *Config) { c.SkipGaps = true }
