package main

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// allLogs is the file with the lines of all nodes by time.
const allLogs = "all.log"

// mergeLogs writes the lines of all nodes' logs, each with its node's name, in order of their time.
// A line without one, as of a stack trace, stays behind the one before it.
func mergeLogs(dir string) error {
	type line struct {
		at   time.Time
		text string
	}
	var all []line
	names, err := filepath.Glob(filepath.Join(dir, "?-*.log"))
	if err != nil {
		return err
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		var at time.Time
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			var entry struct{ Time time.Time }
			if json.Unmarshal(lines.Bytes(), &entry) == nil && !entry.Time.IsZero() {
				at = entry.Time
			}
			all = append(all, line{at, strings.TrimSuffix(filepath.Base(name), ".log") + " " + lines.Text()})
		}
		_ = f.Close()
		if err := lines.Err(); err != nil {
			return err
		}
	}
	slices.SortStableFunc(all, func(a, b line) int { return a.at.Compare(b.at) })
	var b strings.Builder
	for _, l := range all {
		b.WriteString(l.text + "\n")
	}
	return os.WriteFile(filepath.Join(dir, allLogs), []byte(b.String()), 0o644)
}
