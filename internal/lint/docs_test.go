package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestInvariantsAreNamedTruly says that docs/invariants.md names no file and no test that is not
// there.
func TestInvariantsAreNamedTruly(t *testing.T) {
	text, err := os.ReadFile("../../docs/invariants.md")
	if err != nil {
		t.Fatal(err)
	}
	missing := missingNames(t, "../..", string(text))
	for _, m := range missing {
		t.Error("docs/invariants.md names what is not there: ", m)
	}
	if planted := missingNames(t, "../..", "`state/nothing.go`, `state TestNothing`, `internal/chaos TestCrashProof/Nothing`"); len(planted) != 3 {
		t.Errorf("of three planted names only these are missed: %v", planted)
	}
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
		code := testCode(t, filepath.Join(root, m[1]))
		if !strings.Contains(code, "func "+m[2]+"(") || m[3] != "" && !strings.Contains(code, `"`+m[3]+`"`) {
			missing = append(missing, m[0])
		}
	}
	return missing
}

// testCode is the text of all tests of a package.
func testCode(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
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
