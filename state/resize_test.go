package state

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A cache whose bound is lowered keeps within it from then on, and what it held is read from
// Pebble. It does not grow beyond what the store was opened with.
func TestSetCacheBytes(t *testing.T) {
	opt := smallOptions(vfs.NewMem(), newClock())
	opt.CacheBytes, opt.ApplyBytes = 512<<10, 64<<10
	s := mustOpen(t, "lane", opt)
	defer func() { must(t, s.Close()) }()
	const groups = 3000
	for n := range uint64(10) {
		pos, ch := number(n+1, groups)
		must(t, s.Publish(pos, ch))
	}
	before := s.Metrics().CacheBytes
	if before < 128<<10 {
		t.Fatalf("the cache has %d bytes: too few for this test to show anything", before)
	}
	must(t, s.Apply())
	s.SetCacheBytes(64 << 10)
	if got := s.Metrics().CacheBytes; got > 64<<10 {
		t.Fatalf("the cache has %d bytes after it was bounded to %d", got, 64<<10)
	}
	for g := range groups {
		v, ok, err := s.Get(Task{Partition: int32(g % 2)}, fmt.Appendf(nil, "g%d", g), nil)
		if err != nil || !ok || binary.BigEndian.Uint64(v) != 10 {
			t.Fatalf("group %d: %x %v %v", g, v, ok, err)
		}
	}
	if got := s.Metrics().CacheBytes; got > 64<<10 {
		t.Fatalf("the cache has grown to %d bytes by reads", got)
	}
	s.SetCacheBytes(1 << 30)
	if s.opt.CacheBytes != 512<<10 {
		t.Fatalf("the bound is %d, beyond what the store was opened with", s.opt.CacheBytes)
	}
}

// TestSetCacheBytesBoundsTheFilter: a filter that has grown under a larger bound does not take the
// place of the cache under a smaller one, and what comes after it is counted right.
func TestSetCacheBytesBoundsTheFilter(t *testing.T) {
	groups, bound := 60_000, int64(64<<10)
	known := 1           // of the groups that the first filter knew one in so many is read
	if testing.Short() { // with -race, under which a read of Pebble's takes ten times as long
		groups, bound, known = groups/4, CacheBytesMin, 7
	}
	opt := smallOptions(vfs.NewMem(), newClock())
	opt.CacheBytes, opt.ApplyBytes = 8*bound, bound
	s := mustOpen(t, "lane", opt)
	defer func() { must(t, s.Close()) }()
	pos, ch := number(1, groups)
	must(t, s.Publish(pos, ch))
	must(t, s.Apply())
	if got := s.filter.bytes(); got <= bound {
		t.Fatalf("the filter has %d bytes: too few for this test to show anything", got)
	}
	s.SetCacheBytes(bound)
	must(t, s.Apply())
	if got := s.Metrics().CacheBytes; got > bound {
		t.Errorf("cache and filter have %d bytes after they were bounded to %d", got, bound)
	}
	hot := func() {
		for g := range 10 {
			v, ok, err := s.Get(Task{Partition: int32(g % 2)}, fmt.Appendf(nil, "g%d", g), nil)
			if err != nil || !ok || binary.BigEndian.Uint64(v) == 0 {
				t.Fatalf("group %d: %x %v %v", g, v, ok, err)
			}
		}
	}
	hot()
	before := s.Metrics().Misses
	for range 5 {
		hot()
	}
	if missed := s.Metrics().Misses - before; missed > 0 {
		t.Errorf("of 50 reads of ten groups %d were not in the cache", missed)
	}
	for n := uint64(2); n < 5; n++ { // with groups that no filter knows yet
		pos, ch := number(n, groups+int(n)*100)
		must(t, s.Publish(pos, ch))
	}
	must(t, s.Apply())
	for g := range groups + 200 {
		if g < groups && g%known > 0 {
			continue
		}
		if v, ok, err := s.Get(Task{Partition: int32(g % 2)}, fmt.Appendf(nil, "g%d", g), nil); err != nil || !ok || binary.BigEndian.Uint64(v) != 4 {
			t.Fatalf("group %d: %x %v %v", g, v, ok, err)
		}
	}
}
