package replication_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/testkafka"
	"github.com/tally-kafka/tally/replication"
	"github.com/tally-kafka/tally/state"
	"github.com/tally-kafka/tally/txn"
)

// ends are the ways in which a changelog can end when its next owner comes.
var ends = map[string]func(t *testing.T, c *changelog){
	"empty":                  func(*testing.T, *changelog) {},
	"a commit marker":        func(t *testing.T, c *changelog) { c.commit(t, "a", "b") },
	"an abort marker":        func(t *testing.T, c *changelog) { c.commit(t, "a"); c.abort(t, "x") },
	"an open transaction":    func(t *testing.T, c *changelog) { c.commit(t, "a"); c.leaveOpen(t, "x") },
	"aborts only":            func(t *testing.T, c *changelog) { c.abort(t, "x"); c.abort(t, "y") },
	"barriers only":          func(t *testing.T, c *changelog) { c.barrier(t); c.barrier(t) },
	"many groups, all twice": func(t *testing.T, c *changelog) { c.commitMany(t, 3000); c.commitMany(t, 3000) },
}

// TestCatchUpEndsAtTheBarrier: however a changelog ends, a catch-up ends at the barrier, with what
// was committed and nothing else; and at once again when nothing came since.
func TestCatchUpEndsAtTheBarrier(t *testing.T) {
	for name, brokers := range brokers(t) {
		t.Run(name, func(t *testing.T) {
			addrs := brokers(t)
			for name, end := range ends {
				t.Run(name, func(t *testing.T) {
					c := newChangelog(t, addrs, 1)
					end(t, c)
					store := c.open(t)
					first := c.catchUp(t, store)
					if first.At != first.To+1 {
						t.Fatalf("read up to %d, the barrier is at %d", first.At, first.To)
					}
					c.check(t, store)
					again := c.catchUp(t, store)
					if again.Records != 0 || again.From != first.At {
						t.Fatalf("the second catch-up began at %d and read %d records; the first ended at %d",
							again.From, again.Records, first.At)
					}
					c.check(t, store)
				})
			}
		})
	}
}

// TestCatchUpOfFourPartitions: one lane with four partitions, of which one is empty.
func TestCatchUpOfFourPartitions(t *testing.T) {
	for name, brokers := range brokers(t) {
		t.Run(name, func(t *testing.T) {
			c := newChangelog(t, brokers(t), 4)
			for p := range int32(3) {
				c.at(p).commit(t, "a", fmt.Sprint("only in ", p))
			}
			store := c.open(t)
			began := time.Now()
			c.catchUp(t, store)
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("four partitions took %v: one that is read through held up another", took)
			}
			c.check(t, store)
		})
	}
}

// TestCatchUpGoesOn: a playback that is cut off goes on from what it had applied, not from the
// start.
func TestCatchUpGoesOn(t *testing.T) {
	c := newChangelog(t, fake(t), 1)
	c.commitMany(t, 20_000)
	store := c.open(t)
	to := c.fence(t)
	ctx, cancel := context.WithCancel(context.Background())
	cfg := c.config(store)
	cfg.ChunkBytes = 64 << 10
	cfg.Progress = func(p replication.Progress) {
		if p.Records > 5_000 {
			cancel()
		}
	}
	if _, err := replication.New(cfg).CatchUp(ctx, to); !errors.Is(err, context.Canceled) {
		t.Fatalf("the cut-off playback: %v", err)
	}
	rest := c.catchUp(t, store)
	if rest.From == 0 || rest.Records > 16_000 {
		t.Fatalf("it began anew at %d and read %d records", rest.From, rest.Records)
	}
	c.check(t, store)
}

// TestCatchUpOfACompactedChangelog: behind a barrier, compaction has left values whose position
// record is gone, since there is a newer one behind that barrier. They are the app's.
func TestCatchUpOfACompactedChangelog(t *testing.T) {
	c := newChangelog(t, fake(t), 1)
	c.compacted = true
	c.commit(t, "cold", "cool")
	c.barrier(t)
	c.commit(t, "cool")
	c.barrier(t)
	c.compacted = false
	c.commit(t, "warm")
	store := c.open(t)
	c.catchUp(t, store)
	c.check(t, store)

	standby := c.open(t)
	end := c.fence(t)[0] + 2
	p := replication.New(c.config(standby))
	ready, stop := c.follow(t, p, map[int32]int64{0: end})
	eventually(t, "the follow is ready", func() bool { return ready.Load() == 1 })
	stop()
	p.Close()
	c.check(t, standby)
}

