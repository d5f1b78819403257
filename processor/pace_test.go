package processor

import (
	"testing"
	"time"
)

// A budget of 100 commits a second gives a slot each 10 ms; lanes of two stages have 150.
func TestBudget(t *testing.T) {
	start := time.UnixMilli(1_000_000)
	for stages, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second / 3} {
		b := NewBudget(100)
		for range 100 {
			b.Reserve(start, stages)
		}
		if got := b.Reserve(start, stages).Sub(start).Round(time.Millisecond); got != want.Round(time.Millisecond) {
			t.Errorf("with %d stages 100 commits take %v, not %v", stages, got, want)
		}
		later := start.Add(time.Hour)
		if got := b.Reserve(later, stages); !got.Equal(later) {
			t.Errorf("what was not used is saved up: a slot at %v, not %v", got, later)
		}
	}
}
