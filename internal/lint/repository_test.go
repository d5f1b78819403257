package lint

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRepository applies the rules to the project itself.
func TestRepository(t *testing.T) {
	sources := readModule(t, "../..")
	if len(sources) < 10 {
		t.Fatalf("only %d Go files found; is the module's root still two folders up?", len(sources))
	}
	for _, f := range Check(sources) {
		t.Error(f)
	}
}

func readModule(t *testing.T, root string) []Source {
	t.Helper()
	var sources []Source
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(p) != ".go" {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		sources = append(sources, Source{Path: filepath.ToSlash(rel), Text: text})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sources
}
