package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Every patch applies to the tree as it is: who changes what a mutant breaks learns of it here, and
// not half an hour into the next `make mutants`.
func TestPatchesApply(t *testing.T) {
	if _, err := exec.LookPath("patch"); err != nil {
		t.Skip("left out: there is no patch(1) here")
	}
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	mutants, err := readMutants(filepath.Join(root, "testdata", "mutants"), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		if _, err := m.apply(t.Context(), root, t.TempDir()); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}

// What is no proper mutant is refused.
func TestRefused(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"no sentence":    "--- a/go.mod\n+++ b/go.mod\n",
		"no file":        "# It breaks nothing.\n",
		"another line":   "# It breaks a line that is not there.\n--- a/go.mod\n+++ b/go.mod\n@@ -1 +1 @@\n-modul x\n+modul y\n",
		"only a test":    "# It breaks a test.\n--- a/state/cut_test.go\n+++ b/state/cut_test.go\n",
		"a missing file": "# It breaks what is not there.\n--- a/none.go\n+++ b/none.go\n",
	} {
		file := filepath.Join(dir, "m.patch")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		m, err := readMutant(file)
		if err == nil {
			root, rootErr := moduleRoot()
			if rootErr != nil {
				t.Fatal(rootErr)
			}
			_, err = m.apply(t.Context(), root, t.TempDir())
		}
		if err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
}

// A survivor and a mutant that cannot be run fail the run, and the table says so.
func TestVerdict(t *testing.T) {
	byX := []catch{{by: "TestX"}}
	byBoth := []catch{{by: "TestX"}, {by: "chaos", said: "FAILED: checks [2]; failed after 12 faults"}}
	dead := row{mutant: mutant{name: "a", breaks: "It breaks a."}, found: []found{{seed: 1, caught: byX}, {seed: 2, caught: byX}}}
	alive := row{mutant: mutant{name: "b"}, found: []found{{seed: 1, caught: byX}, {seed: 2}, {seed: 3, unproved: []string{"chaos"}}}}
	twice := row{mutant: mutant{name: "d"}, found: []found{{seed: 1, caught: byBoth}}}
	broken := row{mutant: mutant{name: "c"}, err: errors.New("it does not compile\nmore")}
	if err := verdict([]row{dead}); err != nil {
		t.Error(err)
	}
	if err := verdict([]row{dead, alive}); err == nil || !strings.Contains(err.Error(), "b survives every check with seed 2") {
		t.Error(err)
	}
	if err := verdict([]row{dead, broken}); err == nil || !strings.Contains(err.Error(), "c: it does not compile") {
		t.Error(err)
	}
	if err := verdict([]row{alive}); err == nil || !strings.Contains(err.Error(), "with seed 3: this time chaos has seen too little") {
		t.Error(err)
	}
	h := hunter{options: options{first: 1, seeds: 2}, left: []string{"chaos"}}
	table := h.markdown([]row{dead, alive, broken, twice})
	for _, line := range []string{
		"| a | It breaks a. | TestX | –, – | 0, 0 |\n", "| b |  | TestX, SURVIVES | –, –, – | 0, 0, 0 |\n", "| c |  | (it does not compile) |  |  |\n",
		"| d |  | TestX + chaos | – + 12 faults | 0 |\n", "Left out for want of a JDK and Maven: chaos.\n",
	} {
		if !strings.Contains(table, line) {
			t.Errorf("the table has no line %s:\n%s", line, table)
		}
	}
}

// What a check says of how much it took to catch a mutant is in the table.
func TestAfter(t *testing.T) {
	for said, want := range map[string]string{
		"    property_test.go:101: failed after 37 faults\n":                 "37 faults",
		"    lane_test.go:30: [rapid] failed after 12 tests: 5 counted\n":    "12 schedules",
		"    schedules_test.go:48: failed after 1 schedules; again with\n":   "1 schedule",
		"FAILED: checks [1 2] (0: the run itself); failed after 12 faults\n": "12 faults",
		"--- FAIL: TestFetchCopies (0.10s)\n":                                "",
		"panic: test timed out after 3m0s\nfailed, says the log, after all":  "",
	} {
		if got := (catch{said: said}).after(); got != want {
			t.Errorf("%q: %q, want %q", said, got, want)
		}
	}
}

// exiting is the error of a program that exits with this number.
func exiting(number int) error { return exec.Command("sh", "-c", fmt.Sprint("exit ", number)).Run() }

// A test that says so has caught a mutant, not one whose time was up or that was ended; a command
// that judges has only where it found something wrong, not where it saw too little, and it is an
// error where it could not judge.
func TestOutcome(t *testing.T) {
	for number, want := range map[int]struct {
		test, command outcome
		judged        bool
	}{
		0: {passed, passed, true}, 1: {failed, failed, true}, 2: {failed, passed, false}, 3: {failed, unproved, true}, 4: {failed, passed, false},
	} {
		err := exiting(number)
		if came, err := ofTest(err, "--- FAIL: TestX (0.10s)\n"); came != want.test || err != nil {
			t.Errorf("a test that exits %d: %d (%v)", number, came, err)
		}
		if came, err := ofCommand(err); came != want.command || (err == nil) != want.judged {
			t.Errorf("a command that exits %d: %d (%v)", number, came, err)
		}
	}
	timeUp := "panic: test timed out after 3m0s\n\trunning tests:\n\t\tTestX (3m0s)\n\ngoroutine 1 [running]:\n"
	for out, want := range map[string]outcome{
		"    --- FAIL: TestX/of_it (0.10s)\n":                    failed,
		"panic: runtime error: index out of range [recovered]\n": failed,
		"fatal error: all goroutines are asleep - deadlock!\n":   failed,
		timeUp:                               hung,
		"--- FAIL: TestW (0.10s)\n" + timeUp: failed,
		"    x_test.go:7: bind: address already in use\n--- FAIL: TestX\n": unclear,
		"": unclear,
		"flag provided but not defined: -rapid.seed\n": unclear,
	} {
		if came, err := ofTest(exiting(2), out); came != want || err != nil {
			t.Errorf("%q: %d, want %d (%v)", out, came, want, err)
		}
	}
	if _, err := ofTest(context.Canceled, ""); err == nil {
		t.Error("a test that did not run has passed")
	}
}

// What has not said that a test failed runs once more: a mutant that hangs twice is caught by its
// time-out, and one that nothing is said of twice was not judged.
func TestOnceMore(t *testing.T) {
	const timeUp, ended, fails = `echo "panic: test timed out after 3m0s"; exit 2`, `echo killed; exit 2`, `echo "--- FAIL: TestX"; exit 1`
	for name, c := range map[string]struct {
		first, second string
		verdict       string
	}{
		"it failed":          {fails, `exit 0`, "fake"},
		"busy, then passed":  {timeUp, `exit 0`, "SURVIVES"},
		"ended, then passed": {ended, `exit 0`, "SURVIVES"},
		"busy, then failed":  {timeUp, fails, "fake"},
		"it hangs":           {timeUp, timeUp, "fake by its time-out"},
		"ended twice":        {ended, ended, ""},
		"ended, then busy":   {ended, timeUp, ""},
	} {
		of, b := fake(t, "fake", "^TestX$", "if test -e ran; then "+c.second+"; fi\ntouch ran\n"+c.first+"\n")
		f, err := (&hunter{}).huntSeed(t.Context(), b, []check{of}, 1)
		if (err != nil) != (c.verdict == "") || err == nil && f.verdict() != c.verdict {
			t.Errorf("%s: %s (%v)", name, f.verdict(), err)
		}
	}
}

// fake is a check and a builder that has its program, a script.
func fake(t *testing.T, name, run, script string) (check, *builder) {
	t.Helper()
	c := check{name: name, pkg: ".", run: run, args: none, env: none}
	b := &builder{root: t.TempDir(), dir: t.TempDir(), overlay: "o.json", built: map[string]string{}}
	b.built["."] = filepath.Join(b.dir, "program")
	if err := os.WriteFile(b.built["."], []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return c, b
}

// A command gets the mutant for what it builds, and a folder below that of the mutant.
func TestMeetCommand(t *testing.T) {
	c, b := fake(t, "fake", "", `echo "$GOFLAGS $*"; test "$GOFLAGS" = -overlay=o.json && exit 1; exit 0`)
	came, _, out, err := b.meet(t.Context(), c, 7)
	if err != nil || came != failed || !strings.Contains(out, "-dir="+filepath.Join(b.dir, "fake-7")) {
		t.Errorf("%d, it got %q (%v)", came, out, err)
	}
	c, b = fake(t, "fake", "", "echo no broker; exit 4")
	if _, _, _, err := b.meet(t.Context(), c, 7); err == nil || !strings.Contains(err.Error(), "no broker") {
		t.Errorf("one that has not judged: %v", err)
	}
}

// A mutant that a check has caught meets no later one, unless all are asked for.
func TestHuntSeed(t *testing.T) {
	first, b := fake(t, "first", "^TestX$", "echo '--- FAIL: TestX'; exit 1")
	second := first
	second.name = "second"
	for _, h := range []hunter{{}, {options: options{all: true}}} {
		f, err := h.huntSeed(t.Context(), b, []check{first, second}, 1)
		want := "first"
		if h.all {
			want = "first + second"
		}
		if err != nil || f.verdict() != want {
			t.Errorf("all: %t: caught by %s, want %s (%v)", h.all, f.verdict(), want, err)
		}
	}
}

// Only checks that there are can be chosen, and chaos needs a Kafka.
func TestChosen(t *testing.T) {
	for _, c := range []struct {
		names         string
		kafka         bool
		some, left    int
		refused, last bool
	}{
		{"", true, len(checks), 0, false, true}, {"", false, len(checks) - 1, 1, false, false},
		{"TestSim,chaos", true, 2, len(checks) - 2, false, true}, {"chaos", false, 1, len(checks) - 1, false, true},
		{"TestSim,TestNone", true, 0, 0, true, false},
	} {
		some, left, err := chosen(c.names, c.kafka)
		last := len(some) > 0 && some[len(some)-1].isCommand()
		if len(some) != c.some || len(left) != c.left || (err != nil) != c.refused || last != c.last {
			t.Errorf("%q, with Kafka: %t: %d chosen, left out %q (%v)", c.names, c.kafka, len(some), left, err)
		}
	}
}

// Tests are compiled of the mutant, and a command that judges of the tree as it is.
func TestCompile(t *testing.T) {
	root, none := t.TempDir(), filepath.Join(t.TempDir(), "none.go")
	overlay := filepath.Join(t.TempDir(), "overlay.json")
	for file, text := range map[string]string{
		filepath.Join(root, "go.mod"): "module m\n", filepath.Join(root, "m.go"): "package main\n\nfunc main() {}\n",
		filepath.Join(root, "m_test.go"): "package main\n", none: "package main\n\nnone of it\n",
		overlay: fmt.Sprintf(`{"Replace": {%q: %q}}`, filepath.Join(root, "m.go"), none),
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for run, compiles := range map[string]bool{"^TestX$": false, "": true} {
		b := &builder{root: root, dir: t.TempDir(), overlay: overlay, built: map[string]string{}}
		if _, err := b.compile(t.Context(), check{pkg: ".", run: run}); (err == nil) != compiles {
			t.Errorf("tests %q: %v", run, err)
		}
	}
}

// A mutant of the program reaches chaos, and one of chaos itself is none.
func TestReach(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	deps, err := reach(t.Context(), root, []check{chaos})
	if err != nil {
		t.Fatal(err)
	}
	for pkg, reaches := range map[string]bool{"txn": true, "internal/node": true, "internal/chaos/check": false} {
		if got := len(reaching([]check{chaos}, deps, []string{pkg})) == 1; got != reaches {
			t.Errorf("a mutant of %s reaches chaos: %t", pkg, got)
		}
	}
}
