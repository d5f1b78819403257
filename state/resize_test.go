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
