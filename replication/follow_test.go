package replication_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

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

// pacing lets a follow pause for as long as the test wants.
type pacing struct {
	began chan struct{}  // a pause has begun
	over  chan time.Time // ends one
}

func paced(cfg *replication.Config) pacing {
	p := pacing{began: make(chan struct{}, 1000), over: make(chan time.Time)}
	timer := cfg.Seam.Timer
	cfg.FollowPace = 12345 * time.Hour
	cfg.Seam.Timer = func(d time.Duration) (<-chan time.Time, func()) {
		if d != cfg.FollowPace {
			return timer(d)
		}
		p.began <- struct{}{}
		return p.over, func() {}
	}
	return p
}

func (p pacing) awaitPause(t *testing.T) {
	t.Helper()
	select {
	case <-p.began:
	case <-time.After(20 * time.Second):
		t.Fatal("the follow does not pause")
	}
}

func changelogAt(store *state.Store) int64 {
	pos, _ := store.Position(state.Task{})
	return pos.Changelog
}

// followPaused starts a follow, which pauses when it returns.
func (c *changelog) followPaused(t *testing.T, store *state.Store) (p *replication.Playback, pace pacing, stop func()) {
	t.Helper()
	cfg := c.config(store)
	pace = paced(&cfg)
	cfg.FetchPartitionBytes = 16 << 10
	p = replication.New(cfg)
	t.Cleanup(p.Close)
	ready, stop := c.follow(t, p, map[int32]int64{0: c.fence(t)[0] + 2})
	eventually(t, "the follow is ready", func() bool { return ready.Load() == 1 })
	at := c.fence(t)[0] + 2
	for pace.awaitPause(t); changelogAt(store) < at; pace.awaitPause(t) {
		pace.over <- time.Now()
	}
	return p, pace, stop
}

// A follow that is at the end pauses, and takes then what came meanwhile in few polls. One that is
// behind does not pause.
func TestFollowInPaces(t *testing.T) {
	for name, brokers := range brokers(t) {
		t.Run(name, func(t *testing.T) {
			c := newChangelog(t, brokers(t), 1)
			c.commitMany(t, 30_000)
			store := c.open(t)
			_, pace, stop := c.followPaused(t, store)
			defer stop()
			before := changelogAt(store)
			for i := range 20 {
				c.commit(t, "a", fmt.Sprint("new ", i))
			}
			at, pauses := c.fence(t)[0]+2, 0
			if now := changelogAt(store); now != before {
				t.Fatalf("it has read from %d to %d in a pause", before, now)
			}
			for ; changelogAt(store) < at; pauses++ {
				pace.over <- time.Now()
				pace.awaitPause(t)
			}
			if pauses > 3 { // what was read ahead, and the rest
				t.Fatalf("20 transactions took %d paces", pauses)
			}
			c.check(t, store)
			for range 10 { // each of which is more than an answer takes
				c.commitMany(t, 1500)
			}
			at = c.fence(t)[0] + 2
			for pauses = 0; changelogAt(store) < at; pauses++ {
				pace.over <- time.Now()
				pace.awaitPause(t)
			}
			if pauses > 3 {
				t.Fatalf("a follow that was behind made %d pauses", pauses)
			}
			c.check(t, store)
		})
	}
}

// A pause ends at once when the follow is told to end: whoever takes the lane over goes on from
// there.
func TestPausedFollowEnds(t *testing.T) {
	c := newChangelog(t, fake(t), 1)
	c.commit(t, "a")
	store := c.open(t)
	p, _, stop := c.followPaused(t, store)
	c.commit(t, "a", "b")
	ended := make(chan struct{})
	go func() { defer close(ended); stop() }()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("a paused follow goes on although it was told to end")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := p.CatchUp(ctx, c.fence(t)); err != nil {
		t.Fatal(err)
	}
	c.check(t, store)
}

// A pause ends at once when somebody waits for what came meanwhile.
func TestPausedFollowIsHurried(t *testing.T) {
	c := newChangelog(t, fake(t), 1)
	c.commit(t, "a")
	store := c.open(t)
	p, _, stop := c.followPaused(t, store)
	defer stop()
	c.commit(t, "a", "b")
	at := c.fence(t)[0] + 2
	eventually(t, "it has taken what somebody waits for", func() bool {
		p.Hurry()
		return changelogAt(store) == at
	})
	c.check(t, store)
}

