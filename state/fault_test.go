package state

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// fault makes operations of some kinds on files fail, from the from-th on, and times of them.
type fault struct {
	err   syscall.Errno
	kinds []errorfs.OpKind
	path  string // a part of the path, "" for any

	from, times int64
	seen, hit   atomic.Int64
	healed      atomic.Bool
}

func (f *fault) MaybeError(op errorfs.Op) error {
	if !slices.Contains(f.kinds, op.Kind) || !strings.Contains(op.Path, f.path) {
		return nil
	}
	n := f.seen.Add(1)
	if f.healed.Load() || n < f.from || n >= f.from+f.times {
		return nil
	}
	f.hit.Add(1)
	return f.err
}

func (f *fault) String() string { return f.err.Error() }

var (
	writes = []errorfs.OpKind{
		errorfs.OpCreate, errorfs.OpReuseForWrite, errorfs.OpMkdirAll, errorfs.OpFileWrite, errorfs.OpFileWriteAt,
		errorfs.OpFilePreallocate, errorfs.OpLink,
	}
	changes = append([]errorfs.OpKind{
		errorfs.OpRemove, errorfs.OpRename, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo,
	}, writes...)
	syncs = []errorfs.OpKind{errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo}
	opens = []errorfs.OpKind{errorfs.OpCreate, errorfs.OpReuseForWrite, errorfs.OpOpen, errorfs.OpOpenDir}
	reads = []errorfs.OpKind{errorfs.OpFileRead, errorfs.OpFileReadAt}
)

// faults are what a disk and a system do, with what the error must advise.
var faults = map[string]struct {
	err    syscall.Errno
	kinds  []errorfs.OpKind
	advice string
}{
	"full":       {syscall.ENOSPC, writes, "free some space"},
	"read-only":  {syscall.EROFS, changes, "mount it for writing"},
	"fsync":      {syscall.EIO, syncs, "the disk reports errors"},
	"read":       {syscall.EIO, reads, "the disk reports errors"},
	"open files": {syscall.EMFILE, opens, "ulimit -n 65536"},
}

// Whatever operation of a disk fails, for once or from then on, and whatever the store does just
// then: no value is ever wrong, each error is the disk's and says what to do, the store can be
// closed, and one that is opened once the disk is well again goes on from a prefix of the changelog
// with its own position, now and after a crash.
func TestDiskFaults(t *testing.T) {
	for name, c := range faults {
		for _, times := range []int64{1, 1 << 40} {
			t.Run(fmt.Sprintf("%s %d", name, min(times, 2)), func(t *testing.T) {
				t.Parallel()
				stopped, least, proof := 0, 5, os.Getenv("TALLY_PROOF") != ""
				if testing.Short() {
					least = 1
				}
				for k := int64(1); ; k++ {
					switch {
					case testing.Short():
						k += 3 * (k - 1) // with -race, under which Pebble takes ten times as long
					case !proof:
						k += k / 2 // each early one, and then fewer
					}
					f := &fault{err: c.err, kinds: c.kinds, from: k, times: times}
					w := &faulty{model: newModel(t, uint64(k)), fault: f, advice: c.advice}
					if w.run(t) {
						stopped++
					}
					if f.hit.Load() == 0 {
						break // the whole life has fewer operations
					}
				}
				if stopped < least {
					t.Errorf("the store stopped only %d times", stopped)
				}
			})
		}
	}
}

// faulty is a store's life on a disk with a fault.
type faulty struct {
	*model
	fault   *fault
	advice  string
	durable map[Task]int64 // the positions that a Flush has promised
}

// run lives until the fault stops the store, heals the disk, and checks what is there. It reports
// whether the store has stopped.
func (w *faulty) run(t *testing.T) (stopped bool) {
	t.Helper()
	must(t, w.s.Abandon())
	w.opt.FS = errorfs.Wrap(w.fs, w.fault)
	var err error
	if w.s, err = Open("lane", testIdentity, w.opt); err == nil {
		err = w.live(t)
		w.leave(t, err)
	}
	w.isTheDisks(t, err)
	if again, e := Open("lane", testIdentity, w.opt); e == nil { // the fault may hit nothing that an open needs
		must(t, ignoreDisk(again.Abandon()))
	} else {
		w.isTheDisks(t, e)
	}
	crashed := w.fs.CrashClone(vfs.CrashCloneCfg{})
	w.fault.healed.Store(true)
	w.goOn(t, crashed)
	w.goOn(t, w.fs)
	return err != nil
}

// live publishes, flushes, loads and reads until something fails.
func (w *faulty) live(t *testing.T) error {
	for i := range 20 {
		x := w.logs.commit(w.rng, modelTasks[w.rng.IntN(3):], 300, 60)
		if err := w.s.Publish(x.positions, x.changes); err != nil {
			return err
		}
		if i%4 == 0 {
			if err := w.reads(t); err != nil {
				return err
			}
		}
		w.clock.pass(time.Second)
		if err := w.s.Tick(); err != nil {
			return err
		}
		if i%2 == 0 {
			if err := w.flush(); err != nil {
				return err
			}
		}
		if i == 12 {
			if err := w.load(); err != nil {
				return err
			}
		}
	}
	return w.flush()
}

