package state

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// chunk collects values of groups and gives them back in the order of keys, each group once with its
// latest values.
//
// All bytes are in one arena and entries have no pointers: a map that folds while records come in cost
// more than sorting the few that come twice.
type chunk struct {
	tasks   []Task
	arena   []byte
	entries []chunkEntry
}

// chunkEntry is a key and its values in the arena. prefix holds the first bytes of the group as a
// number, so that most comparisons touch the entry alone.
type chunkEntry struct {
	prefix    uint64
	from      int // of the key in the arena; the values follow it
	key, vals int // lengths
	task      int
}

// chunkEntryBytes is the size of a chunkEntry.
const chunkEntryBytes = 40

// task gives a task its index in this chunk.
func (c *chunk) task(t Task) int {
	c.tasks = append(c.tasks, t)
	return len(c.tasks) - 1
}

func (c *chunk) add(task int, t Task, group, values []byte) {
	from := len(c.arena)
	c.arena = appendStoreKey(c.arena, t, group)
	key := len(c.arena) - from
	c.arena = append(c.arena, values...)
	c.entries = append(c.entries, chunkEntry{
		prefix: prefixOf(group), from: from, key: key, vals: len(values), task: task,
	})
}

// prefixOf orders groups by their first 8 bytes; a shorter group is filled up with zeros, so equal
// prefixes do not mean equal groups.
func prefixOf(group []byte) uint64 {
	if len(group) >= 8 {
		return binary.BigEndian.Uint64(group)
	}
	var b [8]byte
	copy(b[:], group)
	return binary.BigEndian.Uint64(b[:])
}

// size is what the chunk takes in memory.
func (c *chunk) size() int64 { return int64(len(c.arena)) + chunkEntryBytes*int64(len(c.entries)) }

func (c *chunk) reset() {
	c.tasks, c.arena, c.entries = c.tasks[:0], c.arena[:0], c.entries[:0]
}

func (c *chunk) keyOf(e chunkEntry) []byte    { return c.arena[e.from : e.from+e.key] }
func (c *chunk) valuesOf(e chunkEntry) []byte { return c.arena[e.from+e.key : e.from+e.key+e.vals] }

// sort brings the entries into the order of keys and drops all but the latest of each group: of equal
// keys the one that is last in the arena.
func (c *chunk) sort() {
	slices.SortFunc(c.entries, func(a, b chunkEntry) int {
		if a.task != b.task {
			return compareTasks(c.tasks[a.task], c.tasks[b.task])
		}
		if a.prefix != b.prefix {
			if a.prefix < b.prefix {
				return -1
			}
			return 1
		}
		if d := bytes.Compare(c.keyOf(a), c.keyOf(b)); d != 0 {
			return d
		}
		return a.from - b.from
	})
	kept := c.entries[:0]
	for i, e := range c.entries {
		if i+1 < len(c.entries) && c.same(e, c.entries[i+1]) {
			continue
		}
		kept = append(kept, e)
	}
	c.entries = kept
}

func (c *chunk) same(a, b chunkEntry) bool {
	return a.task == b.task && a.prefix == b.prefix && bytes.Equal(c.keyOf(a), c.keyOf(b))
}

// each visits the sorted entries. Both slices are valid until reset.
func (c *chunk) each(fn func(key, values []byte)) {
	for _, e := range c.entries {
		fn(c.keyOf(e), c.valuesOf(e))
	}
}

// writeTable writes a sorted chunk with its positions as one table at loadPath, synced.
func (s *Store) writeTable(pos []Position, c *chunk) error {
	f, err := s.opt.FS.Create(s.loadPath(), vfs.WriteCategoryUnspecified)
	if err != nil {
		return classify(s.dir, err)
	}
	po := s.opt.pebbleOptions(s.watch, s.block)
	w := sstable.NewWriter(objstorageprovider.NewFileWritable(f), po.MakeWriterOptions(0, s.db.TableFormat()))
	err = fillTable(w, pos, c)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	return classify(s.dir, err)
}

// fillTable writes the positions, which sort before all values, and the values.
func fillTable(w *sstable.Writer, pos []Position, c *chunk) error {
	slices.SortFunc(pos, func(a, b Position) int { return compareTasks(a.Record.Task, b.Record.Task) })
	for _, p := range pos {
		if err := w.Set(storePositionKey(p.Record.Task), encodeStorePosition(p)); err != nil {
			return err
		}
	}
	var value []byte
	for _, e := range c.entries {
		value = AppendValue(value[:0], c.valuesOf(e))
		if err := w.Set(c.keyOf(e), value); err != nil {
			return err
		}
	}
	return nil
}

// waitCompactions waits while too many tables overlap in L0, where each chunk lands: Pebble stops
// batches there, but not ingests, and reads would grow slow without a bound.
func (s *Store) waitCompactions() error {
	for s.db.Metrics().Levels[0].Sublevels >= l0ReadsLoadMax {
		select {
		case <-s.watch.compacted:
		case <-s.watch.failed:
			return s.watch.failure()
		}
	}
	return nil
}
