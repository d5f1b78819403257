package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
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
	rate  int
	keys  int
	press bool
	dir   string
	say   func(format string, a ...any)
}

// finding is what one run came to.
type finding struct {
	result world.Result
	report *check.Report
	failed bool
}

// run carries a schedule out and judges it. The folder stays.
func (t trial) run(ctx context.Context, s plan.Schedule) (f finding, err error) {
	w, err := world.New(ctx, world.Options{Dir: t.dir, Bin: t.bin, Seed: s.Seed, Length: s.Length, Rate: t.rate, Keys: t.keys, Press: t.press, Say: t.say})
	if err != nil {
		w.Close()
		return f, err
	}
	defer w.Close()
	described := w.Run(s)
	if err := errors.Join(writeSchedule(t.dir, s), history.WriteRun(filepath.Join(t.dir, history.RunFile), described)); err != nil {
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
	if err := errors.Join(err, follower.Stop(stopping)); err != nil {
		return f, err
	}
	if err := opened.Nodes(ctx, described, t.dir); err != nil {
		return f, err
	}
	topics := check.OpenTopics(ctx, described, t.dir)
	judged, err := check.ReadFolder(t.dir, topics, kinds())
	if err != nil {
		return f, err
	}
	if f.report, err = check.Judge(judged); err != nil {
		return f, errors.Join(err, topics.SaveAll(described)) // so that it can be judged again
	}
	f.failed = f.report.Failed() || len(f.result.Problems) > 0
	if f.failed {
		err = topics.SaveAll(described)
	}
	t.say("judged")
	return f, errors.Join(err, f.report.Write(t.dir))
}

// kinds are those of the faults that make the columns of the table of cells.
func kinds() (names []string) {
	for _, k := range plan.OfNodes {
		names = append(names, string(k))
	}
	return names
}

// leave makes the folder of a failed run ready to be read.
func (t trial) leave() error { return mergeLogs(filepath.Join(t.dir, history.LogDir)) }

// print is the table at the end.
func (f finding) print(out io.Writer) {
	counts, failed, signals := map[string]int{}, map[string]int{}, map[string]int{}
	for _, fault := range f.result.Faults {
		counts[fault.Kind]++
		signals[fault.Kind] += fault.Signal
		if fault.Failed != "" {
			failed[fault.Kind]++
		}
	}
	fmt.Fprintf(out, "\n%-16s %6s %8s %8s\n", "fault", "came", "signals", "failed")
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(out, "%-16s %6d %8d %8d\n", kind, counts[kind]-failed[kind], signals[kind], failed[kind])
	}
	for _, fault := range f.result.Faults {
		if fault.Failed != "" {
			fmt.Fprintf(out, "did not come: %s: %s\n", fault.Line, fault.Failed)
		}
	}
	fmt.Fprintln(out)
	_ = f.report.WriteText(out) // to a terminal
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
