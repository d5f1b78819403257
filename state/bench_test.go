//go:build unix

package state

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// The benchmarks run on the disk, with the default options, as a lane does.
func benchStore(b *testing.B) *Store {
	b.Helper()
	s, err := Open(b.TempDir(), testIdentity, Options{Seam: seam.World()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

// cpu is the process's CPU time, Pebble's background work and the benchmark's own included:
// steadier than the time of a shared machine.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// report gives the rate of units and the CPU seconds of a million of them.
func report(b *testing.B, units int, unit string, used time.Duration) {
	b.Helper()
	total := float64(b.N) * float64(units)
	b.ReportMetric(total/b.Elapsed().Seconds(), unit+"/s")
	b.ReportMetric(used.Seconds()/total*1e6, "cpu-s/M")
}

// benchGroup is like an encoded group of a key and a word; n is spread, as hashed keys are.
func benchGroup(dst []byte, n uint64) []byte {
	return fmt.Appendf(dst[:0], "\x03user-%06x\x00\x01\x03word-%d\x00\x01", n*0x9E3779B97F4A7C15>>40, n)
}

// BenchmarkPublish publishes transactions of 50,000 distinct groups of a million.
func BenchmarkPublish(b *testing.B) {
	const groups, changes = 1_000_000, 50_000
	for _, dist := range []string{"uniform", "zipf"} {
		b.Run(dist, func(b *testing.B) {
			s := benchStore(b)
			rng := rand.New(rand.NewPCG(1, 1))
			zipf := rand.NewZipf(rng, 1.1, 10, groups-1)
			draw := func() uint64 { return rng.Uint64N(groups) }
			if dist == "zipf" {
				draw = zipf.Uint64
			}
			ch := make([]Change, 0, changes)
			seen := map[uint64]bool{}
			var used time.Duration
			for n := 0; b.Loop(); n++ {
				b.StopTimer()
				clear(seen)
				ch = ch[:0]
				for len(seen) < changes {
					if g := draw(); !seen[g] {
						seen[g] = true
						ch = append(ch, Change{Group: benchGroup(nil, g), Values: binary.AppendUvarint(nil, uint64(n))})
					}
				}
				from := cpu(b)
				b.StartTimer()
				pos := []Position{{Record: PositionRecord{AppID: "app-id"}, Changelog: int64(n)}}
				if err := s.Publish(pos, ch); err != nil {
					b.Fatal(err)
				}
				used += cpu(b) - from
			}
			report(b, changes, "groups", used)
		})
	}
}

// benchLoad loads n records of distinct groups in the order of a hash.
func benchLoad(b *testing.B, s *Store, n int) {
	b.Helper()
	l := s.Load(LoadOptions{})
	var group []byte
	values := []byte{1, 2, 3, 4}
	for i := range n {
		group = benchGroup(group, uint64(i))
		if err := l.Value(Task{}, group, values, int64(i)); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Position(Task{}, PositionRecord{
		AppID: "app-id", Generation: 1, InputTopicID: "in", ChangelogTopicID: "cl",
	}, int64(n)); err != nil {
		b.Fatal(err)
	}
	if err := l.Finish(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkLoad restores stores of five million groups.
func BenchmarkLoad(b *testing.B) {
	const n = 5_000_000
	from := cpu(b)
	for b.Loop() {
		benchLoad(b, benchStore(b), n)
	}
	report(b, n, "records", cpu(b)-from)
}

// BenchmarkGet reads single groups of a million: from the cache, from Pebble, and new ones.
func BenchmarkGet(b *testing.B) {
	const n = 1_000_000
	s := benchStore(b)
	benchLoad(b, s, n)
	waitQuiet(b, s)
	rng := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct {
		name string
		from uint64
		of   uint64
		hit  bool
	}{{"cached", 0, 10_000, true}, {"pebble", 0, n, true}, {"new", n, n, false}} {
		b.Run(c.name, func(b *testing.B) {
			var group, dst []byte
			from := cpu(b)
			for b.Loop() {
				group = benchGroup(group, c.from+rng.Uint64N(c.of))
				_, ok, err := s.Get(Task{}, group, dst[:0])
				if ok != c.hit || err != nil {
					b.Fatal(ok, err)
				}
			}
			report(b, 1, "groups", cpu(b)-from)
		})
	}
}

// BenchmarkGetMany is a commit's read of 50,000 groups of a million.
func BenchmarkGetMany(b *testing.B) {
	const n, many = 1_000_000, 50_000
	for _, c := range []struct {
		name string
		from uint64
	}{{"pebble", 0}, {"new", n}} {
		b.Run(c.name, func(b *testing.B) {
			s := benchStore(b)
			benchLoad(b, s, n)
			waitQuiet(b, s)
			rng := rand.New(rand.NewPCG(1, 1))
			groups := make([][]byte, many)
			var used time.Duration
			for b.Loop() {
				b.StopTimer()
				for i := range groups {
					groups[i] = benchGroup(nil, c.from+rng.Uint64N(n))
				}
				from := cpu(b)
				b.StartTimer()
				if err := s.GetMany(Task{}, groups, func(int, []byte, bool) {}); err != nil {
					b.Fatal(err)
				}
				used += cpu(b) - from
			}
			report(b, many, "groups", used)
		})
	}
}

// BenchmarkScan scans a cut of a million groups.
func BenchmarkScan(b *testing.B) {
	const n = 1_000_000
	s := benchStore(b)
	benchLoad(b, s, n)
	waitQuiet(b, s)
	from := cpu(b)
	for b.Loop() {
		cut, err := s.Cut()
		if err != nil {
			b.Fatal(err)
		}
		seen := 0
		if err := cut.Scan(b.Context(), Task{}, nil, func(_, _ []byte) error { seen++; return nil }); err != nil || seen != n {
			b.Fatal(seen, err)
		}
		cut.Close()
	}
	report(b, n, "groups", cpu(b)-from)
}
