package state

import "encoding/binary"

// entryLog holds the cache's entries in segments without pointers, appended in the order in which
// they came. Memory comes and goes by whole segments, so what is held is known to the byte.
//
// An entry begins on a multiple of 8 bytes: its header, then its key, then its values with some
// room to grow. Its place is the number of its segment and its offset there in units of 8 bytes;
// the first unit of a segment stays empty, so no place is 0.
type entryLog struct {
	bits  uint     // a segment has 1 << bits bytes; one with a larger entry has that one alone
	segs  [][]byte // by number, each up to where it is filled; nil: the number is free
	free  []uint32
	order []uint32 // the numbers in use, oldest first, from the index oldest on
	old   int
	open  uint32 // the segment that is being filled, if hasOpen
	has   bool
	spare []byte // one that was emptied, for the next
	bytes int64  // of all segments, the spare one too
}

// The header of an entry: four numbers of 32 bits.
const (
	entryDirty = 0  // its place in the list of dirty ones, counted from 1; 0: clean
	entryKey   = 4  // length of the key
	entryVals  = 8  // length of the values
	entryRoom  = 12 // of the values
	entryHead  = 16

	entryDead = 1<<32 - 1 // in place of entryDirty: another entry took its slot
	entryUnit = 8
	unitBits  = 3
)

// Segments are a 64th of the cache, so that one more or less matters little, and at most 256 KB.
const (
	segmentBitsMin = 10
	segmentBitsMax = 18
)

// entry is a header and what follows it, up to the end of its segment.
type entry []byte

func (e entry) field(f int) uint32  { return binary.LittleEndian.Uint32(e[f:]) }
func (e entry) set(f int, v uint32) { binary.LittleEndian.PutUint32(e[f:], v) }
func (e entry) key() []byte         { return e[entryHead : entryHead+e.field(entryKey)] }
func (e entry) size() int           { return int(entryHead + e.field(entryKey) + e.field(entryRoom)) }

func (e entry) values() []byte {
	from := entryHead + e.field(entryKey)
	return e[from : from+e.field(entryVals)]
}

// setValues sets values for which there is room.
func (e entry) setValues(v []byte) {
	e.set(entryVals, uint32(len(v)))
	copy(e.values(), v)
}

func newEntryLog(limit int64) entryLog {
	l := entryLog{bits: segmentBitsMin}
	for l.bits < segmentBitsMax && int64(64)<<l.bits < limit {
		l.bits++
	}
	return l
}

func (l *entryLog) at(place uint32) entry {
	units := l.bits - unitBits
	return l.segs[place>>units][place&(1<<units-1)<<unitBits:]
}

// add appends a clean entry with a copy of key and values, which may later grow by a byte at least.
func (l *entryLog) add(key, values []byte) (place uint32, e entry) {
	size := (entryHead + len(key) + len(values) + 1 + entryUnit - 1) &^ (entryUnit - 1)
	place, e = l.take(size)
	e.set(entryDirty, 0)
	e.set(entryKey, uint32(len(key)))
	e.set(entryRoom, uint32(size-entryHead-len(key)))
	copy(e[entryHead:], key)
	e.setValues(values)
	return place, e
}

// take returns room for an entry.
func (l *entryLog) take(size int) (place uint32, e entry) {
	if size > 1<<l.bits-entryUnit {
		n := l.segment(make([]byte, entryUnit+size))
		return n<<(l.bits-unitBits) + 1, l.segs[n][entryUnit:]
	}
	if !l.has || len(l.segs[l.open])+size > 1<<l.bits {
		l.open, l.has = l.segment(l.fresh()[:entryUnit]), true
	}
	seg := l.segs[l.open]
	at := len(seg)
	l.segs[l.open] = seg[:at+size]
	return l.open<<(l.bits-unitBits) + uint32(at>>unitBits), l.segs[l.open][at:]
}

// fresh is memory for a segment.
func (l *entryLog) fresh() []byte {
	if seg := l.spare; seg != nil {
		l.spare = nil
		l.bytes -= int64(cap(seg)) // segment counts it again
		return seg
	}
	return make([]byte, 1<<l.bits)
}

// segment takes a number for a segment, which becomes the youngest.
func (l *entryLog) segment(seg []byte) uint32 {
	l.bytes += int64(cap(seg))
	n := uint32(len(l.segs))
	if k := len(l.free); k > 0 {
		n, l.free = l.free[k-1], l.free[:k-1]
		l.segs[n] = seg
	} else {
		l.segs = append(l.segs, seg)
	}
	l.order = append(l.order, n)
	return n
}

// oldest takes the oldest segment out of the order; ok is false when there is none. The caller
// moves out of it what is to stay, and releases it.
func (l *entryLog) oldest() (n uint32, ok bool) {
	if l.old == len(l.order) {
		return 0, false
	}
	n = l.order[l.old]
	if l.old++; 2*l.old > len(l.order) {
		l.order = append(l.order[:0], l.order[l.old:]...)
		l.old = 0
	}
	if l.has && n == l.open {
		l.has = false
	}
	return n, true
}

// count is how many segments there are.
func (l *entryLog) count() int { return len(l.order) - l.old }

// release gives a segment's memory back, or keeps it for the next.
func (l *entryLog) release(n uint32) {
	seg := l.segs[n]
	l.segs[n] = nil
	l.free = append(l.free, n)
	if l.spare == nil && cap(seg) == 1<<l.bits {
		l.spare = seg
		return
	}
	l.bytes -= int64(cap(seg))
}

// each visits the entries of a segment.
func (l *entryLog) each(n uint32, fn func(place uint32, e entry)) {
	seg := l.segs[n]
	for at := entryUnit; at < len(seg); {
		e := entry(seg[at:])
		size := e.size()
		fn(n<<(l.bits-unitBits)+uint32(at>>unitBits), e)
		at += size
	}
}

// dropSpare gives the spare segment's memory back.
func (l *entryLog) dropSpare() {
	l.bytes -= int64(cap(l.spare))
	l.spare = nil
}
