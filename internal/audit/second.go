package audit

import (
	"cmp"
	"maps"
	"slices"
)

// second is what a task of the second stage has besides. Its counters have no one position in the
// input: they stand at a mark, the next offset of each input partition of which they have the
// events.
type second struct {
	startsAt int64 // the first offset that its partition of the repartition topic had before the cut
	sentEnd  int64 // its end, when the newest position records of the first stage were known
	sentLast int64 // behind the last partial or sources below sentEnd
	caughtUp bool  // B has read all that was sent below sentEnd

	storeAt     *position // the position record that the store's answer stands at
	storePassed bool      // one behind it was seen
	storeLost   bool      // it is compacted away
	base        *position // the oldest position record whose following partials are still there
	from, to    int64     // what was read of the partials; of base, the same
	folded      int64     // partials from base to B
	end         map[int32]int64

	// marks are ascending: the event at offset o of input partition p belongs to the first segment
	// i with o < marks[i][p]. What is counted behind the last is lost between the stages.
	marks     []map[int32]int64
	basePlace int
	endPlace  int
	cursor    int // of the input partition that is read

	digest uint64 // of the values in the changelog
	groups int64
}

// note takes what a position record is needed for besides: the store's answer, and the partials.
func (t *task) note(pos position) {
	s := t.second
	if t.store >= 0 {
		switch {
		case pos.Input <= t.store:
			s.storeAt = &pos
		case !s.storePassed:
			s.storePassed = true
			s.storeLost = s.storeAt == nil || pos.Txn != s.storeAt.Txn+1
		}
	}
	if s.base == nil && pos.Input >= s.startsAt && len(pos.Midway) == 0 {
		s.base = &pos
	}
}

// endAtB notes where B is among the positions.
func (t *task) endAtB() {
	t.beyond = 0
	for t.valuesEnd > 0 && t.at(t.last()).offset >= t.valuesEnd {
		t.beyond++
	}
}

// makeMarks chooses where the recount notes values of a task of the second stage: at its position
// records, and at the end of the partials that were read.
func (t *task) makeMarks() {
	s := t.second
	all := slices.Clone(t.positions)
	for _, p := range []*position{s.base, s.storeAt} {
		if p != nil {
			all = append(all, *p)
		}
	}
	slices.SortFunc(all, func(a, b position) int { return cmp.Compare(a.offset, b.offset) })
	all = slices.CompactFunc(all, func(a, b position) bool { return a.offset == b.offset })
	places := map[int64]int{}
	for i, p := range all {
		places[p.offset] = i
		s.marks = append(s.marks, p.Sources)
	}
	s.endPlace = places[t.at(t.last()).offset]
	if s.end != nil {
		s.endPlace = len(s.marks)
		s.marks = append(s.marks, s.end)
	}
	for _, p := range t.positions {
		t.places = append(t.places, places[p.offset])
		t.uppers = append(t.uppers, s.upper(all, places[p.offset]))
	}
	if s.base != nil {
		s.basePlace = places[s.base.offset]
	}
	if s.storeAt != nil {
		t.storePlace = places[s.storeAt.offset]
		t.storeUpper = s.upper(all, t.storePlace)
	}
	t.makeFits()
}

// upper is the first mark from i on that has the whole of each transaction of which i has some.
func (s *second) upper(all []position, i int) int {
	for ; i < len(all); i++ {
		if len(all[i].Midway) == 0 {
			return i
		}
	}
	return len(s.marks) - 1
}

// segment is that of an event of an input partition. The events of a partition are asked for in
// their order, after begin.
func (s *second) segment(partition int32, offset int64) int {
	for s.cursor < len(s.marks) && offset >= s.marks[s.cursor][partition] {
		s.cursor++
	}
	return s.cursor
}

// isLost says whether a segment is of events that nothing was sent of.
func (s *second) isLost(segment int) bool { return segment == len(s.marks) }

// sound says whether all that was sent to the task is known, in its counters or on its way.
func (s *second) sound() bool { return s.caughtUp || s.end != nil }

// readTo is up to where an input partition has to be read: the positions of its own task, and of
// all whose counters have events of it.
func (a *audit) readTo(t *task) int64 {
	to := t.cuts[len(t.cuts)-1]
	for _, q := range there(a.seconds) {
		to = max(to, q.second.marks[len(q.second.marks)-1][t.partition])
	}
	return to
}

// merged are the later of two marks.
func merged(mark, next map[int32]int64) map[int32]int64 {
	all := maps.Clone(mark)
	if all == nil {
		all = map[int32]int64{}
	}
	maps.Copy(all, next)
	return all
}

// secondRow is the partition in the report.
func (t *task) secondRow() Repartition {
	b := t.at(t.last())
	return Repartition{
		Partition: t.partition, Input: b.Input, Partials: b.Processed, Counters: t.counters, Trimmed: t.second.startsAt,
		GroupOffset: t.group, Store: t.store, Output: t.outputEnd, Changelog: t.endOfValues(), Positions: len(t.positions),
	}
}
