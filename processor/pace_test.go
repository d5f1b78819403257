package processor

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
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

// A lane is behind when what it was given, and what waited behind that, would fill a poll: by a
// poll alone it would take itself for one that keeps up wherever it folds faster than it is
// fetched.
func TestBehind(t *testing.T) {
	for name, c := range map[string]struct {
		came, waiting int
		want          bool
	}{
		"all that there was":        {99, 0, false},
		"a full poll":               {100, 0, true},
		"a few, and much behind":    {10, 90, true},
		"a few, and a few behind":   {10, 89, false},
		"a full poll, much behind":  {100, 1000, true},
		"one event, as many behind": {1, 99, true},
	} {
		l := &Lane{}
		l.cfg.Limits = Limits{PollRecords: 100}.withDefaults()
		l.filling = l.newBatch()
		if err := l.onFetch(fetch{recs: make([]*kgo.Record, c.came), waiting: int64(c.waiting)}); err != nil {
			t.Fatal(err)
		}
		if l.filling.behind != c.want || l.more != (c.waiting > 0) {
			t.Errorf("%s: behind %v, more %v", name, l.filling.behind, l.more)
		}
	}
}
