package state

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// adopted makes the store "other" of a copy and opens it. It must not count as verified, and must
// pass.
func adopted(t tb, copied string, o Options) *Store {
	t.Helper()
	must(t, Adopt(copied, "other", testIdentity, o))
	s := mustOpen(t, "other", o)
	if s.Verified() {
		t.Fatalf("a copy counts as verified")
	}
	must(t, s.Verify(context.Background()))
	return s
}

// A checkpoint that is taken while transactions are published and read is a state that was visible
// as a whole, with its own position, and none from before it was asked for; a playback goes on from
// there.
func TestCheckpoint(t *testing.T) {
	for seed := range uint64(10) {
		m := newModel(t, seed)
		defer func() { _ = m.s.Abandon() }()
		vectors, asked := map[string]bool{}, []map[Task]int64{}
		copies := m.rng.IntN(3) + 1
		var both sync.WaitGroup
		taken := make(chan error, copies)
		must(t, m.s.Verify(context.Background())) // so that the mark is in the copies
		publish := func() {
			x := m.logs.commit(m.rng, modelTasks[m.rng.IntN(3):], 1+m.rng.IntN(300), m.rng.IntN(100))
			must(t, m.s.Publish(x.positions, x.changes))
			vectors[vector(offsets(m.s.Positions()))] = true
		}
		for range 1 + m.rng.IntN(10) {
			publish()
		}
		both.Go(func() {
			for i := range copies {
				asked = append(asked, offsets(m.s.Positions()))
				taken <- m.s.Checkpoint(context.Background(), fmt.Sprint("copy-", i))
			}
		})
		for range m.rng.IntN(30) {
			publish()
			m.checkGet(t, modelTasks[0])
		}
		both.Wait()
		for i := range copies {
			must(t, <-taken)
			s := adopted(t, fmt.Sprint("copy-", i), m.opt)
			at := m.logs.checkPrefix(t, s)
			if !vectors[vector(at)] {
				t.Fatalf("copy %d is at %v, which was never visible", i, at)
			}
			for task, was := range asked[i] {
				if at[task] < was {
					t.Fatalf("copy %d is at %v, and %v was visible when it was asked for", i, at, asked[i])
				}
			}
			n := *m
			n.s = s
			n.current(t, LoadOptions{ChunkBytes: 30000, IngestBytes: 15000}, true)
			must(t, s.Close())
		}
		m.checkCurrent(t)
	}
}

// Whatever a crash leaves of a checkpoint and of its adoption: under the name of the copy nothing
// or a whole copy, under that of a store what was there, nothing, or the whole copy.
func TestCheckpointCrash(t *testing.T) {
	mem := vfs.NewCrashableMem()
	rng := rand.New(rand.NewPCG(1, 1))
	var (
		mu      sync.Mutex // Pebble's goroutines remove files too
		clones  []*vfs.MemFS
		cloning bool
	)
	fs := &countingFS{FS: linkFS{mem, &mu}, each: func() {
		mu.Lock()
		defer mu.Unlock()
		if cloning {
			clones = append(clones, mem.CrashClone(vfs.CrashCloneCfg{}))
		}
	}}
	clone := func(on bool) {
		mu.Lock()
		defer mu.Unlock()
		cloning = on
	}
	o := smallOptions(fs, newClock())
	publish := func(s *Store, logs changelogs) {
		x := logs.commit(rng, modelTasks, 300, 100)
		must(t, s.Publish(x.positions, x.changes))
	}
	old := mustOpen(t, "other", smallOptions(mem, newClock()))
	publish(old, changelogs{})
	before := offsets(old.Positions())
	must(t, old.Close())
	s := mustOpen(t, "lane", o)
	logs := changelogs{}
	for range 5 {
		publish(s, logs)
	}
	must(t, s.Flush())
	waitQuiet(t, s)
	clone(true)
	must(t, s.Checkpoint(context.Background(), "copy"))
	fs.each()
	at := offsets(s.Positions())
	must(t, Adopt("copy", "other", testIdentity, o))
	fs.each()
	clone(false)
	must(t, s.Close())
	if len(clones) < 10 {
		t.Fatalf("only %d crashes", len(clones))
	}
	copies, whole := 0, 0
	for i, clone := range clones {
		o := smallOptions(clone, newClock())
		if _, err := clone.Stat("copy"); err == nil {
			copies++
			must(t, Adopt("copy", "third", testIdentity, o))
			third := mustOpen(t, "third", o)
			if got := offsets(third.Positions()); vector(got) != vector(at) {
				t.Fatalf("crash %d: the copy is at %v, not %v", i, got, at)
			}
			must(t, third.Verify(context.Background()))
			must(t, third.Close())
		}
		other := mustOpen(t, "other", o)
		switch got := vector(offsets(other.Positions())); got {
		case vector(at):
			whole++
			must(t, other.Verify(context.Background()))
		case vector(before), vector(nil):
		default:
			t.Fatalf("crash %d: the store is at %v: neither %v nor %v nor empty", i, got, before, at)
		}
		must(t, other.Close())
	}
	if copies == 0 || copies == len(clones) || whole == 0 {
		t.Fatalf("of %d crashes %d left a copy and %d the new store", len(clones), copies, whole)
	}
}

