package session

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// goners are the leaders that a node has found gone.
type goners struct {
	mu  sync.Mutex
	ids []string
}

func (g *goners) add(id string, _ time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ids = append(g.ids, id)
}

func (g *goners) are(ids ...string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Equal(g.ids, ids)
}

// TestLeaderGone: a leader whose process has ended is known to be gone after two refusals, and it
// is said once; one that lives, whatever becomes of the connection, is never.
func TestLeaderGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes, _ := three(t)
		var found goners
		nodes[1].member.cfg.Gone = found.add
		again := func() { // the session's connections end, and are made again
			nodes[0].table.mu.Lock()
			for _, s := range nodes[0].table.conns {
				_ = s.conn.Close()
			}
			nodes[0].table.mu.Unlock()
			c.pass(2*time.Second, func() bool { return found.are() })
			c.until(nodes[1].member.Renewed)
		}
		again()
		c.listens("a", false) // once refused: its listener is made anew
		nodes[0].table.mu.Lock()
		for _, s := range nodes[0].table.conns {
			_ = s.conn.Close()
		}
		nodes[0].table.mu.Unlock()
		<-time.After(30 * time.Millisecond)
		c.listens("a", true)
		c.pass(2*time.Second, func() bool { return found.are() })
		nodes[0].sleep() // it hangs, and listens
		c.pass(5*time.Second, func() bool { return found.are() })
		nodes[0].wake()
		c.until(nodes[1].member.Renewed)
		again()

		nodes[0].kill()
		if took := c.until(func() bool { return found.are("a") }); took > 100*time.Millisecond {
			t.Errorf("it was found gone after %v", took)
		}
		c.pass(5*time.Second, func() bool { return found.are("a") })
	})
}

// TestNotTheLeaderGone: a node that only was named as the leader, and never answered as one, is not
// missed.
func TestNotTheLeaderGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes, _ := three(t)
		var found goners
		nodes[1].member.cfg.Gone = found.add
		c.leads("d")
		c.pass(5*time.Second, func() bool { return found.are() })
	})
}
