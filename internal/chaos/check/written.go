package check

import (
	"fmt"
	"slices"
	"strconv"
)

// judgeWritten looks for what the transaction had to write elsewhere.
func (c *column) judgeWritten(t *taken) error {
	for _, b := range []*byTxn{c.outputs, c.dead} {
		if b != nil && c.holed() {
			b.free = true
		}
	}
	if c.outputs != nil {
		out, err := c.outputs.take(t.part.id)
		if err != nil {
			return err
		}
		c.judgeOutputs(t, out)
	}
	if c.dead == nil {
		return nil
	}
	letters, err := c.dead.take(t.part.id)
	if err != nil {
		return err
	}
	c.judgeDead(t, letters)
	return nil
}

func (c *column) judgeOutputs(t *taken, out *part) {
	m := c.rep.Of(Mapped)
	if out == nil {
		if len(t.changed) > 0 && !c.holed() {
			c.rep.Of(Whole).differ(versus{"", fmt.Sprintf("outputs of %d groups", len(t.changed)), "none"},
				"%s: %v has changed %d groups, and no output of it is committed", c.outputs.log.place, t.part.id, len(t.changed))
		}
		return
	}
	seen := map[string]bool{}
	for i := range out.records {
		rec := &out.records[i]
		group, values, err := c.spec.output(rec)
		if err != nil {
			continue // judgeOutput has said so
		}
		if want := t.changed[group]; !c.astray && (!slices.Equal(values, want) || seen[group]) {
			m.differ(versusOf(group, want, values),
				"%s offset %d: %v says %s is %s; the events %d to %d make it %s", c.outputs.log.place, rec.Offset, t.part.id,
				show(group), showValues(values), t.from, t.pos.Input, showValues(want))
		}
		seen[group] = true
	}
	for group, want := range t.changed {
		if !seen[group] && !c.holed() && !c.astray {
			m.differ(versusOf(group, want, nil),
				"%s: %v has no output of %s, which the events %d to %d make %s", c.outputs.log.place, t.part.id, show(group),
				t.from, t.pos.Input, showValues(want))
		}
	}
	m.saw(int64(len(out.records)), "outputs")
}

// judgeDead: a dead letter for each event that cannot be read, with its bytes, and for no other.
func (c *column) judgeDead(t *taken, letters *part) {
	m := c.rep.Of(Mapped)
	want := map[int64]bool{}
	for at := range t.bad {
		want[at] = !c.spec.skips
	}
	if letters != nil {
		m.saw(int64(len(letters.records)), "dead letters")
		for i := range letters.records {
			rec := &letters.records[i]
			text, _ := rec.header("offset")
			at, err := strconv.ParseInt(text, 10, 64)
			switch {
			case err == nil && want[at] && bytesSum(rec) != t.bad[at]:
				m.fail("%s offset %d: %v has a dead letter of the event at %s offset %d that is not what lies there", c.dead.log.place,
					rec.Offset, t.part.id, c.source, at)
			case err != nil || !want[at] && !c.adopt:
				m.fail("%s offset %d: %v has a dead letter of offset %q, which is none of its unreadable events", c.dead.log.place, rec.Offset, t.part.id, text)
			}
			delete(want, at)
		}
	}
	for at, missing := range want {
		if missing && !c.adopt && !c.holed() {
			m.fail("%s: %v has no dead letter of the event at %s offset %d", c.dead.log.place, t.part.id, c.source, at)
		}
	}
}

// judgeOffset: the consumer group's offset is of the same transaction.
func (c *column) judgeOffset(t *taken) {
	of, ok := c.offsets[t.part.id]
	at, has := of[c.source]
	if c.books.noOffsets {
		return
	}
	w := c.rep.Of(Whole)
	switch {
	case has && at == t.pos.Input:
		w.saw(1, "positions with their offsets")
	case !has && c.lost[c.offsetsIn].about(t.part.id):
		w.undecidedOf(1, "positions with their offsets", "%s: %v has position %d of %s, and its offset may be one that nobody has read", c.changelog.place, t.part.id, t.pos.Input, c.source)
	default:
		w.differ(versus{"", fmt.Sprintf("offset %d of %s", t.pos.Input, c.source), fmt.Sprint(of)},
			"%s: %v has position %d of %s, and of its offsets it has committed %v", c.changelog.place, t.part.id,
			t.pos.Input, c.source, of)
	}
	if !ok {
		return
	}
	delete(of, c.source)
	if len(of) == 0 {
		delete(c.offsets, t.part.id)
	}
}