// What is not a whole copy of this lane's state is not taken, and the store that is there stays.
func TestAdoptRefuses(t *testing.T) {
	identity := func(change func(*Identity)) Identity {
		id := testIdentity
		change(&id)
		return id
	}
	unplace := func(t *testing.T, o Options, tasks ...Task) {
		s := mustOpen(t, "copy", o)
		for _, task := range tasks {
			must(t, s.db.Delete(storePositionKey(task), pebble.NoSync))
		}
		s.memBytes++ // so that the close flushes
		must(t, s.Close())
	}
	var of *IdentityError
	for name, c := range map[string]struct {
		id      Identity
		damage  func(t *testing.T, o Options)
		refused func(error) bool
	}{
		"other app": {identity(func(i *Identity) { i.AppID = "x" }), nil,
			func(err error) bool { return errors.As(err, &of) && of.Field == "app_id" }},
		"older generation": {identity(func(i *Identity) { i.Generation = 2 }), nil,
			func(err error) bool { return errors.As(err, &of) && of.Field == "generation" }},
		"other lane": {identity(func(i *Identity) { i.Lane = 2 }), nil,
			func(err error) bool { return errors.As(err, &of) && of.Field == "lane" }},
		"one position missing": {testIdentity, func(t *testing.T, o Options) { unplace(t, o, modelTasks[1]) },
			func(err error) bool { return errors.Is(err, ErrUnplaced) }},
		"all positions missing": {testIdentity, func(t *testing.T, o Options) { unplace(t, o, modelTasks...) },
			func(err error) bool { return errors.Is(err, ErrUnplaced) }},
		"nothing there": {testIdentity, func(t *testing.T, o Options) { must(t, o.FS.RemoveAll("copy")) },
			func(err error) bool { return errors.Is(err, ErrUnplaced) }},
	} {
		t.Run(name, func(t *testing.T) {
			o := smallOptions(vfs.NewMem(), newClock())
			logs, rng := changelogs{}, rand.New(rand.NewPCG(1, 1))
			x := logs.commit(rng, modelTasks, 300, 100)
			old := mustOpen(t, "other", o)
			must(t, old.Publish(x.positions, x.changes))
			must(t, old.Close())
			s := mustOpen(t, "lane", o)
			must(t, s.Publish(x.positions, x.changes))
			must(t, s.Checkpoint(context.Background(), "copy"))
			must(t, s.Close())
			if c.damage != nil {
				c.damage(t, o)
			}
			if err := Adopt("copy", "other", c.id, o); !c.refused(err) {
				t.Fatalf("got %v", err)
			}
			old = mustOpen(t, "other", o)
			logs.checkPrefix(t, old)
			must(t, old.Close())
		})
	}
}

// A copy whose position is later than its values does not add up.
func TestCopyWithALaterPosition(t *testing.T) {
	o := smallOptions(vfs.NewMem(), newClock())
	logs, rng := changelogs{}, rand.New(rand.NewPCG(1, 1))
	s := mustOpen(t, "lane", o)
	x := logs.commit(rng, modelTasks, 300, 100)
	must(t, s.Publish(x.positions, x.changes))
	must(t, s.Verify(context.Background()))
	must(t, s.Publish(logs.commit(rng, modelTasks, 300, 100).positions, nil)) // its values are lost
	must(t, s.Checkpoint(context.Background(), "copy"))
	must(t, s.Close())
	must(t, Adopt("copy", "other", testIdentity, o))
	other := mustOpen(t, "other", o)
	if err := other.Verify(context.Background()); !errors.As(err, new(*DigestError)) || other.Verified() {
		t.Fatalf("it is verified: %v", err)
	}
	must(t, other.Close())
}

// A checkpoint that the disk refuses is no failure of the store, and leaves nothing of its name.
func TestCheckpointOnAFullDisk(t *testing.T) {
	mem := vfs.NewMem()
	for k := int64(1); ; k++ {
		disk := &fault{err: syscall.ENOSPC, kinds: writes, path: "copy", from: k, times: 1}
		o := smallOptions(errorfs.Wrap(mem, disk), newClock())
		s := mustOpen(t, "lane", o)
		logs, rng := changelogs{}, rand.New(rand.NewPCG(1, 1))
		x := logs.commit(rng, modelTasks, 300, 100)
		if p, _ := s.Position(modelTasks[0]); !p.Known() {
			must(t, s.Publish(x.positions, x.changes))
		}
		err := s.Checkpoint(context.Background(), "copy")
		_, there := mem.Stat("copy")
		if err != nil && (disk.hit.Load() == 0 || there == nil || !errors.Is(err, syscall.ENOSPC)) {
			t.Fatalf("fault %d: %v, the copy is there: %v", k, err, there == nil)
		}
		must(t, s.Tick())
		must(t, s.Flush())
		must(t, s.Close())
		must(t, mem.RemoveAll("copy"))
		if disk.hit.Load() == 0 {
			if k < 5 {
				t.Fatalf("the checkpoint had only %d operations", k)
			}
			return
		}
	}
}

// A store that is closed, or a caller that gives up, ends a checkpoint.
func TestCheckpointEnds(t *testing.T) {
	o := smallOptions(vfs.NewMem(), newClock())
	s := mustOpen(t, "lane", o)
	var both sync.WaitGroup
	for i := range 20 {
		both.Go(func() {
			if err := s.Checkpoint(context.Background(), fmt.Sprint("copy-", i)); err != nil && !errors.Is(err, ErrClosed) {
				t.Errorf("checkpoint %d: %v", i, err)
			}
		})
	}
	must(t, s.Close())
	both.Wait()
	if err := s.Checkpoint(context.Background(), "late"); !errors.Is(err, ErrClosed) {
		t.Fatalf("got %v", err)
	}
}
