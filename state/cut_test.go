package state

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A cut stays what it was while the owner goes on, which a scan does not hold up.
func TestCutStaysStill(t *testing.T) {
	s := mustOpen(t, "lane", smallOptions(vfs.NewMem(), newClock()))
	defer func() { must(t, s.Close()) }()
	pos, ch := number(1, 2000)
	must(t, s.Publish(pos, ch))
	cut, err := s.Cut()
	must(t, err)
	defer cut.Close()
	seen := 0
	must(t, cut.Scan(t.Context(), Task{}, nil, func(_, v []byte) error {
		if seen++; seen%100 == 0 { // from inside the scan: it must not wait for itself
			pos, ch := number(uint64(seen), 2000)
			must(t, s.Publish(pos, ch))
			must(t, s.Flush())
		}
		if v[7] != 1 || v[6] != 0 {
			return fmt.Errorf("the cut has values %x", v)
		}
		return nil
	}))
	if seen != 1000 || cut.Positions()[Task{}].Changelog != 1 {
		t.Errorf("%d groups at %+v", seen, cut.Positions()[Task{}])
	}
}

func TestScanEnds(t *testing.T) {
	s := mustOpen(t, "lane", smallOptions(vfs.NewMem(), newClock()))
	pos, ch := number(1, 4000)
	must(t, s.Publish(pos, ch))
	scan := func(ctx context.Context, at int, do func(*Cut) error) error {
		cut, err := s.Cut()
		must(t, err)
		defer cut.Close()
		n := 0
		return cut.Scan(ctx, Task{}, nil, func(_, _ []byte) error {
			if n++; n == at {
				return do(cut)
			}
			return nil
		})
	}
	stop := errors.New("stop")
	if err := scan(t.Context(), 10, func(*Cut) error { return stop }); err != stop {
		t.Errorf("the function's error: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := scan(ctx, 10, func(*Cut) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := scan(t.Context(), 10, func(c *Cut) error { c.Close(); return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("the cut closed: %v", err)
	}
	// A reader that does not come back must not hold up the store's Close.
	err := scan(t.Context(), 10, func(*Cut) error {
		closed := make(chan error)
		go func() { closed <- s.Close() }()
		select {
		case err := <-closed:
			return err
		case <-time.After(20 * time.Second):
			return errors.New("Close waits for the scan")
		}
	})
	if !errors.Is(err, ErrClosed) {
		t.Errorf("the store closed: %v", err)
	}
}

func TestSubscription(t *testing.T) {
	s := mustOpen(t, "lane", smallOptions(vfs.NewMem(), newClock()))
	all := s.Subscribe(nil, 1000, 1<<20)
	few := s.Subscribe(nil, 3, 1<<20)
	one := s.Subscribe(func(_ Task, g []byte) bool { return string(g) == "g4" }, 10, 1<<20)
	for n := uint64(1); n <= 5; n++ {
		pos, ch := number(n, 10)
		must(t, s.Publish(pos, ch))
	}
	for _, c := range []struct {
		name   string
		u      *Subscription
		groups int
		lost   bool
	}{{"all", all, 10, false}, {"few", few, 3, true}, {"one", one, 1, false}} {
		ch, lost, err := c.u.Next(t.Context())
		if len(ch) != c.groups || lost != c.lost || err != nil {
			t.Errorf("%s: %d changes, %v, %v", c.name, len(ch), lost, err)
		}
		for _, x := range ch {
			if x.Values[7] != 5 || int32(x.Group[1]-'0')%2 != x.Task.Partition {
				t.Errorf("%s: %v %q is %x: not the latest", c.name, x.Task, x.Group, x.Values)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if ch, lost, err := c.u.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: nothing new is %v, %v, %v", c.name, ch, lost, err)
		}
		cancel()
	}
	testSubscriptionLoad(t, s, all, one)
	one.Close()
	if _, _, err := one.Next(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	waits := make(chan error)
	go func() { _, _, err := all.Next(context.Background()); waits <- err }()
	must(t, s.Close())
	if err := <-waits; !errors.Is(err, ErrClosed) {
		t.Errorf("the store closed: %v", err)
	}
	if _, _, err := s.Subscribe(nil, 1, 1<<20).Next(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("of a closed store: %v", err)
	}
}

// What a subscription keeps is bounded in bytes, too: of any size one group, and of those that it
// has always the latest values.
func TestSubscriptionBytes(t *testing.T) {
	s := mustOpen(t, "lane", smallOptions(vfs.NewMem(), newClock()))
	defer func() { must(t, s.Close()) }()
	u := s.Subscribe(nil, 1000, 5000)
	publish := func(n uint64, sizes ...int) {
		pos, _ := number(n, 0)
		var ch []Change
		for i, size := range sizes {
			ch = append(ch, Change{Group: append([]byte{'a' + byte(i)}, make([]byte, size)...), Values: []byte{byte(n)}})
		}
		must(t, s.Publish(pos, ch))
	}
	for i, c := range []struct {
		sizes  []int
		groups int
		lost   bool
	}{{[]int{2000, 2000}, 2, false}, {[]int{2000, 2000, 2000, 10}, 3, true}, {[]int{9000, 10}, 1, true}, {[]int{2000, 2000}, 2, false}} {
		n := uint64(2*i + 1)
		publish(n, c.sizes...)
		publish(n+1, c.sizes...)
		ch, lost, err := u.Next(t.Context())
		if len(ch) != c.groups || lost != c.lost || err != nil {
			t.Errorf("%v: %d groups, %v, %v", c.sizes, len(ch), lost, err)
		}
		for _, x := range ch {
			if x.Values[0] != byte(n+1) {
				t.Errorf("%v: not the latest values", c.sizes)
			}
		}
	}
}

// A load's small chunks are told, its tables only as lost.
func testSubscriptionLoad(t *testing.T, s *Store, all, one *Subscription) {
	l := s.Load(LoadOptions{IngestBytes: 2000})
	must(t, l.Value(Task{}, []byte("g4"), []byte("loaded"), 100))
	must(t, l.Apply())
	for _, u := range []*Subscription{all, one} {
		if ch, lost, err := u.Next(t.Context()); len(ch) != 1 || string(ch[0].Values) != "loaded" || lost || err != nil {
			t.Errorf("a small chunk: %v, %v, %v", ch, lost, err)
		}
	}
	must(t, l.Value(Task{}, []byte("g4"), make([]byte, 3000), 101))
	must(t, l.Finish())
	for _, u := range []*Subscription{all, one} {
		if ch, lost, err := u.Next(t.Context()); len(ch) != 0 || !lost || err != nil {
			t.Errorf("a table: %v, %v, %v", ch, lost, err)
		}
	}
}
