package world

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/chaos/link"
	"github.com/tally-kafka/tally/internal/chaos/plan"
	"github.com/tally-kafka/tally/internal/seam"
)

// TestAnswer: the answer is what the events' values say, counted from their bytes, and the same
// seed gives the same events.
func TestAnswer(t *testing.T) {
	for _, app := range theApps()[:2] {
		l, again := newWorkload(app, 7, keysUsual), newWorkload(app, 7, keysUsual)
		counts, totals := map[string]int64{}, map[string]int64{}
		dead := 0
		for range 5000 {
			e := l.event()
			if !reflect.DeepEqual(e, again.event()) {
				t.Fatal("the same seed gives another event")
			}
			switch {
			case e.dead:
				if dead++; json.Valid(e.value) || !bytes.Contains(e.value, []byte{0xff}) {
					t.Fatalf("%q can be read", e.value)
				}
			case app.Local:
				var v struct{ Amount int64 }
				if err := json.Unmarshal(e.value, &v); err != nil {
					t.Fatal(err)
				}
				counts[e.key]++
				totals[e.key] += v.Amount
			default:
				for _, w := range strings.Fields(string(e.value)) {
					counts[w]++
				}
			}
		}
		if dead == 0 {
			t.Error("no event is unreadable")
		}
		wantAnswers(t, l, counts, totals)
	}
}

func wantAnswers(t *testing.T, l *workload, counts, totals map[string]int64) {
	t.Helper()
	path := filepath.Join(t.TempDir(), history.AnswerFile)
	out, err := history.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.writeAnswers(out); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	seen := 0
	err = history.Load(path, func(a history.Answer) error {
		var group []string
		if err := json.Unmarshal([]byte(a.Group), &group); err != nil {
			return err
		}
		if want := (history.Values{Count: counts[group[0]], Total: totals[group[0]]}); a.Final != want {
			t.Errorf("%s is %v, and the events say %v", a.Group, a.Final, want)
		}
		if n := int64(len(a.Increments)); l.app.Local && n != a.Final.Count {
			t.Errorf("%s: there are %d increments of %d", a.Group, n, a.Final.Count)
		}
		seen++
		return nil
	})
	if err != nil || seen != len(counts) {
		t.Errorf("%d answers of %d (%v)", seen, len(counts), err)
	}
}

// TestDeeds: each kind that can be drawn is carried out by somebody.
func TestDeeds(t *testing.T) {
	seen := map[plan.Kind]bool{}
	for seed := range uint64(20) {
		for _, f := range plan.Draw(seed, 12*time.Minute, OptionsOf(Options{})).Faults {
			seen[f.Kind] = true
			if (&fault{Fault: f}).deed() == nil {
				t.Fatalf("nobody carries out %v", f)
			}
		}
	}
	if len(seen) < 20 {
		t.Errorf("only %d kinds are drawn", len(seen))
	}
}

// TestOthers: whom a fault of the network is about.
func TestOthers(t *testing.T) {
	w := &World{nodes: map[string]*node{"a": {}, "b": {}, "c": {}}}
	f := &fault{w: w, hurt: []string{"b"}}
	for whom, want := range map[string][]string{
		"peers": {"a", "c"}, "kafka": {"broker 1", "broker 2", "broker 3"}, "broker 2": {"broker 2"}, "node c": {"c"}, "node b": {"a", "c"},
		"all": {"a", "broker 1", "broker 2", "broker 3", "c", "readers"},
	} {
		got := f.others(whom)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s are %v, want %v", whom, got, want)
		}
	}
}

// TestFlip: some bits of a file are turned over, and its length stays.
func TestFlip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	before := bytes.Repeat([]byte("x"), 1000)
	if err := os.WriteFile(path, before, 0o600); err != nil {
		t.Fatal(err)
	}
	f := &fault{rand: rand.New(rand.NewPCG(1, 1))}
	if err := f.flipIn(path); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil || len(after) != len(before) || bytes.Equal(before, after) {
		t.Errorf("%d bytes, changed: %t (%v)", len(after), !bytes.Equal(before, after), err)
	}
}

// TestDamageable: where nothing can be turned over, or where nobody looks, is no damage.
func TestDamageable(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"app/0/000001.sst": "x", "app/0/LOCK": "", "app/0.damaged-7/000001.sst": "x", "app/1.seed-4/000002.sst": "x",
	} {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text), 0o600))
	}
	files, err := damageable(dir)
	if want := []string{filepath.Join(dir, "app/0/000001.sst"), filepath.Join(dir, "app/1.seed-4/000002.sst")}; err != nil || !slices.Equal(files, want) {
		t.Errorf("%v, %v", files, err)
	}
	if files, err := damageable(filepath.Join(dir, "gone")); err != nil || files != nil {
		t.Errorf("of no directory: %v, %v", files, err)
	}
}

