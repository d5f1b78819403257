package state

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/tally-kafka/tally/internal/step"
)

// loaded is a store that was built from changelogs alone.
func loaded(t *testing.T, o Options, opt LoadOptions) (*Store, changelogs) {
	t.Helper()
	logs, rng := changelogs{}, rand.New(rand.NewPCG(3, 3))
	for range 20 {
		logs.commit(rng, modelTasks, 500, 100)
	}
	s := mustOpen(t, "lane", o)
	l := s.Load(opt)
	for _, task := range modelTasks {
		for off := range logs[task] {
			must(t, logs.feed(l, task, int64(off)))
		}
	}
	must(t, l.Finish())
	return s, logs
}

// A full load leaves everything durable, visible and unverified, whatever its chunks are.
func TestLoad(t *testing.T) {
	for _, c := range []struct {
		name    string
		opt     LoadOptions
		ingests bool
	}{
		{"one small chunk", LoadOptions{}, false},
		{"one table", LoadOptions{IngestBytes: 1}, true},
		{"many tables", LoadOptions{ChunkBytes: 20000, IngestBytes: 1}, true},
		{"tables and batches", LoadOptions{ChunkBytes: 20000, IngestBytes: 11000}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs, hits := vfs.NewCrashableMem(), steps{}
			o := smallOptions(fs, newClock())
			o.Step = hits.hook()
			s, logs := loaded(t, o, c.opt)
			logs.checkPrefix(t, s)
			if (hits[step.Ingest] > 0) != c.ingests || hits[step.CatchUp] == 0 {
				t.Errorf("steps %v", hits)
			}
			if s.Verified() {
				t.Error("verified before Verify")
			}
			must(t, s.Abandon())
			killed := mustOpen(t, "lane", smallOptions(fs.CrashClone(vfs.CrashCloneCfg{}), newClock()))
			for task, at := range logs.checkPrefix(t, killed) {
				if at != int64(len(logs[task])) {
					t.Errorf("task %v is durable to %d of %d", task, at, len(logs[task]))
				}
			}
			must(t, killed.Close())
		})
	}
}

func TestLoadRefuses(t *testing.T) {
	good := PositionRecord{AppID: "app-id", Generation: 1, InputTopicID: "in", ChangelogTopicID: "cl"}
	for field, change := range map[string]func(*PositionRecord){
		"app_id":             func(r *PositionRecord) { r.AppID = "other" },
		"generation":         func(r *PositionRecord) { r.Generation = 2 },
		"input_topic_id":     func(r *PositionRecord) { r.InputTopicID = "other" },
		"changelog_topic_id": func(r *PositionRecord) { r.ChangelogTopicID = "other" },
		"":                   func(r *PositionRecord) { r.Partition = 5 },
	} {
		s := mustOpen(t, "lane", smallOptions(vfs.NewMem(), newClock()))
		l := s.Load(LoadOptions{})
		must(t, l.Position(Task{}, good, 0))
		rec := good
		change(&rec)
		err := l.Position(Task{}, rec, 1)
		var ie *IdentityError
		if err == nil || errors.As(err, &ie) != (field != "") || (ie != nil && (ie.Field != field || !strings.Contains(err.Error(), "changelog"))) {
			t.Errorf("%q: %v", field, err)
		}
		for name, again := range map[string]error{
			"Value": l.Value(Task{}, nil, nil, 2), "Advance": l.Advance(Task{}, 9), "Apply": l.Apply(), "Finish": l.Finish(),
		} {
			if !errors.Is(again, err) {
				t.Errorf("%q: %s after the error: %v", field, name, again)
			}
		}
		must(t, s.Publish(nil, nil)) // the load is over
		must(t, s.Close())
	}
}

// What was not applied is forgotten by Drop, and taken again by the next load.
func TestLoadDrop(t *testing.T) {
	s := mustOpen(t, "lane", smallOptions(vfs.NewMem(), newClock()))
	defer func() { must(t, s.Close()) }()
	l := s.Load(LoadOptions{})
	must(t, l.Value(Task{}, []byte("a"), []byte("1"), 0))
	must(t, l.Apply())
	must(t, l.Value(Task{}, []byte("a"), []byte("2"), 1))
	l.Drop()
	l.Drop()
	p, ok := s.Position(Task{})
	v, _, err := s.Get(Task{}, []byte("a"), nil)
	if !ok || p.Changelog != 1 || p.Known() || string(v) != "1" || err != nil {
		t.Fatalf("position %+v, %v; a is %q, %v", p, ok, v, err)
	}
	l = s.Load(LoadOptions{})
	must(t, l.Value(Task{}, []byte("a"), []byte("old"), 0)) // known
	must(t, l.Value(Task{}, []byte("a"), []byte("2"), 1))
	must(t, l.Advance(Task{}, 9))
	must(t, l.Advance(Task{}, 3)) // known
	must(t, l.Finish())
	if p, _ := s.Position(Task{}); p.Changelog != 9 {
		t.Errorf("position %+v", p)
	}
	if v, _, err := s.Get(Task{}, []byte("a"), nil); string(v) != "2" || err != nil {
		t.Errorf("a is %q, %v", v, err)
	}
}

