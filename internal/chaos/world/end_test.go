package world

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/chaos/plan"
	"github.com/tally-kafka/tally/internal/testkafka"
)

// TestMachine: the clock of a node's machine, and its disk, stay as the faults have them while its
// process ends and starts again.
func TestMachine(t *testing.T) {
	w := newFakeWorld(t, idle)
	n := w.nodes["a"]
	must(t, n.start())
	in := inside(t, n)
	far := func() int64 { return in.Now().Unix() - time.Now().Unix() }
	one, other := n.setClock(3600), n.setClock(-7200)
	if far() > -3500 {
		t.Errorf("the clock is off by %d s", far())
	}
	n.kill()
	must(t, n.start())
	if far() > -3500 {
		t.Errorf("after a start the clock is off by %d s", far())
	}
	goOn := n.hangSyncs()
	n.kill()
	must(t, n.start())
	synced := make(chan bool)
	go func() {
		in.AwaitSync()
		close(synced)
	}()
	still(t, "a start makes the disk sync again", synced)
	goOn()
	<-synced
	if other(); far() < 3500 {
		t.Errorf("without the second fault the clock is off by %d s", far())
	}
	if one(); far() > 1 || far() < -1 {
		t.Errorf("without a fault the clock is off by %d s", far())
	}
}

// TestGivenUp: what ends when the run is given up is no find, and does not start again.
func TestGivenUp(t *testing.T) {
	w := newFakeWorld(t, idle)
	n := w.nodes["a"]
	must(t, n.start())
	ctx, cancel := context.WithCancel(t.Context())
	w.forget = context.AfterFunc(ctx, w.end)
	cancel()
	until(t, "the world knows", w.over)
	must(t, n.running().cmd.Process.Signal(syscall.SIGINT))
	until(t, "the process has ended", func() bool { return n.running() == nil })
	must(t, n.start())
	if problems, notes := w.saw(); n.running() != nil || len(problems)+len(notes) > 0 {
		t.Errorf("a process runs: %t; %q, %q", n.running() != nil, problems, notes)
	}
}

// TestEndsByItself: a node that ends on its full disk may do so with an error, and not with a
// panic.
func TestEndsByItself(t *testing.T) {
	for _, c := range []struct {
		does     string
		full     int
		problems int
	}{
		{"exit 1", 0, 1}, {"echo 'no space left' >&2; exit 1", 1, 0}, {"echo 'panic: no space left' >&2; exit 2", 1, 1},
		{"echo '{}'; echo 'fatal error: out of memory' >&2; exit 2", 1, 1},
	} {
		w := newFakeWorld(t, `case "$1" in run) `+c.does+`;; esac`)
		n := w.nodes["a"]
		n.full = c.full
		must(t, n.start())
		said := func() bool { problems, notes := w.saw(); return len(problems)+len(notes) > 0 }
		until(t, "the end is noticed", said)
		w.end()
		problems, notes := w.saw()
		if (len(problems) > 0) != (c.problems > 0) || (len(notes) > 0) != (c.problems == 0) {
			t.Errorf("%s: problems %q, notes %q", c.does, problems, notes)
		}
	}
}

// TestLastWords: the panic of a log comes before its end.
func TestLastWords(t *testing.T) {
	long := strings.Repeat("x", 2000)
	for log, want := range map[string]struct {
		words    string
		panicked bool
	}{
		"":                                 {"", false},
		"a line\nand panic: in a line":     {"a line\nand panic: in a line", false},
		"panic: first\n" + long:            {"panic: first\nx", true},
		long + "\nfatal error: x\nmore":    {"fatal error: x\nmore", true},
		"fatal error: a\npanic: b\n\nmore": {"panic: b\n\nmore", true},
	} {
		if words, panicked := lastWords(log); !strings.HasPrefix(words, want.words) || panicked != want.panicked {
			t.Errorf("%.30q: %.30q, a panic: %t", log, words, panicked)
		}
	}
}

