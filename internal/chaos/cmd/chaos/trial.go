package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/check"
	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/chaos/opened"
	"github.com/tally-kafka/tally/internal/chaos/plan"
	"github.com/tally-kafka/tally/internal/chaos/world"
)

// trial is how schedules are carried out.
type trial struct {
	bin   string
	dir   string
	again string // the command that repeats the run
	drawn bool   // its schedule is
	say   func(format string, a ...any)
}

// finding is what one run came to.
type finding struct {
	result world.Result
	report *check.Report // nil: it could not be judged
	drawn  time.Duration // how long the run was to be; 0: its schedule was given
	usual  bool          // it was drawn at the usual rate, from the usual deck
	even   bool          // it was drawn from the even deck
}

// run carries a schedule out and judges it. The folder stays; of a run that did not prove
// everything it is made ready to be read before the brokers go, whatever the error is.
func (t trial) run(ctx context.Context, s plan.Schedule) (f finding, err error) {
	if t.drawn {
		f.drawn, f.even = s.Length, s.Load.Even && !s.Load.Press
		f.usual = !s.Load.Even && !s.Load.Press && s.Load.Rate >= usualRate
	}
	w, err := world.New(ctx, world.Options{Dir: t.dir, Bin: t.bin, Seed: s.Seed, Length: s.Length,
		Rate: s.Load.Rate, Keys: s.Load.Keys, Press: s.Load.Press, Say: t.say})
	defer func() { w.Close() }() // also of a world that did not come about: it has processes
	described := w.Run(s)
	defer func() {
		if err != nil || !f.proved() {
			err = errors.Join(err, t.leave(ctx, s, described, f, err))
		}
	}()
	if err != nil {
		f.result.Problems = w.Problems()
		return f, err
	}
	if err := errors.Join(t.writeSchedule(s), history.WriteRun(filepath.Join(t.dir, history.RunFile), described)); err != nil {
		return f, err
	}
	follower, err := check.Follow(ctx, described, t.dir)
	if err != nil {
		return f, err
	}
	f.result, err = w.Live(ctx, s)
	t.say("%d events, %d reads, %d faults; judging", f.result.Events, f.result.Reads, len(f.result.Faults))
	stopping, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if stopErr := follower.Stop(stopping); stopErr != nil || ctx.Err() != nil {
		return f, errors.Join(err, stopErr)
	}
	report, judgeErr := t.judge(ctx, described) // also of a run with an error: what it did is there
	if judgeErr != nil {
		return f, errors.Join(err, judgeErr)
	}
	f.report = report
	t.say("judged")
	return f, errors.Join(err, report.Write(t.dir))
}

// shorter carries a shorter schedule out in a folder of its own.
func (t trial) shorter(ctx context.Context, dir, again string, s plan.Schedule) (finding, error) {
	t.dir, t.again, t.drawn, t.say = dir, again, false, func(string, ...any) {}
	return t.run(ctx, s)
}

func (t trial) judge(ctx context.Context, described history.Run) (*check.Report, error) {
	if err := opened.Nodes(ctx, described, t.dir); err != nil {
		return nil, err
	}
	judged, err := check.ReadFolder(t.dir, check.OpenTopics(ctx, described, t.dir), kinds())
	if err != nil {
		return nil, err
	}
	return check.Judge(judged)
}

// kinds are those of the faults as the checks know them.
func kinds() check.Kinds {
	names := func(kinds []plan.Kind) (all []string) {
		for _, k := range kinds {
			all = append(all, string(k))
		}
		return all
	}
	return check.Kinds{Columns: names(plan.OfNodes), Counted: names(plan.Counted)}
}

// leave makes the folder ready to be read, and judged again, as far as there is one. Of a run that
// was given up the topics are not copied: whoever ended it does not wait for that.
func (t trial) leave(ctx context.Context, s plan.Schedule, described history.Run, f finding, cause error) error {
	if !world.IsRun(t.dir) {
		return nil // somebody else's
	}
	err := errors.Join(t.writeSchedule(f.carriedOut(s)), mergeLogs(filepath.Join(t.dir, history.LogDir)), t.writeDifference(f, cause))
	if len(described.Brokers) > 0 && ctx.Err() == nil {
		err = errors.Join(err, check.OpenTopics(ctx, described, t.dir).SaveAll(described), check.WriteTexts(described, t.dir))
	}
	return err
}

// writeDifference leaves what is not as it has to be: what only the world has seen, the error that
// has broken the run off, and what the checks have found.
func (t trial) writeDifference(f finding, cause error) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", t.again)
	for _, p := range f.result.Problems {
		fmt.Fprintf(&b, "the run itself (%d): %s\n\n", theWorld, p)
	}
	if cause != nil {
		fmt.Fprintf(&b, "error: %v\n\n", cause)
	}
	if f.report != nil {
		if err := f.report.WriteDifferences(&b); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(t.dir, "difference.txt"), []byte(b.String()), 0o644)
}

