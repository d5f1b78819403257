package state

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tally-kafka/tally/internal/keysort"
)

// chunk collects values of groups and gives them back in the order of keys, each group once with
// its latest values.
//
// All bytes are in one arena and entries have no pointers. Folding in a map while records come in
// was left out: the arena takes no more than the limit either way, and sorting drops what comes
// twice.
type chunk struct {
	tasks   []Task
	arena   []byte
	entries []keysort.Entry
	common  int // length of the prefix that all groups share
	touched byte
}

// chunkMax is a limit that keeps offsets in the arena within 32 bits.
const chunkMax = 1 << 30

// task gives a task its index in this chunk.
func (c *chunk) task(t Task) int {
	c.tasks = append(c.tasks, t)
	return len(c.tasks) - 1
}

func (c *chunk) add(task int, t Task, group, values []byte) {
	c.entries = append(c.entries, keysort.Entry{At: uint32(len(c.arena)), Of: uint32(task)})
	c.arena = binary.AppendUvarint(binary.AppendUvarint(c.arena, uint64(keyGroup+len(group))), uint64(len(values)))
	c.arena = append(appendStoreKey(c.arena, t, group), values...)
	if len(c.entries) == 1 {
		c.common = len(group)
	} else {
		c.common = keysort.Shared(c.keyOf(c.entries[0])[keyGroup:keyGroup+c.common], group)
	}
}

// size is what the chunk takes in memory.
func (c *chunk) size() int64 { return int64(len(c.arena)) + keysort.EntryBytes*int64(len(c.entries)) }

// reset empties the chunk. Memory far beyond what was used goes back: a follower's chunks are small
// after those of its catch-up.
func (c *chunk) reset() {
	if len(c.arena) < cap(c.arena)/8 {
		*c = chunk{}
		return
	}
	c.tasks, c.arena, c.entries = c.tasks[:0], c.arena[:0], c.entries[:0]
}

// parts are the key of an entry and its values, which lie in the arena behind their lengths.
func (c *chunk) parts(e keysort.Entry) (key, values []byte) {
	b := c.arena[e.At:]
	k, n := binary.Uvarint(b)
	v, m := binary.Uvarint(b[n:])
	b = b[n+m:]
	return b[:k:k], b[k : k+v : k+v]
}

func (c *chunk) keyOf(e keysort.Entry) []byte {
	key, _ := c.parts(e)
	return key
}

// sort brings the entries into the order of keys and drops all but the latest of each group: of
// equal keys the one that is last in the arena.
func (c *chunk) sort() {
	for i := range c.entries {
		e := &c.entries[i]
		e.Order = keysort.Orders(c.keyOf(*e)[keyGroup+c.common:])
	}
	if len(c.tasks) > 1 {
		slices.SortFunc(c.entries, func(a, b keysort.Entry) int { return compareTasks(c.tasks[a.Of], c.tasks[b.Of]) })
	}
	for from := 0; from < len(c.entries); {
		end := from + 1
		for end < len(c.entries) && c.entries[end].Of == c.entries[from].Of {
			end++
		}
		keysort.Sort(c.entries[from:end], c.tie)
		from = end
	}
	kept := c.entries[:0]
	for i, e := range c.entries {
		if i+1 < len(c.entries) && c.same(e, c.entries[i+1]) {
			continue
		}
		kept = append(kept, e)
	}
	c.entries = kept
}

// tie compares entries of one task by their keys, and of equal keys by which came first.
func (c *chunk) tie(a, b keysort.Entry) int {
	return cmp.Or(bytes.Compare(c.keyOf(a), c.keyOf(b)), cmp.Compare(a.At, b.At))
}

func (c *chunk) same(a, b keysort.Entry) bool {
	return a.Of == b.Of && a.Order == b.Order && bytes.Equal(c.keyOf(a), c.keyOf(b))
}

// each visits the entries, sorted or as they came. Both slices are valid until reset.
func (c *chunk) each(fn func(key, values []byte)) {
	for _, e := range c.entries {
		fn(c.parts(e))
	}
}

// writeTable writes a sorted chunk with its positions as one table at loadPath, synced.
func (s *Store) writeTable(pos []Position, c *chunk) error {
	f, err := s.opt.FS.Create(s.loadPath(), vfs.WriteCategoryUnspecified)
	if err != nil {
		return classify(s.dir, err)
	}
	po := s.opt.pebbleOptions(s.watch, s.block, s.compactions)
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
	for i, e := range c.entries {
		c.touch(i + touchAhead)
		key, values := c.parts(e)
		value = AppendValue(value[:0], values)
		if err := w.Set(key, value); err != nil {
			return err
		}
	}
	return nil
}

// touchAhead is how far ahead of its use an entry's bytes are fetched: sorted entries lie anywhere
// in the arena, and waiting for memory was a fifth of a Load's time.
const touchAhead = 16

func (c *chunk) touch(i int) {
	if i < len(c.entries) {
		c.touched += c.arena[c.entries[i].At]
	}
}

// restCompactions puts compactions off while few tables overlap in L0, where each chunk lands, and
// waits for them while too many do: Pebble stops batches there, but not ingests, and reads would
// grow slow without a bound.
func (s *Store) restCompactions() error {
	if s.overlapping() < l0RestMax {
		s.compactions.rest(loadRest)
		return nil
	}
	s.compactions.rest(0)
	return s.awaitBelow(l0ReadsLoadMax)
}
