package session

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/replication/ownership"
)

// TestKilledIsDeadAtOnce: the connection's end and a refused redial are enough.
func TestKilledIsDeadAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes, _ := three(t)
		changed := nodes[0].table.Changed()
		nodes[1].kill()
		took := c.until(func() bool { return nodes[0].lost("b") })
		if took > 5*time.Millisecond {
			t.Errorf("b was dead after %v", took)
		}
		want := ownership.Death{ID: "b", Incarnation: "1"}
		if v := nodes[0].view(); len(v.Dead) != 1 || v.Dead[0] != want || v.Paused != "" {
			t.Errorf("dead are %v, paused %q", v.Dead, v.Paused)
		}
		select {
		case <-changed:
		default:
			t.Error("nobody was told")
		}
	})
}

// TestHungIsDeadAfterItsTime: a process that does nothing keeps its connection open.
func TestHungIsDeadAfterItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes, _ := three(t)
		nodes[1].sleep()
		took := c.until(func() bool { return nodes[0].lost("b") })
		if took < 900*time.Millisecond || took > 1320*time.Millisecond {
			t.Errorf("b was dead after %v", took)
		}
		if nodes[1].member.Renewed() {
			t.Error("b counts itself as renewed after it was found dead")
		}
		// Nothing has come of it yet: it is back with its next ping.
		nodes[1].wake()
		c.until(func() bool { return nodes[0].live("b") && nodes[1].member.Renewed() })
	})
}

// TestEndedConnectionIsNoDeath: who still listens may be back.
func TestEndedConnectionIsNoDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes, _ := three(t)
		for range 20 {
			nodes[0].table.mu.Lock()
			for _, s := range nodes[0].table.conns {
				_ = s.conn.Close()
			}
			nodes[0].table.mu.Unlock()
			c.pass(100*time.Millisecond, func() bool { return len(nodes[0].view().Dead) == 0 && !nodes[0].lost("b") })
		}
		if !nodes[0].live("b") || !nodes[1].member.Renewed() {
			t.Error("b is not back")
		}
	})
}

// TestSlipIsNobodysDeath: the leader stood still, and all members pinged meanwhile.
func TestSlipIsNobodysDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes, _ := three(t)
		c.jump.Add(int64(5 * time.Second))
		c.pass(2*time.Second, func() bool {
			v := nodes[0].view()
			return len(v.Dead) == 0 && v.Paused == "" && !nodes[0].lost("b") && !nodes[0].lost("c")
		})
	})
}

// TestNewLeaderGivesAFreshTTL: to members that it has not heard of, and whose address accepts.
func TestNewLeaderGivesAFreshTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes, resign := three(t)
		nodes[2].sleep()
		c.pass(800*time.Millisecond, func() bool { return !nodes[0].lost("c") })
		resign()
		c.leads("b")
		t.Cleanup(nodes[1].table.Lead(2))
		c.pass(1200*time.Millisecond, func() bool { return !nodes[1].lost("c") })
		if !nodes[1].live("a") || nodes[1].live("c") || !nodes[0].member.Renewed() {
			t.Error("a has not found the new leader")
		}
		if took := c.until(func() bool { return nodes[1].lost("c") }); took > 150*time.Millisecond {
			t.Errorf("c was dead %v too late", took)
		}
	})
}

// TestFormerLeaderIsWaitedForLessLong: the word that it gave itself has ended with its leadership,
// and those that it gave to others have not.
func TestFormerLeaderIsWaitedForLessLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes, resign := three(t)
		if !nodes[0].member.Renewed() {
			t.Error("a leader does not count on itself")
		}
		resign()
		if nodes[0].member.Renewed() || !nodes[2].member.Renewed() {
			t.Errorf("behind its leadership: it counts on itself: %t; c counts on it: %t",
				nodes[0].member.Renewed(), nodes[2].member.Renewed())
		}
		nodes[0].sleep()
		nodes[2].sleep()
		c.leads("b")
		nodes[1].former = "a"
		t.Cleanup(nodes[1].table.Lead(2))
		c.pass(700*time.Millisecond, func() bool { return !nodes[1].lost("a") })
		if took := c.until(func() bool { return nodes[1].lost("a") }); took > 150*time.Millisecond {
			t.Errorf("a was dead %v too late", took)
		}
		c.pass(400*time.Millisecond, func() bool { return !nodes[1].lost("c") && !nodes[0].member.Renewed() })
		nodes[0].wake()
		c.until(func() bool { return nodes[1].live("a") && nodes[0].member.Renewed() })
	})
}

