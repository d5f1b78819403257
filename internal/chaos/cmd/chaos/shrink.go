package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/check"
	"github.com/tally-kafka/tally/internal/chaos/plan"
	"github.com/tally-kafka/tally/internal/chaos/world"
)

// shrinker looks for a shorter schedule that fails as a run did.
type shrinker struct {
	dir    string        // of that run; it gets what is found
	within time.Duration // no try is begun that would end behind it
	run    func(ctx context.Context, dir, again string, s plan.Schedule) (finding, error)
	now    func() time.Time
	out    io.Writer

	end    time.Time     // of the time for it
	beside time.Duration // what a try takes beside the length of its schedule, as the last one did
	tries  int
	found  bool
	err    error // of what was to be kept
}

const (
	// besideFirst is what is reckoned with for a run's start and its judgement while nobody knows.
	besideFirst = 30 * time.Second
	// lateMost is how much later the last try may end: one that fails waits longer for the quiet.
	lateMost = 2 * time.Minute
	// tryLeast is the length of the shortest schedules that there are.
	tryLeast = 40 * time.Second
)

// shrink carries out ever shorter schedules until its time is over, and leaves in the run's folder
// the shortest that failed in the same way, as shortest.txt, and the folder of its run. It leaves
// none where none failed so.
func (k *shrinker) shrink(ctx context.Context, s plan.Schedule, first finding) error {
	if len(s.Faults) == 0 {
		fmt.Fprintln(k.out, "it failed without any fault: there is none to leave out")
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, k.within+lateMost)
	defer cancel()
	k.end, k.beside = k.now().Add(k.within), besideFirst
	fmt.Fprintf(k.out, "looking for a shorter schedule that fails as this one: %q, for at most %v\n", first.gravest(), k.within)
	short := plan.Shrink(s, first.seen(), func(s plan.Schedule) bool { return k.fails(ctx, s, first) }, func() bool {
		return ctx.Err() != nil || !k.hasTime(tryLeast)
	})
	switch {
	case k.tries == 0:
		fmt.Fprintf(k.out, "there was no time for a shorter schedule: say -shrink %v\n", 2*(s.Length+k.beside))
	case !k.found:
		fmt.Fprintf(k.out, "no shorter schedule has failed so, of %d\n", k.tries)
	default:
		fmt.Fprintf(k.out, "the shortest schedule that failed so, of %d, has %d faults of %d and takes %v of %v: %s\n%s repeats it; its run is in %s\n",
			k.tries, len(short.Faults), len(s.Faults), short.Length, s.Length, k.path(shortestFile), k.again(short), k.path(shortestDir))
	}
	return errors.Join(k.err, k.clear())
}

// The names of what is left in the folder of a run that failed, and of the folder of a try.
const (
	shortestFile = "shortest.txt"
	shortestDir  = "shortest"
	tryDir       = "try"
)

func (k *shrinker) path(name string) string { return filepath.Join(k.dir, name) }

func (k *shrinker) again(s plan.Schedule) string {
	return again(options{schedule: k.path(shortestFile)}, s)
}

// hasTime tells whether there is time for a schedule of that length.
func (k *shrinker) hasTime(length time.Duration) bool {
	return !k.now().Add(length + k.beside).After(k.end)
}

// fails tells whether a schedule fails as the first run did; it is not tried where there is no time
// for it.
func (k *shrinker) fails(ctx context.Context, s plan.Schedule, first finding) bool {
	if !k.hasTime(s.Length) {
		return false
	}
	k.tries++
	fmt.Fprintf(k.out, "try %d: %d faults in %v: ", k.tries, len(s.Faults), s.Length)
	began := k.now()
	got, err := k.run(ctx, k.path(tryDir), k.again(s), s)
	k.beside = min(max(k.now().Sub(began)-s.Length, 0), lateMost)
	fails := ctx.Err() == nil && len(first.common(got)) > 0
	fmt.Fprintln(k.out, cameTo(fails, got, err))
	if fails {
		k.found, k.err = true, errors.Join(k.err, k.keep(s, first.common(got)))
	}
	return fails
}

func cameTo(fails bool, got finding, err error) string {
	switch {
	case fails:
		return fmt.Sprintf("fails so, checks %v", got.failing())
	case len(got.failing()) > 0:
		return fmt.Sprintf("fails otherwise, checks %v", got.failing())
	case err != nil:
		return fmt.Sprintf("could not be judged: %v", err)
	}
	return "does not fail"
}

// keep leaves the schedule, and the folder of its run, in the place of a longer one.
func (k *shrinker) keep(s plan.Schedule, ways []string) error {
	text := fmt.Sprintf("# %s\n# It has failed as the schedule of %s did: %q.\n%s", k.again(s), k.dir, ways, s)
	err := errors.Join(os.WriteFile(k.path(shortestFile), []byte(text), 0o644), os.RemoveAll(k.path(shortestDir)))
	if err == nil && world.IsRun(k.path(tryDir)) {
		err = os.Rename(k.path(tryDir), k.path(shortestDir))
	}
	return err
}

// clear removes the folder of a try that is not kept.
func (k *shrinker) clear() error {
	if !world.IsRun(k.path(tryDir)) {
		return nil
	}
	return os.RemoveAll(k.path(tryDir))
}

// ways are those in which a run has failed, the gravest first: what the checks have found in what
// was written and answered; what else the world has seen; and that it did not come to rest, which
// may be a consequence of anything.
func (f finding) ways() (ways [3][]string) {
	for _, n := range f.failing() {
		switch n {
		case theWorld:
		case check.Quiet, check.Audit:
			ways[2] = append(ways[2], fmt.Sprint("check ", n))
		default:
			ways[0] = append(ways[0], fmt.Sprint("check ", n))
		}
	}
	for _, p := range f.result.Problems {
		rank := 1
		if atRest.MatchString(p) {
			rank = 2
		}
		ways[rank] = append(ways[rank], strings.TrimSpace(particular.ReplaceAllString(p, "")))
	}
	return ways
}

var (
	// particular is what a problem says of one time alone: who it was, numbers, and what is behind
	// a colon or in brackets.
	particular = regexp.MustCompile(`(?s)\b(node|broker|audit of) [\w-]+|-?[0-9][0-9.]*|[:(].*`)
	atRest     = regexp.MustCompile(`^(quiet after|tally audit|no node runs that could be asked|after the (last fault|further nodes))`)
)

// gravest are the gravest of the ways in which it has failed, by which a shorter schedule is held
// to be the same.
func (f finding) gravest() []string {
	for _, ways := range f.ways() {
		if len(ways) > 0 {
			return ways
		}
	}
	return nil
}

// common are those of the gravest ways in which this run has failed in which another one has, too.
func (f finding) common(other finding) []string {
	theirs := other.ways()
	all := slices.Concat(theirs[:]...)
	return slices.DeleteFunc(f.gravest(), func(way string) bool { return !slices.Contains(all, way) })
}

// seen is when, since the schedule began, the run is known to have failed; 0: nobody knows.
func (f finding) seen() time.Duration {
	at := f.result.Seen
	if f.report == nil {
		return at
	}
	if first := f.report.First(f.result.Broke); !first.IsZero() && (at == 0 || first.Sub(f.result.Broke) < at) {
		at = first.Sub(f.result.Broke)
	}
	return at
}
