package main

import (
	"errors"
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
	dead := row{mutant: mutant{name: "a", breaks: "It breaks a."}, found: []found{{seed: 1, by: "TestX"}, {seed: 2, by: "TestX"}}}
	alive := row{mutant: mutant{name: "b"}, found: []found{{seed: 1, by: "TestX"}, {seed: 2}}}
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
	table := markdown(options{first: 1, seeds: 2}, []row{dead, alive, broken})
	for _, line := range []string{
		"| a | It breaks a. | TestX | –, – | 0, 0 |\n", "| b |  | TestX, SURVIVES | –, – | 0, 0 |\n", "| c |  | (it does not compile) |  |  |\n",
	} {
		if !strings.Contains(table, line) {
			t.Errorf("the table has no line %s:\n%s", line, table)
		}
	}
}

// What a check says of how much it took to catch a mutant is in the table.
func TestAfter(t *testing.T) {
	for said, want := range map[string]string{
		"    property_test.go:101: failed after 37 faults\n":                "37 faults",
		"    lane_test.go:30: [rapid] failed after 12 tests: 5 counted\n":   "12 schedules",
		"    schedules_test.go:48: failed after 1 schedules; again with\n":  "1 schedule",
		"--- FAIL: TestFetchCopies (0.10s)\n":                               "",
		"panic: test timed out after 3m0s\nfailed, says the log, after all": "",
	} {
		if got := (found{said: said}).after(); got != want {
			t.Errorf("%q: %q, want %q", said, got, want)
		}
	}
}
