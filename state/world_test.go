package state

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/step"
)

// TestMain makes the property tests shorter than rapid does with -short, which is for -race: there
// Pebble notes a stack for each table that a read opens, and most of the time goes into that.
func TestMain(m *testing.M) {
	flag.Parse()
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "rapid.checks" })
	if testing.Short() && !said {
		if err := flag.Set("rapid.checks", "40"); err != nil { // of which rapid makes a fifth
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// testing.TB and *rapid.T alike.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
}

var testIdentity = Identity{
	KafkaCluster: "cluster", App: "app", AppID: "app-id", Lane: 1, InputTopicID: "in", ChangelogTopicID: "cl",
	Generation: 1, Fingerprint: "fp",
}

// clock is a time that a test moves; Pebble's goroutines may read it.
type clock struct{ ns atomic.Int64 }

func (c *clock) seam() seam.Seam {
	s := seam.World()
	s.Now = func() time.Time { return time.Unix(0, c.ns.Load()) }
	return s
}

func (c *clock) pass(d time.Duration) { c.ns.Add(int64(d)) }

func newClock() *clock {
	c := &clock{}
	c.ns.Store(int64(time.Hour))
	return c
}

// smallOptions make everything happen often.
func smallOptions(fs vfs.FS, c *clock) Options {
	return Options{
		Seam: c.seam(), FS: fs, CacheBytes: 24 << 10, BlockCacheBytes: 64 << 10, MemTableBytes: 64 << 10,
		ApplyTxns: 4, ApplyBytes: 8 << 10, FlushBytes: 16 << 10, FlushInterval: time.Second,
	}
}

func mustOpen(t tb, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, testIdentity, o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

func must(t tb, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// eventually polls for a condition.
func eventually(t tb, what string, ok func() bool) {
	t.Helper()
	tick, end := time.NewTicker(time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("it does not come true that %s", what)
		}
	}
}

// logRecord is a record of a model changelog: a group's values, a position record, or nothing that
// counts (a barrier, a marker).
type logRecord struct {
	group, values string
	position      *PositionRecord
}

// changelogs are the truth that a store is compared with: a task's state at position p is what its
// records below p add up to.
type changelogs map[Task][]logRecord

// txn is a transaction as the changelogs got it.
type txn struct {
	positions []Position
	changes   []Change
}

// commit appends a transaction to the changelogs: values, then the position record, then a marker.
// The owner's position lies before or behind the marker, as it knows.
func (l changelogs) commit(rng *rand.Rand, tasks []Task, groups, changes int) txn {
	var x txn
	for _, t := range tasks {
		state, last := l.replay(t, int64(len(l[t])))
		seen := map[string]bool{}
		for range changes {
			g := fmt.Sprintf("group-%d", rng.IntN(groups))
			if seen[g] {
				continue
			}
			seen[g] = true
			v := fmt.Sprintf("%d-%x", rng.Uint64()%1000, make([]byte, rng.IntN(20)))
			if old, ok := state[g]; ok {
				last.Digest -= Hash([]byte(g), []byte(old))
			} else {
				last.Groups++
			}
			last.Digest += Hash([]byte(g), []byte(v))
			l[t] = append(l[t], logRecord{group: g, values: v})
			x.changes = append(x.changes, Change{Task: t, Group: []byte(g), Values: []byte(v)})
		}
		last = PositionRecord{
			Task: t, AppID: testIdentity.AppID, Generation: testIdentity.Generation, InputTopicID: "in",
			ChangelogTopicID: "cl", Txn: last.Txn + 1, Input: last.Input + 10, Groups: last.Groups, Digest: last.Digest,
		}
		l[t] = append(l[t], logRecord{position: &last}, logRecord{})
		x.positions = append(x.positions, Position{Record: last, Changelog: int64(len(l[t]) - rng.IntN(2))})
	}
	return x
}

// replay is what a task's records below the offset add up to.
func (l changelogs) replay(t Task, below int64) (map[string]string, PositionRecord) {
	state, last := map[string]string{}, PositionRecord{Task: t}
	for _, r := range l[t][:below] {
		switch {
		case r.position != nil:
			last = *r.position
		case r.group != "":
			state[r.group] = r.values
		}
	}
	return state, last
}

// feed gives a Load the task's record at the offset.
func (l changelogs) feed(load *Load, t Task, offset int64) error {
	switch r := l[t][offset]; {
	case r.position != nil:
		return load.Position(t, *r.position, offset)
	case r.group != "":
		return load.Value(t, []byte(r.group), []byte(r.values), offset)
	}
	return load.Advance(t, offset+1)
}

// checkPrefix fails unless every task's contents and record are exactly what its changelog holds
// below its position. It returns the positions.
func (l changelogs) checkPrefix(t tb, s *Store) map[Task]int64 {
	t.Helper()
	cut, err := s.Cut()
	must(t, err)
	defer cut.Close()
	at := map[Task]int64{}
	for task, p := range cut.Positions() {
		at[task] = p.Changelog
	}
	for task := range l {
		p := cut.Positions()[task]
		want, record := l.replay(task, p.Changelog)
		if _, ok := at[task]; ok && !reflect.DeepEqual(p.Record, record) {
			t.Fatalf("task %v at %d has record %+v, want %+v", task, p.Changelog, p.Record, record)
		}
		got := scanAll(t, cut, task, "")
		if !maps.Equal(got, want) {
			t.Fatalf("task %v at %d has %d groups, want %d: %s", task, p.Changelog, len(got), len(want), firstDiff(got, want))
		}
	}
	return at
}

func scanAll(t tb, cut *Cut, task Task, prefix string) map[string]string {
	t.Helper()
	got := map[string]string{}
	last := ""
	err := cut.Scan(context.Background(), task, []byte(prefix), func(g, v []byte) error {
		if string(g) <= last {
			return fmt.Errorf("scan is out of order: %q after %q", g, last)
		}
		last = string(g)
		got[last] = string(v)
		return nil
	})
	must(t, err)
	return got
}

func firstDiff(got, want map[string]string) string {
	for g, v := range want {
		if got[g] != v {
			return fmt.Sprintf("%q is %q, want %q", g, got[g], v)
		}
	}
	for g, v := range got {
		if _, ok := want[g]; !ok {
			return fmt.Sprintf("%q is %q, want none", g, v)
		}
	}
	return "none"
}

// vector is a set of positions in a comparable form.
func vector(at map[Task]int64) string { return fmt.Sprint(at) }

func offsets(p map[Task]Position) map[Task]int64 {
	at := map[Task]int64{}
	for t, x := range p {
		at[t] = x.Changelog
	}
	return at
}

// steps counts the steps that were hit.
type steps map[step.Name]int

func (n steps) hook() step.Hook { return func(s step.Name) { n[s]++ } }
