package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"
)

// hunter runs checks against mutants.
type hunter struct {
	options
	root   string // of the tree
	checks []check
	left   []string            // names of checks that are not among them
	deps   map[string][]string // see reach
}

// baseline runs every check on the program as it is: one that fails there would catch anything, and
// one that has seen too little there would catch nothing.
func (h *hunter) baseline(ctx context.Context) error {
	return inDir(func(dir string) error {
		b := &builder{root: h.root, dir: dir, built: map[string]string{}}
		for seed := h.first; seed < h.first+h.seeds; seed++ {
			for _, c := range h.checks {
				came, took, out, err := b.meet(ctx, c, seed)
				if err != nil {
					return err
				}
				if came != passed {
					return fmt.Errorf("%s does not pass without a mutant, with seed %d:\n%s", c.name, seed, tail(out, 60))
				}
				fmt.Printf("%-34s seed %d  %-27s %4.0f s\n", "(no mutant)", seed, "passes "+c.name, took.Seconds())
			}
		}
		return nil
	})
}

// hunt runs the checks against a mutant, seed by seed, until one fails, or all of them.
func (h *hunter) hunt(ctx context.Context, m mutant) row {
	r := row{mutant: m}
	r.err = inDir(func(dir string) error {
		overlay, err := m.apply(ctx, h.root, dir)
		if err != nil {
			return err
		}
		b := &builder{root: h.root, dir: dir, overlay: overlay, built: map[string]string{}}
		for seed := h.first; seed < h.first+h.seeds; seed++ {
			f, err := h.huntSeed(ctx, b, reaching(h.checks, h.deps, m.packages), seed)
			if err != nil {
				return err
			}
			r.found = append(r.found, f)
			if h.verbose {
				for _, c := range f.caught {
					fmt.Printf("%s, seed %d, %s, %.0f s:\n%s", m.name, seed, c.by, c.took.Seconds(), why(c.said, 12))
				}
			}
		}
		return nil
	})
	return r
}

// found says how a mutant fared with one seed.
type found struct {
	seed     int
	caught   []catch       // in the order of the checks; none: it survived
	unproved []string      // checks that have seen too little to say
	took     time.Duration // of all checks that it met
}

// catch is a check that has caught a mutant.
type catch struct {
	by   string
	said string
	took time.Duration
}

func (h *hunter) huntSeed(ctx context.Context, b *builder, able []check, seed int) (found, error) {
	f := found{seed: seed}
	for _, c := range able {
		came, took, out, err := b.meetSurely(ctx, c, seed)
		if err != nil {
			return f, err
		}
		f.took += took
		switch came {
		case failed:
			f.caught = append(f.caught, catch{c.name, out, took})
		case hung:
			f.caught = append(f.caught, catch{c.name + " by its time-out", out, took})
		case unproved:
			f.unproved = append(f.unproved, c.name)
		}
		if len(f.caught) > 0 && !h.all {
			break
		}
	}
	return f, nil
}

// told is what a check that has failed says of how much it took: faults of a trial, or schedules
// until one failed.
var told = regexp.MustCompile(`failed after (\d+) (faults|schedules|tests)`)

// after is how many faults or schedules it took; "" where the check does not say.
func (c catch) after() string {
	m := told.FindStringSubmatch(c.said)
	if m == nil {
		return ""
	}
	what := strings.Replace(m[2], "tests", "schedules", 1) // as rapid calls them
	if m[1] == "1" {
		what = strings.TrimSuffix(what, "s")
	}
	return m[1] + " " + what
}

// inDir calls fn with a directory that is removed behind it.
func inDir(fn func(dir string) error) error {
	dir, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return err
	}
	return errors.Join(fn(dir), os.RemoveAll(dir))
}
