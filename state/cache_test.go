package state

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func cacheKey(task int32, group string) string {
	return string(appendStoreKey(nil, Task{Partition: task}, []byte(group)))
}

// cacheModel is what a cache is compared with.
type cacheModel struct {
	*cache
	latest map[string]string
	soiled map[string]bool
}

func (m cacheModel) values(key string) (string, bool) {
	v, ok := m.get(hashKey([]byte(key)), []byte(key))
	return string(v), ok
}

// held are the groups that the cache has, found in its log; each must be found by its key too.
func (m cacheModel) held(t tb) map[string]string {
	t.Helper()
	held := map[string]string{}
	dirtyBytes, memory := int64(0), int64(0)
	for _, n := range m.log.order[m.log.old:] {
		memory += int64(cap(m.log.segs[n]))
		m.log.each(n, func(place uint32, e entry) {
			d := e.field(entryDirty)
			if d == entryDead {
				return
			}
			key := string(e.key())
			if _, twice := held[key]; twice {
				t.Fatalf("%q has two entries", key)
			}
			held[key] = string(e.values())
			if i := m.slots.find(tagOf(hashKey(e.key())), place); i < 0 || m.soiled[key] != (d != 0) {
				t.Fatalf("%q: dirty %d, want %v", key, d, m.soiled[key])
			}
			if d != 0 {
				dirtyBytes += int64(e.size()) + slotShare
				if m.dirty[d-1] != place {
					t.Fatalf("%q is at %d, the list of dirty ones says %d", key, place, m.dirty[d-1])
				}
			}
		})
	}
	if len(held) != m.groups() || dirtyBytes != m.dirtyBytes || len(m.dirty) != len(m.soiled) || memory+int64(cap(m.log.spare)) != m.log.bytes {
		t.Fatalf("%d groups of %d, %d dirty bytes of %d, %d dirty of %d, %d bytes of segments of %d",
			len(held), m.groups(), dirtyBytes, m.dirtyBytes, len(m.dirty), len(m.soiled), memory, m.log.bytes)
	}
	return held
}

func (m cacheModel) check(t tb) {
	t.Helper()
	for k, v := range m.held(t) {
		if got, ok := m.values(k); !ok || got != v || v != m.latest[k] {
			t.Fatalf("%q is %q in the log, found as %q, %v; want %q", k, v, got, ok, m.latest[k])
		}
	}
	for k := range m.soiled {
		if v, ok := m.values(k); !ok || v != m.latest[k] {
			t.Fatalf("dirty %q is %q, %v, want %q", k, v, ok, m.latest[k])
		}
	}
}

// The cache does what a map does for dirty entries, and is right or silent about the others; its
// sums are what it holds, and within the limit as far as dirty entries allow.
func TestCacheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := cacheModel{newCache(12_000), map[string]string{}, map[string]bool{}}
		key := func(t *rapid.T) string {
			return cacheKey(rapid.Int32Range(0, 2).Draw(t, "task"), fmt.Sprint("group-", rapid.IntRange(0, 200).Draw(t, "key")))
		}
		put := func(k, v string) {
			m.latest[k], m.soiled[k] = v, true
			m.put(hashKey([]byte(k)), []byte(k), []byte(v), true)
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				k := key(t)
				put(k, m.latest[k]+string(make([]byte, rapid.SampledFrom([]int{0, 1, 3, 30, 2000}).Draw(t, "more"))))
			},
			"put many": func(t *rapid.T) {
				for i := range 60 {
					put(cacheKey(int32(i%3), fmt.Sprint("group-", i)), fmt.Sprint(i))
				}
			},
			"fill": func(t *rapid.T) {
				for range 30 {
					k := key(t)
					m.fill(hashKey([]byte(k)), []byte(k), []byte(m.latest[k])) // what Pebble has, when it is not dirty
					if _, ok := m.values(k); !ok {
						t.Fatalf("%q is not there", k)
					}
				}
			},
			"update": func(t *rapid.T) {
				if k := key(t); !m.soiled[k] {
					m.latest[k] += "+"
					m.update(hashKey([]byte(k)), []byte(k), []byte(m.latest[k]))
				}
			},
			"clean": func(*rapid.T) { m.clean(); clear(m.soiled) },
			"evict": func(t *rapid.T) {
				others := rapid.Int64Range(0, 3000).Draw(t, "others")
				before := m.held(t)
				m.evict(others)
				if over := m.bytes() > m.limit-others; over != (before != nil && m.bytes() > m.limit-others) || over && m.groups() > len(m.soiled) {
					t.Fatalf("%d bytes and %d groups after an eviction, %d of them dirty", m.bytes(), m.groups(), len(m.soiled))
				}
			},
			"sorted": func(t *rapid.T) {
				var got []string
				for _, d := range m.sorted() {
					got = append(got, string(m.log.at(d.At).key()))
				}
				if want := slices.Sorted(maps.Keys(m.soiled)); !slices.Equal(got, want) {
					t.Fatalf("sorted %q, want %q", got, want)
				}
			},
			"touch": func(t *rapid.T) {
				var run keyRun
				for i := range touchRun {
					run.add(Task{Partition: int32(i % 3)}, fmt.Appendf(nil, "group-%d", i*7))
				}
				m.touch(&run)
			},
			"": func(t *rapid.T) { m.check(t) },
		})
	})
}