// TestTwoTerms: who shall end a node that another has ended finds nobody, which is no fault of the
// run's, and what does not hear SIGTERM is killed when the run is given up.
func TestTwoTerms(t *testing.T) {
	w := newFakeWorld(t, idle)
	d := w.nodes["d"]
	must(t, d.start())
	if one, other := d.term(t.Context()), d.term(t.Context()); one != nil || !errors.Is(other, errNotRunning) {
		t.Errorf("%v and %v", one, other)
	}
	w.say(api.Status{Leader: "a"})
	must(t, w.nodes["a"].start())
	joined := make(chan error)
	go func() { joined <- w.joinFor(t.Context(), d, 100*time.Millisecond, time.Now().Add(time.Minute)) }()
	until(t, "the further node runs", d.lively)
	d.kill()
	if err := <-joined; err != nil {
		t.Errorf("who shall end a node that a fault has: %v", err)
	}
	w.partSpares(t.Context())
	if problems, _ := w.saw(); len(problems) > 0 {
		t.Errorf("there is %q", problems)
	}
	deaf := newFakeWorld(t, `case "$1" in run) trap "" TERM; echo deaf; while :; do sleep 0.05; done;; esac`)
	n := deaf.nodes["a"]
	must(t, n.start())
	until(t, "it is deaf", func() bool {
		log, _ := os.ReadFile(filepath.Join(deaf.opt.Dir, history.LogDir, "a-001.log"))
		return len(log) > 0
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan bool)
	go func() {
		if err := n.term(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("it ends with %v", err)
		}
		close(ended)
	}()
	still(t, "it hears", ended)
	cancel()
	<-ended
}

// TestHeal: all is started, and nobody is waited for or sent away before the quiet is measured.
func TestHeal(t *testing.T) {
	w := newFakeWorld(t, idle)
	must(t, w.nodes["d"].start())
	w.fall()
	healed := make(chan bool)
	go func() {
		if err := w.heal(); err != nil {
			t.Error(err)
		}
		close(healed)
	}()
	select {
	case <-healed:
	case <-time.After(10 * time.Second):
		t.Fatal("it waits for something")
	}
	for _, name := range []string{"a", "b", "d"} {
		if !w.nodes[name].lively() {
			t.Errorf("node %s does not run", name)
		}
	}
}

// TestBeside: the faults are over when that is which they have begun.
func TestBeside(t *testing.T) {
	w := newFakeWorld(t, idle)
	let, over := make(chan bool), make(chan bool)
	w.beside.Go(func() { <-let })
	go func() {
		w.carryOut(t.Context(), plan.Schedule{Length: quietMost}, time.Now())
		close(over)
	}()
	still(t, "the faults are over, and something that one has begun is not", over)
	w.problem("an early one")
	w.problem("a later one")
	before := time.Now()
	close(let)
	<-over
	if w.calm.Before(before) {
		t.Errorf("the faults were over at %v, and what one has begun at %v", w.calm, before)
	}
	if w.failed.Before(w.broke) || w.broke.IsZero() {
		t.Errorf("the first problem came at %v, and the faults began at %v", w.failed, w.broke)
	}
}

// TestQuietFrom: the quiet is counted from the end of the last fault, also where some events came
// behind it; but not where they came for long.
func TestQuietFrom(t *testing.T) {
	calm := time.Now()
	for name, c := range map[string]struct {
		late  time.Duration // from the last fault to the last events
		press bool
		from  time.Duration // since the last fault
	}{
		"at once":               {0, false, 0},
		"a few more events":     {eventsMost, false, 0},
		"many more events":      {time.Minute, false, time.Minute},
		"a run under pressure":  {time.Second, true, time.Second},
		"events ended with it ": {-time.Second, false, 0},
	} {
		w := &World{calm: calm, opt: Options{Press: c.press}}
		if from, what := w.quietFrom(calm.Add(c.late)); from.Sub(calm) != c.from || what == "" {
			t.Errorf("%s: from %v behind the last fault on, %q", name, from.Sub(calm), what)
		}
	}
}

// TestProblems: of many problems the first are kept, and the number of the others.
func TestProblems(t *testing.T) {
	w := &World{opt: withDefaults(Options{})}
	for i := range problemsMax + 7 {
		w.problem("problem %d", i)
	}
	got := w.Problems()
	if len(got) != problemsMax+1 || got[problemsMax-1] != "problem 99" || got[problemsMax] != "and 7 more" {
		t.Errorf("%d are kept, the last %q", len(got), got[len(got)-1])
	}
}

// TestLoadIsGivenUp: events that Kafka does not take hold nobody up who gives the run up.
func TestLoadIsGivenUp(t *testing.T) {
	w := newFakeWorld(t, idle)
	w.opt.Rate = 1000
	ctx, cancel := context.WithCancel(t.Context())
	l, err := w.newLoad(ctx, []string{testkafka.FreeAddr(t)}, newWorkload(theApps()[0], 1, keysUsual))
	must(t, err)
	until(t, "events wait", func() bool { return l.cl.BufferedProduceRecords() > 0 })
	stopped := make(chan bool)
	go func() {
		if _, err := l.stop(); !errors.Is(err, context.Canceled) {
			t.Errorf("it stops with %v", err)
		}
		close(stopped)
	}()
	still(t, "what was sent is acknowledged by nobody", stopped)
	cancel()
	<-stopped
}

// TestMakeEmpty: an earlier run's folder is emptied, and no other one that has something in it.
func TestMakeEmpty(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "run")
	must(t, makeEmpty(dir))
	must(t, makeEmpty(dir))
	kept := filepath.Join(dir, "thesis.txt")
	must(t, os.WriteFile(kept, []byte("x"), 0o600))
	if err := makeEmpty(dir); err == nil || !strings.Contains(err.Error(), history.RunFile) {
		t.Errorf("somebody's folder is emptied (%v)", err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	must(t, history.WriteRun(filepath.Join(dir, history.RunFile), history.Run{}))
	must(t, makeEmpty(dir))
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%d files are left (%v)", len(left), err)
	}
	w := &World{opt: withDefaults(Options{Dir: dir, Seed: 7, Rate: 5}), apps: theApps()}
	must(t, w.prepare())
	defer w.out.Close()
	if r, err := history.ReadRun(filepath.Join(dir, history.RunFile)); err != nil || r.Seed != 7 || r.Rate != 5 || r.Keys != keysUsual {
		t.Errorf("a run that has only begun is described as %+v (%v)", r, err)
	}
}
