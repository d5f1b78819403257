package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/check"
	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/chaos/plan"
	"github.com/tally-kafka/tally/internal/chaos/world"
)

// foundWith is what a run came to of which these checks of the ten have failed.
func foundWith(numbers ...int) finding {
	f := foundBy(slices.Repeat([]check.Check{good}, check.Audit)...)
	for _, n := range numbers {
		if n == theWorld {
			f.result.Problems = []string{"node a ended by itself (exit status 2): panic: 7"}
			continue
		}
		f.report.Checks[n-1].Failures = 1
	}
	f.result.Broke = time.Unix(1000, 0)
	return f
}

// fakeWorld is one in which a run fails when certain faults come, all of them: in the check of
// counts; and else, when another one does, in the quiet at the end. Its time is its own.
type fakeWorld struct {
	t     *testing.T
	needs []plan.Fault
	other plan.Fault
	clock time.Time
	runs  int
	out   strings.Builder
}

// start is what a run takes beside its schedule.
const start = 25 * time.Second

func (w *fakeWorld) run(_ context.Context, dir, again string, s plan.Schedule) (finding, error) {
	w.runs++
	w.clock = w.clock.Add(s.Length + start)
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700), history.WriteRun(filepath.Join(dir, history.RunFile), history.Run{}),
		trial{dir: dir, again: again}.writeSchedule(s)); err != nil {
		w.t.Fatal(err)
	}
	return w.of(s), nil
}

// of is what a schedule comes to.
func (w *fakeWorld) of(s plan.Schedule) finding {
	has := func(f plan.Fault) bool {
		return slices.ContainsFunc(s.Faults, func(g plan.Fault) bool { f.At, g.At = 0, 0; return f == g })
	}
	var fails []int
	if !slices.ContainsFunc(w.needs, func(f plan.Fault) bool { return !has(f) }) {
		fails = append(fails, check.Mapped, check.Rising)
	}
	if has(w.other) {
		fails = append(fails, check.Quiet)
	}
	return foundWith(fails...)
}

func (w *fakeWorld) shrinker(dir string, within time.Duration) *shrinker {
	return &shrinker{dir: dir, within: within, run: w.run, now: func() time.Time { return w.clock }, out: &w.out}
}

// aSchedule has two faults of which a run fails, minutes apart among many, and another one. There
// is no second one like any of them.
func aSchedule(t *testing.T) (s plan.Schedule, w *fakeWorld) {
	s = plan.Draw(3, 6*time.Minute, world.OptionsOf(world.Options{}))
	s.Load = plan.Load{Rate: 800, Keys: 1200}
	n := len(s.Faults)
	return s, &fakeWorld{t: t, needs: []plan.Fault{distinct(s, n/8), distinct(s, 3*n/4)}, other: distinct(s, n/2), clock: time.Unix(0, 0)}
}

// distinct is the first fault from a place on that has a length of its own.
func distinct(s plan.Schedule, from int) plan.Fault {
	for i, f := range s.Faults[from:] {
		if f.For%time.Second != 0 && !slices.ContainsFunc(s.Faults, func(g plan.Fault) bool { return g.For == f.For && g.At != f.At }) {
			return s.Faults[from+i]
		}
	}
	panic("there is none")
}

func readSchedule(t *testing.T, path ...string) (s plan.Schedule, text string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	if s, err = plan.Parse(string(b)); err != nil {
		t.Fatal(err)
	}
	return s, string(b)
}

// TestShrinker: of the faults of a run those are found without which it does not fail, by a failure
// of the same kind alone; the schedule is left with the command that repeats it, and with the
// folder of its run.
func TestShrinker(t *testing.T) {
	s, w := aSchedule(t)
	dir := t.TempDir()
	k := w.shrinker(dir, 10*time.Hour)
	if err := k.shrink(t.Context(), s, w.of(s)); err != nil {
		t.Fatal(err)
	}
	short, text := readSchedule(t, dir, shortestFile)
	if len(short.Faults) != 2 || len(w.of(short).failing()) != 2 || short.Length > 3*time.Minute || short.Load != s.Load || short.Seed != s.Seed {
		t.Errorf("it found\n%s", text)
	}
	command := "make chaos SCHEDULE=" + filepath.Join(dir, shortestFile) + " CHAOSFLAGS='-rate 800 -keys 1200'"
	if !strings.HasPrefix(text, "# "+command+"\n") || !strings.Contains(text, "did: [\"check 1\" \"check 2\"].\n") {
		t.Errorf("the schedule does not say how it is repeated, or what failed:\n%s", text)
	}
	if ran, with := readSchedule(t, dir, shortestDir, history.ScheduleFile); ran.String() != short.String() || !strings.HasPrefix(with, "# "+command+"\n") {
		t.Errorf("the folder is that of another run:\n%s", with)
	}
	if _, err := os.Stat(filepath.Join(dir, tryDir)); !os.IsNotExist(err) {
		t.Errorf("the folder of a try is left (%v)", err)
	}
	for _, says := range []string{"has 2 faults of", command + " repeats it", "fails otherwise, checks [9]", "does not fail"} {
		if !strings.Contains(w.out.String(), says) {
			t.Errorf("it does not say %q:\n%s", says, w.out.String())
		}
	}
}

