package check

import "maps"

// holed reports whether records of the changelog are missing since the last position: compacted
// away, under load, before the follower read them. What is missing of the transactions there may
// have been in them.
func (c *column) holed() bool {
	if len(c.changelog.gaps) == c.gaps {
		return false
	}
	if g := c.changelog.gaps[c.gaps]; !c.noted {
		c.noted = true
		c.rep.Of(Mapped).undecided("%s: offsets %d to %d were gone before the follower read them; nothing is missed that may have been there",
			c.changelog.place, g.from, g.to)
	}
	return true
}

// madeUp is the position record that was compacted away before the follower read it, as far as the
// offset that its transaction has committed says it; nil where that does not.
func (c *column) madeUp(part *part) *position {
	at, ok := c.offsets[part.id][c.source]
	if !ok {
		return nil
	}
	pos := c.last
	pos.Input, pos.Txn, pos.made = at, pos.Txn+1, true
	return &pos
}

// fill gives a position that is made up the numbers of the recount, for the next one to be held
// against.
func (c *column) fill(t *taken) {
	if c.spec.skips {
		t.pos.Skipped += int64(len(t.bad))
	} else {
		t.pos.Dead += int64(len(t.bad))
	}
	t.pos.Processed += t.read
	t.pos.Groups, t.pos.Digest = int64(c.counts.len()), c.counts.digest
	if c.stage == 0 && c.stages() == 2 && t.pos.Input > t.from {
		c.moved[t.part.id] += sourcePrint(c.partition, t.pos.Input)
	}
}

// lacking notes where a part of what a transaction has read is lost.
func (c *column) lacking(t *taken) {
	if c.events.log.lacks(t.from, t.pos.Input) {
		c.adopt = true
		g := c.events.log.gaps[0]
		c.rep.Of(Mapped).undecidedOf(1, "transactions",
			"%s: offsets %d to %d were gone before they were read; of the transactions that have read there the changelog is believed",
			c.source, g.from, g.to)
	}
	if c.adopt && c.holed() && !c.astray {
		c.astray = true
		c.rep.Of(Stores).undecided("%s: a part of it is lost, and what %v has made of a lost part of %s: from there on it is believed",
			c.changelog.place, t.part.id, c.source)
	}
	if c.stage == 0 && (c.adopt || c.holed()) {
		c.vague[t.part.id] = true
	}
}

// found goes on from a position that is known with what it says, where a part of the source was
// lost before it.
func (c *column) found() {
	if !c.adopt || c.last.made || c.astray {
		return
	}
	c.adopt = false
	c.sources, c.midway = map[int32]int64{}, map[int]bool{}
	maps.Copy(c.sources, c.last.Sources)
	for _, lane := range c.last.Midway {
		c.midway[lane] = true
	}
}
