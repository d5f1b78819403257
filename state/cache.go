package state

import "bytes"

// cache is the write-back cache: the latest committed values of groups by their key in the store.
// Dirty entries are not in Pebble yet and are never evicted; the others leave by the clock
// algorithm, segment by segment of the log: what was used since it was written is written again.
//
// It holds no pointers: a map of them cost the collector a third of a lane's time, and each group
// several waits for memory. Callers touch a run of keys before they use it, so that these waits
// overlap.
//
// The owner of the store's lock calls: get and touch under the read lock, all else under the write
// lock; sorted, and reads of what it gave, under the writer's lock alone while Store.applying is
// set: what makes room in the cache moves dirty entries too.
type cache struct {
	limit int64
	slots slots
	log   entryLog

	dirty      []uint32 // places
	dirtyBytes int64
	touched    uint32 // so that the compiler keeps the reads that touch
}

// slotShare is about what an entry costs in slots, which are half full on average.
const slotShare = 2 * slotBytes

func newCache(limit int64) *cache {
	return &cache{limit: limit, slots: newSlots(), log: newEntryLog(limit)}
}

// bytes is what the cache holds in memory.
func (c *cache) bytes() int64 {
	return c.log.bytes + slotBytes*int64(len(c.slots.words)) + 4*int64(cap(c.dirty))
}

// groups is the number of groups in the cache.
func (c *cache) groups() int { return c.slots.used }

// find returns the slot and the entry of a key; its word is 0 when there is none.
func (c *cache) find(hash uint64, key []byte) (slot int, word uint64, e entry) {
	tag := tagOf(hash)
	for i := c.slots.home(tag); ; i = c.slots.next(i) {
		word := c.slots.load(i)
		if word == 0 {
			return i, 0, nil
		}
		if tagIn(word) == tag {
			if e := c.log.at(placeIn(word)); bytes.Equal(e.key(), key) {
				return i, word, e
			}
		}
	}
}

// get returns the values of a key, valid as long as the lock is held.
func (c *cache) get(hash uint64, key []byte) ([]byte, bool) {
	i, word, e := c.find(hash, key)
	if word == 0 {
		return nil, false
	}
	c.slots.use(i, word)
	return e.values(), true
}

// put stores values, which are copied. A dirty entry stays dirty.
func (c *cache) put(hash uint64, key, values []byte, dirty bool) {
	i, word, e := c.find(hash, key)
	switch {
	case word == 0:
		var place uint32
		place, e = c.log.add(key, values)
		c.slots.insert(tagOf(hash), place)
		if dirty {
			c.soil(place, e)
		}
		return
	case len(values) <= int(e.field(entryRoom)):
		e.setValues(values)
		c.slots.use(i, word)
	default:
		place, larger := c.log.add(key, values)
		c.slots.move(i, place)
		c.take(place, larger, e)
		c.slots.use(i, c.slots.words[i])
		word, e = c.slots.words[i], larger
	}
	if dirty && e.field(entryDirty) == 0 {
		c.soil(placeIn(word), e)
	}
}

// soil marks a clean entry as dirty.
func (c *cache) soil(place uint32, e entry) {
	c.dirty = append(c.dirty, place)
	e.set(entryDirty, uint32(len(c.dirty)))
	c.dirtyBytes += int64(e.size()) + slotShare
}

// take lets an entry at a place be dirty in place of an old one, which is dead from now on.
func (c *cache) take(place uint32, e, old entry) {
	if d := old.field(entryDirty); d != 0 {
		e.set(entryDirty, d)
		c.dirty[d-1] = place
		c.dirtyBytes += int64(e.size() - old.size())
	}
	old.set(entryDirty, entryDead)
}

// fill stores values read from Pebble, unless the cache knows the group.
func (c *cache) fill(hash uint64, key, values []byte) {
	if _, word, _ := c.find(hash, key); word == 0 {
		c.put(hash, key, values, false)
	}
}

// update stores values if the group is in the cache; it must not be dirty.
func (c *cache) update(hash uint64, key, values []byte) {
	_, word, e := c.find(hash, key)
	if word == 0 {
		return
	}
	if e.field(entryDirty) != 0 {
		panic("state: a load met a value that was not applied: Load applies all before it starts")
	}
	c.put(hash, key, values, false)
}

// clean marks all entries as applied.
func (c *cache) clean() {
	for _, place := range c.dirty {
		c.log.at(place).set(entryDirty, 0)
	}
	c.dirty = c.dirty[:0]
	c.dirtyBytes = 0
}

// evict drops clean entries until the cache is within its limit or holds dirty ones only. Each
// entry is looked at no more than twice: once it was not used, it goes.
//
// others is what else is to be within the limit.
func (c *cache) evict(others int64) {
	limit := c.limit - others
	for looks := 2 * c.log.count(); c.bytes() > limit && looks > 0; looks-- {
		n, ok := c.log.oldest()
		if !ok {
			break
		}
		c.log.each(n, c.pass)
		c.log.release(n)
	}
	if c.bytes() > limit {
		c.log.dropSpare()
		c.trim()
	}
}

// trim gives back the room for more entries than there are.
func (c *cache) trim() {
	c.slots.shrink()
	if 2*len(c.dirty) < cap(c.dirty) {
		c.dirty = append(make([]uint32, 0, len(c.dirty)), c.dirty...)
	}
}

// pass is the clock's hand on an entry: it is written again, if it is dirty or was used, or goes.
func (c *cache) pass(place uint32, e entry) {
	d := e.field(entryDirty)
	if d == entryDead {
		return
	}
	i := c.slots.find(tagOf(hashKey(e.key())), place)
	if d == 0 && c.slots.words[i]&slotUsed == 0 {
		c.slots.remove(i)
		return
	}
	again, copied := c.log.add(e.key(), e.values())
	c.slots.move(i, again)
	c.take(again, copied, e)
}
