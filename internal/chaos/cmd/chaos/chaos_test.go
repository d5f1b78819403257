package main

import (
	"errors"
	"fmt"
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

// foundBy is what a run came to, whose checks are these.
func foundBy(checks ...check.Check) finding {
	for i := range checks {
		checks[i].Number = i + 1
	}
	return finding{report: &check.Report{Checks: checks}}
}

var (
	good      = check.Check{Examined: []check.Amount{{What: "outputs", Count: 7}}}
	bad       = check.Check{Examined: good.Examined, Failures: 1}
	blind     = check.Check{Examined: []check.Amount{{What: "outputs"}}}
	partial   = check.Check{Examined: good.Examined, Unseen: []string{"tops"}}
	lucky     = check.Check{Examined: good.Examined, Unseen: slices.Clone(mayLack)}
	undecided = check.Check{Examined: good.Examined, Undecided: []string{"why"}}
	excused   = check.Check{Examined: good.Examined, Excused: []check.Excuse{{Amount: check.Amount{What: "outputs", Count: 100}, Why: "why"}}}
	doubtful  = check.Check{Examined: good.Examined, Undecided: undecided.Undecided, UndecidedOf: []check.Amount{{What: "outputs", Count: 11}}}
)

// lasting is a run whose schedule was drawn for so long.
func lasting(length time.Duration, f finding) finding {
	f.drawn = length
	return f
}

// broken is a run with so many faults, of which some did not come.
func broken(came, failed int) finding {
	f := foundBy(good)
	f.result.Faults = make([]history.Fault, came+failed)
	for i := range failed {
		f.result.Faults[i].Failed = "there was no time for it"
	}
	return f
}

// failing is the run with a check that has failed.
func failing(f finding) finding {
	f.report.Checks[0].Failures = 1
	return f
}

// hitting is a run with one fault of a kind for each number of effects.
func hitting(kind plan.Kind, effects ...int64) finding {
	f := foundBy(good)
	for _, n := range effects {
		f.result.Faults = append(f.result.Faults, history.Fault{Kind: string(kind), Effects: n})
	}
	return f
}

// failed is the run whose first fault did not come.
func failed(f finding) finding {
	f.result.Faults[0].Failed = "nobody was there"
	return f
}

// TestPrint: the table has how many faults of a kind were drawn, how many came, and how many hit
// something where that is counted.
func TestPrint(t *testing.T) {
	f := hitting(plan.Disk, 0, 9, 1)
	f.result.Faults[0].Failed = "there was no time for it"
	f.result.Faults = append(f.result.Faults, history.Fault{Kind: string(plan.Kill), Signal: 2})
	var out strings.Builder
	f.print(&out)
	var lines []string
	for line := range strings.Lines(out.String()) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	for _, want := range []string{"fault drawn came signals hit", "disk 3 2 0 2", "kill 1 1 2 -"} {
		if !slices.Contains(lines, want) {
			t.Errorf("there is no line %q in\n%s", want, out.String())
		}
	}
}

// TestVerdict: a run is green when it has proved everything, and red when it has found something,
// when a check has looked at nothing, or, in a drawn run that was long enough, not at everything,
// when too few faults came, when a kind of fault hit nothing, or when nobody could judge it. A
// find, too little seen and no judgement exit with numbers of their own, which internal/mutants
// goes by.
func TestVerdict(t *testing.T) {
	ended := foundBy(good, good)
	ended.result.Problems = []string{"a node ended by itself"}
	for name, c := range map[string]struct {
		found finding
		err   error
		says  string
		exits int
	}{
		"all is well":               {foundBy(good, good), nil, "", 0},
		"a find":                    {foundBy(good, bad), nil, "FAILED: checks [2]", 1},
		"a find, and faults":        {failing(broken(12, 1)), nil, "FAILED: checks [1] (0: the run itself); failed after 12 faults", 1},
		"the world's find":          {ended, nil, "FAILED: checks [0]", 1},
		"nothing seen":              {foundBy(good, blind), nil, "NOT PROVED: checks [2] have seen nothing", 3},
		"undecided":                 {foundBy(good, undecided), nil, "NOT PROVED: something is undecided", 0},
		"much undecided":            {foundBy(good, doubtful), nil, "NOT PROVED: checks [2] have left too much undecided", 3},
		"mostly excused":            {foundBy(good, excused), nil, "NOT PROVED: checks [2] have left too much undecided", 3},
		"a find, and blind":         {foundBy(blind, bad), nil, "FAILED: checks [2]", 1},
		"a find and error":          {ended, errors.New("broken"), "NOT JUDGED to the end, see the error; found all the same: checks [0]", 4},
		"an error":                  {foundBy(good), errors.New("broken"), "NOT JUDGED", 4},
		"a part unseen":             {lasting(wholeFrom, foundBy(good, partial)), nil, "NOT PROVED: checks [2] have not seen all", 3},
		"unseen, but short":         {lasting(wholeFrom-1, foundBy(good, partial)), nil, "", 0},
		"unseen, but given":         {foundBy(good, partial), nil, "", 0},
		"unseen by bad luck":        {lasting(mayLackFor-1, foundBy(good, lucky)), nil, "", 0},
		"unseen for long":           {lasting(mayLackFor, foundBy(good, lucky)), nil, "NOT PROVED: checks [2] have not seen all", 3},
		"a tenth is absent":         {broken(90, 10), nil, "", 0},
		"more is absent":            {broken(89, 11), nil, "NOT PROVED: 11 of 100 faults did not come", 3},
		"three are absent":          {broken(9, 3), nil, "", 0},
		"and one more":              {broken(8, 4), nil, "NOT PROVED: 4 of 12 faults did not come", 3},
		"nothing was hit":           {hitting(plan.Disk, 0, 0, 0), nil, "NOT PROVED: no fault of these kinds has hit anything: [disk]", 3},
		"nothing, of two":           {hitting(plan.Disk, 0, 0), nil, "", 0},
		"nothing, of two that came": {failed(hitting(plan.Disk, 0, 0, 0)), nil, "", 0},
		"nobody audited five":       {hitting(plan.Submit, 0, 0, 0, 0, 0), nil, "", 0},
		"nobody audited six":        {hitting(plan.Submit, 0, 0, 0, 0, 0, 0), nil, "NOT PROVED: no fault of these kinds has hit anything: [submit]", 3},
		"nothing was compacted":     {hitting(plan.Compact, 0, 0, 0), nil, "NOT PROVED: no fault of these kinds has hit anything: [compact]", 3},
		"one of three hit":          {hitting(plan.OneWay, 0, 0, 8), nil, "", 0},
		"not to be counted":         {hitting(plan.Kill, 0, 0, 0), nil, "", 0},
		"no report":                 {finding{}, errors.New("broken"), "NOT JUDGED", 4},
		"no report, silence":        {finding{}, nil, "NOT PROVED", 0},
	} {
		text, came := c.found.verdict(c.err)
		if !strings.HasPrefix(text, c.says) || (text == "") != (c.says == "") || int(came) != c.exits {
			t.Errorf("%s: it says %q, and exits %d", name, text, came)
		}
		if proved := c.found.proved(); c.err == nil && proved != (text == "") {
			t.Errorf("%s: proved: %t", name, proved)
		}
	}
}

// TestAgain: the command that is printed has all that makes the run another one.
func TestAgain(t *testing.T) {
	s := plan.Schedule{Seed: 7, Length: 2 * time.Minute, Load: plan.Load{Rate: 3600, Keys: 1000, Even: true, Press: true}}
	if got, want := again(options{}, s), "make chaos SEED=7 FOR=2m0s CHAOSFLAGS='-rate 3600 -keys 1000 -even -press'"; got != want {
		t.Errorf("it is %s, not %s", got, want)
	}
	if got, want := again(options{schedule: "a.txt"}, s), "make chaos SCHEDULE=a.txt CHAOSFLAGS='-rate 3600 -keys 1000 -press'"; got != want {
		t.Errorf("it is %s, not %s", got, want)
	}
}

// TestScheduleOf: a schedule's first line says at which load it is carried out, unless a flag does;
// one that is drawn has the flags'.
func TestScheduleOf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "schedule.txt")
	text := "# make chaos\nseed=3 length=90s rate=2000 press=true\nat=4s kind=kill target=\"owner\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := plan.Load{Rate: 800, Keys: 1200}
	for _, c := range []struct {
		opt  options
		want plan.Load
	}{
		{options{schedule: file, load: flags}, plan.Load{Rate: 2000, Keys: 1200, Press: true}},
		{options{schedule: file, load: flags, given: map[string]bool{"rate": true, "press": true}}, plan.Load{Rate: 800, Keys: 1200}},
		{options{length: time.Minute, load: plan.Load{Rate: 5, Keys: 6, Even: true}}, plan.Load{Rate: 5, Keys: 6, Even: true}},
	} {
		s, err := scheduleOf(&c.opt)
		if err != nil || s.Load != c.want {
			t.Errorf("%+v gives the load%v (%v), not%v", c.opt, s.Load, err, c.want)
		}
		if back, err := plan.Parse(s.String()); err != nil || back.Load != s.Load {
			t.Errorf("the load%v comes back as%v (%v)", s.Load, back.Load, err)
		}
	}
}

