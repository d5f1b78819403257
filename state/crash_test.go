package state

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/tally-kafka/tally/internal/step"
)

// crasher takes clones of the disk as a power loss would leave it: at steps, between them, and
// within operations on files, Pebble's own included.
type crasher struct {
	*model
	vectors map[string]bool // every set of positions that was ever visible
	hits    steps

	mu     sync.Mutex // Pebble's goroutines make files too
	dice   *rand.Rand
	clones []clone
}

// clone is a disk after a crash. A torn one has an arbitrary part of what was not synced: Pebble
// takes names of files to reach the disk in their order, so it may find damage there, but never
// wrong values.
type clone struct {
	fs   *vfs.MemFS
	torn bool
}

func newCrasher(t tb, seed uint64) *crasher {
	c := &crasher{vectors: map[string]bool{}, hits: steps{}, model: newModel(t, seed)}
	must(t, c.s.Abandon())
	c.dice = rand.New(rand.NewPCG(seed, 2))
	c.opt.FS = &countingFS{FS: linkFS{c.fs, &c.mu}, each: func() { c.crash(8) }}
	c.opt.Step = c.step
	if c.rng.IntN(2) == 0 {
		c.opt.FlushBytes = 1 << 20 // Pebble flushes when a memtable is full
	}
	c.s = mustOpen(t, "lane", c.opt)
	c.note()
	return c
}

// linkFS keeps a Link apart from a clone: MemFS takes its lock for reading twice there, which waits
// forever when a clone asks for it in between.
type linkFS struct {
	vfs.FS
	clones *sync.Mutex
}

func (f linkFS) Link(a, b string) error {
	f.clones.Lock()
	defer f.clones.Unlock()
	return f.FS.Link(a, b)
}

// step runs under the writer's lock, so it may look at the positions.
func (c *crasher) step(n step.Name) {
	c.hits[n]++
	c.note()
	if n == step.Ingest { // what is durable at once is where the order can go wrong
		c.crash(1)
		return
	}
	c.crash(4)
}

func (c *crasher) note() { c.vectors[vector(offsets(c.s.positions))] = true }

// crash notes, one time in so many, a disk on which a random part of what was not synced is lost.
func (c *crasher) crash(oneIn int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dice.IntN(oneIn) > 0 {
		return
	}
	percent := []int{0, 0, 30, 100}[c.dice.IntN(4)]
	cl := clone{torn: percent == 30, fs: c.fs.CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(c.dice.Uint64(), 2)),
	})}
	if len(c.clones) < 12 {
		c.clones = append(c.clones, cl)
	} else {
		c.clones[c.dice.IntN(len(c.clones))] = cl
	}
}

// check opens every clone: what is there must be a prefix with its own position, and a state that
// was once visible as a whole, over all tasks.
func (c *crasher) check(t tb) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, cl := range c.clones {
		s, err := Open("lane", testIdentity, smallOptions(cl.fs, c.clock))
		if cl.torn && errors.Is(err, ErrDamaged) {
			continue
		}
		must(t, err)
		at := c.logs.checkPrefix(t, s)
		if !c.vectors[vector(at)] {
			t.Fatalf("clone %d is at %v, which was never visible", i, at)
		}
		m := *c.model
		m.s, m.fs = s, cl.fs
		m.current(t, LoadOptions{ChunkBytes: 30000, IngestBytes: 15000}, true)
		must(t, s.Verify(context.Background()))
		must(t, s.Close())
	}
	c.clones = nil
}

// After a crash at any point of an owner's life, what survives is a prefix of the transactions with
// its own position, and the changelog's rest brings the store up to date.
func TestCrashWhilePublishing(t *testing.T) {
	total := steps{}
	rapid.Check(t, func(t *rapid.T) {
		c := newCrasher(t, rapid.Uint64().Draw(t, "seed"))
		defer func() { _ = c.s.Abandon() }()
		txns, changes := 9, 150
		if c.rng.IntN(2) == 0 {
			txns, changes = 40, 25 // batches that share a memtable
		}
		for range txns {
			tasks := modelTasks[c.rng.IntN(3):]
			x := c.logs.commit(c.rng, tasks, 1+c.rng.IntN(400), c.rng.IntN(changes))
			must(t, c.s.Publish(x.positions, x.changes))
			switch c.rng.IntN(9) {
			case 0:
				must(t, c.s.Flush())
			case 1:
				c.clock.pass(time.Second)
				must(t, c.s.Tick())
			case 2:
				c.crash(1)
			}
		}
		waitQuiet(t, c.s)
		c.check(t)
		add(total, c.hits)
	})
	wantSteps(t, total, step.Publish, step.Apply, step.MemtableFlush)
}

