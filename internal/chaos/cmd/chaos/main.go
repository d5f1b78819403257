// Command chaos runs tally under faults that anyone can repeat: the same seed gives the same load
// and the same schedule of faults, as far as a real machine can.
//
// It prints seed and schedule, says how far it is while it runs, and ends with a table of what was
// broken and what was checked. It exits 1 when anything was wrong; 3 when a check has seen nothing
// at all, when one has left more than a hundredth undecided, when more than a third of the faults
// did not come, and where the schedule is drawn, for 75 s or longer, when a check has not seen all
// that it looks at; and 4 when it could not judge. The folder of such a run stays, and of one that
// left something undecided: it has the schedule, the logs by node and time, the history, the
// topics, the difference, and the shortest schedule that failed again within the time for looking.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/plan"
	"github.com/tally-kafka/tally/internal/chaos/world"
	"github.com/tally-kafka/tally/internal/seam"
)

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
	flag.IntVar(&opt.load.Rate, "rate", 800, "`N` events a second for each of the two apps")
	flag.IntVar(&opt.load.Keys, "keys", 1200, "`N` groups of the app that sums by key")
	flag.BoolVar(&opt.load.Even, "even", false, "draw all kinds that come at a step equally often, so that the table of cells fills")
	flag.BoolVar(&opt.load.Press, "press", false, "look for the highest rate that this machine sustains, send events at it, and see that nothing is left behind")
	flag.StringVar(&opt.schedule, "schedule", "", "carry out the schedule of this `FILE`, for as long and at the load that it says, but for -rate, -keys and -press where they are given")
	flag.StringVar(&opt.dir, "dir", "", "`DIR` of all that the run writes: a new or empty one, or that of an earlier run (default: .cache/chaos/SEED)")
	flag.BoolVar(&opt.keep, "keep", false, "leave the folder there, also after a run that proved everything")
	flag.DurationVar(&opt.shrink, "shrink", -1, "how long to look for a shorter schedule that fails too (default: three times -for)")
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
	fmt.Printf("%s\n%s: %d faults; all of it in %s\n", s, again(opt, s), len(s.Faults), opt.dir)
	bins, err := os.MkdirTemp("", "chaos-bin-")
	if err != nil {
		return unjudged, err
	}
	defer os.RemoveAll(bins)
	bin, err := world.Build(ctx, bins)
	if err != nil {
		return unjudged, err
	}
	t := trial{bin: bin, dir: opt.dir, again: again(opt, s), drawn: opt.schedule == "", say: say()}
	found, err := t.run(ctx, s)
	found.print(os.Stdout)
	verdict, came := found.verdict(err)
	switch {
	case verdict != "":
		fmt.Printf("\n%s\n%s repeats it; see %s\n", verdict, t.again, opt.dir)
	case !opt.keep:
		err = os.RemoveAll(opt.dir)
	}
	if err == nil && len(found.failing()) > 0 {
		err = shrink(ctx, opt, t, s, found)
	}
	return came, err
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
		if opt.seed == 0 {
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
		opt.shrink = 3 * opt.length
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

// shrink looks for a shorter schedule that fails in one of the ways in which this one did.
func shrink(ctx context.Context, opt options, t trial, s plan.Schedule, found finding) error {
	if opt.shrink == 0 || len(s.Faults) < 2 {
		return nil
	}
	end := time.Now().Add(opt.shrink)
	t.dir, t.drawn, t.say = opt.dir+".shorter", false, func(string, ...any) {}
	defer func() {
		if world.IsRun(t.dir) {
			_ = os.RemoveAll(t.dir)
		}
	}()
	tries := 0
	late := func() bool { return ctx.Err() != nil || time.Now().Add(s.Length+time.Minute).After(end) }
	short := plan.Shrink(s, found.result.Seen, func(s plan.Schedule) bool {
		tries++
		got, err := t.run(ctx, s)
		fails := err == nil && found.failsLike(got)
		fmt.Printf("try %d with %d faults for %v: it fails in the same way: %t (%v)\n", tries, len(s.Faults), s.Length, fails, got.failing())
		return fails
	}, late)
	if tries == 0 {
		return errors.New("no time to look for a shorter schedule: say -shrink 1h")
	}
	path := filepath.Join(opt.dir, "shortest.txt")
	fmt.Printf("the shortest schedule that failed, of %d tries, has %d faults of %d: %s\n", tries, len(short.Faults), len(s.Faults), path)
	return os.WriteFile(path, []byte(short.String()), 0o644)
}