// TestCatchUpRefuses: a store that is ahead of Kafka, a record that tally did not write, a position
// record of another app.
func TestCatchUpRefuses(t *testing.T) {
	addrs := fake(t)
	t.Run("a store ahead", func(t *testing.T) {
		c, short := newChangelog(t, addrs, 1), newChangelog(t, addrs, 1)
		c.commit(t, "a", "b", "c")
		c.commit(t, "a", "b", "c")
		store := c.open(t)
		c.catchUp(t, store)
		_, err := replication.New(short.config(store)).CatchUp(context.Background(), short.fence(t))
		var ahead *replication.AheadError
		if !errors.As(err, &ahead) || ahead.Store <= ahead.Barrier {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("a foreign record", func(t *testing.T) {
		c := newChangelog(t, addrs, 1)
		c.commit(t, "a")
		c.produce(t, &kgo.Record{Topic: c.topic, Key: []byte("hello"), Value: []byte("there")})
		_, err := replication.New(c.config(c.open(t))).CatchUp(context.Background(), c.fence(t))
		if !errors.Is(err, replication.ErrForeign) {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("another app", func(t *testing.T) {
		c := newChangelog(t, addrs, 1)
		c.app = "another"
		c.commit(t, "a")
		c.app = "app"
		_, err := replication.New(c.config(c.open(t))).CatchUp(context.Background(), c.fence(t))
		var identity *state.IdentityError
		if !errors.As(err, &identity) {
			t.Fatalf("got %v", err)
		}
	})
}

// brokers are the kinds of Kafka that the tests run on; the real one decides.
func brokers(t *testing.T) map[string]func(*testing.T) []string {
	return map[string]func(*testing.T) []string{
		"kfake": fake,
		"kafka": func(t *testing.T) []string {
			if testing.Short() {
				t.Skip("left out of the short tests")
			}
			return testkafka.Shared(t).Addrs()
		},
	}
}

func fake(t *testing.T) []string {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DefaultNumPartitions(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()
}

// changelog is a changelog topic with one owner's hand on it, and a plain map of what was
// committed.
type changelog struct {
	kafka     kafka.Config
	topic, id string
	app       string
	tasks     []state.Task
	partition int32
	want      map[int32]map[string]string
	txn       map[int32]uint64
	digest    map[int32]uint64
	session   *txn.Session
	compacted bool // transactions have no position record any more
}

func newChangelog(t *testing.T, addrs []string, partitions int) *changelog {
	s := seam.World()
	id := s.NewID()
	c := &changelog{
		kafka: kafka.Config{Brokers: addrs, Seam: s}, topic: "changelog-" + id, id: "lane-" + id, app: "app",
		want: map[int32]map[string]string{}, txn: map[int32]uint64{}, digest: map[int32]uint64{},
	}
	for p := range int32(partitions) {
		c.tasks = append(c.tasks, state.Task{Partition: p})
		c.want[p] = map[string]string{}
	}
	admin, err := kafka.NewAdmin(c.kafka)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	spec := kafka.TopicSpec{Name: c.topic, Partitions: partitions, Replication: 1, Configs: map[string]string{"cleanup.policy": "compact"}}
	if err := admin.Create(context.Background(), spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if c.session != nil {
			c.session.Close()
		}
	})
	return c
}

func (c *changelog) at(p int32) *changelog { c.partition = p; return c }

// own fences, as a new owner does.
func (c *changelog) own(t *testing.T) *txn.Session {
	t.Helper()
	if c.session != nil {
		c.session.Close()
	}
	var err error
	c.session, err = txn.Fence(context.Background(), txn.Config{Kafka: c.kafka, TransactionalID: c.id, Group: c.id, Seam: c.kafka.Seam})
	if err != nil {
		t.Fatal(err)
	}
	return c.session
}

// fence takes the lane and commits its barrier.
func (c *changelog) fence(t *testing.T) map[int32]int64 {
	t.Helper()
	return c.barrierOf(t, c.own(t))
}

func (c *changelog) barrier(t *testing.T) { c.fence(t) }

func (c *changelog) barrierOf(t *testing.T, s *txn.Session) map[int32]int64 {
	t.Helper()
	var to map[int32]int64
	anew(t, func(first bool) (err error) {
		if !first {
			s = c.own(t)
		}
		to, err = c.tryBarrier(s)
		return err
	})
	return to
}

// anew ends a transaction, up to three times anew where it did not come about, as an owner does.
func anew(t *testing.T, do func(first bool) error) {
	t.Helper()
	err := do(true)
	for try := 0; err != nil && try < 3; try++ {
		t.Log(err)
		err = do(false)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (c *changelog) tryBarrier(s *txn.Session) (map[int32]int64, error) {
	var recs []*kgo.Record
	for _, task := range c.tasks {
		recs = append(recs, &kgo.Record{Topic: c.topic, Partition: task.Partition, Key: state.BarrierKey(task), Value: state.EncodeBarrier(state.Barrier{Task: task, AppID: c.app})})
	}
	to, err := s.Barrier(context.Background(), recs)
	return to.Of(c.topic), err
}

// write produces one transaction's records without ending it: the groups, then the position record.
func (c *changelog) write(t *testing.T, groups ...string) *txn.Session {
	t.Helper()
	s, p := c.own(t), c.partition
	task := state.Task{Partition: p}
	if err := s.Begin(); err != nil {
		t.Fatal(err)
	}
	c.txn[p]++
	value := fmt.Sprint("v", c.txn[p])
	for _, g := range groups {
		s.Produce(&kgo.Record{
			Topic: c.topic, Partition: p, Key: state.ValueKey(nil, task, []byte(g)), Value: state.AppendValue(nil, []byte(value)),
		})
		if old, ok := c.want[p][g]; ok {
			c.digest[p] -= state.Hash([]byte(g), []byte(old))
		}
		c.want[p][g] = value
		c.digest[p] += state.Hash([]byte(g), []byte(value))
	}
	if c.compacted {
		return s
	}
	s.Produce(&kgo.Record{Topic: c.topic, Partition: p, Key: state.PositionKey(task), Value: state.EncodePosition(state.PositionRecord{
		Task: task, AppID: c.app, Txn: c.txn[p], Input: int64(c.txn[p]), Groups: int64(len(c.want[p])), Digest: c.digest[p],
	})})
	return s
}

func (c *changelog) commit(t *testing.T, groups ...string) {
	t.Helper()
	anew(t, func(bool) error {
		_, err := c.write(t, groups...).Commit(context.Background(), nil)
		return err
	})
}

func (c *changelog) commitMany(t *testing.T, n int) {
	groups := make([]string, n)
	for i := range groups {
		groups[i] = fmt.Sprintf("group %d", i)
	}
	c.commit(t, groups...)
}

// uncommitted writes records that must never be seen, outside of the session so that it can be
// left.
func (c *changelog) uncommitted(t *testing.T, group string) *kgo.Client {
	t.Helper()
	cl, err := c.kafka.Client(kgo.TransactionalID(c.id), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	rec := &kgo.Record{Topic: c.topic, Partition: c.partition, Key: state.ValueKey(nil, state.Task{Partition: c.partition}, []byte(group)), Value: state.AppendValue(nil, []byte("never"))}
	if err := cl.ProduceSync(context.Background(), rec).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return cl
}

func (c *changelog) abort(t *testing.T, group string) {
	t.Helper()
	if err := c.uncommitted(t, group).EndTransaction(context.Background(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
}

func (c *changelog) leaveOpen(t *testing.T, group string) { t.Helper(); c.uncommitted(t, group) }

func (c *changelog) produce(t *testing.T, rec *kgo.Record) {
	t.Helper()
	cl, err := c.kafka.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(context.Background(), rec).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func (c *changelog) open(t *testing.T) *state.Store {
	t.Helper()
	store, err := state.Open("lane", state.Identity{App: "app", AppID: "app"}, state.Options{Seam: c.kafka.Seam, FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Abandon() })
	return store
}

func (c *changelog) config(store *state.Store) replication.Config {
	return replication.Config{Kafka: c.kafka, Changelog: c.topic, Tasks: c.tasks, Store: store, Seam: c.kafka.Seam}
}

func (c *changelog) catchUp(t *testing.T, store *state.Store) replication.Progress {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p, err := replication.New(c.config(store)).CatchUp(ctx, c.fence(t))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// check holds the store against the plain map, and its digest against the position records.
func (c *changelog) check(t *testing.T, store *state.Store) {
	t.Helper()
	cut, err := store.Cut()
	if err != nil {
		t.Fatal(err)
	}
	defer cut.Close()
	for p, want := range c.want {
		got := map[string]string{}
		err := cut.Scan(context.Background(), state.Task{Partition: p}, nil, func(group, values []byte) error {
			got[string(group)] = string(values)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("partition %d: the store has %d groups, %d were committed, or other values", p, len(got), len(want))
		}
	}
	if err := store.Verify(context.Background()); err != nil {
		t.Fatal(err)
	}
}
