// Command chaos runs tally under faults that anyone can repeat: the same seed gives the same load
// and the same schedule of faults, as far as a real machine can.
//
// It prints seed and schedule, says how far it is while it runs, and ends with a table of what was
// broken and what was checked. It exits 1 when anything was wrong; 3 when a check has seen nothing
// at all, when one has left more than a hundredth undecided (of the stores that were opened, half)
// or excuses most of a kind by faults, when less than half of the questions of a kind were
// answered, when a kind of fault has hit nothing, when more than a tenth of the faults did not come
// (of a short run more than three), and where the schedule is drawn, for 75 s or longer, when a
// check has not seen all that it looks at, for 12 minutes or longer, when there were fewer kills,
// stops, cuts, damaged stores or events than totals.go says, and in a soak of an hour or longer
// fewer faults, events, groups or cells; and 4 when it could not judge. The folder of such a run
// stays, and of one that left something undecided, and no later run writes into it: it has the
// schedule, the logs by node and time, the history, the topics as text, the difference, and the
// shortest schedule that failed again within the time for looking, with its own folder
// (internal/chaos/history has the names).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/chaos/plan"
	"github.com/tally-kafka/tally/internal/chaos/world"
	"github.com/tally-kafka/tally/internal/seam"
)

// The bounds of how long is looked for a shorter schedule where nobody says.
const (
	shrinkLeast = 10 * time.Minute
	shrinkMost  = 30 * time.Minute
)

// usualRate is how many events a second each of the two apps gets.
const usualRate = 800

type options struct {
	seed     uint64
	length   time.Duration
	load     plan.Load
	given    map[string]bool // the flags that were
	schedule string
	dir      string
	keep     bool
	shrink   time.Duration
}

func main() {
	opt := options{given: map[string]bool{}}
	flag.Uint64Var(&opt.seed, "seed", 0, "`N` of the load and the faults (default: a new one)")
	flag.DurationVar(&opt.length, "for", 10*time.Minute, "`DURATION` from the first event to the quiet end")
	flag.IntVar(&opt.load.Rate, "rate", usualRate, "`N` events a second for each of the two apps")
	flag.IntVar(&opt.load.Keys, "keys", 1200, "`N` groups of the app that sums by key")
	flag.BoolVar(&opt.load.Even, "even", false, "draw all kinds that come at a step equally often, so that the table of cells fills")
	flag.BoolVar(&opt.load.Press, "press", false, "look for the highest rate that this machine sustains, send events at three quarters of it, and see that nothing is left behind")
	flag.StringVar(&opt.schedule, "schedule", "", "carry out the schedule of this `FILE`, for as long and at the load that it says, but for -rate, -keys and -press where they are given")
	flag.StringVar(&opt.dir, "dir", "", "`DIR` of all that the run writes, a new or an empty one; where it has an earlier run, DIR-2, DIR-3 and so on (default: .cache/chaos/SEED)")
	flag.BoolVar(&opt.keep, "keep", false, "leave the folder there, also after a run that proved everything")
	flag.DurationVar(&opt.shrink, "shrink", -1, "how long to look for a shorter schedule that fails in the same way: no try is begun that would end later; 0: not at all (default: three times -for, and from 10m to 30m)")
	flag.Parse()
	flag.Visit(func(f *flag.Flag) { opt.given[f.Name] = true })
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	came, err := run(ctx, opt)
	if err != nil {
		fmt.Fprintf(os.Stderr, "chaos: %v\n", err)
		if came == proved {
			came = unjudged
		}
	}
	os.Exit(int(came))
}

