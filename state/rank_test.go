package state

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

// growing is a store whose values are numbers of eight bytes that only grow.
type growing struct {
	s    *Store
	at   map[Task]int64
	want map[string]uint64 // by task and group
}

func newGrowing(t tb, keep int) *growing {
	opt := smallOptions(vfs.NewMem(), newClock())
	opt.Compare, opt.RankMax = slices.Compare[[]byte], keep
	return &growing{s: mustOpen(t, "lane", opt), at: map[Task]int64{}, want: map[string]uint64{}}
}

func (g *growing) grow(task Task, group string, by uint64) []byte {
	key := fmt.Sprint(task, " ", group)
	g.want[key] += by
	return binary.BigEndian.AppendUint64(nil, g.want[key])
}

func (g *growing) position(task Task) Position {
	g.at[task]++
	return Position{Record: PositionRecord{Task: task, AppID: testIdentity.AppID, Generation: testIdentity.Generation,
		InputTopicID: testIdentity.InputTopicID, ChangelogTopicID: testIdentity.ChangelogTopicID}, Changelog: g.at[task]}
}

func (g *growing) publish(t tb, task Task, groups map[string]uint64) {
	t.Helper()
	var ch []Change
	for group, by := range groups {
		ch = append(ch, Change{Task: task, Group: []byte(group), Values: g.grow(task, group, by)})
	}
	must(t, g.s.Publish([]Position{g.position(task)}, ch))
}

// largest is what Largest must give: the values, the largest first.
func (g *growing) largest(n int) string {
	var all []string
	for key, v := range g.want {
		task, group := key[:strings.LastIndex(key, " ")], key[strings.LastIndex(key, " ")+1:]
		all = append(all, fmt.Sprintf("%020d %s %s|%s", ^v, group, task, key))
	}
	slices.Sort(all)
	var out []string
	for _, a := range all[:min(n, len(all))] {
		out = append(out, a[strings.Index(a, "|")+1:])
	}
	return strings.Join(out, ", ")
}

func (g *growing) check(t tb, n int) {
	t.Helper()
	all, _, err := g.s.Largest(context.Background(), n)
	must(t, err)
	var out []string
	for _, c := range all {
		key := fmt.Sprint(c.Task, " ", string(c.Group))
		if got := binary.BigEndian.Uint64(c.Values); got != g.want[key] {
			t.Fatalf("%s has %d, want %d", key, got, g.want[key])
		}
		out = append(out, key)
	}
	if got, want := strings.Join(out, ", "), g.largest(n); got != want {
		t.Fatalf("the largest are %s\nwant %s", got, want)
	}
}

// Whatever is published and loaded between two questions, the largest groups are those of a plain
// sort over all.
func TestLargest(t *testing.T) {
	tasks := []Task{{0, 0}, {0, 1}}
	rapid.Check(t, func(rt *rapid.T) {
		keep := rapid.IntRange(1, 6).Draw(rt, "keep")
		g := newGrowing(rt, keep)
		defer func() { must(rt, g.s.Abandon()) }()
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			task := rapid.SampledFrom(tasks).Draw(rt, "task")
			groups := rapid.MapOfN(rapid.SampledFrom(strings.Fields("a b c d e f g h i j")), rapid.Uint64Range(0, 5), 1, 5).Draw(rt, "groups")
			switch rapid.IntRange(0, 5).Draw(rt, "do") {
			case 0:
				l := g.s.Load(LoadOptions{})
				for group, by := range groups {
					must(rt, l.Value(task, []byte(group), g.grow(task, group, by), g.at[task]))
					g.at[task]++
				}
				if _, _, err := g.s.Largest(context.Background(), 1); !errors.Is(err, ErrNotRanked) {
					rt.Fatalf("during a Load: %v", err)
				}
				must(rt, l.Finish())
			case 1:
				g.check(rt, rapid.IntRange(1, keep).Draw(rt, "n"))
			default:
				g.publish(rt, task, groups)
			}
		}
		g.check(rt, keep)
		if _, _, err := g.s.Largest(context.Background(), keep+1); !errors.Is(err, ErrNotRanked) {
			rt.Fatalf("more than are kept: %v", err)
		}
	})
}

// What is published while the first question reads all groups is not missed.
func TestLargestWhilePublishing(t *testing.T) {
	g := newGrowing(t, 5)
	defer func() { must(t, g.s.Abandon()) }()
	task := Task{0, 0}
	for i := range 200 {
		g.publish(t, task, map[string]uint64{fmt.Sprintf("g%03d", i): uint64(1 + i%7)})
	}
	for round := range 20 {
		g.s.mu.Lock()
		g.s.rank.drop()
		g.s.mu.Unlock()
		var asked sync.WaitGroup
		for range 2 {
			asked.Go(func() {
				if _, _, err := g.s.Largest(context.Background(), 5); err != nil {
					t.Error(err)
				}
			})
		}
		for i := range 20 {
			g.publish(t, task, map[string]uint64{fmt.Sprintf("g%03d", (round*37+i*11)%200): 3})
		}
		asked.Wait()
		g.check(t, 5)
	}
}
