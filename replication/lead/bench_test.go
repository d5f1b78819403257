package lead

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkTakeover is one turn of the loop after a death: 1,000 lanes with a standby each, on 50
// members.
func BenchmarkTakeover(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		c := newCluster(b, Config{})
		for i := range 50 {
			c.start(fmt.Sprintf("n%d", i), "1")
		}
		c.put("app", 1000, 1)
		end := c.table.Lead(1)
		soon(b, func() bool { v, _ := c.table.View(c.read()); return reported(c.read(), v) })
		for c.lead.turn(c.ctx) == again {
		}
		soon(b, func() bool { v, _ := c.table.View(c.read()); return len(v.Sessions["n7"].Copies) >= 30 })
		for c.lead.turn(c.ctx) == again {
		}
		c.kill("n7")
		soon(b, func() bool { v, _ := c.table.View(c.read()); return len(v.Dead) == 1 })
		n := c.log()
		b.StartTimer()
		if c.lead.turn(c.ctx) != again {
			b.Fatal("no plan was taken")
		}
		b.StopTimer()
		if p := c.entry(n).Plan; len(p.Dead) != 1 || len(p.Lanes) < 20 {
			b.Fatalf("%d deaths and %d lanes", len(p.Dead), len(p.Lanes))
		}
		end()
		c.end()
		c.done.Wait()
		b.StartTimer()
	}
}

// BenchmarkRest is one turn that finds nothing to do.
func BenchmarkRest(b *testing.B) {
	c := newCluster(b, Config{})
	for i := range 50 {
		c.start(fmt.Sprintf("n%d", i), "1")
	}
	c.put("app", 1000, 1)
	b.Cleanup(c.table.Lead(1))
	soon(b, func() bool { v, _ := c.table.View(c.read()); return reported(c.read(), v) })
	settledTurns := 0
	soon(b, func() bool {
		if c.lead.turn(c.ctx) == again {
			settledTurns = 0
		}
		settledTurns++
		return settledTurns > 100
	})
	for b.Loop() {
		if c.lead.turn(c.ctx) == again {
			b.Fatal("a plan was taken at rest")
		}
	}
}

func soon(b *testing.B, so func() bool) {
	b.Helper()
	for began := time.Now(); !so(); <-time.After(time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			b.Fatal("it never was so")
		}
	}
}
