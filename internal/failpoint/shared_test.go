package failpoint

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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
	slot := arm(t, world, step.Flush, 3)
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
	awaitHeld(t, world, slot)
	select {
	case <-hits:
		t.Fatal("the third hit was not held")
	case <-time.After(20 * time.Millisecond):
	}
	if world.Last() != step.Flush || world.Count(step.Flush) != 3 || world.Count(step.Poll) != 3 {
		t.Errorf("last %s, %d and %d hits", world.Last(), world.Count(step.Flush), world.Count(step.Poll))
	}
	world.Disarm(slot)
	left := 0
	for range hits {
		left++
	}
	if left != 3 || world.Held(slot) {
		t.Errorf("%d hits after the release, held: %t", left, world.Held(slot))
	}
	if slot, ok := world.Arm(step.Flush, 1, time.Millisecond); !ok || world.Held(slot) {
		t.Errorf("armed: %t, held: %t", ok, world.Held(slot))
	}
	node.Hit(step.Flush) // it ends by itself
	world.Reset()
	if world.Count(step.Poll) != 0 || node.Last() != "" {
		t.Error("a reset leaves something")
	}
}

func arm(t *testing.T, world *Shared, n step.Name, hits int) Slot {
	t.Helper()
	slot, ok := world.Arm(n, hits, HoldMax)
	if !ok {
		t.Fatal("no slot is free")
	}
	return slot
}

func awaitHeld(t *testing.T, world *Shared, slot Slot) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !world.Held(slot); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing is held")
		}
	}
}

// hitAside hits a step in a goroutine, and gives what is closed when it has gone on.
func hitAside(node *Shared, n step.Name) (gone chan struct{}) {
	gone = make(chan struct{})
	go func() {
		node.Hit(n)
		close(gone)
	}()
	return gone
}

// TestArmedApart: who arms a step and takes that back lets nobody go, and disarms nothing, that
// others have armed.
func TestArmedApart(t *testing.T) {
	node, world := both(t)
	stalled := arm(t, world, step.Apply, 1)
	gone := hitAside(node, step.Apply)
	awaitHeld(t, world, stalled)
	waiting := arm(t, world, step.Fence, 1)
	same := arm(t, world, step.Apply, 1)
	world.Disarm(same)
	world.Disarm(arm(t, world, step.Flush, 1))
	node.Hit(step.Flush)
	node.Hit(step.Apply)
	if !world.Held(stalled) {
		t.Error("the first is let go by others")
	}
	fenced := hitAside(node, step.Fence)
	awaitHeld(t, world, waiting)
	world.Disarm(stalled)
	<-gone
	if !world.Held(waiting) || world.Held(stalled) {
		t.Error("the end of one hold is not the end of that alone")
	}
	world.Disarm(waiting)
	<-fenced
}

// TestSlots: a slot is free again behind its end, and who had it before has nothing to do with it
// any more.
func TestSlots(t *testing.T) {
	node, world := both(t)
	slots := make([]Slot, Slots)
	for i := range slots {
		slots[i] = arm(t, world, step.Flush, 2)
	}
	if _, ok := world.Arm(step.Flush, 1, time.Minute); ok {
		t.Error("there are more slots than there are")
	}
	node.Hit(step.Flush)
	world.Disarm(slots[3])
	again := arm(t, world, step.Flush, HitsMax)
	world.Disarm(slots[3])
	if again.at != slots[3].at || world.Held(slots[3]) || world.m.armed[again.at].Load() == 0 {
		t.Error("a slot is taken from its new owner")
	}
	world.Reset() // the node has ended
	fresh := arm(t, world, step.Flush, 1)
	world.Disarm(slots[0])
	gone := hitAside(node, step.Flush)
	awaitHeld(t, world, fresh)
	world.Disarm(fresh)
	<-gone
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

// TestEffects: a node that was told while its clock was off, whose sync came while its disk hung,
// and whose file could not grow, is seen to; and one that met nothing of it is not.
func TestEffects(t *testing.T) {
	node, world := both(t)
	defer node.CountRefused()()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	node.Now()
	node.AwaitSync()
	if _, err := file.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if world.WrongTimes() != 0 || world.Waits() != 0 || world.Refused() != 0 {
		t.Error("it met nothing, and is seen to")
	}
	world.SetClock(60)
	node.Now()
	node.Now()
	world.HangSyncs(true)
	synced := make(chan bool)
	go func() { node.AwaitSync(); close(synced) }()
	eventually(t, "the sync waits", func() bool { return world.Waits() == 1 })
	world.HangSyncs(false)
	<-synced
	var was unix.Rlimit
	if err := unix.Prlimit(os.Getpid(), unix.RLIMIT_FSIZE, nil, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prlimit(os.Getpid(), unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1000, Max: was.Max}, nil); err != nil {
		t.Fatal(err)
	}
	_, err = file.Write([]byte("x"))
	if back := unix.Prlimit(os.Getpid(), unix.RLIMIT_FSIZE, &was, nil); back != nil || !errors.Is(err, syscall.EFBIG) {
		t.Fatalf("a file that may not grow: %v (%v)", err, back)
	}
	eventually(t, "the write is counted", func() bool { return world.Refused() == 1 })
	if world.WrongTimes() != 2 {
		t.Errorf("it was told the time %d times", world.WrongTimes())
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for long until %s", what)
		}
	}
}
