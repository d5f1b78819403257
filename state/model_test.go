package state

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

// model drives a store and the changelogs beside it.
type model struct {
	fs    *vfs.MemFS
	clock *clock
	opt   Options
	s     *Store
	logs  changelogs
	rng   *rand.Rand
}

var modelTasks = []Task{{0, 0}, {0, 7}, {1, 7}}

func newModel(t tb, seed uint64) *model {
	m := &model{
		fs: vfs.NewCrashableMem(), clock: newClock(), logs: changelogs{},
		rng: rand.New(rand.NewPCG(seed, 1)),
	}
	m.opt = smallOptions(m.fs, m.clock)
	m.s = mustOpen(t, "lane", m.opt)
	return m
}

// current loads what the changelogs have beyond the store, as a playback does.
func (m *model) current(t tb, opt LoadOptions, finish bool) {
	t.Helper()
	l := m.s.Load(opt)
	defer l.Drop()
	for _, task := range modelTasks {
		p, _ := m.s.Position(task)
		from := max(p.Changelog-int64(m.rng.IntN(3)), 0) // known records are skipped
		for o := from; o < int64(len(m.logs[task])); o++ {
			must(t, m.logs.feed(l, task, o))
			if m.rng.IntN(200) == 0 {
				must(t, l.Apply())
				m.checkGet(t, task)
			}
		}
	}
	if finish {
		must(t, l.Finish())
		m.checkCurrent(t)
	}
}

// checkCurrent fails unless the visible state has all of the changelogs, but for a marker.
func (m *model) checkCurrent(t tb) {
	t.Helper()
	for task, at := range m.logs.checkPrefix(t, m.s) {
		if at < int64(len(m.logs[task]))-1 {
			t.Fatalf("task %v is at %d of %d", task, at, len(m.logs[task]))
		}
	}
}

// checkGet compares a few reads with the changelogs at the visible position.
func (m *model) checkGet(t tb, task Task) {
	t.Helper()
	groups := [][]byte{[]byte("group-0"), []byte("group-1"), []byte("group-17"), []byte("none"), []byte("group-3")}
	for range 10 {
		groups = append(groups, allGroups[m.rng.IntN(len(allGroups))])
	}
	m.checkGroups(t, task, groups)
}

// allGroups are those of a task.
var allGroups = func() (all [][]byte) {
	for i := range 300 {
		all = append(all, fmt.Appendf(nil, "group-%d", i))
	}
	return all
}()

func (m *model) checkGroups(t tb, task Task, groups [][]byte) {
	t.Helper()
	p, _ := m.s.Position(task)
	want, _ := m.logs.replay(task, p.Changelog)
	for _, g := range groups {
		got, ok, err := m.s.Get(task, g, []byte("+"))
		v, has := want[string(g)]
		if err != nil || ok != has || string(got) != "+"+v {
			t.Fatalf("Get %v %q at %d: %q %v %v, want %q", task, g, p.Changelog, got, ok, err, v)
		}
	}
	asked := 0
	must(t, m.s.GetMany(task, groups, func(i int, values []byte, ok bool) {
		asked++
		if v, has := want[string(groups[i])]; ok != has || string(values) != v {
			t.Fatalf("GetMany %v %q at %d: %q %v, want %q", task, groups[i], p.Changelog, values, ok, v)
		}
	}))
	if asked != len(groups) {
		t.Fatalf("GetMany answered %d of %d", asked, len(groups))
	}
}

// A store does what a plain map does, through every operation, reopening and loads; and all that
// ends it leaves a prefix of the changelogs with its own position.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t, rapid.Uint64().Draw(t, "seed"))
		defer func() { _ = m.s.Abandon() }()
		draw := func(n string, max int) int { return rapid.IntRange(0, max).Draw(t, n) }
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				tasks := modelTasks[draw("first task", 2):]
				x := m.logs.commit(m.rng, tasks, 1+draw("groups", 300), draw("changes", 120))
				must(t, m.s.Publish(x.positions, x.changes))
			},
			"apply": func(t *rapid.T) { must(t, m.s.Apply()) },
			"flush": func(t *rapid.T) {
				must(t, m.s.Flush())
				m.checkDurable(t, true)
			},
			"tick": func(t *rapid.T) {
				m.clock.pass(time.Second)
				must(t, m.s.Tick())
			},
			"get": func(t *rapid.T) { m.checkGet(t, modelTasks[draw("task", 2)]) },
			"get all": func(t *rapid.T) { // more than the cache takes
				for _, task := range modelTasks {
					m.checkGroups(t, task, allGroups)
				}
			},
			"scan": func(t *rapid.T) {
				cut, err := m.s.Cut()
				must(t, err)
				defer cut.Close()
				task := modelTasks[draw("task", 2)]
				want, _ := m.logs.replay(task, cut.Positions()[task].Changelog)
				maps.DeleteFunc(want, func(g, _ string) bool { return !strings.HasPrefix(g, "group-1") })
				if got := scanAll(t, cut, task, "group-1"); !maps.Equal(got, want) {
					t.Fatalf("scan of a prefix: %s", firstDiff(got, want))
				}
			},
			"load": func(t *rapid.T) {
				for range draw("transactions", 5) { // another owner's
					m.logs.commit(m.rng, modelTasks, 300, 50)
				}
				m.current(t, LoadOptions{ChunkBytes: 2000, IngestBytes: int64(1 + draw("ingest", 4000))}, draw("finish", 3) > 0)
				m.current(t, LoadOptions{}, true)
			},
			"reopen": func(t *rapid.T) {
				must(t, m.s.Close())
				m.s = mustOpen(t, "lane", m.opt)
				m.checkCurrent(t)
				m.checkDurable(t, true)
			},
			"abandon": func(t *rapid.T) {
				must(t, m.s.Abandon())
				m.s = mustOpen(t, "lane", m.opt)
				m.current(t, LoadOptions{ChunkBytes: 4000, IngestBytes: 2000}, true)
			},
			"": func(t *rapid.T) {
				m.checkDurable(t, false)
				if m.rng.IntN(8) > 0 { // a cut applies: most steps must find dirty values
					m.checkGet(t, modelTasks[m.rng.IntN(3)])
				} else {
					m.logs.checkPrefix(t, m.s)
				}
				if c := m.s.Metrics(); c.CacheBytes > m.opt.CacheBytes {
					t.Fatalf("the cache has %d bytes of %d", c.CacheBytes, m.opt.CacheBytes)
				}
			},
		})
		must(t, m.s.Verify(t.Context()))
	})
}

// checkDurable compares Durable with the visible positions: never ahead, and equal after a flush.
func (m *model) checkDurable(t tb, equal bool) {
	t.Helper()
	for task, p := range m.s.Positions() {
		at, ok := m.s.Durable(task)
		if at > p.Changelog || (equal && (!ok || at != p.Changelog)) {
			t.Fatalf("task %v is durable to %d, %v, and visible to %d", task, at, ok, p.Changelog)
		}
	}
}
