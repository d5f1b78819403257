package audit

import (
	"bufio"
	"bytes"
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"github.com/tally-kafka/tally/internal/keysort"
)

// cells are entries in memory: a hash table of places in one block of bytes, without a pointer an
// entry, since a collector that follows millions of them costs more than the recount.
//
// An entry in the block is the lengths of its key, of its value and of the room for the value, of
// four bytes each, then the key and the room. A value that outgrows its room gets a new entry, and
// the old one is waste until the block is cleared.
type cells struct {
	block []byte
	slots []slot // a power of two; at most three quarters are used
	used  int
	// common is the length of the prefix that all keys share.
	common int
}

// slot is a place in the block, plus one; zero is free. The hash saves most looks into the block.
type slot struct {
	hash  uint32
	place uint32
}

const (
	slotsMin   = 1 << 10
	blockMin   = 64 << 10
	slotBytes  = 8
	entryHead  = 12
	spareBytes = 4 // of room for a value to grow in
	// blockMax keeps places within 32 bits. A block that is as large counts as full.
	blockMax = 1 << 31
)

// bytes is the memory in use, more than any limit when the block can take no more.
func (c *cells) bytes() int64 {
	if len(c.block) > blockMax {
		return 1<<63 - 1
	}
	return int64(len(c.block)) + slotBytes*int64(len(c.slots))
}

// find gives the value of a key, valid until the next change, and its slot or the free one for it.
func (c *cells) find(key []byte) (i int, value []byte, found bool) {
	if 4*(c.used+1) > 3*len(c.slots) {
		c.grow()
	}
	hash := uint32(xxhash.Sum64(key))
	for i = int(hash) & (len(c.slots) - 1); c.slots[i].place != 0; i = (i + 1) & (len(c.slots) - 1) {
		if c.slots[i].hash != hash {
			continue
		}
		if k, v, _ := c.entry(c.slots[i].place - 1); bytes.Equal(k, key) {
			return i, v, true
		}
	}
	c.slots[i].hash = hash
	return i, nil, false
}

// entry takes the entry at a place apart. The value's capacity is its room.
func (c *cells) entry(place uint32) (key, value []byte, head []byte) {
	b := c.block[place:]
	k, v, room := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])
	from := entryHead + k
	return b[entryHead:from], b[from : from+v : from+room], b[:entryHead]
}

// add puts a new key where find has not found it.
func (c *cells) add(i int, key, value []byte) {
	if c.used == 0 {
		c.common = len(key)
	} else {
		first, _, _ := c.entry(0)
		c.common = keysort.Shared(first[:c.common], key)
	}
	c.slots[i].place = uint32(len(c.block)) + 1
	c.used++
	c.append(key, value)
}

func (c *cells) append(key, value []byte) {
	room := len(value) + spareBytes
	if more := entryHead + len(key) + room; len(c.block)+more > cap(c.block) {
		c.block = append(make([]byte, 0, max(2*cap(c.block), len(c.block)+more, blockMin)), c.block...)
	}
	c.block = binary.LittleEndian.AppendUint32(c.block, uint32(len(key)))
	c.block = binary.LittleEndian.AppendUint32(c.block, uint32(len(value)))
	c.block = binary.LittleEndian.AppendUint32(c.block, uint32(room))
	c.block = append(append(c.block, key...), value...)
	c.block = c.block[:len(c.block)+spareBytes]
}

// replace gives the key at a slot another value.
func (c *cells) replace(i int, key, value []byte) {
	_, old, head := c.entry(c.slots[i].place - 1)
	if len(value) <= cap(old) {
		copy(old[:len(value)], value)
		binary.LittleEndian.PutUint32(head[4:], uint32(len(value)))
		return
	}
	c.slots[i].place = uint32(len(c.block)) + 1
	c.append(key, value)
}

func (c *cells) grow() {
	old := c.slots
	c.slots = make([]slot, max(2*len(old), slotsMin))
	for _, s := range old {
		if s.place == 0 {
			continue
		}
		i := int(s.hash) & (len(c.slots) - 1)
		for c.slots[i].place != 0 {
			i = (i + 1) & (len(c.slots) - 1)
		}
		c.slots[i] = s
	}
}

// clear forgets all entries, and keeps the memory.
func (c *cells) clear() {
	c.block, c.used = c.block[:0], 0
	clear(c.slots)
}

// sorted writes all entries in the order of their keys.
func (c *cells) sorted(w *bufio.Writer) error {
	all := make([]keysort.Entry, 0, c.used)
	for _, s := range c.slots {
		if s.place != 0 {
			key, _, _ := c.entry(s.place - 1)
			all = append(all, keysort.Entry{Order: keysort.Orders(key[c.common:]), At: s.place - 1})
		}
	}
	keysort.Sort(all, func(a, b keysort.Entry) int {
		ka, _, _ := c.entry(a.At)
		kb, _, _ := c.entry(b.At)
		return bytes.Compare(ka, kb)
	})
	for _, r := range all {
		key, value, _ := c.entry(r.At)
		if err := writeEntry(w, key, value); err != nil {
			return err
		}
	}
	return nil
}
