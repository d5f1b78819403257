package state

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

// No key that was added is ever said to be missing, however the filter grew and whatever its limit.
func TestFilterHasWhatWasAdded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFilter(rapid.SampledFrom([]int64{0, 10_000, 1 << 20}).Draw(t, "limit"))
		f.active = true
		f.ready.Store(true)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		added := map[uint64]bool{}
		for range rapid.IntRange(1, 8).Draw(t, "runs") {
			keys := make([]uint64, rapid.IntRange(0, 20_000).Draw(t, "keys"))
			for i := range keys {
				keys[i] = rng.Uint64()
				added[keys[i]] = true
			}
			if rapid.Bool().Draw(t, "expected") {
				f.expect(len(keys))
			}
			f.add(keys)
			f.add(keys[:len(keys)/2]) // again
			for h := range added {
				if f.lacks(h) {
					t.Fatalf("%x was added", h)
				}
			}
		}
		if n := f.bytes(); n > max(f.limit, lineBytes) {
			t.Fatalf("%d bytes of %d", n, f.limit)
		}
	})
}

// Of keys that are not there few seem to be, in a filter that knew their number and in one that
// grew.
func TestFilterLacksMostOthers(t *testing.T) {
	for _, known := range []bool{true, false} {
		f := newFilter(1 << 30)
		f.ready.Store(true)
		rng := rand.New(rand.NewPCG(1, 1))
		keys := make([]uint64, 200_000)
		for i := range keys {
			keys[i] = hashKey(fmt.Appendf(nil, "key-%d", i))
		}
		if known {
			f.expect(len(keys))
		}
		f.add(keys)
		wrong := 0
		for range 200_000 {
			if !f.lacks(rng.Uint64()) {
				wrong++
			}
		}
		t.Logf("known %v: %.3f%% of others seem to be there, %.1f bits a key", known, float64(wrong)/2000, float64(f.bytes())*8/200_000)
		if limit := map[bool]int{true: 1500, false: 5000}[known]; wrong > limit {
			t.Errorf("known %v: %d of 200,000 others seem to be there", known, wrong)
		}
	}
}

// A store that was there builds its filter once reads have found nothing often enough, while
// transactions go on; then Pebble is not asked in vain, and nothing is missing.
func TestFilterIsBuilt(t *testing.T) {
	const groups = 3000
	fs := vfs.NewMem()
	s := mustOpen(t, "lane", smallOptions(fs, newClock()))
	publish := func(n uint64) {
		pos, ch := number(n, groups+int(n))
		must(t, s.Publish(pos, ch))
	}
	publish(1)
	if !s.filter.ready.Load() {
		t.Fatal("a new store's filter is not ready")
	}
	must(t, s.Close())
	s = mustOpen(t, "lane", smallOptions(fs, newClock()))
	defer func() { must(t, s.Close()) }()
	if s.filter.ready.Load() {
		t.Fatal("the filter of a store that was there is ready, and nobody has filled it")
	}
	all := func(n uint64) {
		t.Helper()
		for g := range groups + int(n) {
			task := Task{Partition: int32(g % 2)}
			if _, ok, err := s.Get(task, fmt.Appendf(nil, "g%d", g), nil); !ok || err != nil {
				t.Fatalf("group %d: %v, %v", g, ok, err)
			}
		}
	}
	n := uint64(1)
	eventually(t, "the filter is built", func() bool {
		for i := range 20 {
			if _, ok, err := s.Get(Task{}, fmt.Appendf(nil, "none-%d", i), nil); ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		n++
		publish(n)
		all(n)
		return s.filter.ready.Load()
	})
	forget(s)
	all(n)
	before := s.Metrics().Absent
	for i := range 1000 {
		if _, ok, err := s.Get(Task{}, fmt.Appendf(nil, "other-%d", i), nil); ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if asked := s.Metrics().Absent - before; asked > 50 {
		t.Errorf("Pebble was asked %d times of 1000 for what is not there", asked)
	}
}
