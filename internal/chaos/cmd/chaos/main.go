// Command chaos runs tally under faults that anyone can repeat: the same seed gives the same load
// and the same schedule of faults, as far as a real machine can.
//
// It prints seed and schedule, says how far it is while it runs, and ends with a table of what was
// broken and what was checked. It exits 1 when anything was wrong; then the folder has the
// schedule, the logs by node and time, the history, the topics, the difference, and the shortest
// schedule that failed again within the time for looking.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/chaos/plan"
	"github.com/tally-kafka/tally/internal/chaos/world"
	"github.com/tally-kafka/tally/internal/seam"
)

type options struct {
	seed     uint64
	length   time.Duration
	rate     int
	keys     int
	even     bool
	press    bool
	schedule string
	dir      string
	keep     bool
	shrink   time.Duration
}

func main() {
	var opt options
	flag.Uint64Var(&opt.seed, "seed", 0, "`N` of the load and the faults (default: a new one)")
	flag.DurationVar(&opt.length, "for", 10*time.Minute, "`DURATION` from the first event to the quiet end")
	flag.IntVar(&opt.rate, "rate", 800, "`N` events a second for each of the two apps")
	flag.IntVar(&opt.keys, "keys", 1200, "`N` groups of the app that sums by key")
	flag.BoolVar(&opt.even, "even", false, "draw all kinds that come at a step equally often, so that the table of cells fills")
	flag.BoolVar(&opt.press, "press", false, "look for the highest rate that this machine sustains, send events at it, and see that nothing is left behind")
	flag.StringVar(&opt.schedule, "schedule", "", "carry out the schedule of this `FILE`, for as long as it says")
	flag.StringVar(&opt.dir, "dir", "", "`DIR` of all that the run writes (default: .cache/chaos/SEED)")
	flag.BoolVar(&opt.keep, "keep", false, "leave the folder there, also after a run without a fault found")
	flag.DurationVar(&opt.shrink, "shrink", -1, "how long to look for a shorter schedule that fails too (default: three times -for)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	failed, err := run(ctx, opt)
	if err != nil {
		fmt.Fprintf(os.Stderr, "chaos: %v\n", err)
	}
	if failed || err != nil {
		os.Exit(1)
	}
}

func run(ctx context.Context, opt options) (failed bool, err error) {
	s, err := scheduleOf(&opt)
	if err != nil {
		return false, err
	}
	fmt.Printf("%s\nSEED=%d FOR=%v: %d faults, %d events a second; all of it in %s\n", s, s.Seed, s.Length, len(s.Faults), 2*opt.rate, opt.dir)
	bins, err := os.MkdirTemp("", "chaos-bin-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(bins)
	bin, err := world.Build(ctx, bins)
	if err != nil {
		return false, err
	}
	t := trial{bin: bin, rate: opt.rate, keys: opt.keys, press: opt.press, dir: opt.dir, say: say()}
	found, err := t.run(ctx, s)
	if err != nil {
		return false, err
	}
	found.print(os.Stdout)
	if !found.failed {
		if !opt.keep {
			err = os.RemoveAll(opt.dir)
		}
		return false, err
	}
	if err := t.leave(); err != nil {
		return true, err
	}
	fmt.Printf("\nFAILED: SEED=%d FOR=%v repeats it; see %s\n", s.Seed, s.Length, opt.dir)
	return true, shrink(ctx, opt, t, s)
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
	} else {
		if opt.length < time.Minute {
			return s, fmt.Errorf("-for %v: at least 1m, half of which is the quiet end", opt.length)
		}
		if opt.seed == 0 {
			opt.seed = seam.World().Uint64() % 1_000_000
		}
		s = plan.Draw(opt.seed, opt.length, world.OptionsOf(world.Options{Even: opt.even, Press: opt.press}))
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

// say prints a line with the time since the beginning.
func say() func(format string, a ...any) {
	began := time.Now()
	return func(format string, a ...any) {
		fmt.Printf("[%5.1f s] %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, a...))
	}
}

// shrink looks for a shorter schedule that fails too.
func shrink(ctx context.Context, opt options, t trial, s plan.Schedule) error {
	if opt.shrink == 0 || len(s.Faults) < 2 {
		return nil
	}
	end := time.Now().Add(opt.shrink)
	t.dir, t.say = opt.dir+".shorter", func(string, ...any) {}
	defer os.RemoveAll(t.dir)
	tries := 0
	late := func() bool { return ctx.Err() != nil || time.Now().Add(s.Length+time.Minute).After(end) }
	short := plan.Shrink(s, func(s plan.Schedule) bool {
		tries++
		found, err := t.run(ctx, s)
		fails := err == nil && found.failed
		fmt.Printf("try %d with %d faults: it fails: %t\n", tries, len(s.Faults), fails)
		return fails
	}, late)
	if tries == 0 {
		return errors.New("no time to look for a shorter schedule: say -shrink 1h")
	}
	path := filepath.Join(opt.dir, "shortest.txt")
	fmt.Printf("the shortest schedule that failed, of %d tries, has %d faults of %d: %s\n", tries, len(short.Faults), len(s.Faults), path)
	return os.WriteFile(path, []byte(short.String()), 0o644)
}

// writeSchedule leaves what can be given to -schedule.
func writeSchedule(dir string, s plan.Schedule) error {
	return os.WriteFile(filepath.Join(dir, history.ScheduleFile), []byte(s.String()), 0o644)
}