// run is what a run came to; one that an error kept from its end is not judged.
func run(ctx context.Context, opt options) (outcome, error) {
	s, err := scheduleOf(&opt)
	if err != nil {
		return unjudged, err
	}
	fmt.Printf("%s\n%s: %d faults\n", s, again(opt, s), len(s.Faults))
	bins, err := os.MkdirTemp("", "chaos-bin-")
	if err != nil {
		return unjudged, err
	}
	defer os.RemoveAll(bins)
	bin, err := world.Build(ctx, bins)
	if err != nil {
		return unjudged, err
	}
	opt.dir = unused(opt.dir)
	fmt.Printf("all of it in %s\n", opt.dir)
	t := trial{bin: bin, dir: opt.dir, again: again(opt, s), drawn: opt.schedule == "", say: say()}
	found, err := t.run(ctx, s)
	var text strings.Builder
	out := io.MultiWriter(os.Stdout, &text)
	found.print(out)
	verdict, came := found.verdict(err)
	if err != nil {
		fmt.Fprintf(&text, "\nerror: %v\n", err) // the terminal has it last
	}
	switch {
	case verdict != "":
		fmt.Fprintf(out, "\n%s\n%s repeats it; see %s\n%s repeats it with the steps that its faults came to\n", verdict, t.again, opt.dir,
			again(options{schedule: filepath.Join(opt.dir, history.ScheduleFile)}, s))
	case !opt.keep:
		return came, os.RemoveAll(opt.dir)
	}
	if err == nil && opt.shrink > 0 && len(found.failing()) > 0 {
		k := shrinker{dir: opt.dir, within: opt.shrink, run: t.shorter, now: time.Now, out: out}
		err = k.shrink(ctx, found.carriedOut(s), found)
	}
	return came, errors.Join(err, writeResult(opt.dir, text.String()))
}

// writeResult leaves what was printed at the end, unless the folder is somebody else's.
func writeResult(dir, text string) error {
	if !world.IsRun(dir) {
		return nil
	}
	return os.WriteFile(filepath.Join(dir, "result.txt"), []byte(text), 0o644)
}

// unused is the folder, or the first of dir-2, dir-3 and so on in which there is no earlier run:
// what such a one has found stays.
func unused(dir string) string {
	name := dir
	for n := 2; world.IsRun(name); n++ {
		name = fmt.Sprintf("%s-%d", dir, n)
	}
	return name
}

// again is the command that runs the same once more.
func again(opt options, s plan.Schedule) string {
	var b strings.Builder
	if opt.schedule != "" {
		fmt.Fprintf(&b, "make chaos SCHEDULE=%s", opt.schedule)
	} else {
		fmt.Fprintf(&b, "make chaos SEED=%d FOR=%v", s.Seed, s.Length)
	}
	fmt.Fprintf(&b, " CHAOSFLAGS='-rate %d -keys %d", s.Load.Rate, s.Load.Keys)
	if s.Load.Even && opt.schedule == "" {
		b.WriteString(" -even")
	}
	if s.Load.Press {
		b.WriteString(" -press")
	}
	b.WriteString("'")
	return b.String()
}

// scheduleOf draws the schedule, or reads it, and fills what the options left open.
func scheduleOf(opt *options) (s plan.Schedule, err error) {
	if opt.schedule != "" {
		text, err := os.ReadFile(opt.schedule)
		if err != nil {
			return s, err
		}
		if s, err = plan.Parse(string(text)); err != nil {
			return s, err
		}
		opt.seed, opt.length = s.Seed, s.Length
		s.Load = opt.loadOf(s.Load)
	} else {
		if opt.length < time.Minute {
			return s, fmt.Errorf("-for %v: at least 1m, half of which is the quiet end", opt.length)
		}
		if !opt.given["seed"] {
			opt.seed = seam.World().Uint64() % 1_000_000
		}
		s = plan.Draw(opt.seed, opt.length, world.OptionsOf(world.Options{Even: opt.load.Even, Press: opt.load.Press}))
		s.Load = opt.load
	}
	if opt.dir == "" {
		opt.dir = filepath.Join(".cache", "chaos", fmt.Sprint(opt.seed))
	}
	if opt.dir, err = filepath.Abs(opt.dir); err != nil {
		return s, err
	}
	if opt.shrink < 0 {
		opt.shrink = min(max(3*opt.length, shrinkLeast), shrinkMost)
	}
	return s, nil
}

// loadOf is the load of a schedule that comes from a file: as its first line says, unless a flag
// does, and else as the flags are where nobody gives them.
func (opt *options) loadOf(written plan.Load) plan.Load {
	load := written
	if load.Rate == 0 || opt.given["rate"] {
		load.Rate = opt.load.Rate
	}
	if load.Keys == 0 || opt.given["keys"] {
		load.Keys = opt.load.Keys
	}
	if opt.given["press"] {
		load.Press = opt.load.Press
	}
	return load
}

// say prints a line with the time since the beginning.
func say() func(format string, a ...any) {
	began := time.Now()
	return func(format string, a ...any) {
		fmt.Printf("[%5.1f s] %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, a...))
	}
}
