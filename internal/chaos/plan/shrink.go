package plan

import (
	"slices"
	"time"
)

const (
	// pauseMost is how long, in a shortened schedule, nothing lasts before the next fault comes.
	pauseMost = 5 * time.Second
	// tailMost is how long, in a shortened schedule, the run goes on behind the last fault: the
	// quiet end, and some time before it.
	tailMost = 40 * time.Second
	// loadLeast is how long events come at least before the end.
	loadLeast = 10 * time.Second
	// brokerBack is what a broker may take to come back, on a busy machine, and a reserve.
	brokerBack = 20 * time.Second
)

// windows are how far back from the moment of the failure is looked first; behind that is all.
var windows = []time.Duration{30 * time.Second, 2 * time.Minute, 8 * time.Minute}

// Shrink looks for the fewest faults with which a run still fails, and gives the shortest schedule
// that it has seen fail; s as it was when it saw none. It tries none at all, then those that came
// shortly before seen, the time at which the first run is known to have failed (0: nobody knows);
// then it leaves out ever smaller parts of them (delta debugging). What it tries is without the
// time in which nothing lasts, so that a try is cheap; the faults that overlap still do.
//
// failed may answer no for a schedule that is too long for what time there is; late says that
// there is none for any. No schedule is tried twice.
func Shrink(s Schedule, seen time.Duration, failed func(Schedule) bool, late func() bool) Schedule {
	k := &shrinking{whole: s, best: s, left: s.Faults, failed: failed, late: late, tried: map[string]bool{}}
	if k.try(nil) {
		return k.best
	}
	for _, faults := range s.before(seen) {
		if k.try(faults) {
			break
		}
	}
	k.reduce()
	return k.best
}

// shrinking is a schedule that is being shortened.
type shrinking struct {
	whole  Schedule
	best   Schedule // the shortest that has failed
	left   []Fault  // its faults, at their times in whole
	failed func(Schedule) bool
	late   func() bool
	tried  map[string]bool
}

// try tells whether a run of these faults alone fails, and takes them over if it does.
func (k *shrinking) try(faults []Fault) bool {
	if len(faults) == len(k.whole.Faults) || k.late() {
		return false
	}
	s := k.whole.with(faults)
	text := s.String()
	if k.tried[text] {
		return false
	}
	k.tried[text] = true
	if !k.failed(s) {
		return false
	}
	k.best, k.left = s, faults
	return true
}

// reduce leaves out ever smaller parts of what is left, until no fault can be left out.
func (k *shrinking) reduce() {
	for parts := 2; len(k.left) > 1 && !k.late(); {
		switch {
		case k.alone(parts):
			parts = 2
		case k.without(parts):
			parts = max(2, parts-1)
		case parts >= len(k.left):
			return
		default:
			parts = min(len(k.left), 2*parts)
		}
	}
}

// alone tries each part by itself.
func (k *shrinking) alone(parts int) bool {
	return slices.ContainsFunc(cuts(len(k.left), parts), func(c cut) bool { return k.try(slices.Clone(k.left[c.from:c.to])) })
}

// without tries all but each part.
func (k *shrinking) without(parts int) bool {
	return slices.ContainsFunc(cuts(len(k.left), parts), func(c cut) bool {
		return k.try(slices.Concat(k.left[:c.from], k.left[c.to:]))
	})
}

type cut struct{ from, to int }

// cuts divides so many faults into at most so many parts, none of which is empty.
func cuts(faults, parts int) (all []cut) {
	for i := range parts {
		if c := (cut{i * faults / parts, (i + 1) * faults / parts}); c.from < c.to {
			all = append(all, c)
		}
	}
	return all
}

// before are the faults that lasted at some time before a moment: those of the last seconds first,
// at last all that had come by then.
func (s Schedule) before(at time.Duration) (all [][]Fault) {
	if at <= 0 {
		return nil
	}
	for _, window := range append(slices.Clone(windows), at) {
		all = append(all, slices.DeleteFunc(slices.Clone(s.Faults), func(f Fault) bool { return f.At > at || f.over() < at-window }))
	}
	return all
}

// with is the schedule of these faults alone, in which no more than a pause passes while nothing
// lasts.
func (s Schedule) with(faults []Fault) Schedule {
	short := s
	short.Faults = slices.Clone(faults)
	var earlier, busy time.Duration
	for i := range short.Faults {
		f := &short.Faults[i]
		earlier += max(0, f.At-earlier-busy-pauseMost)
		f.At -= earlier
		if busy = max(busy, f.over()); slices.Contains(OfBrokers, f.Kind) {
			busy = max(busy, f.over()+brokerBack)
		}
	}
	short.Length = max(over(short.Faults), loadLeast) + min(s.Length-over(s.Faults), tailMost)
	return short
}

func (f Fault) over() time.Duration { return f.At + f.For }

// over is when the last fault is.
func over(faults []Fault) (at time.Duration) {
	for _, f := range faults {
		at = max(at, f.over())
	}
	return at
}
