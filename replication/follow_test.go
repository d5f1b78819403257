package replication_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tally-kafka/tally/replication"
	"github.com/tally-kafka/tally/state"
)

// follow follows the changelog until the test ends the returned context.
func (c *changelog) follow(t *testing.T, p *replication.Playback, ends map[int32]int64) (ready *atomic.Int32, stop func()) {
	t.Helper()
	ready = &atomic.Int32{}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- p.Follow(ctx, ends, func() error { ready.Add(1); return nil })
	}()
	return ready, func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Fatalf("the follow has ended: %v", err)
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); <-time.After(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it did not come: %s", what)
		}
	}
}

// A standby is ready once it has come to the end that it was told, sees each transaction when it is
// committed and nothing of one that is not, and a catch-up goes on where it has stopped.
func TestFollow(t *testing.T) {
	for name, brokers := range brokers(t) {
		t.Run(name, func(t *testing.T) {
			c := newChangelog(t, brokers(t), 1)
			c.commitMany(t, 3000)
			c.commit(t, "a", "b")
			store := c.open(t)
			end := c.fence(t)[0] + 2 // the barrier, and its transaction's marker
			p := replication.New(c.config(store))
			ready, stop := c.follow(t, p, map[int32]int64{0: end})
			eventually(t, "the follow is ready", func() bool { return ready.Load() == 1 })
			c.check(t, store)

			c.abort(t, "x")
			for i := range 5 {
				c.commit(t, "a", fmt.Sprint("new ", i))
			}
			at := c.fence(t)[0] + 2
			eventually(t, "the standby has followed", func() bool {
				pos, _ := store.Position(state.Task{})
				return pos.Changelog == at
			})
			c.check(t, store)
			c.leaveOpen(t, "half")
			stop()
			if ready.Load() != 1 {
				t.Fatalf("it was ready %d times", ready.Load())
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			rest, err := p.CatchUp(ctx, c.fence(t))
			if err != nil || rest.From < at {
				t.Fatalf("the catch-up began at %d, and the follow had come to %d: %v", rest.From, at, err)
			}
			c.check(t, store)
			c.commit(t, "b") // the store is closed to no other playback
			c.catchUp(t, store)
			c.check(t, store)
		})
	}
}

// What an error of ready says ends the follow.
func TestFollowEndsWithReady(t *testing.T) {
	c := newChangelog(t, fake(t), 1)
	c.commit(t, "a")
	store := c.open(t)
	no := errors.New("no")
	p := replication.New(c.config(store))
	defer p.Close()
	err := p.Follow(context.Background(), map[int32]int64{0: 0}, func() error { return no })
	if !errors.Is(err, no) {
		t.Fatalf("got %v", err)
	}
}
