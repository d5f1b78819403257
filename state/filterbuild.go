package state

import (
	"context"
	"errors"
)

// A new store's filter is ready at once. That of a store that was there is built in the background,
// from a scan, and only when reads have found nothing so often that a scan is worth its while: a
// restart does not wait for it, and one that meets few new groups does without.
//
// It is not kept on disk: a file that belongs to another state than it seems to would make counts
// wrong.
const (
	// filterBuildAbsent is how many reads of nothing there must have been, as a part of the groups:
	// such a read costs about as much as a scan of so many.
	filterBuildAbsent = 8
	filterRun         = 512
)

// noteKeys adds keys to the filter that Pebble is about to get. It is called under w.
func (s *Store) noteKeys(n int, each func(i int) []byte) {
	if !s.filter.active {
		return
	}
	s.filter.expect(n)
	run := make([]uint64, 0, filterRun)
	for i := range n {
		if run = append(run, hashKey(each(i))); len(run) == filterRun {
			s.filter.add(run)
			run = run[:0]
		}
	}
	s.filter.add(run)
}

func (s *Store) filterDue() bool {
	if s.filter.active || s.loading {
		return false
	}
	return s.count.absent.Load()*filterBuildAbsent >= s.groups()
}

// groups is about how many groups are in the store. It is called under a lock.
func (s *Store) groups() (n int64) {
	for _, p := range s.positions {
		n += p.Record.Groups
	}
	return n
}

// buildFilter starts to build the filter. It is called under w: what is in Pebble now is in the
// cut, and what comes later is added by who gives it to Pebble.
func (s *Store) buildFilter() error {
	cut, err := s.cut()
	if err != nil {
		return err
	}
	f := s.filter // that of the store may be another one by the time the build ends
	f.active = true
	f.expect(int(s.groups()))
	go func() {
		defer cut.Close()
		err := cut.fill(f)
		switch {
		case err == nil:
			f.ready.Store(true)
		case !errors.Is(err, ErrClosed):
			s.watch.fail(err) // what a scan cannot read, no read can be sure of
		}
	}()
	return nil
}

func (c *Cut) fill(f *filter) error {
	run := make([]uint64, 0, filterRun)
	lower := storeKey(KindValue)
	err := c.scan(context.Background(), lower, after(lower), func(key, _ []byte) error {
		if run = append(run, hashKey(key)); len(run) == filterRun {
			f.add(run)
			run = run[:0]
		}
		return nil
	})
	f.add(run)
	return err
}
