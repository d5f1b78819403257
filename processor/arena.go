package processor

import "github.com/twmb/franz-go/pkg/kgo"

const (
	arenaChunk = 64 << 10
	slabChunk  = 256 // records
)

// arena hands out byte slices from large chunks, which it uses again after reset.
type arena struct {
	chunks [][]byte
	at     int // index of the chunk in use
}

func (a *arena) copy(src []byte) []byte { return a.keep(append(a.open(len(src)), src...)) }

// open returns an empty slice with room for n bytes. What is appended to it belongs to the caller
// once keep has returned it; one open slice at a time.
func (a *arena) open(n int) []byte {
	for ; a.at < len(a.chunks); a.at++ {
		if c := a.chunks[a.at]; cap(c)-len(c) >= n {
			return c[len(c):]
		}
	}
	a.chunks = append(a.chunks, make([]byte, 0, max(arenaChunk, n)))
	return a.chunks[a.at]
}

// keep ends what open began. A slice that has outgrown the room has memory of its own.
func (a *arena) keep(b []byte) []byte {
	c := a.chunks[a.at]
	if end := len(c) + len(b); end <= cap(c) && len(b) > 0 && &c[:end][len(c)] == &b[0] {
		a.chunks[a.at] = c[:end]
	}
	return b[:len(b):len(b)]
}

// reset takes all slices back. Chunks far beyond what was used go.
func (a *arena) reset() {
	if keep := 2 * (a.at + 1); keep < len(a.chunks) {
		clear(a.chunks[keep:])
		a.chunks = a.chunks[:keep]
	}
	for i := range a.chunks {
		a.chunks[i] = a.chunks[i][:0]
	}
	a.at = 0
}

// slab hands out records, which it uses again after reset.
type slab struct {
	chunks [][]kgo.Record
	n      int // records handed out
}

func (s *slab) record() *kgo.Record {
	if s.n == len(s.chunks)*slabChunk {
		s.chunks = append(s.chunks, make([]kgo.Record, slabChunk))
	}
	r := &s.chunks[s.n/slabChunk][s.n%slabChunk]
	s.n++
	return r
}

// reset takes all records back, and lets go of what they point to.
func (s *slab) reset() {
	used := (s.n + slabChunk - 1) / slabChunk
	for _, c := range s.chunks[:used] {
		clear(c)
	}
	if keep := 2*used + 1; keep < len(s.chunks) {
		clear(s.chunks[keep:])
		s.chunks = s.chunks[:keep]
	}
	s.n = 0
}
