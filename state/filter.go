package state

import (
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
)

// filter tells of most groups without values that they have none, before Pebble is asked: a Get of
// nothing costs Pebble thirty times as much.
//
// Invariant: once it is ready, it has every key that is in Pebble. A key that it lacked would be
// counted from nothing, and nobody would see it. So the writer adds a key before Pebble gets the
// batch or the table that holds it, and the build of an existing store's filter begins with a cut
// and such an adding writer at one moment (see filterbuild.go).
//
// It may have keys that Pebble has not. It forgets nothing, since a store deletes no groups.
type filter struct {
	active bool        // keys are added; guarded by the writer's lock
	ready  atomic.Bool // its answers count

	mu     sync.Mutex // whoever adds: the writer, and the build beside it
	limit  int64      // of all layers' bytes; beyond it the last layer takes more keys than is good
	layers atomic.Pointer[[]*filterLayer]
}

// filterLayer is a Bloom filter in which the bits of a key lie in one line of memory. A layer does
// not grow: when it has its keys, a further one of four times its size begins.
type filterLayer struct {
	words []atomic.Uint64
	lines uint64
	keys  int // added so far
	max   int
}

const (
	// filterShare of the cache's bytes is the filter's at most.
	filterShare = 4

	filterKeyBits  = 12 // of which a key sets 8: of keys that are not there, about one in 200 seems to be
	filterKeysMin  = 1 << 11
	filterGrowth   = 4
	filterLine     = 8 // words
	filterLineBits = 8 * lineBytes
)

func newFilter(limit int64) *filter {
	f := &filter{limit: limit}
	f.layers.Store(new([]*filterLayer))
	return f
}

func newFilterLayer(keys int) *filterLayer {
	lines := max(1, keys*filterKeyBits/filterLineBits)
	return &filterLayer{words: make([]atomic.Uint64, lines*filterLine), lines: uint64(lines), max: keys}
}

// bytes is what the layers take in memory.
func (f *filter) bytes() (n int64) {
	for _, l := range *f.layers.Load() {
		n += 8 * int64(len(l.words))
	}
	return n
}

// lacks tells that no key of this hash is in Pebble; false tells nothing.
func (f *filter) lacks(hash uint64) bool {
	if !f.ready.Load() {
		return false
	}
	return !hasKey(*f.layers.Load(), hash)
}

// touch brings what lacks will read into the processor's caches.
func (f *filter) touch(keys []missed) {
	if !f.ready.Load() {
		return
	}
	for _, l := range *f.layers.Load() {
		for _, k := range keys {
			_ = l.line(k.hash)[0].Load() // an atomic read is never left out
		}
	}
}

// add takes keys by their hashes.
func (f *filter) add(hashes []uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	layers := *f.layers.Load()
	for _, hash := range hashes {
		if hasKey(layers, hash) {
			continue // or seems to be there, which is as good: its bits are set
		}
		if n := len(layers); n == 0 || layers[n-1].keys >= layers[n-1].max {
			layers = f.grow(layers, 1)
		}
		l := layers[len(layers)-1]
		l.keys++
		l.set(hash)
	}
}

// expect makes room for so many keys, of which nothing is known yet: one layer for them is better
// than several that grow.
func (f *filter) expect(keys int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	layers := *f.layers.Load()
	if n := len(layers); n == 0 || layers[n-1].keys+keys > layers[n-1].max {
		f.grow(layers, keys)
	}
}

// grow begins a layer, unless there is no memory for it.
func (f *filter) grow(layers []*filterLayer, keys int) []*filterLayer {
	size := max(filterKeysMin, keys)
	if n := len(layers); n > 0 {
		size = max(size, filterGrowth*layers[n-1].max)
	}
	room := f.limit - f.bytes()
	if n := len(layers); n > 0 && room < 8*int64(len(layers[n-1].words)) {
		return layers
	}
	size = min(size, int(max(room, 0)*8/filterKeyBits))
	layers = append(slices.Clip(layers), newFilterLayer(size))
	f.layers.Store(&layers)
	return layers
}

func hasKey(layers []*filterLayer, hash uint64) bool {
	for _, l := range layers {
		if l.has(hash) {
			return true
		}
	}
	return false
}

// line is the line of a key: by the high bits of its hash.
func (l *filterLayer) line(hash uint64) []atomic.Uint64 {
	n, _ := bits.Mul64(hash, l.lines)
	return l.words[n*filterLine:][:filterLine:filterLine]
}

// A key sets two bits in each of four words of its line; which ones, 13 bits of a number say for
// each. The hash is multiplied first, since its high bits have chosen the line.
const (
	filterWords   = 4
	filterMix     = 0x9E3779B97F4A7C15
	filterChoices = 13
)

func choice(rest uint64, i int) (word int, mask uint64) {
	return 2*i + int(rest&1), 1<<(rest>>1&63) | 1<<(rest>>7&63)
}

func (l *filterLayer) has(hash uint64) bool {
	line := l.line(hash)
	rest := hash * filterMix
	for i := range filterWords {
		word, mask := choice(rest, i)
		if line[word].Load()&mask != mask {
			return false
		}
		rest >>= filterChoices
	}
	return true
}

func (l *filterLayer) set(hash uint64) {
	line := l.line(hash)
	rest := hash * filterMix
	for i := range filterWords {
		word, mask := choice(rest, i)
		line[word].Or(mask)
		rest >>= filterChoices
	}
}
