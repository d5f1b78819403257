package failpoint

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/step"
)

// both are the two sides of one memory.
func both(t *testing.T) (node, world *Shared) {
	path := filepath.Join(t.TempDir(), "shared")
	for _, s := range []**Shared{&node, &world} {
		opened, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = opened.Close() })
		*s = opened
	}
	return node, world
}

// TestHold: the third hit is held until it is released, and no other one.
func TestHold(t *testing.T) {
	node, world := both(t)
	world.Arm(step.Flush, 3, time.Minute)
	hits := make(chan int)
	go func() {
		for i := range 5 {
			node.Hit(step.Poll)
			node.Hit(step.Flush)
			hits <- i
		}
		close(hits)
	}()
	for want := range 2 {
		if got := <-hits; got != want {
			t.Fatalf("hit %d came as %d", want, got)
		}
	}
	for world.Held() != step.Flush {
		<-time.After(time.Millisecond)
	}
	select {
	case <-hits:
		t.Fatal("the third hit was not held")
	case <-time.After(20 * time.Millisecond):
	}
	if world.Last() != step.Flush || world.Count(step.Flush) != 3 || world.Count(step.Poll) != 3 {
		t.Errorf("last %s, %d and %d hits", world.Last(), world.Count(step.Flush), world.Count(step.Poll))
	}
	world.Release()
	left := 0
	for range hits {
		left++
	}
	if left != 3 || world.Held() != "" {
		t.Errorf("%d hits after the release, held at %q", left, world.Held())
	}
	world.Arm(step.Flush, 1, time.Millisecond)
	node.Hit(step.Flush) // it ends by itself
	world.Reset()
	if world.Count(step.Poll) != 0 || node.Last() != "" {
		t.Error("a reset leaves something")
	}
}

// TestClock: the wall clock jumps, and what is measured with the monotonic one does not.
func TestClock(t *testing.T) {
	node, world := both(t)
	before := node.Now()
	for _, off := range []int64{3600, -7200} {
		world.SetClock(off)
		now := node.Now()
		if since := now.Sub(before); since < 0 || since > time.Minute {
			t.Errorf("%d s off, %v have passed by the monotonic clock", off, since)
		}
		want := time.Duration(off) * time.Second
		if jump := time.Duration(now.UnixNano() - before.UnixNano()); jump < want || jump > want+time.Minute {
			t.Errorf("%d s off, the clock has jumped by %v", off, jump)
		}
	}
}
