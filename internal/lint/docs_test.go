package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestInvariantsAreNamedTruly says that the invariants, the proofs and the security name no file
// and no test that is not there.
func TestInvariantsAreNamedTruly(t *testing.T) {
	for _, doc := range []string{"docs/invariants.md", "docs/security.md", "docs/proof.md"} {
		text, err := os.ReadFile("../../" + doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range missingNames(t, "../..", string(text)) {
			t.Error(doc+" names what is not there: ", m)
		}
	}
	if planted := missingNames(t, "../..", "`state/nothing.go`, `state TestNothing`, `internal/chaos TestCrashProof/Nothing`"); len(planted) != 3 {
		t.Errorf("of three planted names only these are missed: %v", planted)
	}
}

// TestDisastersAreFollowed says that each section of docs/disasters.md names a test that follows
// it, and none that is not there.
func TestDisastersAreFollowed(t *testing.T) {
	text, err := os.ReadFile("../../docs/disasters.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range missingNames(t, "../..", string(text)) {
		t.Error("docs/disasters.md names what is not there: ", m)
	}
	if sections := strings.Count(string(text), "\n### "); sections < 15 {
		t.Errorf("docs/disasters.md has only %d sections", sections)
	}
	for _, title := range untested(string(text)) {
		t.Errorf("docs/disasters.md: the section %q names no test", title)
	}
	planted := "### Named\n`state TestModel`\n### Not named\nTests: `state Model`.\n## A chapter\n`state TestModel`\n"
	if got := untested(planted); len(got) != 1 || got[0] != "Not named" {
		t.Errorf("of a section that names a test and one that does not, these are said to name none: %q", got)
	}
}

// untested are the titles of the sections that name no test.
func untested(text string) (titles []string) {
	for _, section := range strings.Split("\n"+text, "\n### ")[1:] {
		section, _, _ = strings.Cut(section, "\n## ")
		if !namedTest.MatchString(section) {
			title, _, _ := strings.Cut(section, "\n")
			titles = append(titles, title)
		}
	}
	return titles
}

var (
	namedFile = regexp.MustCompile("`([a-z/]+\\.go)`")
	namedTest = regexp.MustCompile("`([a-z/]+)\\s+(Test\\w+)(?:/(\\w+))?`")
)

func missingNames(t *testing.T, root, text string) (missing []string) {
	t.Helper()
	for _, m := range namedFile.FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
			missing = append(missing, m[0])
		}
	}
	for _, m := range namedTest.FindAllStringSubmatch(text, -1) {
		code := goCode(t, filepath.Join(root, m[1]), "*_test.go")
		if !strings.Contains(code, "func "+m[2]+"(") || m[3] != "" && !strings.Contains(code, `"`+m[3]+`"`) {
			missing = append(missing, m[0])
		}
	}
	return missing
}

// TestReadmeKnowsTheCommands says that the README names every command, and none that is not there.
func TestReadmeKnowsTheCommands(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := map[string]bool{}
	for _, m := range declared.FindAllStringSubmatch(goCode(t, "../../cmd/tally", "*.go"), -1) {
		commands[m[1]] = true
	}
	if len(commands) < 10 {
		t.Fatalf("only these commands found in cmd/tally: %v", commands)
	}
	named := map[string]bool{}
	for _, span := range codeSpan.FindAllString(string(text), -1) {
		for _, word := range strings.FieldsFunc(span, func(r rune) bool { return strings.ContainsRune("` /", r) }) {
			named[word] = true
		}
	}
	for _, m := range called.FindAllStringSubmatch(string(text), -1) {
		if !commands[m[1]] {
			t.Errorf("the README calls `tally %s`, which is no command", m[1])
		}
	}
	for c := range commands {
		if !named[c] {
			t.Errorf("the README does not name the command %s", c)
		}
	}
}

var (
	declared = regexp.MustCompile(`Use:\s+"(\w+)`)
	codeSpan = regexp.MustCompile("`[^`\n]+`")
	called   = regexp.MustCompile("(?:[`/])tally ([a-z]+)")
)

// goCode is the text of a directory's files of that pattern.
func goCode(t *testing.T, dir, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}
