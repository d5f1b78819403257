package world

import (
	"testing"

	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/chaos/plan"
)

// TestNoteOfCells: a fault that has hit nothing, where that is counted, was nowhere, and its row is
// owed.
func TestNoteOfCells(t *testing.T) {
	for kind, c := range map[plan.Kind]struct {
		effects int64
		hits    int
	}{plan.Kill: {0, 1}, plan.Cut: {0, 0}, plan.Disk: {3, 1}} {
		cells := newCells()
		cells.note(kind, "flush", history.Fault{Kind: string(kind), Step: "flush", Effects: c.effects})
		if got := cells.hits[cell{kind, "flush"}]; got != c.hits || len(cells.owed[kind]) != 1-c.hits {
			t.Errorf("%s: %d hits, owed: %v", kind, got, cells.owed[kind])
		}
	}
}
