package audit

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/tally-kafka/tally/processor/spec"
)

// counter is a group in a partition, with all that is said of it.
type counter struct {
	task     *task
	segments []segment  // in order
	change   *change    // the changelog's; nil: nothing
	output   *emitted   // the output's; nil: nothing
	partials *recounted // what the first of two stages has sent, behind the base; nil: nothing
}

type segment struct {
	index int
	recounted
}

// at is the recount at a cut; nil where nothing was counted yet.
func (c *counter) at(p *spec.Program, cut int) *recounted { return c.over(p, -1, cut) }

// over is what the recount adds to the counter behind one cut, up to another; nil for nothing.
func (c *counter) over(p *spec.Program, after, upTo int) *recounted {
	var sum *recounted
	for _, s := range c.segments {
		if s.index > upTo {
			break
		}
		if s.index <= after {
			continue
		}
		if sum == nil {
			sum = &recounted{s.items, s.from, s.last, slices.Clone(s.values)}
		} else {
			sum.fold(p, s.recounted)
		}
	}
	return sum
}

// streams are what is compared, side by side in the order of groups.
type streams struct{ recounts, changes, outputs, answers, partials *stream }

// compare goes through all groups that anything says something of.
func (a *audit) compare(ctx context.Context) error {
	var s streams
	for _, open := range []struct {
		to   **stream
		from *table
	}{{&s.recounts, a.recounts}, {&s.changes, a.changes}, {&s.outputs, a.outputs}, {&s.answers, a.answers}, {&s.partials, a.partials}} {
		var err error
		if *open.to, err = open.from.sorted(); err != nil {
			return err
		}
		defer (*open.to).close()
	}
	if err := a.sumChangelog(); err != nil {
		return err
	}
	if a.noStore == "" && slices.ContainsFunc(a.keepers(), func(t *task) bool { return !t.decidable() }) {
		a.noStore = "a part of the input cannot be recounted"
	}
	a.meter.begin("compare", 0)
	for group := s.first(); group != nil && ctx.Err() == nil; group = s.first() {
		counters, answer, err := a.take(&s, group)
		if err != nil {
			return err
		}
		a.compareGroup(group, counters, answer)
	}
	a.noteGaps()
	return ctx.Err()
}

// first is the smallest group that any stream stands at; nil at the end of all.
func (s *streams) first() []byte {
	var group []byte
	for _, head := range []struct {
		*stream
		suffix int // bytes behind the group
	}{{s.recounts, 8}, {s.changes, 4}, {s.outputs, 4}, {s.answers, 0}, {s.partials, 4}} {
		if !head.ok {
			continue
		}
		if g := head.key[:len(head.key)-head.suffix]; group == nil || bytes.Compare(g, group) < 0 {
			group = g
		}
	}
	return bytes.Clone(group)
}

// take takes all that the streams say of a group. The answer is nil where the store has none.
func (a *audit) take(s *streams, group []byte) (counters []*counter, answer []byte, err error) {
	at := func(partition int32) *counter {
		for _, c := range counters {
			if c.task.partition == partition {
				return c
			}
		}
		counters = append(counters, &counter{task: a.keeper(partition)})
		return counters[len(counters)-1]
	}
	err = s.recounts.each(group, 8, func(key, value []byte) {
		_, partition := splitCounter(key[:len(key)-4])
		index := int(binary.BigEndian.Uint32(key[len(key)-4:]))
		c := at(partition)
		c.segments = append(c.segments, segment{index, a.parseRecounted(value, nil)})
	})
	if err == nil {
		err = s.changes.each(group, 4, func(key, value []byte) {
			_, partition := splitCounter(key)
			ch := parseChange(value)
			at(partition).change = &ch
		})
	}
	if err == nil {
		err = s.outputs.each(group, 4, func(key, value []byte) {
			_, partition := splitCounter(key)
			e := parseEmitted(bytes.Clone(value))
			at(partition).output = &e
		})
	}
	if err == nil {
		err = s.partials.each(group, 4, func(key, value []byte) {
			_, partition := splitCounter(key)
			sent := a.parseRecounted(value, nil)
			at(partition).partials = &sent
		})
	}
	if err == nil {
		err = s.answers.each(group, 0, func(_, value []byte) { answer = bytes.Clone(value) })
	}
	return counters, answer, err
}