// While a load changes a group's values again and again, reads and positions are of one chunk, also
// for groups that the cache holds from the time before.
func TestReadsDuringLoad(t *testing.T) {
	const groups, rounds = 50, 200
	hits := steps{}
	o := smallOptions(vfs.NewMem(), newClock())
	o.Step = hits.hook()
	s := mustOpen(t, "lane", o)
	defer func() { must(t, s.Close()) }()
	name := func(g int) []byte { return fmt.Appendf(nil, "g%02d", g) }
	var ch []Change
	for g := range groups {
		ch = append(ch, Change{Group: name(g), Values: []byte("0")})
	}
	must(t, s.Publish([]Position{{Record: PositionRecord{AppID: "app-id"}, Changelog: 1}}, ch))

	var done atomic.Bool
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for i := 0; !done.Load(); i++ {
				err := s.View(func(v View) error {
					p, _ := v.Position(Task{})
					want := fmt.Sprint((p.Changelog - 1) / groups)
					for g := range 3 {
						if b, _, err := v.Get(Task{}, name((i+g*7)%groups), nil); string(b) != want || err != nil {
							return fmt.Errorf("at %d: %q, %v, want %q", p.Changelog, b, err, want)
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	l := s.Load(LoadOptions{IngestBytes: 2500})
	offset := int64(1)
	for round := 1; round <= rounds && !t.Failed(); round++ {
		for g := range groups {
			must(t, l.Value(Task{}, name(g), fmt.Append(nil, round), offset))
			offset++
		}
		if round%2 == 0 { // 50 groups go through the cache
			must(t, l.Apply())
			continue
		}
		for i := range 30 { // more make a table
			must(t, l.Value(Task{Partition: 1}, fmt.Append(nil, i), make([]byte, 60), int64(round*30+i)))
		}
		must(t, l.Apply())
	}
	must(t, l.Finish())
	done.Store(true)
	readers.Wait()
	if hits[step.Ingest] != rounds/2 {
		t.Errorf("%d tables were ingested, want %d", hits[step.Ingest], rounds/2)
	}
}

// A chunk is sorted by key, with the latest values of each group.
func TestChunk(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for range 300 {
		var c chunk
		common := rng.IntN(12)
		want := map[string]string{}
		tasks := []Task{{1, 2}, {0, 300}, {0, 5}}
		for i, task := range tasks {
			if c.task(task) != i {
				t.Fatal("tasks are not numbered in order")
			}
		}
		for range rng.IntN(200) {
			i := rng.IntN(len(tasks))
			group := make([]byte, common+rng.IntN(11))
			for j := common; j < len(group); j++ {
				group[j] = []byte{0, 0, 1, 255}[rng.IntN(4)]
			}
			v := fmt.Sprint(rng.Uint32())
			c.add(i, tasks[i], group, []byte(v))
			want[string(appendStoreKey(nil, tasks[i], group))] = v
		}
		c.sort()
		var keys []string
		c.each(func(key, values []byte) {
			keys = append(keys, string(key))
			if want[string(key)] != string(values) {
				t.Fatalf("%x is %q, want %q", key, values, want[string(key)])
			}
		})
		if len(keys) != len(want) || !slices.IsSorted(keys) {
			t.Fatalf("%d keys of %d, sorted: %v", len(keys), len(want), slices.IsSorted(keys))
		}
	}
}

// A load that cannot write its table says so and leaves the store as it was.
func TestLoadFails(t *testing.T) {
	var broken atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, loadFile) {
			return errorfs.ErrInjected
		}
		return nil
	}))
	s := mustOpen(t, "lane", smallOptions(fs, newClock()))
	l := s.Load(LoadOptions{IngestBytes: 1})
	must(t, l.Value(Task{}, []byte("a"), []byte("1"), 0))
	broken.Store(true)
	if err := l.Finish(); !errors.Is(err, errorfs.ErrInjected) {
		t.Errorf("Finish: %v", err)
	}
	if _, ok := s.Position(Task{}); ok {
		t.Error("the chunk that failed is visible")
	}
	broken.Store(false)
	must(t, s.Close())
	s = mustOpen(t, "lane", smallOptions(fs, newClock())) // and its leftover does not disturb
	l = s.Load(LoadOptions{IngestBytes: 1})
	must(t, l.Value(Task{}, []byte("a"), []byte("1"), 0))
	must(t, l.Finish())
	must(t, s.Close())
}

func TestVerify(t *testing.T) {
	hurt := func(f func(b *pebble.Batch, group string)) func(*Store, string) {
		return func(s *Store, group string) {
			b := s.db.NewBatch()
			f(b, group)
			must(t, s.db.Apply(b, pebble.NoSync))
		}
	}
	task := modelTasks[1]
	for name, c := range map[string]func(s *Store, group string){
		"flipped value": hurt(func(b *pebble.Batch, g string) {
			mustFinish(b.Set(appendStoreKey(nil, task, []byte(g)), AppendValue(nil, []byte("other")), nil))
		}),
		"missing group": hurt(func(b *pebble.Batch, g string) {
			mustFinish(b.Delete(appendStoreKey(nil, task, []byte(g)), nil))
		}),
		"group too many": hurt(func(b *pebble.Batch, _ string) {
			mustFinish(b.Set(appendStoreKey(nil, task, []byte("more")), AppendValue(nil, nil), nil))
		}),
		"task without a position": hurt(func(b *pebble.Batch, _ string) {
			mustFinish(b.Set(appendStoreKey(nil, Task{Stage: 9}, []byte("g")), AppendValue(nil, nil), nil))
		}),
	} {
		fs := vfs.NewMem()
		s, logs := loaded(t, smallOptions(fs, newClock()), LoadOptions{})
		state, _ := logs.replay(task, int64(len(logs[task])))
		for g := range state {
			c(s, g)
			break
		}
		var de *DigestError
		if err := s.Verify(context.Background()); !errors.As(err, &de) || de.Groups == de.WantGroups && de.Digest == de.WantDigest {
			t.Errorf("%s: %v", name, err)
		} else if want := map[bool]Task{true: {Stage: 9}, false: task}[name == "task without a position"]; de.Task != want {
			t.Errorf("%s: found at %v", name, de.Task)
		} else if !strings.Contains(err.Error(), fmt.Sprint(de.Groups)) || !strings.Contains(err.Error(), "remove") {
			t.Errorf("%s: says %v", name, err)
		}
		if s.Verified() {
			t.Errorf("%s: verified", name)
		}
		must(t, s.Close())
	}
}

// Verify's success is remembered in the store, and stays while its owner goes on.
func TestVerifiedIsRemembered(t *testing.T) {
	fs := vfs.NewMem()
	o := smallOptions(fs, newClock())
	s, logs := loaded(t, o, LoadOptions{})
	must(t, s.Close())
	s = mustOpen(t, "lane", o)
	if s.Verified() {
		t.Fatal("verified by opening")
	}
	must(t, s.Verify(t.Context()))
	must(t, s.Verify(t.Context()))
	x := logs.commit(rand.New(rand.NewPCG(1, 1)), modelTasks, 50, 20)
	must(t, s.Publish(x.positions, x.changes))
	must(t, s.Close())
	s = mustOpen(t, "lane", o)
	defer func() { must(t, s.Close()) }()
	if !s.Verified() {
		t.Fatal("not verified after reopening")
	}
	must(t, s.Verify(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Verify(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A load puts off what is due by time, and by the number of transactions; whoever publishes after
// it has a whole interval before him.
func TestLoadWritesSeldom(t *testing.T) {
	c, hits := newClock(), steps{}
	s := mustOpen(t, "lane", Options{Seam: c.seam(), FS: vfs.NewMem(), Step: hits.hook(), ApplyTxns: 3, FlushInterval: 5 * time.Second})
	defer func() { must(t, s.Close()) }()
	expect := func(what string, applies int, durable int64) {
		t.Helper()
		if got, _ := s.Durable(Task{}); hits[step.Apply] != applies || got != durable {
			t.Fatalf("%s: %d applies and durable to %d, want %d and %d", what, hits[step.Apply], got, applies, durable)
		}
	}
	l := s.Load(LoadOptions{})
	take := func() int64 {
		at := l.tasks[Task{}]
		next := int64(0)
		if at != nil {
			next = at.pos.Changelog
		}
		must(t, l.Value(Task{}, []byte("group"), []byte("1"), next))
		must(t, l.Apply())
		return next + 1
	}
	for range 10 {
		take()
	}
	c.pass(19 * time.Second)
	must(t, s.Tick())
	expect("before the load's interval", 0, 0)
	c.pass(time.Second)
	must(t, s.Tick())
	flushSoon(t, s, 10)
	expect("after the load's interval", 1, 10)
	at := take()
	c.pass(19 * time.Second)
	l.Drop()
	c.pass(4 * time.Second)
	must(t, s.Tick())
	expect("before the store's interval", 1, 10)
	c.pass(time.Second)
	must(t, s.Tick())
	flushSoon(t, s, at)
	expect("after the store's interval", 2, at)
}
