package state

import (
	"slices"
	"sync"
)

// Places bounds how many compactions run at once in all the stores that share it. Each takes a
// processor for itself: beside as many as there are processors, lanes waited a quarter of a second
// for theirs.
type Places struct {
	mu      sync.Mutex // ordered after those of compactions
	most    int
	taken   int
	waiting []*compactions // each once, in the order in which they were refused
}

// NewPlaces makes most places, and as many again for stores that have fallen behind.
func NewPlaces(most int) *Places { return &Places{most: max(most, 1)} }

// take reports whether c has a place. A store that has fallen behind, so that Pebble allows it
// several compactions, is not held up by one that has not.
func (p *Places) take(c *compactions, behind bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	most := p.most
	if behind {
		most *= 2
	}
	if p.taken < most {
		p.taken++
		return true
	}
	if !slices.Contains(p.waiting, c) {
		p.waiting = append(p.waiting, c)
	}
	return false
}

// back gives a place back.
func (p *Places) back() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
}

// next returns who is to be asked whether it wants a place, the longest refused first. Who gets
// none then, and wants one, is refused anew.
func (p *Places) next() []*compactions {
	p.mu.Lock()
	defer p.mu.Unlock()
	waiting := p.waiting
	p.waiting = nil
	return waiting
}

// leave is called by a store that closes.
func (p *Places) leave(c *compactions) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = slices.DeleteFunc(p.waiting, func(w *compactions) bool { return w == c })
}