// TestTotals: a run of twelve minutes that is drawn as usual has to bring so many faults of each
// kind; what was killed and emptied on the way to a step counts.
func TestTotals(t *testing.T) {
	var f finding
	add := func(n int, kind plan.Kind, fault history.Fault) {
		for range n {
			fault.Kind = string(kind)
			f.result.Faults = append(f.result.Faults, fault)
		}
	}
	add(20, plan.Kill, history.Fault{Signal: 2, Emptied: []history.Emptied{{Node: "a"}}})
	add(18, plan.Stop, history.Fault{Signal: 1})
	add(2, plan.BrokerStop, history.Fault{Signal: 1})
	add(19, plan.OneWay, history.Fault{Effects: 1})
	add(1, plan.BrokerCut, history.Fault{Effects: 1})
	add(2, plan.Freeze, history.Fault{}) // they have hit nothing
	add(6, plan.ControllerKill, history.Fault{Signal: 1})
	f.result.Events, f.drawn, f.usual = 1_000_000, floorsFrom, true
	if short := f.short(); len(short) > 0 {
		t.Errorf("%v", short)
	}
	f.result.Faults[len(f.result.Faults)-9].Failed = "no time"
	f.result.Faults[0].Emptied = nil
	if got := fmt.Sprint(f.short()); got != "[59 SIGKILLs of 60 19 network cuts of 20]" {
		t.Error(got)
	}
	f.report = foundBy(good).report
	if text, came := f.verdict(nil); came != unproved || f.proved() || !strings.Contains(text, "59 SIGKILLs of 60") {
		t.Errorf("%s, %d", text, came)
	}
	f.usual = false
	if short := f.short(); len(short) > 0 {
		t.Errorf("of a run that is not as usual: %v", short)
	}
}

