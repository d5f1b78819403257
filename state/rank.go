package state

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"maps"
	"slices"
)

// ErrNotRanked is returned by Largest where the largest groups are not kept: the values may fall, a
// Load is under way, or more are asked for than are kept.
var ErrNotRanked = errors.New("the largest groups are not kept")

// Counter is a group with its values.
type Counter struct {
	Task          Task
	Group, Values []byte
}

// ranking keeps a store's largest groups, once somebody has asked for them, so that who asks again
// does not read all groups.
//
// It rests on values that never fall (see Options.Compare): a group that is not among the kept ones
// has never been larger than they were, and they are no smaller now. So it is enough to look at
// each change once, and the order in which old and new values of a group come does not matter.
type ranking struct {
	compare func(a, b []byte) int // nil: not ranked
	max     int

	// The rest is guarded by Store.mu. Of the entries, the one to be thrown out first is at the
	// root.
	on      bool // changes are looked at
	ready   bool // all groups were, too
	life    int  // grows when what was kept is dropped
	entries []*ranked
	index   map[string]*ranked
}

type ranked struct {
	key, values []byte
	at          int // in entries
}

// drop forgets everything: the next Largest reads all groups again.
func (r *ranking) drop() {
	r.on, r.ready, r.entries, r.index = false, false, nil, nil
	r.life++
}

func (r *ranking) begin() (life int) {
	r.drop()
	r.on, r.index = true, map[string]*ranked{}
	return r.life
}

// offer keeps a group if it is among the largest.
func (r *ranking) offer(key, values []byte) {
	full := len(r.entries) >= r.max
	if full && !r.before(key, values, r.entries[0]) {
		return
	}
	e, known := r.index[string(key)]
	switch {
	case known:
		if r.compare(values, e.values) <= 0 {
			return // an older value
		}
		e.values = append(e.values[:0], values...)
		heap.Fix(r, e.at)
		return
	case full:
		e = r.entries[0]
		delete(r.index, string(e.key))
		e.key, e.values = append(e.key[:0], key...), append(e.values[:0], values...)
		heap.Fix(r, 0)
	default:
		e = &ranked{key: bytes.Clone(key), values: bytes.Clone(values)}
		heap.Push(r, e)
	}
	r.index[string(e.key)] = e
}

// before reports whether a group comes before another: larger values first, then in the order of
// groups, and for one group in two partitions in that of tasks.
func (r *ranking) before(key, values []byte, e *ranked) bool {
	if c := r.compare(values, e.values); c != 0 {
		return c > 0
	}
	if c := bytes.Compare(key[keyGroup:], e.key[keyGroup:]); c != 0 {
		return c < 0
	}
	return bytes.Compare(key, e.key) < 0
}

// Len, Less, Swap, Push and Pop are heap.Interface.
func (r *ranking) Len() int { return len(r.entries) }
func (r *ranking) Less(i, j int) bool {
	return r.before(r.entries[j].key, r.entries[j].values, r.entries[i])
}
func (r *ranking) Swap(i, j int) {
	r.entries[i], r.entries[j] = r.entries[j], r.entries[i]
	r.entries[i].at, r.entries[j].at = i, j
}
func (r *ranking) Push(x any) {
	e := x.(*ranked)
	e.at = len(r.entries)
	r.entries = append(r.entries, e)
}
func (r *ranking) Pop() any { panic("state: a ranking only ever grows") }

// Largest returns the n groups with the largest values, the largest first and equal ones in the
// order of groups, with the positions at that moment. The first call reads all groups, as the
// first after a Load does; later ones read what is kept. ErrNotRanked when that cannot be.
func (s *Store) Largest(ctx context.Context, n int) ([]Counter, map[Task]Position, error) {
	if s.rank.compare == nil || n > s.rank.max {
		return nil, nil, ErrNotRanked
	}
	for {
		if all, pos, ok := s.largest(n); ok {
			return all, pos, nil
		}
		if err := s.fillRanking(ctx); err != nil {
			return nil, nil, err
		}
	}
}

func (s *Store) largest(n int) ([]Counter, map[Task]Position, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed || !s.rank.ready {
		return nil, nil, false
	}
	order := slices.SortedFunc(slices.Values(s.rank.entries), func(a, b *ranked) int {
		if s.rank.before(a.key, a.values, b) {
			return -1
		}
		return 1
	})
	all := make([]Counter, 0, n)
	for _, e := range order[:min(n, len(order))] {
		t, group, err := splitStoreKey(e.key)
		if err != nil {
			panic("state: a ranking holds a key that is none: " + err.Error())
		}
		all = append(all, Counter{Task: t, Group: bytes.Clone(group), Values: bytes.Clone(e.values)})
	}
	return all, maps.Clone(s.positions), true
}

// beginRanking starts to look at changes; life is 0 when the ranking is ready already.
func (s *Store) beginRanking() (life int, err error) {
	s.w.Lock()
	defer s.w.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return 0, ErrClosed
	case s.loading: // whose values are not offered
		return 0, ErrNotRanked
	case s.rank.ready:
		return 0, nil
	}
	return s.rank.begin(), nil
}

// fillRanking reads all groups of a cut, while changes are offered already. One caller does it for
// all that wait.
func (s *Store) fillRanking(ctx context.Context) error {
	select {
	case s.filling <- struct{}{}:
		defer func() { <-s.filling }()
	case <-ctx.Done():
		return ctx.Err()
	}
	life, err := s.beginRanking()
	if err != nil || life == 0 {
		return err
	}
	found := ranking{compare: s.rank.compare, max: s.rank.max}
	found.begin()
	c, err := s.Cut()
	if err != nil {
		return err
	}
	defer c.Close()
	var key []byte
	for t := range c.Positions() {
		err := c.Scan(ctx, t, nil, func(group, values []byte) error {
			key = appendStoreKey(key[:0], t, group)
			found.offer(key, values)
			return nil
		})
		if err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rank.life == life { // else a Load came between
		for _, e := range found.entries {
			s.rank.offer(e.key, e.values)
		}
		s.rank.ready = true
	}
	return nil
}
