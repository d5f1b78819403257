package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"regexp"
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

// by are the names of the checks that have caught it.
func (f found) by() (names []string) {
	for _, c := range f.caught {
		names = append(names, c.by)
	}
	return names
}

func (f found) verdict() string {
	return cmp.Or(strings.Join(f.by(), " + "), "SURVIVES")
}

// after is how many faults or schedules each of these checks took.
func (f found) after() string {
	var each []string
	for _, c := range f.caught {
		each = append(each, cmp.Or(c.after(), "–"))
	}
	return cmp.Or(strings.Join(each, " + "), "–")
}

// verdict is an error that names what went wrong, nil when every mutant died with every seed.
func verdict(rows []row) error {
	var errs []error
	for _, r := range rows {
		if r.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", r.name, r.err))
		}
		for _, f := range r.found {
			if len(f.caught) == 0 {
				errs = append(errs, fmt.Errorf("%s survives every check with seed %d: %s", r.name, f.seed, f.weak()))
			}
		}
	}
	return errors.Join(errs...)
}

// weak says of a mutant that survived what that says of the checks.
func (f found) weak() string {
	if len(f.unproved) > 0 {
		return fmt.Sprintf("this time %s has seen too little to say", strings.Join(f.unproved, ", "))
	}
	return "a general check is too weak"
}

func (h *hunter) write(rows []row) error {
	if h.out == "" {
		return nil
	}
	return os.WriteFile(h.out, []byte(h.markdown(rows)), 0o644)
}

// leftOut says which checks the mutants do not meet.
func (h *hunter) leftOut() string {
	why := "for want of a JDK and Maven"
	if h.checkNames != "" {
		why = "by choice"
	}
	return fmt.Sprintf("Left out %s: %s.", why, strings.Join(h.left, ", "))
}

func (h *hunter) markdown(rows []row) string {
	var b strings.Builder
	b.WriteString("| mutant | what it breaks | caught by | after, by seed | s |\n|---|---|---|---|---|\n")
	for _, r := range rows {
		var by, after, took []string
		for _, f := range r.found {
			if !slices.Contains(by, f.verdict()) {
				by = append(by, f.verdict())
			}
			after = append(after, f.after())
			took = append(took, fmt.Sprintf("%.0f", f.took.Seconds()))
		}
		if r.err != nil {
			by = []string{"(" + strings.SplitN(r.err.Error(), "\n", 2)[0] + ")"}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.name, r.breaks, strings.Join(by, ", "), strings.Join(after, ", "), strings.Join(took, ", "))
	}
	fmt.Fprintf(&b, "\nSeeds %d to %d.\n", h.first, h.first+h.seeds-1)
	if len(h.left) > 0 {
		fmt.Fprintf(&b, "%s\n", h.leftOut())
	}
	return b.String()
}

func tail(text string, lines int) string {
	all := strings.SplitAfter(text, "\n")
	return strings.Join(all[max(len(all)-lines, 0):], "")
}

// why is what a failed check said of its failure, without the logs and rapid's draws.
func why(said string, lines int) string {
	var b strings.Builder
	for line := range strings.Lines(said) {
		told := strings.Contains(line, "_test.go:") && !strings.Contains(line, "[rapid] draw") && !strings.Contains(line, "log of")
		if lines > 0 && (told || finds.MatchString(line)) {
			b.WriteString(line)
			lines--
		}
	}
	return b.String()
}

// finds are what is no line of a test: a panic, and what chaos says of its finds.
var finds = regexp.MustCompile(`^(panic: |PROBLEM: |FAILED: | *[0-9]+  FAILED |      - )`)
