package plan

import (
	"slices"
	"time"
)

// Shrink looks for the fewest faults with which a run still fails, and gives the shortest schedule
// that it has seen fail. It first tries those that came before seen, the time at which the first
// run is known to have failed (0: nobody knows); then it leaves out ever smaller parts of them
// (delta debugging). late says that there is no time for a further try.
func Shrink(s Schedule, seen time.Duration, failed func(Schedule) bool, late func() bool) Schedule {
	best, parts := s.Faults, 2
	if early := s.before(seen); len(early) > 0 && len(early) < len(best) && !late() && failed(s.with(early)) {
		best = early
	}
	for len(best) > 1 && !late() {
		smaller, found := without(s, best, parts, failed, late)
		switch {
		case found:
			best, parts = smaller, max(2, parts-1)
		case parts >= len(best):
			return s.with(best)
		default:
			parts = min(len(best), 2*parts)
		}
	}
	return s.with(best)
}

// without tries the faults without each part of them in turn.
func without(s Schedule, faults []Fault, parts int, failed func(Schedule) bool, late func() bool) ([]Fault, bool) {
	for i := range parts {
		from, to := i*len(faults)/parts, (i+1)*len(faults)/parts
		if from == to {
			continue
		}
		if late() {
			return nil, false
		}
		rest := slices.Concat(faults[:from], faults[to:])
		if failed(s.with(rest)) {
			return rest, true
		}
	}
	return nil, false
}

func (s Schedule) before(at time.Duration) []Fault {
	return slices.DeleteFunc(slices.Clone(s.Faults), func(f Fault) bool { return f.At > at })
}

// with is the schedule of these faults alone. It ends as long after its last fault as before.
func (s Schedule) with(faults []Fault) Schedule {
	s.Length -= over(s.Faults) - over(faults)
	s.Faults = slices.Clone(faults)
	return s
}

// over is when the last fault is.
func over(faults []Fault) (at time.Duration) {
	for _, f := range faults {
		at = max(at, f.At+f.For)
	}
	return at
}