// TestNewLeaderFindsTheDead: whose address refuses need not be waited for.
func TestNewLeaderFindsTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes, resign := three(t)
		resign()
		nodes[0].kill()
		c.pass(300*time.Millisecond, func() bool { return true })
		c.leads("b")
		t.Cleanup(nodes[1].table.Lead(2))
		if took := c.until(func() bool { return nodes[1].lost("a") }); took > 200*time.Millisecond {
			t.Errorf("a was dead after %v", took)
		}
		c.pass(2*time.Second, func() bool { return !nodes[1].lost("b") && !nodes[1].lost("c") })
	})
}

// TestNodesThatDoNotLead say who does.
func TestNodesThatDoNotLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes, _ := three(t)
		c.register("d", "1")
		d := c.start("d", "1")
		d.kill()
		cfg := d.member.cfg // which takes b for the leader, and goes on doing so
		cfg.Leader = func() (string, string, <-chan struct{}) { return "b", "b", nil }
		misled := NewMember(cfg)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = misled.Run(ctx) }()
		if took := c.until(misled.Renewed); took > 5*time.Millisecond {
			t.Errorf("the leader was found after %v", took)
		}
		c.pass(3*time.Second, misled.Renewed)
		if !nodes[0].live("d") {
			t.Error("the leader does not know the node")
		}
	})
}

// TestTwoThatNameEachOther do not make a member dial without end.
func TestTwoThatNameEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		nodes := []*node{c.start("a", "1"), c.start("b", "1")}
		var dials atomic.Int64
		member := NewMember(MemberConfig{
			Seam: c.seam(), Log: nodes[0].table.cfg.Log, Report: nodes[0].report,
			Leader: func() (string, string, <-chan struct{}) { return "a", "a", nil },
			Dial:   func(ctx context.Context, addr string) (net.Conn, error) { dials.Add(1); return c.dial(ctx, addr) },
		})
		nodes[0].table.cfg.Leader = func() (string, string) { return "b", "b" }
		nodes[1].table.cfg.Leader = func() (string, string) { return "a", "a" }
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = member.Run(ctx) }()
		c.pass(10*time.Second, func() bool { return !member.Known() })
		if dials := dials.Load(); dials > 100 {
			t.Errorf("%d connections in 10 s", dials)
		}
	})
}

// TestRenewedFromTheSending: the answer may have been on its way for long.
func TestRenewedFromTheSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMember(MemberConfig{Seam: newCluster(t).seam()})
		sent := time.Now()
		<-time.After(time.Second)
		if _, err := m.answered(Answer{Term: 1, Known: true, TTLMs: 1250}, sent); err != nil {
			t.Fatal(err)
		}
		if !m.RenewedAt().Equal(sent) || !m.Renewed() {
			t.Errorf("renewed %v after the sending", m.RenewedAt().Sub(sent))
		}
		<-time.After(260 * time.Millisecond)
		if m.Renewed() {
			t.Error("renewed for longer than the TTL from the sending")
		}
	})
}

