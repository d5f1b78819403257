package processor

import (
	"testing"
	"time"

	"github.com/tally-kafka/tally/state"
)

// A lane that has read all that there was takes nothing more until shortly before its commit is
// due.
func TestRestsUntil(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	lane := func(change func(*Lane)) *Lane {
		l := &Lane{lastEnd: now.Add(-time.Second)}
		l.cfg.Pace = Pace{}.withDefaults(1)
		l.cfg.Limits = Limits{}.withDefaults()
		l.filling = l.newBatch()
		l.filling.first, l.filling.events = now, 1
		l.filling.task(state.Task{})
		change(l)
		return l
	}
	for name, c := range map[string]struct {
		change func(*Lane)
		want   time.Duration
	}{
		"at the end":            {func(*Lane) {}, 17 * time.Millisecond},
		"there is more":         {func(l *Lane) { l.more = true }, -1},
		"much has come":         {func(l *Lane) { l.filling.behind = true }, -1},
		"nothing to commit":     {func(l *Lane) { l.filling = l.newBatch() }, -1},
		"due at once":           {func(l *Lane) { l.eager = true }, -5 * time.Millisecond},
		"draining":              {func(l *Lane) { l.draining = true }, -5 * time.Millisecond},
		"its turn comes later":  {func(l *Lane) { l.filling.slot = now.Add(time.Second) }, 875 * time.Millisecond},
		"the last has just end": {func(l *Lane) { l.lastEnd = now.Add(30 * time.Millisecond) }, 27 * time.Millisecond},
	} {
		until := lane(c.change).restsUntil()
		if got := until.Sub(now); c.want >= 0 && got != c.want || c.want < 0 && until.After(now) {
			t.Errorf("%s: it rests for %v, not %v", name, got, c.want)
		}
	}
}