// writeSchedule leaves what can be given to -schedule, with the command that repeats it all.
func (t trial) writeSchedule(s plan.Schedule) error {
	text := fmt.Sprintf("# %s\n%s", t.again, s)
	return os.WriteFile(filepath.Join(t.dir, history.ScheduleFile), []byte(text), 0o644)
}

// carriedOut is the schedule with the steps at which its faults came: a run deals them to those
// that were hit too seldom. Carried out again, they stay.
func (f finding) carriedOut(s plan.Schedule) plan.Schedule {
	lines := map[int]string{}
	for _, fault := range f.result.Faults {
		lines[fault.ID] = fault.Line
	}
	if len(lines) == 0 {
		return s
	}
	same := s
	same.Load.Dealt, same.Faults = true, nil
	text := same.String()
	for _, planned := range s.Faults {
		text += cmp.Or(lines[planned.ID], planned.String()) + "\n"
	}
	same, err := plan.Parse(text)
	if err != nil {
		panic(fmt.Sprintf("chaos: the faults of a run are no schedule: %v", err)) // each line is a Fault's String
	}
	return same
}

// theWorld stands among the numbers of checks for what only the world has seen.
const theWorld = 0

// failing are the numbers of the checks that have failed.
func (f finding) failing() (numbers []int) {
	if len(f.result.Problems) > 0 {
		numbers = append(numbers, theWorld)
	}
	return append(numbers, f.checks(func(c *check.Check) bool { return c.Failures > 0 })...)
}

// unseen are the numbers of the checks that have looked at nothing.
func (f finding) unseen() []int {
	return f.checks(func(c *check.Check) bool {
		return c.Failures == 0 && !slices.ContainsFunc(c.Examined, func(a check.Amount) bool { return a.Count > 0 })
	})
}

// doubtful are the numbers of the checks that have left too much undecided, or too few answers.
func (f finding) doubtful() []int { return f.checks((*check.Check).Doubtful) }

// wholeFrom is from which length on a run whose schedule is drawn has to bring everything that the
// checks look at.
const wholeFrom = 75 * time.Second

// mayLack is what such a run of less than mayLackFor may be without even where all is well: a copy
// that is behind, or has nobody to tell it that it is not, scans as unsure and not as standby; and
// few answers that had to be after an event come through two stages while a broker is away. One of
// twelve minutes has thousands of the first and hundreds of the second.
var mayLack = []string{"stores of standbys, by a scan", "answers after an event, through two stages"}

const mayLackFor = 5 * time.Minute

// lacking are the numbers of the checks that have not seen all that a run of this length brings.
func (f finding) lacking() []int {
	if f.drawn < wholeFrom {
		return nil
	}
	return f.checks(func(c *check.Check) bool {
		return slices.ContainsFunc(c.Unseen, func(what string) bool { return f.drawn >= mayLackFor || !slices.Contains(mayLack, what) })
	})
}

// mayFail is how many faults of a short run need not come: of the faults of a soak one in 25 did
// not, so of the 16 of a run of 90 s three or more do not in one of 40 runs, and four or more in
// one of 250.
const mayFail = 3

// absent is how many faults did not come, where that is more than a tenth: then the run says less
// than it was to say.
func (f finding) absent() int {
	n := len(f.result.Faults) - f.came()
	if n > max(mayFail, len(f.result.Faults)/10) {
		return n
	}
	return 0
}

// From how many faults of a kind on that came one of them has to hit something. An app that comes
// and goes is audited only where Kafka and the nodes have time for that while all else is broken:
// in a run beside tests it was one of three.
const (
	harmlessFrom        = 3
	harmlessSubmitsFrom = 6
)