// each calls fn for the entries of a group, at which the stream may stand, and passes them.
func (s *stream) each(group []byte, suffix int, fn func(key, value []byte)) error {
	for s.ok && len(s.key) == len(group)+suffix && bytes.HasPrefix(s.key, group) {
		fn(s.key, s.value)
		if err := s.next(); err != nil {
			return err
		}
	}
	return nil
}

func (a *audit) compareGroup(group []byte, counters []*counter, answer []byte) {
	counted := 0
	for _, c := range counters {
		if !c.task.decidable() {
			continue
		}
		now := c.at(a.program, c.task.now())
		if now != nil {
			counted++
			c.task.counters++
			c.task.digest += share(group, a.program.AppendValues(nil, now.values))
		}
		named := c.task.second != nil && a.comparePartials(group, c)
		a.compareChange(group, c, now, named)
		if a.output.Name != "" {
			a.compareOutput(group, c)
		}
	}
	a.counters += int64(counted)
	if counted > 0 {
		a.groups++
	}
	if counted > 1 {
		a.spanning++
	}
	if a.noStore == "" {
		a.compareStore(group, counters, answer)
	}
}

// compareChange compares a counter's last changelog record with the recount at B. named says that
// what is sent between the stages was found to differ for this counter.
func (a *audit) compareChange(group []byte, c *counter, now *recounted, named bool) {
	d := Difference{Topic: a.changelog.Name, Partition: c.task.partition}
	if c.change != nil || now != nil {
		a.compared["changelog"]++
	}
	switch {
	case c.change == nil && now == nil:
		return
	case c.change == nil:
		d.Kind, d.Why = ChangelogMissing, fmt.Sprintf("counted last by this event, and %s has nothing", a.changelog.Name)
		d.Topic, d.Partition, d.Offset = a.input.Name, now.from, now.last
	case now == nil:
		d.Kind, d.Why, d.Offset = ChangelogExtra, "what the input does not have", c.change.offset
	case !bytes.Equal(c.change.values, a.program.AppendValues(nil, now.values)):
		d.Kind, d.Why, d.Offset = ChangelogWrong, "the last value", c.change.offset
	default:
		return
	}
	var got []spec.Decimal
	if c.change != nil {
		var err error
		if got, err = a.program.DecodeValues(c.change.values, nil); err != nil {
			panic("audit: values that were read once cannot be read again: " + err.Error())
		}
		d.Got = string(a.program.AppendValuesJSON(nil, got))
	}
	if c.task.consistent() {
		if named {
			return
		}
		a.betweenStages(&d, c, got, now)
	}
	a.different(d, group, now)
}

// different completes a difference: the group, and what the recount says.
func (a *audit) different(d Difference, group []byte, want *recounted) {
	d.Group = a.program.AppendGroupJSON(nil, group)
	if want != nil {
		d.Want = a.text(want)
	}
	a.found.add(d)
}

// text are values as the output and the API have them; nothing for no values.
func (a *audit) text(r *recounted) string {
	if r == nil {
		return ""
	}
	return string(a.program.AppendValuesJSON(nil, r.values))
}

// compareStore compares the store's answer for a group with the recount at the answer's own cut.
func (a *audit) compareStore(group []byte, counters []*counter, answer []byte) {
	sum := a.sumOver(counters, func(t *task) int { return t.storePlace })
	if sum == nil && answer == nil {
		return
	}
	a.compared["store"]++
	if a.text(sum) == string(answer) {
		return
	}
	upper := a.sumOver(counters, func(t *task) int { return t.storeUpper })
	switch {
	case a.text(upper) == string(answer):
		return
	case a.isBetween(sum, upper, answer):
		a.midstore++
		return
	}
	d := Difference{Topic: a.input.Name, Offset: -1, Got: string(answer)}
	if sum != nil {
		d.Partition, d.Offset = sum.from, sum.last
	}
	switch {
	case answer == nil:
		d.Kind, d.Why = StoreMissing, "counted last by this event, and the node has nothing"
	case sum == nil:
		d.Kind, d.Why = StoreExtra, "what the input does not have"
	default:
		d.Kind, d.Why = StoreWrong, "counted last by this event, and the node has another value"
	}
	a.different(d, group, sum)
}

// sumOver folds a group's counters, each at a place; nil for nothing.
func (a *audit) sumOver(counters []*counter, place func(*task) int) *recounted {
	var sum *recounted
	for _, c := range counters {
		now := c.at(a.program, place(c.task))
		switch {
		case now == nil:
		case sum == nil:
			sum = now
		default:
			sum.fold(a.program, *now)
		}
	}
	return sum
}
