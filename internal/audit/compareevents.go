package audit

import (
	"fmt"
	"slices"
)

// compareEvents compares what is known of whole partitions.
func (a *audit) compareEvents() {
	for _, t := range a.all() {
		if a.offsets[t.source] != nil {
			a.compareOffset(t)
		}
		if t.decidable() {
			a.comparePositions(t)
			a.compareDigest(t)
		}
	}
	for topic, offsets := range a.offsets {
		for p, offset := range offsets {
			if t := a.reader(topic, p); t == nil {
				a.found.add(Difference{Kind: OffsetMoved, Topic: topic, Partition: p, Offset: offset,
					Why: "the consumer group " + a.spec.App + " has this offset, and the changelog has no position record of the partition"})
			}
		}
	}
}

// reader is the task that reads a partition of a topic.
func (a *audit) reader(topic string, p int32) *task {
	if topic == a.input.Name {
		return a.task(p)
	}
	return of(a.seconds, p)
}

// compareOffset: the consumer group stands at a position record.
func (a *audit) compareOffset(t *task) {
	a.compared["offsets"]++
	first, last := t.at(0), t.at(t.last())
	d := Difference{Topic: t.source, Partition: t.partition, Offset: t.group}
	at := fmt.Sprintf("the position record at %s/%d offset %d has %d", a.changelog.Name, t.partition, last.offset, last.Input)
	switch {
	case t.group < 0:
		d.Kind, d.Offset = OffsetMissing, last.Input
		d.Why = fmt.Sprintf("the consumer group %s has no offset of this partition; %s", a.spec.App, at)
	case !slices.ContainsFunc(t.positions, func(p position) bool { return p.Input == t.group }):
		d.Kind, d.Why = OffsetMoved, fmt.Sprintf("the consumer group %s has this offset; %s", a.spec.App, at)
		if first.Input != last.Input {
			d.Why += fmt.Sprintf(", and those before it go back to %d", first.Input)
		}
	default:
		return
	}
	a.found.add(d)
}

// comparePositions compares the counters of each position record, and says the first difference of
// each kind in the partition.
func (a *audit) comparePositions(t *task) {
	if t.second != nil {
		return // its partials were compared when they were read
	}
	said := map[Kind]bool{}
	var sum tally
	next := 0
	for _, p := range t.positions {
		for end := t.cut(p.Input); next <= end; next++ {
			sum.add(t.segments[next])
		}
		for _, c := range []struct {
			kind      Kind
			what      string
			got, want int64
		}{
			{EventsProcessed, "processed", p.Processed, sum.processed},
			{EventsFiltered, "filtered", p.Filtered, sum.filtered},
			{EventsUnreadable, "skipped + dead", p.Skipped + p.Dead, sum.unreadable},
		} {
			if c.got != c.want && !said[c.kind] {
				said[c.kind] = true
				a.found.add(Difference{Kind: c.kind, Topic: a.changelog.Name, Partition: t.partition, Offset: p.offset,
					Got: fmt.Sprint(c.got), Want: fmt.Sprint(c.want),
					Why: fmt.Sprintf("%s of the input from %d to %d in the position record", c.what, p.Start, p.Input)})
			}
		}
	}
	b := t.at(t.last())
	if n := t.tallyAt(t.last()); n.letters > b.Dead {
		a.found.add(Difference{Kind: DeadExtra, Topic: a.dead.Name, Partition: t.partition, Offset: t.deadEnd,
			Why: fmt.Sprintf("there are %d dead letters up to this offset, and the position record says %d", n.letters, b.Dead)})
	}
	a.compared["events"] += sum.events
}

// compareDigest compares what a position record says of all groups together.
func (a *audit) compareDigest(t *task) {
	b := t.at(t.last())
	if b.Groups == t.counters && b.Digest == t.digest {
		return
	}
	a.found.add(Difference{Kind: PositionGroups, Topic: a.changelog.Name, Partition: t.partition, Offset: b.offset,
		Got: fmt.Sprintf("%d groups, digest %016x", b.Groups, b.Digest), Want: fmt.Sprintf("%d groups, digest %016x", t.counters, t.digest),
		Why: "the position record"})
}