// TestSoaked: an even run of an hour has to bring as many faults, events, groups and cells as a
// soak is for; a shorter one and another one have not.
func TestSoaked(t *testing.T) {
	soak := func(change func(*finding)) finding {
		f := broken(1000, 0)
		f.report.Groups, f.report.Cells = 1_000_000, check.Cells{All: 297, Hit: 268}
		f.result.Events, f.drawn, f.even = 50_000_000, soakFrom, true
		change(&f)
		return f
	}
	for says, change := range map[string]func(*finding){
		"[999 faults of 1000]":          func(f *finding) { f.result.Faults[0].Failed = "there was no time for it" },
		"[49999999 events of 50000000]": func(f *finding) { f.result.Events-- },
		"[999999 groups of 1000000]":    func(f *finding) { f.report.Groups-- },
		"[267 cells of 268]":            func(f *finding) { f.report.Cells.Hit-- },
	} {
		f := soak(change)
		if text, came := f.verdict(nil); came != unproved || f.proved() || text != "NOT PROVED: a run of 1h0m0s brings more than "+says {
			t.Errorf("%s: it says %q, and exits %d", says, text, came)
		}
	}
	for name, f := range map[string]finding{
		"as it should be": soak(func(*finding) {}),
		"shorter":         soak(func(f *finding) { f.drawn, f.result.Events = soakFrom-1, 1 }),
		"not even":        soak(func(f *finding) { f.even, f.result.Events = false, 1 }),
	} {
		if text, _ := f.verdict(nil); text != "" || !f.proved() {
			t.Errorf("%s: it says %q", name, text)
		}
	}
}

// TestSeedOfZero is a seed like any other, when somebody says it.
func TestSeedOfZero(t *testing.T) {
	opt := options{length: time.Minute, given: map[string]bool{"seed": true}}
	if s, err := scheduleOf(&opt); err != nil || s.Seed != 0 {
		t.Errorf("seed %d, %v", s.Seed, err)
	}
}

