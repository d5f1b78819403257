package state

import (
	"slices"
	"strings"
	"sync/atomic"
)

// cache is the write-back cache: the latest committed values of groups by their key in the store.
// Dirty entries are not in Pebble yet and are never evicted; the others leave by the clock
// algorithm.
//
// The plain map of pointers was kept for its size; a table without pointers can take this type's
// place. The owner of the store's lock calls: get under the read lock, all else under the write
// lock; sorted under the writer's lock alone, since only the writer dirties and cleans.
type cache struct {
	limit int64
	m     map[string]*entry
	ring  []*entry // all entries; the clock's hand goes around
	hand  int

	dirty             []*entry
	bytes, dirtyBytes int64
}

type entry struct {
	key    string
	values []byte
	slot   int         // index in ring
	ref    atomic.Bool // used since the hand last passed
	dirty  bool
}

// entryBytes is what an entry costs beside its key and values: itself, its places in the map, the
// ring and the list of dirty ones, and what the allocator rounds up. A test measures it.
const entryBytes = 160

func newCache(limit int64) *cache { return &cache{limit: limit, m: make(map[string]*entry)} }

func (c *cache) get(key []byte) ([]byte, bool) {
	e := c.m[string(key)]
	if e == nil {
		return nil, false
	}
	if !e.ref.Load() { // a store to a shared line only when it tells something new
		e.ref.Store(true)
	}
	return e.values, true
}

// put stores values, which are copied. A dirty entry stays dirty.
func (c *cache) put(key, values []byte, dirty bool) {
	e := c.m[string(key)]
	if e == nil {
		e = &entry{key: string(key), slot: len(c.ring)}
		c.m[e.key] = e
		c.ring = append(c.ring, e)
		c.bytes += int64(len(key)) + entryBytes
	}
	grown := -cap(e.values)
	e.values = append(e.values[:0], values...)
	grown += cap(e.values)
	c.bytes += int64(grown)
	switch {
	case e.dirty:
		c.dirtyBytes += int64(grown)
	case dirty:
		e.dirty = true
		c.dirty = append(c.dirty, e)
		c.dirtyBytes += e.size()
	}
}

// fill stores values read from Pebble, unless the cache knows the group.
func (c *cache) fill(key, values []byte) {
	if c.m[string(key)] == nil {
		c.put(key, values, false)
	}
}

// update stores values if the group is in the cache; it must not be dirty.
func (c *cache) update(key, values []byte) {
	if e := c.m[string(key)]; e != nil {
		if e.dirty {
			panic("state: a load met a value that was not applied: Load applies all before it starts")
		}
		c.put(key, values, false)
	}
}

func (e *entry) size() int64 { return int64(len(e.key)+cap(e.values)) + entryBytes }

// sorted returns the dirty entries by key. Pebble takes a sorted batch faster.
func (c *cache) sorted() []*entry {
	slices.SortFunc(c.dirty, func(a, b *entry) int { return strings.Compare(a.key, b.key) })
	return c.dirty
}

// clean marks all entries as applied.
func (c *cache) clean() {
	for _, e := range c.dirty {
		e.dirty = false
	}
	clear(c.dirty)
	c.dirty = c.dirty[:0]
	c.dirtyBytes = 0
}

// evict drops clean entries until the cache is within its limit or holds dirty ones only. Each
// entry is looked at no more than twice.
func (c *cache) evict() {
	for looks := 2 * len(c.ring); c.bytes > c.limit && looks > 0; looks-- {
		if c.hand >= len(c.ring) {
			c.hand = 0
		}
		e := c.ring[c.hand]
		switch {
		case e.dirty:
			c.hand++
		case e.ref.Load():
			e.ref.Store(false)
			c.hand++
		default:
			c.drop(e)
		}
	}
}

// drop takes the ring's last entry into e's place, so that the ring has no holes.
func (c *cache) drop(e *entry) {
	last := c.ring[len(c.ring)-1]
	c.ring[e.slot], last.slot = last, e.slot
	c.ring[len(c.ring)-1] = nil
	c.ring = c.ring[:len(c.ring)-1]
	delete(c.m, e.key)
	c.bytes -= e.size()
}
