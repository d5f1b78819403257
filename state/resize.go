package state

// CacheBytesMin and CacheBytesMax are the least and the most that Options.CacheBytes may be: 16 KB
// and 4 GB, so that what is dirty, up to half of it, stays far below the 4 GB that a batch of
// Pebble may have, and the cache's 32-bit places do not run out.
const (
	CacheBytesMin = 16 << 10
	CacheBytesMax = 1 << 32
)

// SetCacheBytes changes the bound of the cache and of the filter beside it while the store is in
// use: a node's memory is shared by its apps, and another has come or gone. It never goes above
// what the store was opened with. What is too much leaves at once, but for what is not applied yet.
func (s *Store) SetCacheBytes(bound int64) {
	s.w.Lock()
	defer s.w.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	bound = min(max(bound, CacheBytesMin), s.cacheMax)
	s.opt.CacheBytes, s.opt.ApplyBytes, s.cache.limit = bound, bound/4, bound
	s.boundFilter(bound / filterShare)
	s.evict()
	s.cache.trim()
}

// boundFilter gives up a filter that is larger than it may be now, else the cache would have no
// room for anything; another one is built when it is due. It is called under w and mu: nobody else
// reads or fills the filter meanwhile but a build, which goes on with the one that it began with.
func (s *Store) boundFilter(limit int64) {
	if s.filter.bytes() > limit {
		s.filter = newFilter(limit)
		return
	}
	s.filter.mu.Lock()
	s.filter.limit = limit
	s.filter.mu.Unlock()
}
