package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

type options struct {
	only, out string
	seeds     int
	first     int
	verbose   bool
	baseline  bool
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("mutants", flag.ContinueOnError)
	f.StringVar(&o.only, "only", "", "names of mutants, separated by commas; none: all")
	f.IntVar(&o.seeds, "seeds", 3, "how many seeds each mutant is run with")
	f.IntVar(&o.first, "first-seed", 1, "the first of them")
	f.StringVar(&o.out, "out", "", "write the table as Markdown to this file")
	f.BoolVar(&o.verbose, "v", false, "print what the check that caught a mutant said")
	f.BoolVar(&o.baseline, "baseline", true, "run the checks on the program as it is first")
	return o, f.Parse(args)
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	mutants, err := readMutants(filepath.Join(root, "testdata", "mutants"), o.only)
	if err != nil {
		return err
	}
	deps, err := reach(ctx, root)
	if err != nil {
		return err
	}
	if o.baseline {
		if err := passes(ctx, root, o); err != nil {
			return err
		}
	}
	var rows []row
	for _, m := range mutants {
		r := hunt(ctx, root, deps, m, o)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fmt.Println(r.line())
		rows = append(rows, r)
	}
	return errors.Join(verdict(rows), write(o, rows))
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

// passes runs every check on the program as it is: one that fails there would catch anything.
func passes(ctx context.Context, root string, o options) error {
	return inDir(func(dir string) error {
		b := &builder{root: root, dir: dir, built: map[string]string{}}
		for seed := o.first; seed < o.first+o.seeds; seed++ {
			for _, c := range checks {
				failed, took, out, err := b.failed(ctx, c, seed)
				if err != nil {
					return err
				}
				if failed {
					return fmt.Errorf("%s fails without a mutant, with seed %d:\n%s", c.name, seed, tail(out, 60))
				}
				fmt.Printf("%-34s seed %d  %-27s %4.0f s\n", "(no mutant)", seed, "passes "+c.name, took.Seconds())
			}
		}
		return nil
	})
}

// inDir calls fn with a directory that is removed behind it.
func inDir(fn func(dir string) error) error {
	dir, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return err
	}
	return errors.Join(fn(dir), os.RemoveAll(dir))
}

// hunt runs the checks against a mutant, seed by seed, until one fails.
func hunt(ctx context.Context, root string, deps map[string][]string, m mutant, o options) row {
	r := row{mutant: m}
	r.err = inDir(func(dir string) error {
		overlay, err := m.apply(ctx, root, dir)
		if err != nil {
			return err
		}
		b := &builder{root: root, dir: dir, overlay: overlay, built: map[string]string{}}
		for seed := o.first; seed < o.first+o.seeds; seed++ {
			f, err := huntSeed(ctx, b, reaching(deps, m.packages), seed)
			if err != nil {
				return err
			}
			r.found = append(r.found, f)
			if o.verbose {
				fmt.Printf("%s, seed %d, %s:\n%s", m.name, seed, f.verdict(), why(f.said, 12))
			}
		}
		return nil
	})
	return r
}

// found says how a mutant fared with one seed.
type found struct {
	seed int
	by   string // the check that caught it; "" when it survived
	took time.Duration
	said string
}

// told is what a check that has failed says of how much it took: faults of a trial, or schedules
// until one failed.
var told = regexp.MustCompile(`failed after (\d+) (faults|schedules|tests)`)

// after is how many faults or schedules it took; "" where the check does not say.
func (f found) after() string {
	m := told.FindStringSubmatch(f.said)
	if m == nil {
		return ""
	}
	what := strings.Replace(m[2], "tests", "schedules", 1) // as rapid calls them
	if m[1] == "1" {
		what = strings.TrimSuffix(what, "s")
	}
	return m[1] + " " + what
}

func huntSeed(ctx context.Context, b *builder, able []check, seed int) (found, error) {
	f := found{seed: seed}
	for _, c := range able {
		caught, took, out, err := b.failed(ctx, c, seed)
		if err != nil {
			return f, err
		}
		f.took += took
		if caught {
			f.by, f.said = c.name, out
			return f, nil
		}
	}
	return f, nil
}