// TestShrinkerInTime: the time is kept to, whatever the schedule's length is, and what failed
// within it is left.
func TestShrinkerInTime(t *testing.T) {
	for _, c := range []struct {
		within time.Duration
		seen   time.Duration // when the failure is known to have come
		runs   bool
		most   int // faults of the shortest; 0: there is none
	}{
		{time.Minute, 0, false, 0}, {3 * time.Minute, 0, true, 0}, {40 * time.Minute, 0, true, 70}, {15 * time.Minute, 5 * time.Minute, true, 2},
	} {
		s, w := aSchedule(t)
		first := w.of(s)
		if c.seen > 0 { // both within seconds
			w.needs[0] = distinct(s, slices.Index(s.Faults, w.needs[1])+1)
			first.result.Seen = max(w.needs[0].At, w.needs[1].At) + time.Second
		}
		dir := t.TempDir()
		if err := w.shrinker(dir, c.within).shrink(t.Context(), s, first); err != nil {
			t.Fatal(err)
		}
		if took := w.clock.Sub(time.Unix(0, 0)); took > c.within || w.runs > 0 != c.runs {
			t.Errorf("%d runs in %v of %v", w.runs, took, c.within)
		}
		if c.most > 0 {
			if short, text := readSchedule(t, dir, shortestFile); len(short.Faults) > c.most || len(w.of(short).failing()) < 2 {
				t.Errorf("in %v it found\n%s", c.within, text)
			}
			continue
		}
		says := map[bool]string{true: "no shorter schedule has failed so", false: "there was no time for a shorter schedule: say -shrink "}[c.runs]
		if _, err := os.Stat(filepath.Join(dir, shortestFile)); !os.IsNotExist(err) || !strings.Contains(w.out.String(), says) {
			t.Errorf("in %v it does not say %q (%v):\n%s", c.within, says, err, w.out.String())
		}
	}
}

// TestShrinkerWithoutFaults: of a run that failed without any nothing is tried; nor of one that is
// given up.
func TestShrinkerWithoutFaults(t *testing.T) {
	s, w := aSchedule(t)
	if err := w.shrinker(t.TempDir(), time.Hour).shrink(t.Context(), plan.Schedule{Seed: 7}, foundWith(2)); err != nil || w.runs > 0 {
		t.Errorf("%d runs (%v)", w.runs, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.shrinker(t.TempDir(), time.Hour).shrink(ctx, s, w.of(s)); err != nil || w.runs > 0 {
		t.Errorf("%d runs after the end (%v)", w.runs, err)
	}
}

// TestCommon: a shorter schedule counts when it fails in one of the gravest ways in which the
// whole one did, and not when it fails in another, or is late as many are.
func TestCommon(t *testing.T) {
	panics, ends := foundWith(theWorld), foundWith(check.Quiet)
	panics.result.Problems = append(panics.result.Problems, "quiet after 31000 ms (-1: never), and not within 30s: x")
	ends.result.Problems = []string{"node b exits 3 after SIGTERM: x", "quiet after -1 ms (-1: never), and not within 30s: y"}
	other := foundWith(check.Quiet, check.Audit)
	other.result.Problems = []string{"quiet after 45000 ms (-1: never), and not within 30s: z", "tally audit of chaos-local exits 1: x"}
	same := foundWith(theWorld)
	same.result.Problems = []string{"node c ended by itself (signal: killed): other words"}
	for name, c := range map[string]struct {
		whole, short finding
		like         bool
	}{
		"the same":               {foundWith(1, 3), foundWith(1, 3), true},
		"one of them":            {foundWith(1, 3), foundWith(3, 4), true},
		"another one":            {foundWith(1, 3), foundWith(2), false},
		"none":                   {foundWith(1, 3), foundWith(), false},
		"not judged":             {foundWith(1, 3), finding{}, false},
		"late too, not wrong":    {foundWith(2, check.Quiet), foundWith(check.Quiet), false},
		"late, and the whole":    {foundWith(check.Quiet), foundWith(2, check.Quiet), true},
		"another node's end":     {panics, same, true},
		"ended, but late before": {panics, other, false},
		"of two ends another":    {ends, panics, false},
		"late in other words":    {other, ends, true},
	} {
		if got := len(c.whole.common(c.short)) > 0; got != c.like {
			t.Errorf("%s: %t, %q as %q", name, got, c.short.ways(), c.whole.gravest())
		}
	}
	if got := foundWith(1, 3, check.Quiet).common(foundWith(3, 4, check.Quiet)); !slices.Equal(got, []string{"check 3"}) {
		t.Errorf("what is common to both is said to be %q", got)
	}
}

// TestSeen: a run has failed when the world has first seen it, or what the checks have found first.
func TestSeen(t *testing.T) {
	for _, c := range []struct {
		world time.Duration
		first int // seconds behind the beginning; 0: nobody knows
		want  time.Duration
	}{
		{0, 0, 0}, {9 * time.Second, 0, 9 * time.Second}, {0, 7, 7 * time.Second}, {9 * time.Second, 7, 7 * time.Second}, {5 * time.Second, 7, 5 * time.Second},
		{5 * time.Second, -3, 5 * time.Second},
	} {
		f := foundWith(check.Mapped)
		f.result.Seen = c.world
		if c.first != 0 {
			f.report.Checks[1].First = f.result.Broke.Add(time.Duration(c.first) * time.Second)
		}
		if got := f.seen(); got != c.want {
			t.Errorf("%+v: it is seen at %v", c, got)
		}
	}
	if got := (finding{}).seen(); got != 0 {
		t.Errorf("a run that was not judged is seen to fail at %v", got)
	}
}

// TestUnused: no run writes into the folder of an earlier one.
func TestUnused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "7")
	for _, want := range []string{dir, dir + "-2", dir + "-3"} {
		got := unused(dir)
		if got != want {
			t.Errorf("%s is next, not %s", got, want)
		}
		if err := errors.Join(os.Mkdir(got, 0o700), history.WriteRun(filepath.Join(got, history.RunFile), history.Run{})); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(writeResult(dir, "lost\n"), writeResult(t.TempDir(), "x")); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "result.txt")); err != nil || string(text) != "lost\n" {
		t.Errorf("the result is %q (%v)", text, err)
	}
}
