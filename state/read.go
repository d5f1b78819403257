package state

import (
	"bytes"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// View is the visible state while View's function runs: nothing becomes visible meanwhile.
type View struct{ s *Store }

// View calls fn with the visible state held still, so that several values and their position belong
// together. Publish waits for fn: read a few groups and return. fn must not call the Store.
func (s *Store) View(fn func(v View) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	return fn(View{s})
}

// Position is that of the task.
func (v View) Position(t Task) (Position, bool) {
	p, ok := v.s.positions[t]
	return p, ok
}

// Get appends the group's values to dst; ok tells whether it has any.
func (v View) Get(t Task, group, dst []byte) (values []byte, ok bool, err error) {
	key := appendStoreKey(nil, t, group)
	hash := hashKey(key)
	if values, ok := v.s.cache.get(hash, key); ok {
		v.s.count.hits.Add(1)
		return append(dst, values...), true, nil
	}
	v.s.count.misses.Add(1)
	return v.s.read(hash, key, dst)
}

// read gets a key from Pebble, unless the filter knows better. It is called with a lock held, so
// that Close waits for it, and after a look into the cache under the same hold of the lock: the
// filter does not have the keys of dirty values.
func (s *Store) read(hash uint64, key, dst []byte) (values []byte, ok bool, err error) {
	if s.filter.lacks(hash) {
		return dst, false, nil
	}
	b, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		s.count.absent.Add(1)
		return dst, false, nil
	}
	if err != nil {
		return dst, false, classify(s.dir, err)
	}
	dst, err = s.appendValues(dst, b)
	_ = closer.Close()
	return dst, err == nil, err
}

// appendValues appends to dst the values that Pebble has stored.
func (s *Store) appendValues(dst, stored []byte) ([]byte, error) {
	values, err := DecodeValue(stored)
	if err != nil {
		return dst, damaged(s.dir, err)
	}
	return append(dst, values...), nil
}

// Get appends the published values of a group to dst: from the cache, then from Pebble. ok tells
// whether the group has values.
func (s *Store) Get(t Task, group, dst []byte) (values []byte, ok bool, err error) {
	var version uint64
	var hit bool
	key := appendStoreKey(make([]byte, 0, 128), t, group)
	hash := hashKey(key)
	n := len(dst)
	err = s.View(func(View) error {
		var held []byte
		if held, hit = s.cache.get(hash, key); hit {
			dst, ok = append(dst, held...), true
			return nil
		}
		version = s.version
		var err error
		dst, ok, err = s.read(hash, key, dst)
		return err
	})
	switch {
	case err != nil:
		return dst, false, err
	case hit:
		s.count.hits.Add(1)
	default:
		s.count.misses.Add(1)
		// A reader that cannot have the lock at once leaves the cache as it is.
		if ok && s.mu.TryLock() {
			s.remember(version, hash, key, dst[n:])
			s.evict()
			s.mu.Unlock()
		}
	}
	return dst, ok, nil
}

// readRun groups are read under one hold of the lock by GetMany.
const readRun = 256

// GetMany calls fn with each group's published values, in any order. It is the commit's read: it
// takes what the cache has, reads the rest from Pebble in the order of keys, and keeps it in the
// cache. values are valid until fn returns; fn must not call the Store.
//
// It is no snapshot: only the lane's owner, who publishes himself, sees one state throughout.
func (s *Store) GetMany(t Task, groups [][]byte, fn func(i int, values []byte, ok bool)) error {
	rest, err := s.getCached(t, groups, fn)
	if err != nil {
		return err
	}
	slices.SortFunc(rest, func(a, b missed) int { return bytes.Compare(groups[a.index], groups[b.index]) })
	for run := range slices.Chunk(rest, readRun) {
		if err := s.getRun(t, groups, run, fn); err != nil {
			return err
		}
	}
	return nil
}

// missed is a group that the cache does not have and that Pebble may have.
type missed struct {
	index int
	hash  uint64
}

// getCached answers what the cache has, and what the filter says is nowhere, and returns the rest.
func (s *Store) getCached(t Task, groups [][]byte, fn func(int, []byte, bool)) (rest []missed, err error) {
	var run keyRun
	var gone [touchRun]missed
	hits := 0
	for from := 0; from < len(groups); from += touchRun {
		run.reset()
		for _, g := range groups[from:min(from+touchRun, len(groups))] {
			run.add(t, g)
		}
		err := s.View(func(View) error {
			out := s.getTouched(&run, from, gone[:0], fn)
			hits += run.n - len(out)
			rest = s.sift(out, rest, fn)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	s.count.hits.Add(int64(hits))
	s.count.misses.Add(int64(len(groups) - hits))
	return rest, nil
}

// getTouched answers what the cache has of a run, whose first key is the group of that index.
func (s *Store) getTouched(run *keyRun, from int, out []missed, fn func(int, []byte, bool)) []missed {
	s.cache.touch(run)
	for i := range run.n {
		if values, ok := s.cache.get(run.hash[i], run.key(i)); ok {
			fn(from+i, values, true)
		} else {
			out = append(out, missed{from + i, run.hash[i]})
		}
	}
	return out
}

// sift answers what the filter lacks and appends the others to rest.
func (s *Store) sift(out, rest []missed, fn func(int, []byte, bool)) []missed {
	s.filter.touch(out)
	for _, m := range out {
		if s.filter.lacks(m.hash) {
			fn(m.index, nil, false)
		} else {
			rest = append(rest, m)
		}
	}
	return rest
}

// getRun reads a few groups, from the cache again in case one was published meanwhile, and fills
// the cache with what came from Pebble, unless something was published since.
func (s *Store) getRun(t Task, groups [][]byte, run []missed, fn func(int, []byte, bool)) error {
	var version uint64
	var key, arena []byte
	var found [readRun]struct {
		missed
		from, to int
	}
	n := 0
	err := s.View(func(View) (err error) {
		version = s.version
		stored, err := s.newReader()
		if err != nil {
			return err
		}
		defer func() { err = stored.close(err) }()
		for _, m := range run {
			key = appendStoreKey(key[:0], t, groups[m.index])
			if values, ok := s.cache.get(m.hash, key); ok {
				fn(m.index, values, true)
				continue
			}
			from := len(arena)
			var ok bool
			if arena, ok, err = stored.read(key, arena); err != nil {
				return err
			}
			fn(m.index, arena[from:], ok)
			if ok {
				found[n].missed, found[n].from, found[n].to = m, from, len(arena)
				n++
			}
		}
		return nil
	})
	if err != nil || n == 0 {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range found[:n] {
		key = appendStoreKey(key[:0], t, groups[f.index])
		s.remember(version, f.hash, key, arena[f.from:f.to])
	}
	s.evict()
	return nil
}

// remember keeps in the cache what was read from Pebble at a version, unless something became
// visible since: it might have been newer values, that were applied and evicted again. It is called
// under mu.
func (s *Store) remember(version, hash uint64, key, values []byte) {
	if s.version == version && !s.closed && !s.applying {
		s.cache.fill(hash, key, values)
	}
}