// TestRole: a role is resolved to who has it now, and to somebody else where nobody has.
func TestRole(t *testing.T) {
	w := &World{nodes: map[string]*node{}, views: map[string]view{}, links: link.New(seam.World(), 1)}
	defer w.links.Close()
	for _, name := range []string{"a", "b", "c"} {
		w.nodes[name] = &node{name: name, proc: &process{}}
		v := view{at: time.Now()}
		v.st.Leader = "a"
		w.views[name] = v
	}
	w.nodes["c"].proc.stopped = 1
	for target, want := range map[string][]string{"leader": {"a"}, "node b": {"b"}, "all": {"a", "b"}, "node c": {"a", "b"}, "two": {"a", "b"}} {
		f := &fault{w: w, rand: rand.New(rand.NewPCG(1, 1)), Fault: plan.Fault{Target: target}}
		got := f.resolve()
		slices.Sort(got)
		if len(got) == 0 || target != "node c" && !slices.Equal(got, want) || !slices.Contains(want, got[0]) {
			t.Errorf("%s is %v, want %v", target, got, want)
		}
	}
}

// TestReaderAsksWhoHasIt: a get goes to a node that has the lane of the group, in the role that is
// asked, once an answer has told which lane that is.
func TestReaderAsksWhoHasIt(t *testing.T) {
	w := &World{nodes: map[string]*node{}, views: map[string]view{}}
	for k, name := range []string{"a", "b", "c"} { // each owns a lane, and has a copy of the next one
		w.nodes[name] = &node{name: name, proc: &process{}}
		lanes := []api.LaneStatus{{Lane: k, State: api.LaneRunning}, {Lane: (k + 1) % 3, Role: api.RoleStandby}}
		w.views[name] = view{st: api.Status{Apps: []api.AppStatus{{App: LocalApp, Lanes: lanes}}}}
	}
	load := &load{work: newWorkload(theApps()[0], 1, keysUsual)}
	for at, of := range map[string]string{"owner": "b", "standby": "a"} {
		r := &reader{w: w, load: load, kind: readerKind{at: at}, rand: rand.New(rand.NewPCG(1, 1)), lanes: map[string]int{"told": 1}}
		others := map[string]bool{}
		for range 100 {
			if got := r.node("get", "told"); got != of {
				t.Fatalf("%s: a get of a group of %s goes to %s", at, of, got)
			}
			others[r.node("get", "another")], others[r.node("scan", "told")] = true, true
		}
		if len(others) != 3 {
			t.Errorf("%s: other questions go to %v alone", at, others)
		}
	}
}

// TestStandbysAreAskedForAll: every kind of question goes to standbys.
func TestStandbysAreAskedForAll(t *testing.T) {
	for _, k := range readerKinds {
		for _, ask := range []string{"get", "top", "scan"} {
			if k.at == "standby" && !slices.Contains(k.asks, ask) {
				t.Errorf("%s: no %s", k.name, ask)
			}
		}
	}
}

// TestLastQuestion: a reader asks for the last time until it has an answer, or for as long as it
// may, and writes down which it was.
func TestLastQuestion(t *testing.T) {
	w := newFakeWorld(t, idle)
	must(t, w.nodes["a"].start())
	work := newWorkload(theApps()[0], 1, keysUsual)
	work.event()
	r := &reader{w: w.World, name: "r", load: &load{work: work}, kind: readerKind{at: "any", asks: []string{"get"}},
		rand: rand.New(rand.NewPCG(1, 1)), lanes: map[string]int{}}
	said := func() (all []history.Read) {
		_ = w.out.Flush()
		must(t, history.Load(filepath.Join(w.opt.Dir, history.HistoryFile), func(e history.Event) error {
			if e.Read != nil {
				all = append(all, *e.Read)
			}
			return nil
		}))
		return all
	}
	w.fall()
	r.askLast(t.Context(), time.Millisecond)
	if all := said(); !all[len(all)-1].Last || all[len(all)-1].Error == "" {
		t.Errorf("where nobody answers it writes down %+v", all)
	}
	before, done := len(said()), make(chan bool)
	go func() {
		r.askLast(t.Context(), time.Minute)
		close(done)
	}()
	until(t, "it has asked", func() bool { return len(said()) > before })
	w.say(api.Status{})
	<-done
	for i, h := range said()[before:] {
		if answered := i == len(said())-before-1; h.Last != answered || (h.Error == "") != answered {
			t.Errorf("question %d: last: %t, %q", i, h.Last, h.Error)
		}
	}
}

// TestBuildTakesAnOverlay: what GOFLAGS puts in the place of a file is what is built, or nothing
// could be judged that is not the tree as it is. Of a file that is no Go nothing is.
func TestBuildTakesAnOverlay(t *testing.T) {
	main, err := filepath.Abs("../../../cmd/tally/main.go")
	if err != nil {
		t.Fatal(err)
	}
	overlay, none := filepath.Join(t.TempDir(), "overlay.json"), filepath.Join(t.TempDir(), "main.go")
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{main: none}})
	if err := errors.Join(err, os.WriteFile(overlay, text, 0o600), os.WriteFile(none, []byte("package main\n\nnone of it\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOFLAGS", "-overlay="+overlay)
	if _, err := Build(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), none) {
		t.Errorf("it is built without the overlay, or fails by something else: %v", err)
	}
}

// TestAtRest: what a fault does to a node's files, no process of the node has under it, also where
// another fault starts the node in between.
func TestAtRest(t *testing.T) {
	n := &node{proc: &process{}}
	if err := n.atRest(func() error { t.Error("the files of a node that runs were touched"); return nil }); !errors.Is(err, errStarted) {
		t.Error(err)
	}
	n.proc = nil
	if err := n.atRest(func() error {
		if n.turn.TryLock() {
			t.Error("the node can be started meanwhile")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
