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
	"strings"
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
	only, out  string
	checkNames string
	all        bool
	seeds      int
	first      int
	verbose    bool
	baseline   bool
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("mutants", flag.ContinueOnError)
	f.StringVar(&o.only, "only", "", "names of mutants, separated by commas; none: all")
	f.StringVar(&o.checkNames, "checks", "", "names of checks, as the table has them, separated by commas; none: all")
	f.BoolVar(&o.all, "all", false, "each mutant meets every check that its files can reach, also behind one that has caught it")
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
	h := hunter{options: o, root: root}
	if h.checks, h.left, err = chosen(o.checkNames, chaosRuns(root)); err != nil {
		return err
	}
	if len(h.left) > 0 {
		fmt.Println(h.leftOut())
	}
	if h.deps, err = reach(ctx, root, h.checks); err != nil {
		return err
	}
	if o.baseline {
		if err := h.baseline(ctx); err != nil {
			return err
		}
	}
	var rows []row
	for _, m := range mutants {
		r := h.hunt(ctx, m)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fmt.Println(r.line())
		rows = append(rows, r)
	}
	return errors.Join(verdict(rows), h.write(rows))
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}
