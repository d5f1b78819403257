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

// A lane that is behind leaves the broker as long again as its last commit took, and twice the
// longest interval at most. One that keeps up does not wait for that.
func TestSlowCommitsAreFewer(t *testing.T) {
	for took, want := range map[time.Duration]time.Duration{
		-time.Hour:             250 * time.Millisecond, // a clock that was set back
		100 * time.Millisecond: 250 * time.Millisecond,
		200 * time.Millisecond: 400 * time.Millisecond,
		3 * time.Second:        500 * time.Millisecond,
	} {
		l, store := linesLane(t)
		now := time.UnixMilli(1_000_000)
		l.cfg.Seam.Now = func() time.Time { return now }
		if err := l.begin(&nullSession{}, store); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Minute)
		l.filling.force, l.filling.first = true, now.Add(-time.Second)
		b := l.takeDue(now)
		if b == nil {
			t.Fatal("nothing is due")
		}
		now = now.Add(took)
		if err := l.onEnding(ending{batch: b}); err != nil {
			t.Fatal(err)
		}
		l.lastEnd = l.lastEnd.Add(-time.Minute) // what is asked is not the hold
		for behind, wait := range map[bool]time.Duration{true: want, false: 25 * time.Millisecond} {
			l.filling.first, l.filling.behind = now, behind
			if at := l.due(); at.Sub(now) != wait {
				t.Errorf("after a commit of %v, behind %t, the next is due after %v, not %v", took, behind, at.Sub(now), wait)
			}
		}
	}
}
