package state

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"pgregory.net/rapid"
)

// The cache does what a map does for dirty entries, and is right or silent about the others; its
// sums are what its entries add up to, and within the limit as far as dirty entries allow.
func TestCacheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCache(1000)
		latest, dirty := map[string]string{}, map[string]bool{}
		check := func(t *rapid.T) {
			var bytes, dirtyBytes int64
			for i, e := range c.ring {
				bytes += e.size()
				if e.dirty {
					dirtyBytes += e.size()
				}
				if e.slot != i || c.m[e.key] != e || e.dirty != dirty[e.key] || string(e.values) != latest[e.key] {
					t.Fatalf("entry %d is %+v, want values %q, dirty %v", i, e, latest[e.key], dirty[e.key])
				}
			}
			if bytes != c.bytes || dirtyBytes != c.dirtyBytes || len(c.ring) != len(c.m) || len(c.dirty) != len(dirty) {
				t.Fatalf("sums %d, %d, want %d, %d", c.bytes, c.dirtyBytes, bytes, dirtyBytes)
			}
			for k := range dirty {
				if v, ok := c.get([]byte(k)); !ok || string(v) != latest[k] {
					t.Fatalf("dirty %q is %q, %v", k, v, ok)
				}
			}
		}
		key := func(t *rapid.T) string { return fmt.Sprint(rapid.IntRange(0, 20).Draw(t, "key")) }
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				k := key(t)
				latest[k] = string(make([]byte, rapid.IntRange(0, 100).Draw(t, "len")))
				dirty[k] = true
				c.put([]byte(k), []byte(latest[k]), true)
			},
			"fill": func(t *rapid.T) {
				k := key(t)
				c.fill([]byte(k), []byte(latest[k])) // what Pebble has, when it is not dirty
				if _, ok := c.get([]byte(k)); !ok {
					t.Fatalf("%q is not there", k)
				}
			},
			"update": func(t *rapid.T) {
				if k := key(t); !dirty[k] {
					latest[k] += "+"
					c.update([]byte(k), []byte(latest[k]))
				}
			},
			"clean": func(*rapid.T) { c.clean(); clear(dirty) },
			"evict": func(t *rapid.T) {
				c.evict()
				if c.bytes > c.limit && c.bytes > c.dirtyBytes {
					t.Fatalf("%d bytes after an eviction, %d of them dirty", c.bytes, c.dirtyBytes)
				}
			},
			"sorted": func(t *rapid.T) {
				s := c.sorted()
				for i := 1; i < len(s); i++ {
					if s[i-1].key >= s[i].key {
						t.Fatalf("%q before %q", s[i-1].key, s[i].key)
					}
				}
			},
			"": check,
		})
	})
}

// What is used stays, what is not goes.
func TestCacheKeepsWhatIsUsed(t *testing.T) {
	c := newCache(100 * (entryBytes + 40))
	hot := []byte("hot")
	c.put(hot, []byte("v"), false)
	for i := range 10_000 {
		if _, ok := c.get(hot); !ok {
			t.Fatalf("the hot entry was evicted after %d others", i)
		}
		c.put(fmt.Appendf(nil, "cold-%d", i), []byte("v"), false)
		c.evict()
	}
	if n := len(c.ring); n < 50 || n > 150 {
		t.Errorf("%d entries in a cache for about 100", n)
	}
}

// The bytes that the cache accounts for are what the heap gives.
func TestCacheBytesAreHonest(t *testing.T) {
	for _, size := range []struct{ key, values int }{{12, 4}, {40, 12}, {200, 60}} {
		heap := func() int64 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		before := heap()
		c := newCache(1 << 40)
		rng := rand.New(rand.NewPCG(1, 1))
		key, values := make([]byte, size.key), make([]byte, size.values)
		for range 150_000 {
			for i := range key {
				key[i] = byte(rng.Uint32())
			}
			c.put(key, values, true)
		}
		used := heap() - before
		if r := float64(c.bytes) / float64(used); r < 0.8 || r > 1.3 {
			t.Errorf("keys of %d, values of %d: accounted %d, used %d: %.2f", size.key, size.values, c.bytes, used, r)
		}
		runtime.KeepAlive(c)
	}
}
