package session

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/replication/ownership"
)

// overTCP starts a leader and members over the loopback, and returns what ends a member as a kill
// does.
func overTCP(t *testing.T, members int) (leader *Table, c *cluster, kill []func()) {
	c = newCluster(t)
	world := seam.World()
	dial := func(ctx context.Context, addr string) (net.Conn, error) { return world.Dial(ctx, "tcp", addr) }
	var first string
	for i := range members {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		id, addr := fmt.Sprintf("n%d", i), l.Addr().String()
		c.change(func(m map[string]*ownership.Member) {
			m[id] = &ownership.Member{ID: id, Name: id, Incarnation: "1", Addr: addr, Capacity: 1, Alive: true}
		})
		if i == 0 {
			first = addr
		}
		table := NewTable(TableConfig{
			ID: id, Seam: world, Log: slog.New(slog.DiscardHandler), State: c.state.Load, Dial: dial,
			Leader: func() (string, string) { return "n0", first },
		})
		member := NewMember(MemberConfig{
			Seam: world, Log: slog.New(slog.DiscardHandler), Dial: dial,
			Leader: func() (string, string, <-chan struct{}) { return "n0", first, nil },
			Report: func() Report { return Report{ID: id, Incarnation: "1"} },
		})
		ctx, cancel := context.WithCancel(context.Background())
		var done sync.WaitGroup
		done.Go(func() { _ = table.Serve(ctx, l) })
		done.Go(func() { _ = member.Run(ctx) })
		kill = append(kill, func() { _ = l.Close(); cancel(); done.Wait() })
		t.Cleanup(kill[i])
		if i == 0 {
			leader = table
		}
	}
	t.Cleanup(leader.Lead(1))
	return leader, c, kill
}

func waitFor(t *testing.T, within time.Duration, so func() bool) time.Duration {
	t.Helper()
	for began := time.Now(); ; <-time.After(time.Millisecond) {
		if so() {
			return time.Since(began)
		}
		if time.Since(began) > within {
			t.Fatalf("not so after %v", within)
		}
	}
}

func allLive(v View) bool {
	for _, s := range v.Sessions {
		if !s.Live {
			return false
		}
	}
	return true
}

// TestKilledOverTCP: a real refusal, of the system's own.
func TestKilledOverTCP(t *testing.T) {
	leader, c, kill := overTCP(t, 4)
	view := func() View { v, _ := leader.View(c.state.Load()); return v }
	waitFor(t, 10*time.Second, func() bool { return allLive(view()) })
	kill[2]()
	took := waitFor(t, time.Second, func() bool { return view().Sessions["n2"].Lost != "" })
	t.Logf("dead after %v", took)
	if dead := view().Dead; len(dead) != 1 || dead[0].ID != "n2" {
		t.Errorf("dead are %v", dead)
	}
}

// TestStress: processors and the collector busy for a minute, and nobody is found dead.
func TestStress(t *testing.T) {
	if os.Getenv("TALLY_PROOF") == "" {
		return
	}
	leader, c, _ := overTCP(t, 10)
	view := func() View { v, _ := leader.View(c.state.Load()); return v }
	waitFor(t, 10*time.Second, func() bool { return allLive(view()) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	var busy sync.WaitGroup
	for range 4 * runtime.GOMAXPROCS(0) {
		busy.Go(func() { burn(ctx) })
	}
	oldest := time.Duration(0)
	for ctx.Err() == nil {
		v := view()
		for id, s := range v.Sessions {
			oldest = max(oldest, s.Age)
			if s.Lost != "" || v.Paused != "" {
				t.Fatalf("%s is lost: %s; paused %q", id, s.Lost, v.Paused)
			}
		}
		<-time.After(time.Millisecond)
	}
	busy.Wait()
	t.Logf("the longest time without a ping was %v", oldest)
}

// burn computes, and leaves garbage with pointers in it.
func burn(ctx context.Context) {
	type link struct{ next *link }
	var chain *link
	for n := 0; ctx.Err() == nil; n++ {
		for range 10_000 {
			chain = &link{next: chain}
		}
		if n%200 == 0 {
			chain = nil
		}
	}
}
