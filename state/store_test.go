package state

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/tally-kafka/tally/internal/step"
)

// number is a transaction in which every group's values are its number.
func number(n uint64, groups int) ([]Position, []Change) {
	var ch []Change
	v := binary.BigEndian.AppendUint64(nil, n)
	for g := range groups {
		ch = append(ch, Change{Task: Task{Partition: int32(g % 2)}, Group: fmt.Appendf(nil, "g%d", g), Values: v})
	}
	at := func(p int32) Position {
		return Position{Record: PositionRecord{Task: Task{Partition: p}, AppID: "app-id", Txn: n}, Changelog: int64(n)}
	}
	return []Position{at(0), at(1)}, ch
}

// Readers see whole transactions, beside a writer that publishes, applies, flushes and evicts:
// values and position of a View are of one transaction, as are those of a Cut.
func TestReadersSeeWholeTransactions(t *testing.T) {
	const groups = 400
	txns := uint64(300)
	if testing.Short() {
		txns = 60
	}
	s := mustOpen(t, "lane", smallOptions(vfs.NewMem(), newClock()))
	defer func() { must(t, s.Close()) }()
	publish := func(n uint64) {
		pos, ch := number(n, groups)
		must(t, s.Publish(pos, ch))
	}
	publish(1)
	var done atomic.Bool
	var readers sync.WaitGroup
	for r := range 3 {
		readers.Go(func() {
			for i := r; !done.Load(); i++ {
				var err error
				if r == 0 {
					err = readCut(s, groups)
				} else {
					err = s.View(func(v View) error { return readView(v, i, groups) })
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for n := uint64(2); n <= txns && !t.Failed(); n++ {
		publish(n)
	}
	done.Store(true)
	readers.Wait()
	if m := s.Metrics(); m.AppliedTxns == 0 || m.Flushes == 0 {
		t.Errorf("the writer applied %d and flushed %d times: the test showed little", m.AppliedTxns, m.Flushes)
	}
}

func readView(v View, i, groups int) error {
	p, _ := v.Position(Task{})
	q, _ := v.Position(Task{Partition: 1})
	if p.Changelog != q.Changelog {
		return fmt.Errorf("positions of two transactions: %d and %d", p.Changelog, q.Changelog)
	}
	for k := range 5 {
		g := (i*31 + k*97) % groups
		b, ok, err := v.Get(Task{Partition: int32(g % 2)}, fmt.Appendf(nil, "g%d", g), nil)
		if err != nil || !ok || binary.BigEndian.Uint64(b) != p.Record.Txn {
			return fmt.Errorf("group %d is %x, %v, %v at transaction %d", g, b, ok, err, p.Record.Txn)
		}
	}
	return nil
}

func readCut(s *Store, groups int) error {
	cut, err := s.Cut()
	if err != nil {
		return err
	}
	defer cut.Close()
	seen := 0
	for task, p := range cut.Positions() {
		err := cut.Scan(context.Background(), task, nil, func(g, v []byte) error {
			if n := binary.BigEndian.Uint64(v); n != p.Record.Txn {
				return fmt.Errorf("cut at transaction %d has %q of %d", p.Record.Txn, g, n)
			}
			seen++
			return nil
		})
		if err != nil {
			return err
		}
	}
	if seen != groups {
		return fmt.Errorf("a cut has %d groups of %d", seen, groups)
	}
	return nil
}

// A read from Pebble that a Publish overtakes must not put its old values into the cache.
func TestReadDoesNotCacheOldValues(t *testing.T) {
	s := mustOpen(t, "lane", smallOptions(vfs.NewMem(), newClock()))
	defer func() { must(t, s.Close()) }()
	publish := func(n uint64) {
		pos, ch := number(n, 2)
		must(t, s.Publish(pos, ch))
		must(t, s.Apply())
		forget(s)
	}
	publish(1)
	key := appendStoreKey(nil, Task{}, []byte("g0"))
	version := s.version
	hash := hashKey(key)
	old, _, err := s.read(hash, key, nil)
	must(t, err)
	publish(2) // and evicted: the cache knows nothing of it
	s.mu.Lock()
	s.remember(version, hash, key, old)
	s.mu.Unlock()
	if b, _, err := s.Get(Task{}, []byte("g0"), nil); err != nil || binary.BigEndian.Uint64(b) != 2 {
		t.Fatalf("g0 is %x, %v", b, err)
	}
	if b, ok := s.cache.get(hash, key); !ok || binary.BigEndian.Uint64(b) != 2 {
		t.Fatalf("a read that nothing overtook is not kept: %x, %v", b, ok)
	}
}

// forget drops all clean entries.
func forget(s *Store) {
	s.w.Lock()
	defer s.w.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := s.cache.limit
	s.cache.limit = 0
	s.evict()
	s.cache.limit = limit
}

// A Publish applies and flushes when it is due: by transactions, by bytes, by time.
func TestWhenWritingIsDue(t *testing.T) {
	c, hits := newClock(), steps{}
	o := Options{Seam: c.seam(), FS: vfs.NewMem(), Step: hits.hook(), ApplyTxns: 3, FlushInterval: time.Minute}
	s := mustOpen(t, "lane", o)
	defer func() { must(t, s.Close()) }()
	n := uint64(0)
	publish := func(groups int) {
		n++
		pos, ch := number(n, groups)
		must(t, s.Publish(pos, ch))
	}
	expect := func(what string, applies int, durable int64) {
		t.Helper()
		if got, _ := s.Durable(Task{}); hits[step.Apply] != applies || got != durable {
			t.Fatalf("%s: %d applies and durable to %d, want %d and %d", what, hits[step.Apply], got, applies, durable)
		}
	}
	publish(2)
	publish(2)
	expect("two transactions", 0, 0)
	publish(2)
	expect("three transactions", 1, 0)
	c.pass(59 * time.Second)
	must(t, s.Tick())
	expect("before the interval", 1, 0)
	publish(2)
	c.pass(time.Second)
	must(t, s.Tick())
	flushSoon(t, s, 4)
	expect("after the interval", 2, 4)
	c.pass(time.Hour)
	must(t, s.Tick())
	must(t, s.Apply())
	expect("nothing new", 2, 4)
	publish(400_000) // 16 MB of keys and values, and their overhead
	if got := hits[step.Apply]; got != 3 {
		t.Fatalf("a large transaction: %d applies, want 3", got)
	}
	if hits[step.Publish] != int(n) || hits[step.MemtableFlush] == 0 {
		t.Fatalf("steps: %v", hits)
	}
}

// flushSoon waits until the flush that was started has made the offset durable.
func flushSoon(t *testing.T, s *Store, want int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("a flush makes %d durable", want), func() bool {
		must(t, s.Tick())
		got, _ := s.Durable(Task{})
		return got == want
	})
}

// While a flush is slow, Publish goes on: what it may not apply stays in the cache, within its
// bound.
func TestSlowFlushDoesNotBlockPublish(t *testing.T) {
	gate := &gateFS{FS: vfs.NewMem(), open: make(chan struct{})}
	o := smallOptions(gate, newClock())
	o.CacheBytes, o.FlushBytes = 1<<20, 8<<10
	s := mustOpen(t, "lane", o)
	gate.shut.Store(true)
	published := make(chan error)
	go func() {
		for n := uint64(1); n <= 200; n++ {
			pos, ch := number(n, 300)
			if err := s.Publish(pos, ch); err != nil {
				published <- err
				return
			}
		}
		published <- nil
	}()
	select {
	case err := <-published:
		must(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("Publish waits for the flush")
	}
	if d, _ := s.Durable(Task{}); d != 0 || !gate.waited.Load() {
		t.Fatalf("durable to %d while the flush hangs (it did: %v)", d, gate.waited.Load())
	}
	close(gate.open)
	must(t, s.Flush())
	if d, _ := s.Durable(Task{}); d != 200 {
		t.Fatalf("durable to %d", d)
	}
	must(t, s.Close())
}

// gateFS lets no new table be made while it is shut.
type gateFS struct {
	vfs.FS
	shut, waited atomic.Bool
	open         chan struct{}
}

func (g *gateFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if g.shut.Load() && strings.HasSuffix(name, ".sst") {
		g.waited.Store(true)
		<-g.open
	}
	return g.FS.Create(name, c)
}

// A flush that fails in the background shows at the next Publish and Flush, and keeps no one
// waiting.
func TestBackgroundErrorSurfaces(t *testing.T) {
	var broken atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst") {
			return errorfs.ErrInjected
		}
		return nil
	}))
	s := mustOpen(t, "lane", smallOptions(fs, newClock()))
	pos, ch := number(1, 10)
	must(t, s.Publish(pos, ch))
	broken.Store(true)
	if err := s.Flush(); !errors.Is(err, errorfs.ErrInjected) {
		t.Errorf("Flush: %v", err)
	}
	pos, ch = number(2, 10)
	if err := s.Publish(pos, ch); !errors.Is(err, errorfs.ErrInjected) || errors.Is(err, ErrDamaged) {
		t.Errorf("Publish: %v", err)
	}
	if b, ok, err := s.Get(Task{}, []byte("g0"), nil); !ok || err != nil || binary.BigEndian.Uint64(b) != 1 {
		t.Errorf("Get: %x %v %v", b, ok, err)
	}
	if err := s.Close(); !errors.Is(err, errorfs.ErrInjected) {
		t.Errorf("Close: %v", err)
	}
	broken.Store(false)
	s = mustOpen(t, "lane", smallOptions(fs, newClock()))
	if len(s.Positions()) != 0 {
		t.Errorf("positions %v survived a flush that failed", s.Positions())
	}
	must(t, s.Close())
}

func TestPublishPanics(t *testing.T) {
	for says, publish := range map[string]func(s *Store){
		"back": func(s *Store) {
			for _, n := range []uint64{5, 4} {
				pos, ch := number(n, 1)
				_ = s.Publish(pos, ch)
			}
		},
		"without its position": func(s *Store) {
			pos, ch := number(1, 4)
			_ = s.Publish(pos[:1], ch)
		},
		"during a Load": func(s *Store) {
			defer s.Load(LoadOptions{}).Drop()
			_ = s.Publish(nil, nil)
		},
		"two Loads": func(s *Store) {
			defer s.Load(LoadOptions{}).Drop()
			s.Load(LoadOptions{})
		},
		"after its end": func(s *Store) {
			l := s.Load(LoadOptions{})
			l.Drop()
			_ = l.Advance(Task{}, 7)
		},
	} {
		s := mustOpen(t, "lane", smallOptions(vfs.NewMem(), newClock()))
		func() {
			defer func() {
				if r := fmt.Sprint(recover()); !strings.Contains(r, says) {
					t.Errorf("%s: panic says %s", says, r)
				}
			}()
			publish(s)
		}()
		must(t, s.Close())
	}
}
