package state

import (
	"maps"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tally-kafka/tally/internal/step"
)

// Store is one lane's values and positions.
//
// One writer and many readers: the methods that write (Publish, Tick, Apply, Flush, Cut, a Load's)
// wait for each other, and all methods are safe for concurrent use. Readers wait only while a
// transaction becomes visible, never for Pebble's disk work.
type Store struct {
	dir         string
	id          Identity
	opt         Options
	cacheMax    int64 // what the store was opened with: its cache was made for that
	db          *pebble.DB
	watch       *watcher
	compactions *compactions
	lock        *pebble.Lock
	block       *BlockCache // this store's reference

	// w is the writer's lock; it is taken before mu. What is below is guarded by it.
	w            sync.Mutex
	loading      bool
	loadInterval time.Duration     // FlushInterval while loading
	moved        map[Task]struct{} // tasks whose position is not applied yet
	txns         int               // transactions published since the last apply
	// memBytes were applied since the last flush was started: about what the memtable holds.
	memBytes int64
	// pendingSince is when the oldest published change, of those for which no flush was started,
	// came, or the last Load ended; zero if there is none.
	pendingSince time.Time
	flushing     <-chan struct{} // closed when the flush that was started ends; nil without one
	applied      int64           // transactions applied since Open
	keys         keyRun          // of what is being published

	// mu guards what readers see. To change it, hold w too.
	mu     sync.RWMutex
	closed bool
	cache  *cache // its clean entries may change under mu alone, and dirty ones may move
	// applying is set while an apply reads the dirty entries under w alone.
	// Invariant: no entry comes, goes or moves meanwhile.
	applying  bool
	positions map[Task]Position
	verified  bool
	version   uint64 // grows with each visible change
	rank      ranking

	filling chan struct{} // has room for the one who fills the ranking

	// copying is held for reading while a checkpoint is made: a close waits for it. It is taken
	// under w.
	copying sync.RWMutex

	filter *filter // has its own rules; which one it is changes under w and mu alone

	cuts  cutSet
	subs  subscriptions
	count counters
}

// Change is a group's new values.
type Change struct {
	Task          Task
	Group, Values []byte
}

// Publish makes a transaction's values and positions visible, all or none. It is called only after
// the transaction is known to be committed, with the position of every task that it moved. The
// slices are the caller's again when it returns.
//
// It also does the writing that is due: applies to Pebble and starts a flush, whose end it does not
// wait for. An error means that this failed, now or earlier in the background; the values may be
// visible or not, and the store is of no further use: close and open it.
func (s *Store) Publish(pos []Position, ch []Change) error {
	s.w.Lock()
	defer s.w.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	if s.loading {
		panic("state: Publish during a Load: an owner finishes the playback first")
	}
	s.checkMoves(pos, ch)
	s.show(pos, ch)
	s.opt.Step.At(step.Publish)
	return s.work()
}

// checkMoves panics on what a correct owner never does.
func (s *Store) checkMoves(pos []Position, ch []Change) {
	moved := make(map[Task]struct{}, len(pos))
	for _, p := range pos {
		if old, ok := s.positions[p.Record.Task]; ok && p.Changelog < old.Changelog {
			panic("state: Publish moves a changelog position back: two owners, or a transaction published twice")
		}
		moved[p.Record.Task] = struct{}{}
	}
	var last *Task
	for i := range ch {
		if last == nil || ch[i].Task != *last {
			last = &ch[i].Task
			if _, ok := moved[*last]; !ok {
				panic("state: Publish has values of a task without its position")
			}
		}
	}
}

// show is the critical section in which a transaction becomes visible.
func (s *Store) show(pos []Position, ch []Change) {
	s.mu.Lock()
	for from := 0; from < len(ch); from += touchRun {
		run := ch[from:min(from+touchRun, len(ch))]
		s.keys.reset()
		for i := range run {
			s.keys.add(run[i].Task, run[i].Group)
		}
		s.cache.touch(&s.keys)
		for i := range run {
			s.cache.put(s.keys.hash[i], s.keys.key(i), run[i].Values, true)
			if s.rank.on {
				s.rank.offer(s.keys.key(i), run[i].Values)
			}
		}
	}
	s.move(pos)
	s.mu.Unlock()

	s.txns++
	s.published(pos)
	s.subs.tell(ch)
}

// published notes what is to be applied and flushed.
func (s *Store) published(pos []Position) {
	for _, p := range pos {
		s.moved[p.Record.Task] = struct{}{}
	}
	s.touch()
}

// move sets positions. It is called under both locks.
func (s *Store) move(pos []Position) {
	for _, p := range pos {
		s.positions[p.Record.Task] = p
	}
	s.version++
}

// touch notes that something changed that no flush covers yet.
func (s *Store) touch() {
	if s.pendingSince.IsZero() {
		s.pendingSince = s.opt.Seam.Now()
	}
}

// writable tells why nothing can be written. It is called under w.
func (s *Store) writable() error {
	if s.closed {
		return ErrClosed
	}
	return s.watch.failure()
}

// Position is the task's position in the visible state.
func (s *Store) Position(t Task) (Position, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, ok := s.positions[t]
	return p, ok
}

// Positions are those of all tasks in the visible state, at one transaction's end.
func (s *Store) Positions() map[Task]Position {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.positions)
}

// Close applies and flushes what is visible, and closes. Cuts and subscriptions end.
func (s *Store) Close() error { return s.close(true) }

// Abandon closes without writing anything, as a crash would.
func (s *Store) Abandon() error { return s.close(false) }

func (s *Store) close(flush bool) error {
	s.w.Lock()
	defer s.w.Unlock()
	if s.closed {
		return ErrClosed
	}
	var err error
	if flush {
		if err = s.watch.failure(); err == nil {
			err = s.flush()
		}
	}
	s.copying.Lock()
	defer s.copying.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.subs.close()
	s.cuts.close()
	if cerr := s.release(); err == nil {
		err = cerr
	}
	s.cache = newCache(0)
	return err
}

// release closes Pebble and what the store holds around it.
func (s *Store) release() error {
	var err error
	if s.db != nil {
		err = classify(s.dir, s.db.Close())
	}
	if lerr := s.lock.Close(); err == nil && lerr != nil {
		err = classify(s.dir, lerr)
	}
	s.block.Unref()
	return err
}