// TestCarriedOut: what repeats a run, and what is shortened, has the steps at which its faults
// came, not those that they were planned for; carried out again, they are dealt no others.
func TestCarriedOut(t *testing.T) {
	s := plan.Draw(3, 2*time.Minute, world.OptionsOf(world.Options{}))
	if same := (finding{}).carriedOut(s); same.String() != s.String() {
		t.Errorf("a run that did not begin has another schedule:\n%s", same)
	}
	at := slices.IndexFunc(s.Faults, func(f plan.Fault) bool { return f.Kind == plan.Kill && f.Step != "" })
	came := s.Faults[at]
	came.Step = "flush"
	var f finding
	f.result.Faults = []history.Fault{{ID: came.ID, Kind: string(came.Kind), Line: came.String()}}
	got := f.carriedOut(s)
	if !got.Load.Dealt || len(got.Faults) != len(s.Faults) {
		t.Fatalf("%d faults of %d, dealt: %t", len(got.Faults), len(s.Faults), got.Load.Dealt)
	}
	for i, fault := range got.Faults {
		want := s.Faults[i]
		if i == at {
			want.Step = "flush"
		}
		if fault != want {
			t.Errorf("%v is %v", want, fault)
		}
	}
}

// TestLeave: what is left of a run that broke off can be read and repeated, and nothing is written
// into a folder of somebody else.
func TestLeave(t *testing.T) {
	dir := t.TempDir()
	tr := trial{dir: dir, again: "make chaos SEED=7"}
	s := plan.Schedule{Seed: 7, Length: time.Minute, Faults: []plan.Fault{{At: time.Second, Kind: plan.Kill, Target: "owner"}}}
	if err := tr.leave(t.Context(), s, history.Run{}, finding{}, nil); err != nil {
		t.Fatal(err)
	}
	if found, err := os.ReadDir(dir); err != nil || len(found) > 0 {
		t.Errorf("%d files are in somebody's folder (%v)", len(found), err)
	}
	logs := filepath.Join(dir, history.LogDir)
	if err := errors.Join(history.WriteRun(filepath.Join(dir, history.RunFile), history.Run{}), os.Mkdir(logs, 0o700),
		os.WriteFile(filepath.Join(logs, "a-001.log"), []byte(`{"time":"2026-01-01T00:00:02Z","msg":"second"}`+"\n"), 0o600),
		os.WriteFile(filepath.Join(logs, "b-001.log"), []byte(`{"time":"2026-01-01T00:00:01Z","msg":"first"}`+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	f := foundBy(good, check.Check{Says: "counts are right", Failures: 1, Examples: []check.Difference{{Says: "it is wrong", Counter: `["k"]`, Expected: "2", Found: "3"}}})
	f.result.Problems = []string{"node a does not start again: x"}
	if err := tr.leave(t.Context(), s, history.Run{}, f, errors.New("broken off")); err != nil {
		t.Fatal(err)
	}
	difference, err := os.ReadFile(filepath.Join(dir, "difference.txt"))
	for _, want := range []string{"make chaos SEED=7\n", "the run itself (0): node a does not start again: x\n", "error: broken off\n",
		"check 2, counts are right: 1 failures\n\n  it is wrong\n    counter   [\"k\"]\n    expected  2\n    found     3\n"} {
		if err != nil || !strings.Contains(string(difference), want) {
			t.Errorf("the difference lacks %q (%v):\n%s", want, err, difference)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, history.ScheduleFile))
	if err != nil || !strings.HasPrefix(string(text), "# make chaos SEED=7\n") {
		t.Errorf("the schedule is %q (%v)", text, err)
	}
	if back, err := plan.Parse(string(text)); err != nil || len(back.Faults) != 1 {
		t.Errorf("the schedule does not come back: %v", err)
	}
	all, err := os.ReadFile(filepath.Join(logs, allLogs))
	if err != nil || strings.Index(string(all), "first") > strings.Index(string(all), "second") || !world.IsRun(dir) {
		t.Errorf("the logs are %q (%v)", all, err)
	}
}

// TestBrokenOff: a run that cannot begin leaves the folder in which it may write ready, and another
// one as it is.
func TestBrokenOff(t *testing.T) {
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.txt"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	tr := trial{dir: foreign, say: t.Logf}
	if _, err := tr.run(t.Context(), plan.Schedule{Seed: 7, Length: time.Minute}); err == nil {
		t.Error("a folder that is somebody's is taken")
	}
	if found, err := os.ReadDir(foreign); err != nil || len(found) != 1 || found[0].Name() != "thesis.txt" {
		t.Errorf("%v are there (%v)", found, err)
	}
}
