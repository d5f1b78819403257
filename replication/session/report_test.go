package session

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tally-kafka/tally/replication/ownership"
)

func manyCopies(n int) []Copy {
	copies := make([]Copy, n)
	for i := range copies {
		copies[i] = Copy{
			LaneRef: ownership.LaneRef{App: fmt.Sprintf("app-%d", i/1000), Lane: i % 1000},
			Role:    Standby, State: "following", Epoch: 7, Lag: int64(i),
		}
	}
	return copies
}

// TestReportOfManyLanes: 10,000 of them fit, what changes is said at once, and lags alone cost
// little.
func TestReportOfManyLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes, _ := three(t)
		copies := manyCopies(10_000)
		nodes[1].set(copies)
		nodes[1].member.Nudge()
		of := func(i int) Copy { return nodes[0].view().Sessions["b"].Copies[copies[i].LaneRef] }
		took := c.until(func() bool { return len(nodes[0].view().Sessions["b"].Copies) == 10_000 })
		if took > 50*time.Millisecond || of(9999).Lag != 9999 {
			t.Errorf("the report came after %v, and its last lag is %d", took, of(9999).Lag)
		}
		next := append([]Copy(nil), copies...)
		next[9000].Ready = true
		nodes[1].set(next[:9500])
		changed := nodes[0].table.Changed()
		nodes[1].member.Nudge()
		<-changed
		if took := c.until(func() bool { return of(9000).Ready }); took > 0 {
			t.Errorf("the copy was ready %v after the nudge", took)
		}
		if n := len(nodes[0].view().Sessions["b"].Copies); n != 9500 {
			t.Errorf("%d copies after 500 were dropped", n)
		}
		old := nodes[0].view()
		nodes[1].set(nil)
		c.until(func() bool { return len(nodes[0].view().Sessions["b"].Copies) == 0 })
		if len(old.Sessions["b"].Copies) != 9500 {
			t.Error("a view has changed after it was handed out")
		}
	})
}

// TestHalfAReport: between its lines the one before it holds.
func TestHalfAReport(t *testing.T) {
	r := roster{ttl: time.Second, pauseMax: time.Second, copiesMax: 100}
	r.lead(1)
	c := newCluster(t)
	c.register("b", "1")
	now := time.Now()
	r.observe(c.state.Load(), now)
	copies := manyCopies(20)
	say := func(conn uint64, pings []ping) {
		for _, p := range pings {
			if known, _, err := r.ping(conn, p, now); !known || err != nil {
				t.Fatalf("known %v, %v", known, err)
			}
		}
	}
	first := changes{perLine: 7}
	pings := first.pings(Report{ID: "b", Incarnation: "1", Copies: copies})
	if len(pings) != 3 || !pings[0].Full || pings[1].Full || !pings[1].More || pings[2].More {
		t.Fatalf("pings are %+v", pings)
	}
	say(1, pings[:2])
	if s := r.view(now).Sessions["b"]; s.Live || len(s.Copies) != 0 {
		t.Errorf("live with %d copies after two of three lines", len(s.Copies))
	}
	say(1, pings[2:])
	if s := r.view(now).Sessions["b"]; !s.Live || len(s.Copies) != 20 {
		t.Errorf("live %v with %d copies", s.Live, len(s.Copies))
	}
	second := changes{perLine: 7}
	pings = second.pings(Report{ID: "b", Incarnation: "1", Copies: copies[:10], Version: 9})
	say(2, pings[:1])
	if s := r.view(now).Sessions["b"]; len(s.Copies) != 20 || s.Report.Version != 0 {
		t.Errorf("%d copies of version %d in the middle of another report", len(s.Copies), s.Report.Version)
	}
	say(2, pings[1:])
	if n := len(r.view(now).Sessions["b"].Copies); n != 10 {
		t.Errorf("%d copies after another report", n)
	}
	if _, _, err := r.ping(1, pings[0], now); err == nil {
		t.Error("a ping over an older connection was taken")
	}
	none := changes{perLine: 7}
	say(3, none.pings(Report{ID: "b", Incarnation: "1"}))
	if n := len(r.view(now).Sessions["b"].Copies); n != 0 {
		t.Errorf("%d copies after a report of none", n)
	}
	tooMany := changes{perLine: 1000}
	if _, _, err := r.ping(4, tooMany.pings(Report{ID: "b", Incarnation: "1", Copies: manyCopies(101)})[0], now); err == nil {
		t.Error("101 copies were taken where 100 may be")
	}
}

// TestLagsTakeTurns: when more lags have changed than a line has room for, all are said in the end.
func TestLagsTakeTurns(t *testing.T) {
	c := changes{perLine: 10}
	copies := manyCopies(95)
	for i := range copies {
		copies[i].Lag = 0
	}
	c.pings(Report{Copies: copies})
	said := map[ownership.LaneRef]bool{}
	for round := range 10 {
		for i := range copies {
			copies[i].Lag = int64(100 << (round % 2)) // each is new each time
		}
		pings := c.pings(Report{Copies: copies})
		if len(pings) != 1 || len(pings[0].Copies) > 10 {
			t.Fatalf("%d pings", len(pings))
		}
		for _, cp := range pings[0].Copies {
			said[cp.LaneRef] = true
		}
	}
	if len(said) != 95 {
		t.Errorf("%d of 95 lags were said in 10 rounds", len(said))
	}
}

// TestAtRest: a report that does not change is a short line.
func TestAtRest(t *testing.T) {
	c := changes{perLine: 1000}
	copies := manyCopies(10_000)
	c.pings(Report{ID: "b", Copies: copies})
	for i := range copies {
		copies[i].Lag += copies[i].Lag / 100
	}
	pings := c.pings(Report{ID: "b", Copies: copies})
	if len(pings) != 1 || len(line(pings[0])) > 20_000 {
		t.Errorf("%d lines, the first of %d bytes", len(pings), len(line(pings[0])))
	}
}
