package state

import (
	"bytes"
	"cmp"
	"slices"
)

// dirtyEntry is a dirty entry on its way to Pebble. Two numbers decide most comparisons, so that
// sorting seldom waits for the memory of entries.
type dirtyEntry struct {
	task  uint64 // the key up to its group
	order uint64 // the group's bytes behind what all groups of the task have in common
	place uint32
}

// sorted returns the dirty entries in the order of their keys. Pebble takes a sorted batch faster.
func (c *cache) sorted() []dirtyEntry {
	sorted := make([]dirtyEntry, len(c.dirty))
	common := c.commonPrefixes()
	for i, place := range c.dirty {
		c.touchDirty(i + touchAhead)
		key := c.log.at(place).key()
		task := orderOf(key)
		sorted[i] = dirtyEntry{task, orderOf(key[keyGroup+common.of(task):]), place}
	}
	slices.SortFunc(sorted, c.compare)
	return sorted
}

func (c *cache) compare(a, b dirtyEntry) int {
	switch {
	case a.task != b.task:
		return cmp.Compare(a.task, b.task)
	case a.order != b.order:
		return cmp.Compare(a.order, b.order)
	}
	return bytes.Compare(c.log.at(a.place).key(), c.log.at(b.place).key())
}

func (c *cache) touchSorted(sorted []dirtyEntry, i int) {
	if i < len(sorted) {
		c.touched += c.log.at(sorted[i].place).field(entryKey)
	}
}

func (c *cache) touchDirty(i int) {
	if i < len(c.dirty) {
		c.touched += c.log.at(c.dirty[i]).field(entryKey)
	}
}

// prefixes are those that all dirty groups of a task share, of the few tasks of a lane.
type prefixes []taskPrefix

type taskPrefix struct {
	task uint64
	key  []byte // of one of its groups
	len  int    // of the prefix of its group
}

func (p prefixes) of(task uint64) int {
	for i := range p {
		if p[i].task == task {
			return p[i].len
		}
	}
	panic("state: a dirty entry has a task that none has")
}

func (c *cache) commonPrefixes() prefixes {
	var all prefixes
	last := -1
	for i, place := range c.dirty {
		c.touchDirty(i + touchAhead)
		key := c.log.at(place).key()
		task := orderOf(key)
		if last < 0 || all[last].task != task {
			if last = slices.IndexFunc(all, func(p taskPrefix) bool { return p.task == task }); last < 0 {
				last = len(all)
				all = append(all, taskPrefix{task, key, len(key) - keyGroup})
			}
		}
		p := &all[last]
		p.len = shared(p.key[keyGroup:keyGroup+p.len], key[keyGroup:])
	}
	return all
}
