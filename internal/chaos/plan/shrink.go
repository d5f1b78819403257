package plan

import "slices"

// Shrink looks for the fewest faults with which a run still fails, by leaving out ever smaller
// parts of them (delta debugging), and gives the shortest schedule that it has seen fail. late says
// that there is no time for a further try.
func Shrink(s Schedule, failed func(Schedule) bool, late func() bool) Schedule {
	best, parts := s.Faults, 2
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

// with is the schedule of these faults alone. It ends as long after its last fault as before.
func (s Schedule) with(faults []Fault) Schedule {
	s.Faults = slices.Clone(faults)
	return s
}
