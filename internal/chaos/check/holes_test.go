package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// undecided holds a right run of which something was lost to what has to be said of it: not that it
// is wrong, and not that it is proved.
func undecided(t *testing.T, f *fake, what string) {
	t.Helper()
	rep, err := f.judge()
	if err != nil {
		t.Fatal(err)
	}
	if rep.Failed() || rep.Proved() {
		var text strings.Builder
		_ = rep.WriteText(&text)
		t.Fatalf("%s:\n%s", what, text.String())
	}
}

// TestTrimmedBeforeRead: a marker that was trimmed away, with what lies before it, makes nothing
// wrong of a right run either.
func TestTrimmedBeforeRead(t *testing.T) {
	var markers []int64
	for _, r := range aRun().mem[twoMiddle] {
		if r.Control != Data {
			markers = append(markers, r.Offset)
		}
	}
	for _, at := range markers[:len(markers)-2] {
		f := aRun()
		f.mem[twoMiddle] = slices.DeleteFunc(f.mem[twoMiddle], func(r Record) bool { return r.Offset == at })
		undecided(t, f, fmt.Sprintf("%s without offset %d", twoMiddle, at))
	}
}

// TestCompactedBeforeRead: a position record that compaction has taken away before the follower
// read it, alone or with the value before it, makes nothing wrong of a right run.
func TestCompactedBeforeRead(t *testing.T) {
	for _, log := range []Place{oneLog, twoLog} {
		var positions []int64
		last := map[string]int64{} // of each task, which stays
		for _, r := range aRun().mem[log] {
			if isKind(kindPosition)(&r) {
				positions = append(positions, r.Offset)
				last[string(r.Key)] = r.Offset
			}
		}
		for _, at := range slices.DeleteFunc(positions, func(at int64) bool { return slices.Contains(slices.Collect(maps.Values(last)), at) }) {
			for _, from := range []int64{at, at - 1} {
				f := aRun()
				if from < at && !isKind(kindValue)(&f.mem[log][from]) {
					continue
				}
				f.mem[log] = slices.DeleteFunc(f.mem[log], func(r Record) bool { return from <= r.Offset && r.Offset <= at })
				undecided(t, f, fmt.Sprintf("%s without offsets %d to %d", log, from, at))
			}
		}
	}
}
