package audit

import (
	"fmt"
	"slices"

	"github.com/tally-kafka/tally/processor/spec"
)

// compareOutput compares a counter's last output with the recount at each position at which the
// output may stand. The first position at which it is as it should be need not be that of the other
// counters: the partition's fits say where all have been so far.
func (a *audit) compareOutput(group []byte, c *counter) {
	t := c.task
	allowed := make([]bool, len(t.positions))
	some, all := false, true
	for i := range t.positions {
		if i > 0 && !t.midway(i) && !t.midway(i-1) && !c.changed(t.places[i-1], t.places[i]) {
			allowed[i] = allowed[i-1]
		} else {
			allowed[i] = a.outputIs(c, i)
		}
		some, all = some || allowed[i], all && allowed[i]
	}
	if c.output != nil || len(c.segments) > 0 {
		a.compared["output"]++
	}
	if !some {
		a.outputDiffers(group, c)
		return
	}
	a.noteThin(c, allowed)
	if !all && !t.agree(allowed) {
		d := a.outputDifference(c)
		d.Kind, d.Why = OutputWrong, "the last output is right at no position record at which the outputs of other counters are"
		a.different(d, group, c.at(a.program, t.now()))
	}
}

// changed says whether something was counted after one cut, up to another.
func (c *counter) changed(after, upTo int) bool {
	return slices.ContainsFunc(c.segments, func(s segment) bool { return s.index > after && s.index <= upTo })
}

// agree leaves of the task's fits those that are allowed, unless that would leave none.
func (t *task) agree(allowed []bool) bool {
	left := slices.Clone(t.fits)
	for i := range left {
		left[i] = left[i] && allowed[i]
	}
	if !slices.Contains(left, true) {
		return false
	}
	t.fits = left
	return true
}

// outputIs says whether the output is as it should be at a position.
func (a *audit) outputIs(c *counter, i int) bool {
	now := c.at(a.program, c.task.places[i])
	if a.outputFits(c, now) || !c.task.midway(i) {
		return a.outputFits(c, now)
	}
	upper := c.at(a.program, c.task.uppers[i])
	if a.outputFits(c, upper) {
		return true
	}
	if c.output == nil || !a.isBetween(now, upper, c.output.lastText()) {
		return false
	}
	c.task.between[i]++
	return true
}

// outputFits says whether the output is as it should be where the recount says now.
func (a *audit) outputFits(c *counter, now *recounted) bool {
	if c.output == nil || now == nil {
		return c.output == nil && now == nil
	}
	return string(c.output.lastText()) == a.text(now) && a.recordsAre(c, now)
}

// recordsAre says whether the counter has as many outputs as items, where that can be known. With
// two stages each partial has an output, and nobody knows how many there were.
func (a *audit) recordsAre(c *counter, now *recounted) bool {
	if c.output.records > now.items {
		return false // also where neither an order of values nor emit tells a repeated output
	}
	if c.task.second != nil || a.history.moved() {
		return true
	}
	return c.output.records == now.items || !a.history.always(spec.EmitEvery) || slices.Contains(a.outputCut, c.task.partition)
}

// noteThin counts the counters that have fewer outputs than items although emit is `every` now: it
// may have been `latest` before, at a time of which nothing is left.
func (a *audit) noteThin(c *counter, allowed []bool) {
	if c.output == nil || c.task.second != nil || a.history.moved() || !a.history.cut || a.spec.Output.Emit != spec.EmitEvery || slices.Contains(a.outputCut, c.task.partition) {
		return
	}
	for i, ok := range allowed {
		if ok && c.output.records == c.at(a.program, c.task.places[i]).items {
			return
		}
	}
	a.thin++
}

// outputDifference is at the counter's last output, or else at the last event counted.
func (a *audit) outputDifference(c *counter) Difference {
	d := Difference{Topic: a.output.Name, Partition: c.task.partition}
	if c.output != nil {
		d.Offset, d.Got = c.output.last, string(c.output.lastText())
		return d
	}
	now := c.segments[len(c.segments)-1]
	d.Topic, d.Partition, d.Offset = a.input.Name, now.from, now.last
	return d
}

// outputDiffers says how the output differs from the recount at B.
func (a *audit) outputDiffers(group []byte, c *counter) {
	t := c.task
	now := c.at(a.program, t.now())
	d := a.outputDifference(c)
	switch {
	case c.output == nil && slices.Contains(a.outputCut, t.partition):
		a.gone++
		return
	case c.output == nil && !a.sentHere(c):
		a.elsewhere++
		return
	case c.output == nil:
		d.Kind, d.Why = OutputMissing, fmt.Sprintf("counted last by this event, and %s/%d has nothing up to offset %d", a.output.Name, t.partition, t.outputEnd)
	case now == nil:
		d.Kind, d.Why = OutputExtra, "what the input does not have"
	case d.Got != a.text(now):
		d.Kind, d.Why = OutputWrong, "the last output"
	default:
		d.Kind, d.Got = OutputDoubled, ""
		d.Why = fmt.Sprintf("it has %d outputs, and %d items", c.output.records, now.items)
		if c.output.records < now.items {
			d.Kind = OutputMissing
			a.placeGap(&d, c.output)
		}
	}
	a.different(d, group, now)
}

// sentHere says whether a counter must have an output in the topic that output.topic names now.
// Where it was another one before, or may have been, that is so of a counter that an event is known
// to have changed since.
func (a *audit) sentHere(c *counter) bool {
	if !a.history.moved() && !a.history.cut {
		return true
	}
	now := c.at(a.program, c.task.places[0])
	return now == nil || a.codec.counts() && c.task.hasSince(now.from, now.last)
}

// placeGap finds the output before which the first one is missing.
func (a *audit) placeGap(d *Difference, e *emitted) {
	switch {
	case !a.codec.follows(nil, e.firstText):
		d.Offset = e.first
	case e.gap > 0:
		d.Offset = e.gap - 1
	default:
		return
	}
	d.Why += "; the first is missing before this one"
}

// noteGaps says what of the output and the store could not be compared.
func (a *audit) noteGaps() {
	for _, t := range there(a.seconds) {
		standing := false
		for i, ok := range t.fits {
			standing = standing || ok && t.between[i] == 0
		}
		if a.output.Name != "" && t.decidable() && !standing {
			a.cannot("the output %s/%d stands in the middle of what a transaction has sent, so its last values are known only to be between those before and after; try again when the app has less to do",
				a.output.Name, t.partition)
		}
	}
	if a.midstore > 0 {
		a.cannot("the node's answers for %d groups are of the middle of what a transaction has sent, so they are known only to be between those before and after; try again when the app has less to do", a.midstore)
	}
	if a.gone > 0 {
		a.cannot("%d counters have no output any more: their last ones are deleted", a.gone)
	}
	switch {
	case a.elsewhere == 0:
	case a.history.moved():
		a.cannot("%d counters have no output in %s: output.topic was another one before, and what is there is not looked at", a.elsewhere, a.output.Name)
	default:
		a.cannot("%d counters have no output in %s, which is right only if output.topic was another one once: the position records of that time are compacted away",
			a.elsewhere, a.output.Name)
	}
	if a.thin > 0 {
		a.cannot("%d counters have fewer outputs than items, which is right only if emit was `latest`, or output.topic another one, once: the position records of that time are compacted away", a.thin)
	}
}
