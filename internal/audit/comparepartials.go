package audit

import (
	"bytes"
	"fmt"

	"github.com/tally-kafka/tally/processor/spec"
)

// comparePartials compares what the first stage has sent for a counter, as far as it is still
// there, with what the events between come to; and it looks for events that were dealt with and of
// which nothing was sent. It says whether it found something.
func (a *audit) comparePartials(group []byte, c *counter) (named bool) {
	t, s := c.task, c.task.second
	if lost := c.over(a.program, len(s.marks)-1, len(s.marks)); lost != nil {
		a.different(Difference{Kind: PartialLost, Topic: a.input.Name, Partition: lost.from, Offset: lost.last,
			Why: "lost between the stages: the first stage has dealt with this event, by its position record, and " + t.lack()}, group, lost)
		named = true
	}
	if s.base == nil {
		return named
	}
	want := c.over(a.program, s.basePlace, s.endPlace)
	got := c.partials
	if want == nil && got == nil {
		return named
	}
	a.compared["partials"]++
	if a.text(want) == a.text(got) {
		return named
	}
	d := Difference{Topic: t.source, Partition: t.partition, Got: a.text(got)}
	sent := fmt.Sprintf("what was sent from offset %d to %d", s.from, s.to)
	switch {
	case want == nil:
		d.Kind, d.Offset, d.Why = PartialDoubled, got.last, sent+" has what the input does not have there"
	case got == nil:
		d.Kind, d.Topic, d.Partition, d.Offset = PartialLost, a.input.Name, want.from, want.last
		d.Why = fmt.Sprintf("lost between the stages: %s/%d has nothing of this event in %s", t.source, t.partition, sent)
	default:
		d.Kind, d.Why = a.balance(got.values, want.values)
		d.Offset, d.Why = got.last, d.Why+": "+sent+" adds up to this; the last partial is at this offset"
	}
	a.different(d, group, want)
	return true
}

// lack says where a lost event is not.
func (t *task) lack() string {
	s, read := t.second, t.at(t.last()).Input
	if s.startsAt > read {
		return fmt.Sprintf("%s/%d is deleted up to offset %d, of which the second stage has read up to %d", t.source, t.partition, s.startsAt, read)
	}
	return fmt.Sprintf("nothing of it was sent to %s/%d up to offset %d", t.source, t.partition, max(s.sentEnd, read))
}

// balance says of two values of a counter what has become of the difference.
func (a *audit) balance(got, want []spec.Decimal) (Kind, string) {
	if i := a.codec.count(); i >= 0 {
		switch got[i].Cmp(want[i]) {
		case -1:
			return PartialLost, "lost between the stages"
		case 1:
			return PartialDoubled, "counted twice between the stages"
		}
	}
	return PartialWrong, "changed between the stages"
}

// betweenStages makes of a wrong value in the changelog what it is: the values agree with their
// position record, so the second stage has written what it had, and has had something else than the
// events come to.
func (a *audit) betweenStages(d *Difference, c *counter, got []spec.Decimal, now *recounted) {
	t := c.task
	read := fmt.Sprintf("the position record of %s/%d at offset %d agrees with the values", t.source, t.partition, t.at(t.last()).Input)
	switch {
	case now == nil:
		d.Kind, d.Why = PartialDoubled, "counted between the stages, and the input does not have it; "+read
	case got == nil:
		d.Kind, d.Why = PartialLost, fmt.Sprintf("lost between the stages: counted last by this event, and %s/%d has nothing; %s", a.changelog.Name, t.partition, read)
	default:
		var why string
		d.Kind, why = a.balance(got, now.values)
		d.Why = fmt.Sprintf("%s: the last value; counted last by %s/%d offset %d; %s", why, a.input.Name, now.from, now.last, read)
	}
}

// consistent says, of a task of the second stage, whether its values agree with its own position
// record, whatever the recount says.
func (t *task) consistent() bool {
	if t.second == nil {
		return false
	}
	b := t.at(t.last())
	return b.Groups == t.second.groups && b.Digest == t.second.digest
}

// sumChangelog adds up what each task of the second stage has in the changelog.
func (a *audit) sumChangelog() error {
	if a.repartitions == 0 {
		return nil
	}
	s, err := a.changes.sorted()
	if err != nil {
		return err
	}
	defer s.close()
	for s.ok {
		group, partition := splitCounter(s.key)
		sec := a.keeper(partition).second
		sec.groups++
		sec.digest += share(group, parseChange(s.value).values)
		if err := s.next(); err != nil {
			return err
		}
	}
	return nil
}

// isBetween says whether values, as JSON, can be those of a counter at some moment between two
// places.
func (a *audit) isBetween(lower, upper *recounted, text []byte) bool {
	if upper == nil || len(text) == 0 || lower != nil && bytes.Equal([]byte(a.text(lower)), []byte(a.text(upper))) {
		return false
	}
	values, err := a.codec.numbers(nil, text)
	if err != nil {
		return false
	}
	for i, agg := range a.spec.Aggregates {
		v := values[i].decimal
		least, most := spec.DecimalOf(1), upper.values[i]
		if lower != nil {
			least = lower.values[i]
		}
		if agg.Kind == spec.Min {
			least, most = most, least
		}
		open := agg.Kind != spec.Count && lower == nil // on the side of what was there before
		switch {
		case agg.Kind == spec.Sum:
		case (!open || agg.Kind == spec.Min) && v.Cmp(least) < 0, (!open || agg.Kind == spec.Max) && v.Cmp(most) > 0:
			return false
		}
	}
	return true
}