// TestFollowIsTornAloud: a transaction that is larger than what a follow holds back is seen in
// parts, and not without a word: who asks the store while it has not said so sees the state of a
// commit.
func TestFollowIsTornAloud(t *testing.T) {
	const groups = 3000
	c := newChangelog(t, fake(t), 1)
	c.commitMany(t, groups)
	store := c.open(t)
	cfg := c.config(store)
	cfg.ChunkBytes, cfg.IngestBytes = 8<<10, 4<<10
	var torn atomic.Bool
	var times atomic.Int64 // that it was torn
	cfg.Torn = func(is bool) {
		if is {
			times.Add(1)
		}
		torn.Store(is)
	}
	p := replication.New(cfg)
	ready, stop := c.follow(t, p, map[int32]int64{0: c.fence(t)[0] + 2})
	defer p.Close()
	eventually(t, "the follow is ready", func() bool { return ready.Load() == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	looked := make(chan int)
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			var first, last []byte
			before, was := times.Load(), torn.Load()
			err := store.View(func(v state.View) (err error) {
				if first, _, err = v.Get(state.Task{}, []byte("group 0"), nil); err == nil {
					last, _, err = v.Get(state.Task{}, fmt.Append(nil, "group ", groups-1), nil)
				}
				return err
			})
			if err != nil || !was && times.Load() == before && string(first) != string(last) {
				t.Errorf("group 0 is %s and group %d is %s: %v", first, groups-1, last, err)
				break
			}
		}
		looked <- n
	}()
	for range 4 {
		c.commitMany(t, groups)
	}
	at := c.fence(t)[0] + 2
	eventually(t, "the standby has followed", func() bool { return changelogAt(store) == at })
	eventually(t, "the store is whole", func() bool { return !torn.Load() })
	cancel()
	if n := <-looked; n == 0 || times.Load() == 0 {
		t.Errorf("of %d looks none can have been at a torn store: this test shows nothing", n)
	}
	c.check(t, store)
	stop()
}

// Kafka loses records of the changelog that a standby has: its copy is ahead of what there is, and
// does not go on where others take their offsets.
func TestFollowOfALostEnd(t *testing.T) {
	fake, err := kfake.NewCluster(kfake.NumBrokers(2))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	c := newChangelog(t, fake.ListenAddrs(), 1)
	c.commit(t, "a", "b")
	end := c.fence(t)[0] + 2
	p := replication.New(c.config(c.open(t)))
	t.Cleanup(p.Close)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	ready := make(chan bool)
	go func() {
		ended <- p.Follow(ctx, map[int32]int64{0: end}, func() error { close(ready); return nil })
	}()
	<-ready
	fake.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		asked := r.(*kmsg.OffsetForLeaderEpochRequest).Topics[0]
		resp := r.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
		topic, part := kmsg.NewOffsetForLeaderEpochResponseTopic(), kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
		topic.Topic, part.Partition = asked.Topic, asked.Partitions[0].Partition
		part.LeaderEpoch, part.EndOffset = asked.Partitions[0].LeaderEpoch, end-3
		topic.Partitions = append(topic.Partitions, part)
		resp.Topics = append(resp.Topics, topic)
		return resp, nil, true
	})
	if err := fake.MoveTopicPartition(c.topic, 0, 1-fake.LeaderFor(c.topic, 0)); err != nil {
		t.Fatal(err)
	}
	var ahead *replication.AheadError
	if err := <-ended; !errors.As(err, &ahead) || !ahead.Lost || ahead.Store != end || ahead.Barrier != end-3 {
		t.Errorf("the follow has ended with %v, and the log ended at %d", err, end)
	}
}

// Records that were deleted between what a store has and what comes are not passed over.
func TestUnbrokenChangelog(t *testing.T) {
	for start, want := range map[int64]bool{0: true, 5: true, 6: false} {
		if err := replication.UnbrokenForTest(5, start); (err == nil) != want || err != nil && !errors.Is(err, state.ErrDamaged) {
			t.Errorf("the store has offset 5, the log begins at %d: %v", start, err)
		}
	}
	if err := replication.UnbrokenForTest(0, 6); err != nil {
		t.Errorf("an empty store and a log that begins at 6: %v", err)
	}
}
