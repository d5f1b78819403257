package state

import (
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
)

// hashKey is the hash of a key in the store, by which the cache and the filter know it.
func hashKey(key []byte) uint64 { return xxhash.Sum64(key) }

// slots find entries by the hash of their key: a table with linear probing, whose words hold no
// pointers, so that the collector has nothing to look at and a group costs one line of memory here.
//
//	bits 32 to 63  where the entry is (see entryLog); never 0, so the zero word is an empty slot
//	bits 1 to 31   the tag: the hash's highest bits
//	bit 0          set when the entry was used since the clock's hand passed
//
// A tag's home is its highest bits, so the order of slots is that of tags: growing reads and writes
// memory in its order, and needs no entry.
type slots struct {
	words []uint64
	shift uint // of a tag to its home
	used  int
}

const (
	slotBytes    = 8
	slotUsed     = 1
	tagBits      = 31
	slotsMin     = 64
	slotsMinBits = 6
)

func newSlots() slots { return slots{words: make([]uint64, slotsMin), shift: tagBits - slotsMinBits} }

func tagOf(hash uint64) uint32 { return uint32(hash >> (64 - tagBits)) }

func tagIn(word uint64) uint32 { return uint32(word) >> 1 }

func placeIn(word uint64) uint32 { return uint32(word >> 32) }

func (s *slots) home(tag uint32) int { return int(tag >> s.shift) }

func (s *slots) next(i int) int { return (i + 1) & (len(s.words) - 1) }

// load reads a slot beside readers that mark it as used.
func (s *slots) load(i int) uint64 { return atomic.LoadUint64(&s.words[i]) }

// use marks a slot, whose word was read, as used. Readers share the lock under which they call it.
func (s *slots) use(i int, word uint64) {
	if word&slotUsed == 0 { // a store to a shared line only when it tells something new
		atomic.OrUint64(&s.words[i], slotUsed)
	}
}

// insert adds an entry that is not there.
func (s *slots) insert(tag, place uint32) {
	if 4*(s.used+1) > 3*len(s.words) {
		s.grow()
	}
	s.used++
	s.place(uint64(place)<<32 | uint64(tag)<<1)
}

func (s *slots) place(word uint64) {
	i := s.home(tagIn(word))
	for s.words[i] != 0 {
		i = s.next(i)
	}
	s.words[i] = word
}

func (s *slots) grow() { s.resize(2*len(s.words), s.shift-1) }

// shrink gives back what a table that was fuller once no longer needs.
func (s *slots) shrink() {
	n, shift := len(s.words), s.shift
	for n > slotsMin && 2*s.used < n/2 {
		n, shift = n/2, shift+1
	}
	if n < len(s.words) {
		s.resize(n, shift)
	}
}

func (s *slots) resize(n int, shift uint) {
	old := s.words
	s.words, s.shift = make([]uint64, n), shift
	for _, word := range old {
		if word != 0 {
			s.place(word)
		}
	}
}

// find is the slot of the entry at a place, which must be there.
func (s *slots) find(tag, place uint32) int {
	for i := s.home(tag); ; i = s.next(i) {
		switch word := s.words[i]; {
		case word == 0:
			panic("state: the cache has lost an entry")
		case placeIn(word) == place:
			return i
		}
	}
}

// move gives the slot's entry a new place, as one that was not used.
func (s *slots) move(i int, place uint32) {
	s.words[i] = uint64(place)<<32 | uint64(tagIn(s.words[i]))<<1
}

// remove empties a slot and closes the hole: entries behind it move up unless they are at home.
func (s *slots) remove(i int) {
	s.used--
	for j := s.next(i); ; j = s.next(j) {
		word := s.words[j]
		if word == 0 {
			s.words[i] = 0
			return
		}
		// j's entry may fill i unless its home lies between, where a search would begin behind i.
		away := (j - s.home(tagIn(word))) & (len(s.words) - 1)
		if hole := (j - i) & (len(s.words) - 1); away >= hole {
			s.words[i] = word
			i = j
		}
	}
}