// TestSlowAnswer: the link remembers when each ping was sent.
func TestSlowAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		m := NewMember(MemberConfig{
			Seam: seam.World(), Log: slog.New(slog.DiscardHandler),
			Leader: func() (string, string, <-chan struct{}) { return "a", "a", nil },
			Dial:   func(context.Context, string) (net.Conn, error) { return near, nil },
			Report: func() Report { return Report{ID: "b"} },
		})
		began := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { _ = m.Run(ctx) })
		lines := bufio.NewScanner(far)
		lines.Scan()
		<-time.After(700 * time.Millisecond)
		_, _ = far.Write(line(Answer{Seq: 1, Term: 1, Known: true, TTLMs: 1250}))
		synctest.Wait()
		if !m.RenewedAt().Equal(began) {
			t.Errorf("renewed %v after the sending", m.RenewedAt().Sub(began))
		}
		cancel()
		done.Wait()
	})
}

// TestAnOlderTermVouchesForNobody: a deposed leader may not know it yet.
func TestAnOlderTermVouchesForNobody(t *testing.T) {
	m := NewMember(MemberConfig{Seam: newCluster(t).seam()})
	if _, err := m.answered(Answer{Term: 3, Known: true}, time.Now()); err != nil || !m.Renewed() {
		t.Fatalf("not renewed: %v", err)
	}
	at := m.RenewedAt()
	if _, err := m.answered(Answer{Term: 2, Known: true}, time.Now().Add(time.Second)); err == nil || !m.RenewedAt().Equal(at) {
		t.Error("renewed by the leader of an older term")
	}
}

// TestSilentLeader: it keeps its connections, and answers nothing.
func TestSilentLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		b := c.start("b", "1")
		c.register("b", "1")
		t.Cleanup(b.table.Lead(1))
		deaf := true
		dial := b.member.cfg.Dial
		b.member.cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			if addr == "a" && deaf {
				near, far := net.Pipe()
				go func() { _, _ = io.Copy(io.Discard, far) }()
				return near, nil
			}
			return dial(ctx, "b")
		}
		c.leads("a")
		c.pass(400*time.Millisecond, func() bool { return !b.member.Known() })
		c.leads("b") // another one leads now: the member does not wait for the silent one
		if took := c.until(b.member.Renewed); took > 5*time.Millisecond {
			t.Errorf("the new leader was found after %v", took)
		}
		c.leads("a")
		c.until(func() bool { return !b.member.Renewed() })
		deaf = false // the same address has another process, and nobody has said so
		if took := c.until(b.member.Renewed); took > 600*time.Millisecond {
			t.Errorf("the member waited for %v more", took)
		}
	})
}

// TestOneProbeAtATime: however often a member's connection ends.
func TestOneProbeAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes, _ := three(t)
		<-time.After(2 * time.Second) // those of the leadership's begin have ended
		table := nodes[0].table
		var dials atomic.Int64
		table.cfg.Dial = func(ctx context.Context, _ string) (net.Conn, error) {
			dials.Add(1)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		nodes[1].sleep()
		synctest.Wait() // a ping of this instant has been heard
		table.mu.Lock()
		table.r.sessions["b"].conn = 0
		for range 5 {
			table.probe("b", "1", 1)
		}
		table.mu.Unlock()
		<-time.After(100 * time.Millisecond)
		synctest.Wait()
		if n := dials.Load(); n != 1 {
			t.Errorf("%d dials at once", n)
		}
		c.until(func() bool { return nodes[0].lost("b") })
	})
}

// TestConnectionOfAnEarlierTerm: what was said over it was not kept, so the member begins again.
func TestConnectionOfAnEarlierTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nodes, resign := three(t)
		ref := ownership.LaneRef{App: "app", Lane: 3}
		nodes[1].set([]Copy{{LaneRef: ref, Role: Standby, Ready: true, Epoch: 4}})
		c.until(func() bool { return nodes[0].view().Sessions["b"].Copies[ref].Ready })
		resign()
		t.Cleanup(nodes[0].table.Lead(2)) // before anybody has pinged
		c.until(func() bool { return nodes[0].live("b") && nodes[1].member.Renewed() })
		if !nodes[0].view().Sessions["b"].Copies[ref].Ready {
			t.Error("the copy is not known to the second leadership")
		}
	})
}
