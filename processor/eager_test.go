package processor

import (
	"testing"
	"time"
)

// What a lane finds when it begins has waited for as long as the acquire took: it is due at once,
// but for the hold after the end of the barrier. What comes later waits for the interval.
func TestFirstBatchIsDueAtOnce(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	l := &Lane{filling: &batch{first: now, behind: true}, lastEnd: now.Add(-time.Second), eager: true}
	l.cfg.Pace = Pace{Interval: 25 * time.Millisecond, IntervalMax: 250 * time.Millisecond, Hold: 5 * time.Millisecond}
	l.cfg.Limits = Limits{}.withDefaults()
	if at := l.due(); !at.Equal(now) {
		t.Errorf("the first batch is due after %v", at.Sub(now))
	}
	l.eager = false
	if at := l.due(); at.Sub(now) != 250*time.Millisecond {
		t.Errorf("a later batch is due after %v", at.Sub(now))
	}
}
