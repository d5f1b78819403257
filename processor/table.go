package processor

import (
	"bytes"
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"github.com/tally-kafka/tally/processor/spec"
)

// deltas are what a batch adds to the groups of one task, or sends to one partition: a hash table
// without pointers, in which a group costs two waits for memory, and none when it was touched
// ahead. A map of structs took four, and a third of the lane's time.
type deltas struct {
	// words are the slots, with linear probing: a tag, the hash's highest bits, whose own highest
	// bits are the slot at which a search begins; and the delta's place, 0 in an empty slot.
	words []uint64
	shift uint
	arena []byte // the deltas, in the order of first touch
	n     int

	// numbers are the increments of each delta by its ordinal, width of them each; unless all
	// aggregates are counts, which are in the delta itself.
	numbers []spec.Decimal
	width   int

	after [][]spec.Decimal // by ordinal: the running values, while the commit emits every increment
}

const (
	tagBits      = 32
	wordsMinBits = 8
	placeUnit    = 8
	firstPlace   = 1 // so that no place is 0
)

// delta is what a batch adds to one group, up to the end of the arena: a header, then the group.
type delta []byte

const (
	deltaCount   = 0  // of increments
	deltaNewest  = 8  // newest event time, ms
	deltaGroup   = 16 // length of the group; above it, whether each partitioner has it astray
	deltaOrdinal = 20
	deltaHead    = 24

	strayShift = 24 // a group has at most 32 KB
)

func (d delta) count() int64   { return int64(binary.LittleEndian.Uint64(d[deltaCount:])) }
func (d delta) newest() int64  { return int64(binary.LittleEndian.Uint64(d[deltaNewest:])) }
func (d delta) ordinal() int   { return int(binary.LittleEndian.Uint32(d[deltaOrdinal:])) }
func (d delta) fields() uint32 { return binary.LittleEndian.Uint32(d[deltaGroup:]) }
func (d delta) size() uint32   { return d.fields() & (1<<strayShift - 1) }

func (d delta) group() []byte {
	end := deltaHead + d.size()
	return d[deltaHead:end:end]
}

func (d delta) stray(partitioner int) bool { return d.fields()>>(strayShift+partitioner)&1 != 0 }

// take counts increments of events up to that time.
func (d delta) take(n, ms int64) {
	binary.LittleEndian.PutUint64(d[deltaCount:], uint64(d.count()+n))
	binary.LittleEndian.PutUint64(d[deltaNewest:], uint64(max(d.newest(), ms)))
}

func hashGroup(group []byte) uint64 { return xxhash.Sum64(group) }

func tagOf(hash uint64) uint32 { return uint32(hash >> (64 - tagBits)) }

// reset empties the table for values of so many numbers (0: all are counts). Memory far beyond what
// was used goes back.
func (t *deltas) reset(width int) {
	if t.words == nil || 8*len(t.arena) < cap(t.arena) || t.width != width {
		*t = deltas{words: make([]uint64, 1<<wordsMinBits), shift: tagBits - wordsMinBits, width: width}
	}
	clear(t.words)
	clear(t.numbers) // big numbers are behind pointers
	clear(t.after)
	t.arena, t.n, t.numbers, t.after = append(t.arena[:0], make([]byte, firstPlace*placeUnit)...), 0, t.numbers[:0], t.after[:0]
}

func (t *deltas) at(place uint32) delta { return t.arena[int(place)*placeUnit:] }

// first is the place of the first delta and next that of the one behind; last is behind the last.
func (t *deltas) first() uint32 { return firstPlace }
func (t *deltas) last() uint32  { return uint32(len(t.arena) / placeUnit) }

func (t *deltas) next(place uint32) uint32 {
	return place + (deltaHead+t.at(place).size()+placeUnit-1)/placeUnit
}

// find returns the place of a group's delta; 0 when it has none.
func (t *deltas) find(hash uint64, group []byte) uint32 {
	tag := tagOf(hash)
	for i := int(tag >> t.shift); ; i = (i + 1) & (len(t.words) - 1) {
		word := t.words[i]
		if word == 0 {
			return 0
		}
		if uint32(word>>tagBits) == tag && bytes.Equal(t.at(uint32(word)).group(), group) {
			return uint32(word)
		}
	}
}

// add makes a delta of a group that has none, without increments.
func (t *deltas) add(hash uint64, group []byte, ms int64, stray [Partitioners]bool) uint32 {
	if 4*(t.n+1) > 3*len(t.words) {
		t.grow()
	}
	place := t.last()
	fields := uint32(len(group))
	for k, is := range stray {
		if is {
			fields |= 1 << (strayShift + k)
		}
	}
	t.arena = binary.LittleEndian.AppendUint64(t.arena, 0)
	t.arena = binary.LittleEndian.AppendUint64(t.arena, uint64(ms))
	t.arena = binary.LittleEndian.AppendUint32(t.arena, fields)
	t.arena = binary.LittleEndian.AppendUint32(t.arena, uint32(t.n))
	t.arena = append(t.arena, group...)
	for len(t.arena)%placeUnit != 0 {
		t.arena = append(t.arena, 0)
	}
	t.n++
	t.place(uint64(tagOf(hash))<<tagBits | uint64(place))
	return place
}

func (t *deltas) place(word uint64) {
	i := int(uint32(word>>tagBits) >> t.shift)
	for t.words[i] != 0 {
		i = (i + 1) & (len(t.words) - 1)
	}
	t.words[i] = word
}

func (t *deltas) grow() {
	old := t.words
	t.words = make([]uint64, 2*len(old))
	t.shift--
	for _, word := range old {
		if word != 0 {
			t.place(word)
		}
	}
}

// touchSlot and touchDelta bring what find will need into the processor's caches: first the slots
// of many groups, then their deltas.
func (t *deltas) touchSlot(hash uint64) uint64 { return t.words[tagOf(hash)>>t.shift] }

func (t *deltas) touchDelta(hash, word uint64) byte {
	if uint32(word>>tagBits) != tagOf(hash) {
		return 0
	}
	d := t.at(uint32(word))
	return d[0] ^ d[min(len(d), 64)-1]
}

// sum are a delta's increments folded together; where all are counts, in scratch.
func (t *deltas) sum(d delta, scratch []spec.Decimal) []spec.Decimal {
	if t.width > 0 {
		i := d.ordinal() * t.width
		return t.numbers[i : i+t.width]
	}
	for i := range scratch {
		scratch[i] = spec.DecimalOf(d.count())
	}
	return scratch
}
