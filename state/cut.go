package state

import (
	"context"
	"maps"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// Cut is the visible state at one transaction's end, for as long as it is open. It holds back
// Pebble's disk space: close it soon.
type Cut struct {
	s         *Store
	positions map[Task]Position

	mu     sync.Mutex // guards what is below; not held while a scan's function runs
	snap   *pebble.Snapshot
	iters  map[*pebble.Iterator]struct{}
	closed bool
}

// cutSet are the open cuts: Close ends them, since Pebble cannot close under a snapshot.
type cutSet struct {
	mu   sync.Mutex
	open map[*Cut]struct{}
}

// Cut takes a consistent cut: it applies what is dirty, then takes a snapshot of Pebble and the
// positions before anything else is published. Scans of it keep no one waiting.
func (s *Store) Cut() (*Cut, error) {
	s.w.Lock()
	defer s.w.Unlock()
	if err := s.writable(); err != nil {
		return nil, err
	}
	return s.cut()
}

// cut is Cut under the writer's lock.
func (s *Store) cut() (*Cut, error) {
	if err := s.apply(); err != nil {
		return nil, err
	}
	c := &Cut{
		s: s, positions: maps.Clone(s.positions),
		snap: s.db.NewSnapshot(), iters: make(map[*pebble.Iterator]struct{}),
	}
	s.cuts.add(c)
	return c, nil
}

func (u *cutSet) add(c *Cut) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.open == nil {
		u.open = make(map[*Cut]struct{})
	}
	u.open[c] = struct{}{}
}

func (u *cutSet) remove(c *Cut) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.open, c)
}

func (u *cutSet) close() {
	u.mu.Lock()
	open := u.open
	u.open = nil
	u.mu.Unlock()
	for c := range open {
		c.end()
	}
}

// Positions are those of the cut. Do not change the map.
func (c *Cut) Positions() map[Task]Position { return c.positions }

// Close ends the cut and every scan of it.
func (c *Cut) Close() {
	c.end() // first: the store's Close waits for the end of those that it finds
	c.s.cuts.remove(c)
}

func (c *Cut) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	for it := range c.iters {
		_ = it.Close() // its scan sees closed and returns ErrClosed
	}
	c.iters = nil
	_ = c.snap.Close()
}

// Scan calls fn with each group of the task whose encoding begins with prefix, and its values, in
// the order of groups. Both are valid until fn returns. It ends at fn's first error, with it, when
// ctx ends, and with ErrClosed when the cut or the store is closed.
func (c *Cut) Scan(ctx context.Context, t Task, prefix []byte, fn func(group, values []byte) error) error {
	lower := appendStoreKey(nil, t, prefix)
	return c.scan(ctx, lower, after(lower), func(key, value []byte) error {
		values, err := DecodeValue(value)
		if err != nil {
			return damaged(c.s.dir, err)
		}
		return fn(key[keyGroup:], values)
	})
}

// scanRun bounds what a scan reads ahead of its function, in keys and in bytes.
const (
	scanRun      = 512
	scanRunBytes = 64 << 10
)

// scan reads in runs: the iterator is touched only under the cut's lock, so that Close needs to
// wait for no slow reader.
func (c *Cut) scan(ctx context.Context, lower, upper []byte, fn func(key, value []byte) error) error {
	it, err := c.iterate(ctx, lower, upper)
	if err != nil {
		return err
	}
	defer c.stop(it)
	var run scanned
	for more := true; more; {
		if more, err = c.read(it, &run); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := run.each(fn); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cut) iterate(ctx context.Context, lower, upper []byte) (*pebble.Iterator, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	it, err := c.snap.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, classify(c.s.dir, err)
	}
	it.First()
	c.iters[it] = struct{}{}
	return it, nil
}

func (c *Cut) stop(it *pebble.Iterator) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		delete(c.iters, it)
		_ = it.Close()
	}
}

// scanned is a run of copied keys and values, back to back; ends holds where each ends.
type scanned struct {
	buf  []byte
	ends []int
}

func (c *Cut) read(it *pebble.Iterator, run *scanned) (more bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	run.buf, run.ends = run.buf[:0], run.ends[:0]
	if c.closed {
		return false, ErrClosed
	}
	for ; it.Valid(); it.Next() {
		if len(run.ends) == 2*scanRun || len(run.buf) >= scanRunBytes {
			return true, nil
		}
		run.buf = append(run.buf, it.Key()...)
		run.ends = append(run.ends, len(run.buf))
		run.buf = append(run.buf, it.Value()...)
		run.ends = append(run.ends, len(run.buf))
	}
	return false, classify(c.s.dir, it.Error())
}

func (r *scanned) each(fn func(key, value []byte) error) error {
	from := 0
	for i := 0; i < len(r.ends); i += 2 {
		key, value := r.buf[from:r.ends[i]], r.buf[r.ends[i]:r.ends[i+1]]
		from = r.ends[i+1]
		if err := fn(key, value); err != nil {
			return err
		}
	}
	return nil
}