// Keys whose tags are equal are kept apart, whatever happens to the other.
func TestCacheOfEqualTags(t *testing.T) {
	c := newCache(1 << 20)
	a, b := equalTags()
	c.put(hashKey(a), a, []byte("a"), true)
	if _, ok := c.get(hashKey(b), b); ok {
		t.Fatal("a key is taken for another of its tag")
	}
	c.put(hashKey(b), b, []byte("b"), false)
	c.put(hashKey(a), a, bytes.Repeat([]byte("a"), 100), true)
	if v, ok := c.get(hashKey(b), b); !ok || string(v) != "b" {
		t.Fatalf("b is %q, %v", v, ok)
	}
	c.limit = 0
	c.evict(0)
	if _, ok := c.get(hashKey(b), b); ok || c.groups() != 1 {
		t.Fatal("b is still there")
	}
	if v, ok := c.get(hashKey(a), a); !ok || len(v) != 100 {
		t.Fatalf("a is %q, %v", v, ok)
	}
}

func equalTags() (a, b []byte) {
	seen := map[uint32]int{}
	for i := 0; ; i++ {
		key := []byte(cacheKey(0, fmt.Sprint(i)))
		if j, ok := seen[tagOf(hashKey(key))]; ok {
			return key, []byte(cacheKey(0, fmt.Sprint(j)))
		}
		seen[tagOf(hashKey(key))] = i
	}
}

// What is used stays, what is not goes.
func TestCacheKeepsWhatIsUsed(t *testing.T) {
	c := newCache(20_000)
	hot := []byte(cacheKey(0, "hot"))
	c.put(hashKey(hot), hot, []byte("v"), false)
	for i := range 10_000 {
		if _, ok := c.get(hashKey(hot), hot); !ok {
			t.Fatalf("the hot entry was evicted after %d others", i)
		}
		cold := []byte(cacheKey(0, fmt.Sprint("cold-", i)))
		c.put(hashKey(cold), cold, []byte("v"), false)
		c.evict(0)
	}
	if n := c.groups(); n < 250 || n > 450 {
		t.Errorf("%d entries in a cache for about 350", n)
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
		c := newCache(1 << 30)
		rng := rand.New(rand.NewPCG(1, 1))
		key, values := make([]byte, size.key), make([]byte, size.values)
		for range 150_000 {
			for i := range key {
				key[i] = byte(rng.Uint32())
			}
			c.put(hashKey(key), key, values, true)
		}
		used := heap() - before
		if r := float64(c.bytes()) / float64(used); r < 0.97 || r > 1.05 {
			t.Errorf("keys of %d, values of %d: accounted %d, used %d: %.2f", size.key, size.values, c.bytes(), used, r)
		}
		runtime.KeepAlive(c)
	}
}
