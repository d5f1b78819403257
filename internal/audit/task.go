package audit

import (
	"cmp"
	"slices"
)

// task is what is known of a stage in one partition of the topic that it reads, and of its
// partitions of the other topics. In an app of one stage, a task reads the input and has counters.
// In one of two stages, those of stage 0 read the input and those of stage 1 have the counters.
type task struct {
	stage     uint8
	partition int32
	source    string // the topic that it reads

	// Fixed by the cut.
	group        int64 // the consumer group's offset, -1 for none
	store        int64 // the source position of the store's answer, -1 for none
	outputEnd    int64
	changelogEnd int64 // of what is read of its position records
	valuesEnd    int64 // of what is read of its values; 0: changelogEnd
	deadEnd      int64

	// positions are all position records from A on, in order: the consumer group and the output
	// stand at one of them. There is at least A. B is the last of them that is complete.
	positions []position
	beyond    int // positions behind B

	// why it cannot be recounted; "" when it can.
	why string

	// cuts are, of a task that reads the input, the offsets up to which events are tallied,
	// ascending: the positions, and store. The event at offset o belongs to the first segment i
	// with o < cuts[i].
	cuts     []int64
	segments []tally // one a cut

	// places are the segments of the recount up to which the counters stand at each position. At a
	// position in the middle of what a transaction of the first stage has sent, they stand between
	// that and uppers.
	places, uppers         []int
	storePlace, storeUpper int

	second *second // of a task of the second stage

	// since is the next offset of each input partition from which on all events are known to have
	// been counted with the output topic of now; nil: none are.
	since map[int32]int64

	fits     []bool  // the positions at which every output so far is as it should be
	between  []int64 // counters whose output is between place and upper, by position
	counters int64   // at B
	digest   uint64  // at B
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
func (t *task) last() int { return len(t.positions) - 1 - t.beyond }

// decidable says whether the task could be recounted.
func (t *task) decidable() bool { return t.why == "" }

// midway says whether position i lies in the middle of what a transaction has sent.
func (t *task) midway(i int) bool { return len(t.at(i).Midway) > 0 }

// makeCuts chooses where the recount of an input partition notes values.
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
	for _, p := range t.positions {
		t.places = append(t.places, t.cut(p.Input))
	}
	if t.store >= 0 {
		t.storePlace = t.cut(t.store)
	}
	t.storeUpper = t.storePlace
	t.makeFits()
}

func (t *task) makeFits() {
	if t.uppers == nil {
		t.uppers = t.places
	}
	t.between = make([]int64, len(t.positions))
	t.fits = slices.Repeat([]bool{true}, len(t.positions))
}

// cut is the index of an input offset in cuts.
func (t *task) cut(input int64) int {
	i, found := slices.BinarySearch(t.cuts, input)
	if !found {
		panic("audit: a position that is no cut")
	}
	return i
}

// mark is the next offset of each input partition at a position record.
func (t *task) mark(p position) map[int32]int64 {
	if t.stage == secondStage {
		return merged(nil, p.Sources)
	}
	return map[int32]int64{t.partition: p.Input}
}

// hasSince says whether an event is known to have been counted with the output topic of now.
func (t *task) hasSince(partition int32, offset int64) bool {
	return t.since != nil && offset >= t.since[partition]
}

// now is the place of B.
func (t *task) now() int { return t.places[t.last()] }

// row is the partition in the report.
func (t *task) row() Partition {
	b := t.at(t.last())
	return Partition{
		Partition: t.partition, Start: b.Start, Input: b.Input, Events: b.events(),
		Processed: b.Processed, Filtered: b.Filtered, Skipped: b.Skipped, Dead: b.Dead, Counters: t.counters,
		GroupOffset: t.group, Store: t.store, Output: t.outputEnd, Changelog: t.endOfValues(), Positions: len(t.positions),
	}
}

func (t *task) endOfValues() int64 { return cmp.Or(t.valuesEnd, t.changelogEnd) }

// running are the tasks of the input that have a position record.
func (a *audit) running() []*task { return there(a.tasks) }

// keepers are the tasks that have counters.
func (a *audit) keepers() []*task {
	if a.repartitions > 0 {
		return there(a.seconds)
	}
	return a.running()
}

// all are the tasks of both stages.
func (a *audit) all() []*task { return append(there(a.tasks), there(a.seconds)...) }

func there(tasks []*task) (ts []*task) {
	for _, t := range tasks {
		if t != nil {
			ts = append(ts, t)
		}
	}
	return ts
}

// task is that of an input partition, nil where there is none.
func (a *audit) task(partition int32) *task { return of(a.tasks, partition) }

// keeper is the task that has the counters of a partition, nil where there is none.
func (a *audit) keeper(partition int32) *task {
	if a.repartitions > 0 {
		return of(a.seconds, partition)
	}
	return a.task(partition)
}

func of(tasks []*task, partition int32) *task {
	if partition < 0 || int(partition) >= len(tasks) {
		return nil
	}
	return tasks[partition]
}
