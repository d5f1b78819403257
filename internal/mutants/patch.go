package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// mutant is one patch.
type mutant struct {
	name, path string
	breaks     string   // the sentence of its first line
	files      []string // that it changes
	packages   []string
}

// readMutants reads the patches of a directory, in the order of their names.
func readMutants(dir, only string) ([]mutant, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.patch"))
	if err != nil {
		return nil, err
	}
	var all []mutant
	for _, p := range paths {
		m, err := readMutant(p)
		if err != nil {
			return nil, err
		}
		if only == "" || slices.Contains(strings.Split(only, ","), m.name) {
			all = append(all, m)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no mutants in %s of the name %q", dir, only)
	}
	return all, nil
}

func readMutant(file string) (mutant, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return mutant{}, err
	}
	m := mutant{name: strings.TrimSuffix(filepath.Base(file), ".patch"), path: file}
	first, rest, _ := strings.Cut(string(text), "\n")
	var ok bool
	if m.breaks, ok = strings.CutPrefix(first, "# "); !ok || !strings.HasSuffix(m.breaks, ".") {
		return m, fmt.Errorf("%s: its first line is not a comment, \"# \" and a sentence that says what it breaks", file)
	}
	for line := range strings.Lines(rest) {
		if name, ok := strings.CutPrefix(line, "--- a/"); ok {
			name, _, _ = strings.Cut(strings.TrimSpace(name), "\t")
			m.files = append(m.files, name)
			if pkg := path.Dir(name); !slices.Contains(m.packages, pkg) {
				m.packages = append(m.packages, pkg)
			}
		}
	}
	if len(m.files) == 0 {
		return m, fmt.Errorf("%s: it changes no file", file)
	}
	return m, nil
}

// apply patches copies of the files below dir and writes the overlay that puts them in the place of
// the tree's.
func (m mutant) apply(ctx context.Context, root, dir string) (overlay string, err error) {
	replace := map[string]string{}
	for _, name := range m.files {
		if strings.HasSuffix(name, "_test.go") {
			return "", fmt.Errorf("%s changes a test, %s", m.name, name)
		}
		from, to := filepath.Join(root, name), filepath.Join(dir, name)
		text, err := os.ReadFile(from)
		if err != nil {
			return "", err
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, text, 0o644)); err != nil {
			return "", err
		}
		replace[from] = to
	}
	if _, out, err := command(ctx, dir, nil, "patch", "-p1", "--fuzz=0", "--no-backup-if-mismatch", "-i", m.path); err != nil {
		return "", fmt.Errorf("it does not apply to the tree any more: %w\n%s", err, out)
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o644)
}
