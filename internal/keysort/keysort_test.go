package keysort

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// keysToSort are keys and entries of them; ties are decided by the keys, then by their index.
type keysToSort struct {
	keys    [][]byte
	entries []Entry
}

func (k *keysToSort) add(key []byte) {
	k.entries = append(k.entries, Entry{Order: Orders(key), At: uint32(len(k.keys))})
	k.keys = append(k.keys, key)
}

func (k *keysToSort) tie(a, b Entry) int {
	return cmp.Or(bytes.Compare(k.keys[a.At], k.keys[b.At]), cmp.Compare(a.At, b.At))
}

// Few and many entries, short keys and long, equal ones, and such as differ in their last bytes
// alone come in the order of their bytes, and equal ones as they came.
func TestSort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		letters := rapid.SliceOfN(rapid.Byte(), 1, 4).Draw(t, "letters")
		longest := rapid.IntRange(0, 20).Draw(t, "longest")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		head := make([]byte, rapid.SampledFrom([]int{0, 3, 8, 15, 16}).Draw(t, "in common"))
		var k keysToSort
		for range rapid.SampledFrom([]int{0, 1, insertMost, insertMost + 1, 300, 2000}).Draw(t, "entries") {
			key := bytes.Clone(head)
			for range rng.IntN(longest + 1) {
				key = append(key, letters[rng.IntN(len(letters))])
			}
			k.add(key)
		}
		want := slices.Clone(k.entries)
		slices.SortFunc(want, k.tie)
		if Sort(k.entries, k.tie); !slices.Equal(k.entries, want) {
			t.Fatalf("%d entries are not in order", len(want))
		}
	})
}

// BenchmarkSort sorts what commits of two thousand and of 150,000 groups of words by key
// bring, each time anew.
func BenchmarkSort(b *testing.B) {
	for _, n := range []int{2_000, 150_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rng := rand.New(rand.NewPCG(1, 1))
			var k keysToSort
			for range n {
				k.add(fmt.Appendf(nil, "%05d\x00\x01\x03word-%d\x00\x01", rng.IntN(10_000), rng.IntN(50_000)))
			}
			entries := make([]Entry, n)
			for b.Loop() {
				copy(entries, k.entries)
				Sort(entries, k.tie)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/entry")
		})
	}
}