// harmless are the kinds of plan.Counted of which so many faults came, and none was seen to hit
// anything: the run has proved nothing of them.
func (f finding) harmless() (kinds []plan.Kind) {
	came, hits := map[plan.Kind]int{}, map[plan.Kind]int{}
	for i := range f.result.Faults {
		fault, kind := &f.result.Faults[i], plan.Kind(f.result.Faults[i].Kind)
		if fault.Failed == "" {
			came[kind]++
		}
		if history.Hit(fault, plan.Counted) {
			hits[kind]++
		}
	}
	for _, kind := range plan.Counted {
		from := harmlessFrom
		if kind == plan.Submit {
			from = harmlessSubmitsFrom
		}
		if came[kind] >= from && hits[kind] == 0 {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

func (f finding) checks(of func(*check.Check) bool) (numbers []int) {
	if f.report == nil {
		return nil
	}
	for i := range f.report.Checks {
		if c := &f.report.Checks[i]; of(c) {
			numbers = append(numbers, c.Number)
		}
	}
	return numbers
}

func (f finding) proved() bool {
	return f.report != nil && f.report.Proved() && len(f.failing())+len(f.lacking())+f.absent()+len(f.harmless())+len(f.short()) == 0
}

// outcome is what a run came to, as the command exits with it: 2 is that of flags that are none,
// and of a panic. internal/mutants goes by these numbers.
type outcome int

const (
	proved   outcome = 0 // or something little is left undecided
	violated outcome = 1 // something is wrong with the program
	unproved outcome = 3 // the run has seen too little to say
	unjudged outcome = 4 // it did not come about, or nobody could judge it
)

// verdict says what is to be said of a run that did not prove everything, "" of one that did.
func (f finding) verdict(err error) (text string, _ outcome) {
	switch failing, unseen := f.failing(), f.unseen(); {
	case err != nil && len(failing) > 0:
		return fmt.Sprintf("NOT JUDGED to the end, see the error; found all the same: checks %v (%d: the run itself)", failing, theWorld), unjudged
	case err != nil:
		return "NOT JUDGED, see the error", unjudged
	case len(failing) > 0:
		return fmt.Sprintf("FAILED: checks %v (%d: the run itself); failed after %d faults", failing, theWorld, f.came()), violated
	case len(unseen) > 0:
		return fmt.Sprintf("NOT PROVED: checks %v have seen nothing", unseen), unproved
	case len(f.lacking()) > 0:
		return fmt.Sprintf("NOT PROVED: checks %v have not seen all that a run of %v brings, see the table", f.lacking(), wholeFrom), unproved
	case f.absent() > 0:
		return fmt.Sprintf("NOT PROVED: %d of %d faults did not come", f.absent(), len(f.result.Faults)), unproved
	case len(f.harmless()) > 0:
		return fmt.Sprintf("NOT PROVED: no fault of these kinds has hit anything: %v", f.harmless()), unproved
	case len(f.short()) > 0:
		return fmt.Sprintf("NOT PROVED: a run of %v brings more than %v", f.drawn, f.short()), unproved
	case len(f.doubtful()) > 0:
		return fmt.Sprintf("NOT PROVED: checks %v have left too much undecided or unanswered, see the table", f.doubtful()), unproved
	case !f.proved():
		return "NOT PROVED: something is undecided, see the table", proved
	}
	return "", proved
}

// came is how many faults did. A run is judged behind the last of them.
func (f finding) came() (n int) {
	for _, fault := range f.result.Faults {
		if fault.Failed == "" {
			n++
		}
	}
	return n
}

// line is that of a kind of fault in the table at the end.
type line struct{ drawn, failed, signals, hit int }

// print is the table at the end: of each kind how many faults were begun, and came; the signals
// that they sent; and, of plan.Counted, how many were seen to hit something.
func (f finding) print(out io.Writer) {
	lines := map[string]line{}
	for _, fault := range f.result.Faults {
		l := lines[fault.Kind]
		l.drawn++
		l.signals += fault.Signals()
		if fault.Failed != "" {
			l.failed++
		}
		if fault.Failed == "" && fault.Effects > 0 {
			l.hit++
		}
		lines[fault.Kind] = l
	}
	fmt.Fprintf(out, "\n%-16s %6s %6s %8s %8s\n", "fault", "drawn", "came", "signals", "hit")
	for _, kind := range slices.Sorted(maps.Keys(lines)) {
		l, hit := lines[kind], "-"
		if slices.Contains(plan.Counted, plan.Kind(kind)) {
			hit = fmt.Sprint(l.hit)
		}
		fmt.Fprintf(out, "%-16s %6d %6d %8d %8s\n", kind, l.drawn, l.drawn-l.failed, l.signals, hit)
	}
	for _, fault := range f.result.Faults {
		if fault.Failed != "" {
			fmt.Fprintf(out, "did not come: %s: %s\n", fault.Line, fault.Failed)
		}
	}
	f.printTotals(out)
	fmt.Fprintln(out)
	if f.report != nil {
		_ = f.report.WriteText(out) // to a terminal
	}
	if f.result.Pressure != nil {
		fmt.Fprintf(out, "\n%s", f.result.Pressure.Table())
	}
	for _, n := range f.result.Notes {
		fmt.Fprintf(out, "\nnote: %s\n", n)
	}
	for _, p := range f.result.Problems {
		fmt.Fprintf(out, "\nPROBLEM: %s\n", p)
	}
}
