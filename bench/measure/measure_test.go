package measure

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// clock is a seam whose time moves only by sleeping.
type clock struct {
	at    time.Time
	stall time.Duration // added once, to the sleep that passes the middle
}

func (c *clock) seam() seam.Seam {
	return seam.Seam{
		Now: func() time.Time { return c.at },
		Timer: func(d time.Duration) (<-chan time.Time, func()) {
			c.at = c.at.Add(d)
			if c.stall > 0 && c.at.Sub(time.Unix(0, 0)) > 500*time.Millisecond {
				c.at, c.stall = c.at.Add(c.stall), 0
			}
			done := make(chan time.Time, 1)
			done <- c.at
			return done, func() {}
		},
	}
}

// TestPaceIsOpenLoop: after a stall the sender catches up, and says when each event was due.
func TestPaceIsOpenLoop(t *testing.T) {
	c := &clock{at: time.Unix(0, 0), stall: 300 * time.Millisecond}
	var due, late []time.Duration
	n, err := Pace(t.Context(), c.seam(), 200, time.Second, func(at time.Time) {
		due = append(due, at.Sub(time.Unix(0, 0)))
		late = append(late, c.at.Sub(at))
	})
	if err != nil || n != 200 || len(due) != 200 {
		t.Fatalf("%d events, %d sent, %v", n, len(due), err)
	}
	for i, at := range due {
		if want := time.Duration(i) * 5 * time.Millisecond; at != want {
			t.Fatalf("event %d was due at %v, not %v", i, at, want)
		}
	}
	if worst := slices.Max(late); worst < 290*time.Millisecond || worst > 310*time.Millisecond {
		t.Errorf("the stall of 300 ms makes an event %v late", worst)
	}
	if late[199] > 10*time.Millisecond {
		t.Errorf("after the stall it stays behind: %v", late[199])
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Pace(ctx, c.seam(), 1, time.Hour, func(time.Time) {}); err == nil {
		t.Error("it goes on after the end of its context")
	}
}

func TestLatency(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	l := NewLatency(nil)
	l.Sent("a", at(0)) // the warm-up
	l.Seen("a", 1, at(500))
	l.RecordFrom(at(1000))
	l.Sent("a", at(1000))
	l.Sent("a", at(1010))
	l.Sent("b", at(1020))
	l.Seen("a", 3, at(1030)) // one output counts two events
	l.Seen("a", 3, at(9000)) // repeated, as at-least-once may
	if l.Open() != 1 {
		t.Errorf("%d open, not 1", l.Open())
	}
	if _, _, wrong := l.Result(); wrong == "" {
		t.Error("an event without its count is not seen")
	}
	l.Seen("b", 1, at(1120))
	h, outputs, wrong := l.Result()
	if wrong != "" || outputs != 3 {
		t.Errorf("%q, %d outputs", wrong, outputs)
	}
	if h.TotalCount() != 3 || h.Min()/1000 != 20 || h.Max()/1000 != 100 {
		t.Errorf("%d latencies from %d to %d us", h.TotalCount(), h.Min(), h.Max())
	}
	l.Seen("b", 2, at(1130))
	if _, _, wrong := l.Result(); wrong == "" {
		t.Error("a count that is too high is not seen")
	}
}

// TestLatencyOfGroupsCountedBefore: their next event is counted above that.
func TestLatencyOfGroupsCountedBefore(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	l := NewLatency(func(group string) int64 { return map[string]int64{"a": 7}[group] })
	l.RecordFrom(at(0))
	l.Sent("a", at(0))
	l.Sent("a", at(10))
	l.Sent("b", at(20))
	l.Seen("a", 7, at(21)) // of before
	if l.Open() != 3 {
		t.Errorf("%d open, not 3", l.Open())
	}
	l.Seen("a", 9, at(30))
	l.Seen("b", 1, at(40))
	if h, _, wrong := l.Result(); wrong != "" || h.TotalCount() != 3 || h.Max()/1000 != 30 {
		t.Errorf("%q, %d latencies up to %d us", wrong, h.TotalCount(), h.Max())
	}
}

// TestUsage counts the CPU time of a child that lives, and the memory of both.
func TestUsage(t *testing.T) {
	before, err := Of(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command("sh", "-c", "while :; do :; done")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = child.Process.Kill(), child.Wait() }()
	for end := time.Now().Add(20 * time.Second); ; {
		now, err := Of(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		own, err := of(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if now.Sub(before).CPU-own.CPU+before.CPU >= 50*time.Millisecond && now.PeakRSS > own.PeakRSS {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("from %+v to %+v: the child is not seen", before, now)
		}
		<-time.After(5 * time.Millisecond)
	}
}