// The same for a Load, whose chunks are ingested tables, batches through the cache, and both in
// turn. An ingested table is durable at once: without the flush before it, what is below it gets
// lost.
func TestCrashWhileLoading(t *testing.T) {
	total := steps{}
	rapid.Check(t, func(t *rapid.T) {
		c := newCrasher(t, rapid.Uint64().Draw(t, "seed"))
		defer func() { _ = c.s.Abandon() }()
		if c.rng.IntN(2) == 0 { // it was an owner's
			x := c.logs.commit(c.rng, modelTasks, 200, 100)
			must(t, c.s.Publish(x.positions, x.changes))
		}
		for range 2 {
			for range 1 + c.rng.IntN(6) {
				changes := []int{0, 100}[c.rng.IntN(2)] // some move a position and nothing else
				c.logs.commit(c.rng, modelTasks[c.rng.IntN(3):], 1+c.rng.IntN(400), c.rng.IntN(1+changes))
			}
			c.interleave(t)
		}
		waitQuiet(t, c.s)
		c.check(t)
		add(total, c.hits)
	})
	wantSteps(t, total, step.CatchUp, step.Ingest, step.Apply, step.MemtableFlush)
}

// interleave loads all tasks in turns, as fetches bring them.
func (c *crasher) interleave(t tb) {
	t.Helper()
	l := c.s.Load(LoadOptions{ChunkBytes: 1000 + c.rng.Int64N(16000), IngestBytes: 1 + c.rng.Int64N(16000)})
	defer l.Drop()
	next := offsets(c.s.Positions())
	for {
		left := maps.Clone(c.logs)
		maps.DeleteFunc(left, func(t Task, r []logRecord) bool { return next[t] >= int64(len(r)) })
		if len(left) == 0 {
			break
		}
		alone := c.rng.IntN(2 * len(modelTasks)) // a fetch may have records of one task, or of all
		for i, task := range modelTasks {
			if alone < len(modelTasks) && i != alone {
				continue
			}
			for range c.rng.IntN([]int{4, 60}[c.rng.IntN(2)]) {
				if next[task] < int64(len(c.logs[task])) {
					must(t, c.logs.feed(l, task, next[task]))
					next[task]++
				}
			}
		}
		switch c.rng.IntN(4) {
		case 0, 1:
			must(t, l.Apply())
		case 2:
			c.crash(1)
		}
	}
	if c.rng.IntN(4) > 0 {
		must(t, l.Finish())
		c.checkCurrent(t)
	}
}

// An ingested table is durable at once: what was applied before it, here a position that moved
// without values and lies outside the table's range of keys, must be durable before it.
func TestIngestDoesNotOvertake(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := mustOpen(t, "lane", Options{Seam: newClock().seam(), FS: fs})
	l := s.Load(LoadOptions{IngestBytes: 1000})
	must(t, l.Advance(Task{}, 5))
	must(t, l.Apply())
	must(t, s.Apply())
	must(t, l.Value(Task{Stage: 1}, []byte("g"), make([]byte, 2000), 0))
	must(t, l.Apply())
	killed := mustOpen(t, "lane", Options{Seam: newClock().seam(), FS: fs.CrashClone(vfs.CrashCloneCfg{})})
	if got, want := vector(offsets(killed.Positions())), vector(offsets(s.Positions())); got != want {
		t.Errorf("after a crash %v, want %v", got, want)
	}
	must(t, killed.Close())
	must(t, s.Abandon())
}

// A process that is killed goes on exactly at Durable, also when Pebble flushed by itself.
func TestKillGoesOnAtDurable(t *testing.T) {
	c := newClock()
	fs := vfs.NewCrashableMem()
	o := smallOptions(fs, c)
	o.MemTableBytes, o.FlushBytes = 256<<10, 1<<20 // so that Pebble flushes by itself, and not each batch
	s := mustOpen(t, "lane", o)
	defer func() { _ = s.Abandon() }()
	logs, rng := changelogs{}, rand.New(rand.NewPCG(1, 1))
	ahead := 0
	for i := range 60 {
		x := logs.commit(rng, modelTasks, 400, 60)
		must(t, s.Publish(x.positions, x.changes))
		if i%20 == 10 {
			must(t, s.Flush())
		}
		waitQuiet(t, s)
		killed := mustOpen(t, "lane", smallOptions(fs.CrashClone(vfs.CrashCloneCfg{}), c))
		for _, task := range modelTasks {
			p, _ := killed.Position(task)
			if at, _ := s.Durable(task); at != p.Changelog {
				t.Fatalf("txn %d, task %v: Durable says %d, and a killed process goes on at %d", i, task, at, p.Changelog)
			}
			if now, _ := s.Position(task); now.Changelog > p.Changelog {
				ahead++
			}
		}
		logs.checkPrefix(t, killed)
		must(t, killed.Close())
	}
	if ahead == 0 {
		t.Fatalf("every transaction was durable at once: the test showed nothing")
	}
}

// waitQuiet waits until no flush of Pebble's runs.
func waitQuiet(t tb, s *Store) {
	t.Helper()
	eventually(t, "Pebble comes to rest", func() bool {
		m := s.db.Metrics()
		return m.MemTable.Count == 1 && m.Flush.NumInProgress == 0 && m.Compact.NumInProgress == 0
	})
}

func add(total, more steps) {
	for n, k := range more {
		total[n] += k
	}
}

func wantSteps(t *testing.T, hits steps, names ...step.Name) {
	t.Helper()
	for _, n := range names {
		if hits[n] == 0 {
			t.Errorf("step %s was never hit: %v", n, fmt.Sprint(hits))
		}
	}
}
