package bench

import (
	"bytes"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestEventsAreTheSame keeps runs comparable, and events within what a workload says.
func TestEventsAreTheSame(t *testing.T) {
	w := Workload{Events: 1000, Keys: 10, Words: 5}
	a, b := w.Source(), w.Source()
	for range w.Events {
		key, value := a.Next()
		key2, value2 := b.Next()
		if string(key) != string(key2) || string(value) != string(value2) {
			t.Fatalf("%s %s and %s %s", key, value, key2, value2)
		}
		items := 0
		w.Items(key, value, func(string) { items++ })
		if items != w.Words {
			t.Fatalf("%q has %d items", value, items)
		}
	}
}

// TestObjects are of their size and compress about twofold, as real events do.
func TestObjects(t *testing.T) {
	for _, size := range []int{0, 10, 100, 1000, 10_000} {
		source := Workload{Keys: 10, Bytes: size}.Source()
		if size == 0 {
			size = 100
		}
		var all []byte
		for range 1 + 100_000/max(size, 100) {
			_, v := source.Next()
			if len(v) != size {
				t.Fatalf("%d bytes, not %d: %s", len(v), size, v)
			}
			all = append(all, v...)
		}
		c, err := kgo.DefaultCompressor(kgo.Lz4Compression())
		if err != nil {
			t.Fatal(err)
		}
		small, _ := c.Compress(new(bytes.Buffer), all)
		if ratio := float64(len(all)) / float64(len(small)); size == 100 && (ratio < 1.6 || ratio > 2.6) {
			t.Errorf("events of %d bytes compress %.2f times, not about twice", size, ratio)
		}
	}
}

// TestZipf draws the first rank as often as the law says, and each key once where that is asked.
func TestZipf(t *testing.T) {
	z, draw, first := newZipf(vocabulary), chance(Seed), 0
	const draws = 100_000
	for range draws {
		if z.rank(&draw) == 0 {
			first++
		}
	}
	if want := 1 / z[len(z)-1] * draws; float64(first) < want*0.95 || float64(first) > want*1.05 {
		t.Errorf("the first word was drawn %d times of %d, not about %.0f", first, draws, want)
	}
	w := Workload{Events: 600, Keys: 500, Each: true}
	if r := w.Recount(); r.Groups() != 500 || r.total != 600 {
		t.Errorf("%d groups and %d counts, not 500 and 600", r.Groups(), r.total)
	}
	words := Workload{Events: 50, Keys: 5, Words: 10}.Recount()
	if words.total != 500 {
		t.Errorf("%d words, not 500", words.total)
	}
	if spec := w.Spec("a", "in", 1); !strings.Contains(spec, "lanes: 1") {
		t.Error(spec)
	}
}
