package state

import (
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tally-kafka/tally/internal/step"
)

// nodeBytes is about what a memtable adds to an entry's key and value.
const nodeBytes = 64

// Tick does the writing that is due by time, for an owner that publishes nothing for a while. Call
// it a few times per FlushInterval.
func (s *Store) Tick() error {
	s.w.Lock()
	defer s.w.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	return s.work()
}

// Apply moves all published values and their positions to Pebble, in one batch.
func (s *Store) Apply() error {
	s.w.Lock()
	defer s.w.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	return s.apply()
}

// Flush applies, and returns when all that is visible is durable.
func (s *Store) Flush() error {
	s.w.Lock()
	defer s.w.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	return s.flush()
}

// work does what is due: note a flush that ended, apply, make room in the cache, start a flush.
func (s *Store) work() error {
	s.pollFlush()
	if s.applyDue() {
		if err := s.apply(); err != nil {
			return err
		}
	}
	if s.filterDue() {
		if err := s.buildFilter(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.evict()
	s.mu.Unlock()
	if s.flushing == nil && s.flushDue() {
		return s.startFlush()
	}
	return s.watch.failure()
}

// evict makes room in the cache, of whose bytes the filter takes some. It is called under mu.
func (s *Store) evict() {
	if !s.applying {
		s.cache.evict(s.filter.bytes())
	}
}

// applyDue holds an apply back while a slow flush runs and another flush's worth of data waits
// behind it, until the cache is half dirty: so Pebble's memtables stay few and Publish does not
// wait.
func (s *Store) applyDue() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.cache.dirtyBytes >= s.opt.CacheBytes/2 {
		return true
	}
	if s.flushing != nil && s.memBytes >= s.opt.FlushBytes {
		return false
	}
	return s.txns >= s.opt.ApplyTxns || s.cache.dirtyBytes >= s.opt.ApplyBytes
}

func (s *Store) flushDue() bool {
	if s.memBytes >= s.opt.FlushBytes {
		return true
	}
	interval := s.opt.FlushInterval
	if s.loading {
		interval = s.loadInterval
	}
	return !s.pendingSince.IsZero() && s.opt.Seam.Since(s.pendingSince) >= interval
}

// apply writes the dirty values and the moved positions in ONE batch: what survives a crash has
// both or none.
func (s *Store) apply() error {
	if len(s.moved) == 0 {
		return nil
	}
	if s.flushing != nil && s.memBytes >= s.opt.FlushBytes {
		s.watch.stalls.Add(1)
		if err := s.waitFlush(); err != nil {
			return err
		}
	}
	s.hold(true)
	err := s.applyDirty()
	if err == nil {
		s.mu.Lock()
		s.cache.clean()
		s.mu.Unlock()
	}
	s.hold(false)
	if err != nil {
		return err
	}
	clear(s.moved)
	s.applied += int64(s.txns)
	s.txns = 0
	s.opt.Step.At(step.Apply)
	return nil
}

// hold keeps the cache as it is while an apply reads it, or lets it go.
func (s *Store) hold(applying bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applying = applying
}

func (s *Store) applyDirty() error {
	dirty := s.cache.sorted()
	b := s.db.NewBatchWithSize(int(s.cache.dirtyBytes))
	for t := range s.moved {
		setPosition(b, s.positions[t])
	}
	for i, d := range dirty {
		s.cache.touchSorted(dirty, i+touchAhead)
		e := s.cache.log.at(d.At)
		setValue(b, e.key(), e.values())
	}
	s.noteKeys(len(dirty), func(i int) []byte { return s.cache.log.at(dirty[i].At).key() })
	return s.commit(b)
}

// commit gives a batch to Pebble's memtable and accounts for it.
func (s *Store) commit(b *pebble.Batch) error {
	if s.overlapping() >= l0ReadsMax {
		s.watch.stalls.Add(1)
		if err := s.awaitBelow(l0ReadsMax); err != nil {
			_ = b.Close()
			return err
		}
	}
	s.memBytes += int64(b.Len()) + nodeBytes*int64(b.Count())
	err := s.db.Apply(b, pebble.NoSync)
	if cerr := b.Close(); err == nil {
		err = cerr
	}
	return classify(s.dir, err)
}

// overlapping is how many tables overlap in L0.
func (s *Store) overlapping() int { return int(s.db.Metrics().Levels[0].Sublevels) }

// awaitBelow waits until fewer than so many tables overlap in L0. Pebble's own stall at such a
// limit hears of no failure: where the compaction that is to end it fails, who writes would hang
// there for ever, and who closes the store behind it.
func (s *Store) awaitBelow(tables int) error {
	for s.overlapping() >= tables {
		select {
		case <-s.watch.worked:
		case <-s.watch.failed:
			return s.watch.failure()
		}
	}
	return nil
}

// setValue and setPosition add to a batch in memory, which fails only when the batch would exceed
// 4 GB: the cache's limit keeps far from that.
func setValue(b *pebble.Batch, key, values []byte) {
	d := b.SetDeferred(len(key), len(values)+2)
	copy(d.Key, key)
	AppendValue(d.Value[:0], values)
	mustFinish(d.Finish())
}

func setPosition(b *pebble.Batch, p Position) {
	mustFinish(b.Set(storePositionKey(p.Record.Task), encodeStorePosition(p), nil))
}

func mustFinish(err error) {
	if err != nil {
		panic("state: a batch in memory failed: " + err.Error())
	}
}

// startFlush applies and starts the flush of Pebble's memtable, without waiting for its end.
func (s *Store) startFlush() error {
	if err := s.apply(); err != nil {
		return err
	}
	done, err := s.db.AsyncFlush()
	if err != nil {
		return classify(s.dir, err)
	}
	s.flushing, s.memBytes, s.pendingSince = done, 0, time.Time{}
	return nil
}

// flush makes all that is visible durable.
func (s *Store) flush() error {
	if err := s.apply(); err != nil {
		return err
	}
	return s.flushMemtable()
}

// flushMemtable waits until nothing is left in Pebble's memtables.
func (s *Store) flushMemtable() error {
	if err := s.waitFlush(); err != nil || s.memBytes == 0 {
		return err
	}
	if err := s.startFlush(); err != nil {
		return err
	}
	return s.waitFlush()
}

// pollFlush notes a flush that ended.
func (s *Store) pollFlush() {
	select {
	case <-s.flushing: // nil, so never ready, without a flush
		s.flushEnded()
	default:
	}
}

// waitFlush waits for the flush that was started, or for its failure: Pebble tries a failed flush
// again and again.
func (s *Store) waitFlush() error {
	if s.flushing == nil {
		return nil
	}
	select {
	case <-s.flushing:
		s.flushEnded()
		return s.watch.failure() // a flush ends behind the brake too
	case <-s.watch.failed:
		return s.watch.failure()
	}
}

func (s *Store) flushEnded() {
	s.flushing = nil
	s.opt.Step.At(step.MemtableFlush)
}

// Durable is the changelog offset from which a process that is killed now goes on: that of the
// task's last flushed position. Pebble also flushes by itself, when a memtable is full, so it is
// read where a restart would read it, past the memtables.
func (s *Store) Durable(t Task) (changelog int64, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return 0, false
	}
	key := storePositionKey(t)
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: key, UpperBound: after(key), OnlyReadGuaranteedDurable: true,
	})
	if err != nil {
		s.watch.fail(err)
		return 0, false
	}
	if it.First() {
		changelog, err = decodeStoreOffset(it.Value())
		ok = err == nil
	}
	if cerr := it.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		s.watch.fail(err)
		return 0, false
	}
	return changelog, ok
}
