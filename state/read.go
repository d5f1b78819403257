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
	if values, ok := v.s.cache.get(key); ok {
		v.s.count.hits.Add(1)
		return append(dst, values...), true, nil
	}
	v.s.count.misses.Add(1)
	return v.s.read(key, dst)
}

// read gets a key from Pebble. It is called with a lock held, so that Close waits for it.
func (s *Store) read(key, dst []byte) (values []byte, ok bool, err error) {
	b, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return dst, false, nil
	}
	if err != nil {
		return dst, false, classify(s.dir, err)
	}
	values, err = DecodeValue(b)
	if err != nil {
		err = damaged(s.dir, err)
	} else {
		dst = append(dst, values...)
	}
	_ = closer.Close()
	return dst, err == nil, err
}

// Get appends the published values of a group to dst: from the cache, then from Pebble. ok tells
// whether the group has values.
func (s *Store) Get(t Task, group, dst []byte) (values []byte, ok bool, err error) {
	var version uint64
	var hit bool
	key := appendStoreKey(make([]byte, 0, 128), t, group)
	n := len(dst)
	err = s.View(func(View) error {
		var held []byte
		if held, hit = s.cache.get(key); hit {
			dst, ok = append(dst, held...), true
			return nil
		}
		version = s.version
		var err error
		dst, ok, err = s.read(key, dst)
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
			s.remember(version, key, dst[n:])
			s.cache.evict()
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
	missed, err := s.getCached(t, groups, fn)
	if err != nil {
		return err
	}
	slices.SortFunc(missed, func(a, b int) int { return bytes.Compare(groups[a], groups[b]) })
	for run := range slices.Chunk(missed, readRun) {
		if err := s.getRun(t, groups, run, fn); err != nil {
			return err
		}
	}
	return nil
}

// getCached answers what the cache has and returns the indexes of the rest.
func (s *Store) getCached(t Task, groups [][]byte, fn func(int, []byte, bool)) (missed []int, err error) {
	var key []byte
	for from := 0; from < len(groups); from += readRun {
		err := s.View(func(View) error {
			for i := from; i < min(from+readRun, len(groups)); i++ {
				key = appendStoreKey(key[:0], t, groups[i])
				if values, ok := s.cache.get(key); ok {
					fn(i, values, true)
				} else {
					missed = append(missed, i)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	s.count.hits.Add(int64(len(groups) - len(missed)))
	s.count.misses.Add(int64(len(missed)))
	return missed, nil
}

// getRun reads a few groups, from the cache again in case one was published meanwhile, and fills
// the cache with what came from Pebble, unless something was published since.
func (s *Store) getRun(t Task, groups [][]byte, run []int, fn func(int, []byte, bool)) error {
	var version uint64
	var key, arena []byte
	var found [readRun]struct{ group, from, to int }
	n := 0
	err := s.View(func(v View) error {
		version = s.version
		for _, i := range run {
			key = appendStoreKey(key[:0], t, groups[i])
			if values, ok := s.cache.get(key); ok {
				fn(i, values, true)
				continue
			}
			from := len(arena)
			var ok bool
			var err error
			if arena, ok, err = s.read(key, arena); err != nil {
				return err
			}
			fn(i, arena[from:], ok)
			if ok {
				found[n].group, found[n].from, found[n].to = i, from, len(arena)
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
		key = appendStoreKey(key[:0], t, groups[f.group])
		s.remember(version, key, arena[f.from:f.to])
	}
	s.cache.evict()
	return nil
}

// remember keeps in the cache what was read from Pebble at a version, unless something became
// visible since: it might have been newer values, that were applied and evicted again. It is called
// under mu.
func (s *Store) remember(version uint64, key, values []byte) {
	if s.version == version && !s.closed {
		s.cache.fill(key, values)
	}
}