func (w *faulty) flush() error {
	err := w.s.Flush()
	if err == nil {
		w.durable = offsets(w.s.Positions())
	}
	return err
}

// load takes further records as a playback does, as tables that are ingested.
func (w *faulty) load() error {
	for range 3 {
		w.logs.commit(w.rng, modelTasks, 300, 60)
	}
	l := w.s.Load(LoadOptions{ChunkBytes: 4000, IngestBytes: 1})
	defer l.Drop()
	for _, task := range modelTasks {
		p, _ := w.s.Position(task)
		for o := p.Changelog; o < int64(len(w.logs[task])); o++ {
			if err := w.logs.feed(l, task, o); err != nil {
				return err
			}
		}
	}
	return l.Finish()
}

// reads compares a few groups with the changelogs at the visible position: right, or an error.
func (w *faulty) reads(t *testing.T) error {
	t.Helper()
	for _, task := range modelTasks {
		p, _ := w.s.Position(task)
		want, _ := w.logs.replay(task, p.Changelog)
		for range 5 {
			g := fmt.Sprintf("group-%d", w.rng.IntN(300))
			got, ok, err := w.s.Get(task, []byte(g), nil)
			if err != nil {
				return err
			}
			if v, has := want[g]; ok != has || string(got) != v {
				t.Fatalf("operation %d: Get %v %q is %q, %v, want %q", w.fault.from, task, g, got, ok, v)
			}
		}
	}
	return nil
}

// leave closes the store within a bounded time: cleanly if nothing has failed.
func (w *faulty) leave(t *testing.T, err error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		if err != nil {
			done <- w.s.Abandon()
		} else {
			done <- w.s.Close()
		}
	}()
	select {
	case err := <-done:
		w.isTheDisks(t, err)
	case <-time.After(time.Minute):
		t.Fatalf("operation %d: the store does not close", w.fault.from)
	}
}

// isTheDisks fails unless err is nil, or the fault and says what to do.
func (w *faulty) isTheDisks(t *testing.T, err error) {
	t.Helper()
	var disk *DiskError
	switch {
	case err == nil || errors.Is(err, ErrClosed):
	case !errors.As(err, &disk) || !errors.Is(err, w.fault.err) || errors.Is(err, ErrDamaged):
		t.Fatalf("operation %d: the fault shows as %v", w.fault.from, err)
	case disk.Dir != "lane" || !strings.Contains(err.Error(), w.advice) || !strings.Contains(err.Error(), "lane"):
		t.Fatalf("operation %d: it does not say what to do: %v", w.fault.from, err)
	}
}

func ignoreDisk(err error) error {
	if errors.As(err, new(*DiskError)) {
		return nil
	}
	return err
}

// goOn opens the store on a disk that is well, which must be a prefix, and brings it up to date.
func (w *faulty) goOn(t *testing.T, fs *vfs.MemFS) {
	t.Helper()
	m := *w.model
	m.opt = smallOptions(fs, w.clock)
	m.rng = rand.New(rand.NewPCG(uint64(w.fault.from), 3))
	var err error
	if m.s, err = Open("lane", testIdentity, m.opt); err != nil {
		t.Fatalf("operation %d: the healed disk: %v", w.fault.from, err)
	}
	at := m.logs.checkPrefix(t, m.s)
	for task, promised := range w.durable {
		if at[task] < promised {
			t.Fatalf("operation %d: Flush made %v durable up to %d, and %d is there", w.fault.from, task, promised, at[task])
		}
	}
	m.current(t, LoadOptions{ChunkBytes: 30000, IngestBytes: 15000}, true)
	must(t, m.s.Verify(t.Context()))
	must(t, m.s.Close())
}

// A disk that stays full while the owner goes on publishing: the store says so instead of waiting
// for ever, and can be closed, however little memory Pebble may take.
func TestFullDiskHoldsNobodyUp(t *testing.T) {
	m := newModel(t, 1)
	must(t, m.s.Abandon())
	f := &fault{err: syscall.ENOSPC, kinds: []errorfs.OpKind{errorfs.OpCreate}, path: ".sst", from: 1, times: 1 << 40}
	m.opt.FS, m.opt.FlushBytes, m.opt.ApplyTxns = errorfs.Wrap(m.fs, f), 1<<30, 1 // Pebble flushes by itself
	m.s = mustOpen(t, "lane", m.opt)
	w := &faulty{model: m, fault: f}
	ended := make(chan error, 1)
	go func() {
		for {
			x := m.logs.commit(m.rng, modelTasks, 1000, 500)
			if err := m.s.Publish(x.positions, x.changes); err != nil {
				ended <- err
				return
			}
		}
	}()
	select {
	case err := <-ended:
		w.isTheDisks(t, err)
		w.leave(t, err)
	case <-time.After(time.Minute):
		t.Fatal("a Publish waits for a full disk")
	}
}
