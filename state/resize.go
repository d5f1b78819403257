package state

// cacheBytesMin is the least that Options.CacheBytes may be.
const cacheBytesMin = 16 << 10

// SetCacheBytes changes the bound of the cache and of the filter beside it while the store is in
// use: a node's memory is shared by its apps, and another has come or gone. It never goes above
// what the store was opened with. What is too much leaves at once, but for what is not applied yet.
func (s *Store) SetCacheBytes(bound int64) {
	s.w.Lock()
	defer s.w.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	bound = min(max(bound, cacheBytesMin), s.cacheMax)
	s.opt.CacheBytes, s.opt.ApplyBytes, s.cache.limit = bound, bound/4, bound
	s.evict()
	s.cache.slots.shrink()
}
