package audit

import (
	"slices"
)

// task is what is known of one partition of the input, and of its partitions of the other topics.
type task struct {
	partition int32

	// Fixed by the cut.
	group        int64 // the consumer group's offset, -1 for none
	store        int64 // the input position of the store's answer, -1 for none
	outputEnd    int64
	changelogEnd int64
	deadEnd      int64

	// positions are all position records from A to B, in order: the consumer group and the output
	// stand at one of them. There is at least A.
	positions []position

	// why the input of this partition cannot be recounted; "" when it can.
	why string

	// cuts are the input offsets at which the recount notes values, ascending: those of positions,
	// and store. The event at offset o belongs to the first segment i with o < cuts[i].
	cuts     []int64
	segments []tally // one a cut

	fits     []bool // the positions at which every output so far is as it should be
	counters int64  // at B
	digest   uint64 // at B
}

// position is a position record and where it stands.
type position struct {
	positionRecord
	offset int64
}

// tally counts the events of a segment.
type tally struct {
	events, processed, filtered, unreadable, letters int64
}

func (t *tally) add(o tally) {
	t.events += o.events
	t.processed += o.processed
	t.filtered += o.filtered
	t.unreadable += o.unreadable
	t.letters += o.letters
}

func (t *task) at(i int) position { return t.positions[i] }

// last is the index of B.
func (t *task) last() int { return len(t.positions) - 1 }

// decidable says whether the partition could be recounted.
func (t *task) decidable() bool { return t.why == "" }

// makeCuts chooses where the recount notes values.
func (t *task) makeCuts() {
	for _, p := range t.positions {
		t.cuts = append(t.cuts, p.Input)
	}
	if t.store >= 0 {
		t.cuts = append(t.cuts, t.store)
	}
	slices.Sort(t.cuts)
	t.cuts = slices.Compact(t.cuts)
	t.segments = make([]tally, len(t.cuts))
	t.fits = make([]bool, len(t.positions))
	for i := range t.fits {
		t.fits[i] = true
	}
}

// cut is the index of an input offset in cuts.
func (t *task) cut(input int64) int {
	i, found := slices.BinarySearch(t.cuts, input)
	if !found {
		panic("audit: a position that is no cut")
	}
	return i
}

// row is the partition in the report.
func (t *task) row() Partition {
	b := t.at(t.last())
	return Partition{
		Partition: t.partition, Start: b.Start, Input: b.Input, Events: b.events(),
		Processed: b.Processed, Filtered: b.Filtered, Skipped: b.Skipped, Dead: b.Dead, Counters: t.counters,
		GroupOffset: t.group, Store: t.store, Output: t.outputEnd, Changelog: t.changelogEnd, Positions: len(t.positions),
	}
}

// running are the tasks that have a position record.
func (a *audit) running() []*task {
	var ts []*task
	for _, t := range a.tasks {
		if t != nil {
			ts = append(ts, t)
		}
	}
	return ts
}

// task is that of a partition, nil where there is none.
func (a *audit) task(partition int32) *task {
	if partition < 0 || int(partition) >= len(a.tasks) {
		return nil
	}
	return a.tasks[partition]
}
