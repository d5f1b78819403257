package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// row is a mutant's line of the table.
type row struct {
	mutant
	found []found
	err   error
}

func (r row) line() string {
	if r.err != nil {
		return fmt.Sprintf("%-34s %v", r.name, r.err)
	}
	var lines []string
	for _, f := range r.found {
		lines = append(lines, fmt.Sprintf("%-34s seed %d  %-27s %4.0f s  %s", r.name, f.seed, f.verdict(), f.took.Seconds(), f.after()))
	}
	return strings.Join(lines, "\n")
}

func (f found) verdict() string {
	if f.by == "" {
		return "SURVIVES"
	}
	return f.by
}

// verdict is an error that names what went wrong, nil when every mutant died with every seed.
func verdict(rows []row) error {
	var errs []error
	for _, r := range rows {
		if r.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", r.name, r.err))
		}
		for _, f := range r.found {
			if f.by == "" {
				errs = append(errs, fmt.Errorf("%s survives every check with seed %d: a general check is too weak", r.name, f.seed))
			}
		}
	}
	return errors.Join(errs...)
}

func write(o options, rows []row) error {
	if o.out == "" {
		return nil
	}
	return os.WriteFile(o.out, []byte(markdown(o, rows)), 0o644)
}

func markdown(o options, rows []row) string {
	var b strings.Builder
	b.WriteString("| mutant | what it breaks | caught by | after, by seed | s |\n|---|---|---|---|---|\n")
	for _, r := range rows {
		var by, after, took []string
		for _, f := range r.found {
			if !slices.Contains(by, f.verdict()) {
				by = append(by, f.verdict())
			}
			after = append(after, cmp.Or(f.after(), "–"))
			took = append(took, fmt.Sprintf("%.0f", f.took.Seconds()))
		}
		if r.err != nil {
			by = []string{"(" + strings.SplitN(r.err.Error(), "\n", 2)[0] + ")"}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.name, r.breaks, strings.Join(by, ", "), strings.Join(after, ", "), strings.Join(took, ", "))
	}
	fmt.Fprintf(&b, "\nSeeds %d to %d.\n", o.first, o.first+o.seeds-1)
	return b.String()
}

func tail(text string, lines int) string {
	all := strings.SplitAfter(text, "\n")
	return strings.Join(all[max(len(all)-lines, 0):], "")
}

// why is what a failed test said of its failure, without the logs and rapid's draws.
func why(said string, lines int) string {
	var b strings.Builder
	for line := range strings.Lines(said) {
		told := strings.Contains(line, "_test.go:") && !strings.Contains(line, "[rapid] draw") && !strings.Contains(line, "log of")
		if lines > 0 && (told || strings.HasPrefix(line, "panic: ")) {
			b.WriteString(line)
			lines--
		}
	}
	return b.String()
}
