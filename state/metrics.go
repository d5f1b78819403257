package state

import "sync/atomic"

// counters are those that readers count.
type counters struct{ hits, misses, absent atomic.Int64 }

// Metrics are numbers about a store; the counts are since Open.
type Metrics struct {
	Groups     int64 // in the cache
	CacheBytes int64 // and of the filter
	DirtyBytes int64 // of it, not in Pebble yet
	Hits       int64 // reads that the cache answered
	Misses     int64
	Absent     int64 // of them, what Pebble was asked for in vain

	AppliedTxns int64 // published transactions that are in Pebble
	Flushes     int64 // of memtables, Pebble's own included
	Compactions int64
	Stalls      int64 // times that Pebble stopped writes

	DiskBytes     int64 // of all Pebble's files
	MemTableBytes int64
	BlockBytes    int64 // of the block cache, which lanes may share
	L0Tables      int64 // overlapping tables that a read may have to look at
}

// Metrics returns the store's numbers; zeros once it is closed.
func (s *Store) Metrics() Metrics {
	s.w.Lock()
	defer s.w.Unlock()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return Metrics{}
	}
	p := s.db.Metrics()
	return Metrics{
		Groups:     int64(s.cache.groups()),
		CacheBytes: s.cache.bytes() + s.filter.bytes(),
		DirtyBytes: s.cache.dirtyBytes,
		Hits:       s.count.hits.Load(),
		Misses:     s.count.misses.Load(),
		Absent:     s.count.absent.Load(),

		AppliedTxns: s.applied,
		Flushes:     s.watch.flushes.Load(),
		Compactions: s.watch.compactions.Load(),
		Stalls:      s.watch.stalls.Load(),

		DiskBytes:     int64(p.DiskSpaceUsage()),
		MemTableBytes: int64(p.MemTable.Size),
		BlockBytes:    p.BlockCache.Size,
		L0Tables:      int64(p.Levels[0].Sublevels),
	}
}
