package check

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// column judges the transactions of one task, in the order in which its changelog has them: each
// position record says which events of the source a transaction has counted, and so what it had to
// write, and where.
type column struct {
	*app
	stage     uint8
	partition int32
	source    Place
	changelog *parts
	outputs   *byTxn
	dead      *byTxn
	events    *events
	counts    *counters
	last      position
	lastID    txnID // of the first transaction that ended there
	begun     bool
	asked     []ask // of this partition, in the order of their positions
	asks      []ask // of them, those still to be judged
	tops      int   // of them, that are still to be judged
	topsAll   int
	steps     []step
	copies    []history.Store // of stores, in the order of their changelog offsets
	markers   []dated         // of the changelog so far, while there are copies to be judged
	sources   map[int32]int64 // of a second stage
	midway    map[int]bool
	// adopt: a part of what the transaction has read is lost, so that what it should have written
	// is not known; its values are taken from the changelog then, and what it says of the source
	// from its position record.
	adopt bool
	// astray: such values were lost too, and what the state was since then nobody knows.
	astray bool
	// gaps is how many of the changelog's gaps are accounted for; what the records in the others
	// said of a transaction is not known until the next position.
	gaps  int
	noted bool // that there are such
}

func (a *app) judgeColumn(stage uint8, p int32) (err error) {
	c := &column{app: a, stage: stage, partition: p, source: Place{a.source(stage), p}, counts: newCounters(len(a.spec.sums)),
		sources: map[int32]int64{}, midway: map[int]bool{}}
	if err := c.open(); err != nil {
		return err
	}
	defer c.close()
	if stage == a.lastStage() {
		c.asks = a.reads.of(p)
		c.asked = c.asks
		for i := range c.asks {
			if c.asks[i].of.what == "top" {
				c.tops++
			}
		}
		c.topsAll = c.tops
		c.copies = a.storesOf(stage, p)
	}
	for {
		part, err := c.changelog.read()
		if err != nil {
			return err
		}
		if part == nil {
			break
		}
		if part.txn && len(c.copies) > 0 {
			c.markers = append(c.markers, dated{part.marker, part.endMs})
		}
		if part.outcome == Commit {
			c.rep.by(part.when())
			if err := c.take(part); err != nil {
				return err
			}
		}
	}
	c.rep.by(0)
	return c.finish()
}

func (c *column) open() (err error) {
	if c.changelog, err = openParts(c.dump, Place{c.Changelog, c.partition}); err != nil {
		return err
	}
	if c.events, err = openEvents(c); err != nil {
		return err
	}
	if c.stage == c.lastStage() {
		if c.outputs, err = openByTxn(c.dump, Place{c.Output, c.partition}); err != nil {
			return err
		}
		c.outputs.each = func(rec *Record) { c.judgeOutput(c.partition, rec) }
	}
	if c.stage == 0 {
		c.dead, err = openByTxn(c.dump, Place{c.Dead, c.partition})
	}
	return err
}

func (c *column) close() {
	for _, p := range []*parts{c.changelog, c.events.log.parts} {
		p.close()
	}
	for _, b := range []*byTxn{c.outputs, c.dead} {
		if b != nil {
			b.close()
		}
	}
}

// take judges one committed transaction.
func (c *column) take(part *part) error {
	pos, values, err := c.ofStage(part)
	if err != nil {
		c.rep.Of(Mapped).fail("%s offset %d: %v", c.changelog.place, part.records[0].Offset, err)
		return nil
	}
	if pos == nil && c.holed() {
		pos = c.madeUp(part)
	}
	if pos == nil {
		if len(values) > 0 && !c.holed() {
			c.rep.Of(Mapped).fail("%s: %v has %d values and no position record", c.changelog.place, part.id, len(values))
		}
		return nil
	}
	from := c.last.Input
	if !c.begun {
		from = pos.Start
	}
	if err := c.askUpTo(pos.Input); err != nil {
		return err
	}
	c.storesUpTo(part.last(), values)
	t := &taken{part: part, pos: pos, from: from, changed: map[string][]decimal{}, bad: map[int64]uint64{}}
	if err := c.fold(t); err != nil {
		return err
	}
	c.lacking(t)
	c.rep.Of(Mapped).saw(1, "transactions")
	if pos.made {
		c.fill(t)
	} else {
		c.judgePosition(t)
	}
	c.judgeValues(t, values)
	if err := c.judgeWritten(t); err != nil {
		return err
	}
	c.judgeOffset(t)
	c.come(t)
	c.last, c.begun, c.gaps = *pos, true, len(c.changelog.gaps)
	c.found()
	return nil
}

// taken is a transaction with what it had to do.
type taken struct {
	part    *part
	pos     *position
	from    int64
	changed map[string][]decimal // the new values of the groups that its events change
	read    int64                // events that could be read
	bad     map[int64]uint64     // the others: what is in them, by offset
}

// ofStage takes a part of the changelog apart.
func (c *column) ofStage(part *part) (pos *position, values []Record, err error) {
	for _, rec := range part.records {
		k, err := parseKey(rec.Key)
		if err != nil {
			return nil, nil, err
		}
		if k.stage != c.stage {
			continue
		}
		switch k.kind {
		case kindPosition:
			p, err := parsePosition(rec.Value, kindPosition)
			if err != nil {
				return nil, nil, err
			}
			if pos != nil {
				return nil, nil, fmt.Errorf("%v has two position records of one task", part.id)
			}
			pos = &p
		case kindValue:
			if pos != nil {
				return nil, nil, fmt.Errorf("%v has a value behind its position record", part.id)
			}
			values = append(values, Record{Offset: rec.Offset, Key: k.group, Value: rec.Value})
		}
	}
	return pos, values, nil
}

// fold counts the events from the last position up to this one.
func (c *column) fold(t *taken) error {
	before := map[string][]decimal{}
	for {
		e, err := c.events.peek()
		if err != nil {
			return err
		}
		if e == nil || e.offset >= t.pos.Input {
			break
		}
		c.events.drop()
		if e.offset < t.from { // below the start, or lost with a part of the log
			continue
		}
		if err := c.count(t, e, before); err != nil {
			return err
		}
	}
	for group := range before {
		if now := c.counts.get(group); !slices.Equal(now, before[group]) {
			t.changed[group] = now
		}
	}
	return nil
}

func (c *column) count(t *taken, e *event, before map[string][]decimal) error {
	switch {
	case e.sources != nil:
		maps.Copy(c.sources, e.sources)
		delete(c.midway, e.lane)
		return nil
	case !e.readable:
		t.bad[e.offset] = e.sum
		return nil
	case c.stage == 1:
		c.midway[e.lane] = true
	}
	t.read++
	c.rep.Of(Mapped).saw(1, c.noun())
	for _, it := range e.items {
		if c.stage != c.lastStage() {
			sum, err := printOf(it.group, it.adds)
			if err != nil {
				return err
			}
			c.sends[t.part.id] += sum
			continue
		}
		had := c.counts.get(it.group)
		if _, known := before[it.group]; !known {
			before[it.group] = slices.Clone(had)
		}
		sum, err := sumOf(had, it.adds)
		if err != nil && c.stage == 1 { // a partial of a size that no events add up to
			c.rep.Of(Mapped).fail("%s offset %d: %s", c.source, e.offset, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("offset %d: %w", e.offset, err)
		}
		c.counts.set(it.group, sum)
	}
	return nil
}

func (c *column) noun() string {
	if c.stage == 1 {
		return "partials"
	}
	return "events"
}

// judgePosition holds a position record to what was read.
func (c *column) judgePosition(t *taken) {
	m, pos := c.rep.Of(Mapped), t.pos
	where := fmt.Sprintf("%s: %v (transaction %d of %s)", c.changelog.place, t.part.id, pos.Txn, pos.NodeName)
	if pos.Partition != c.partition {
		m.fail("%s: its position record is of partition %d", where, pos.Partition)
	}
	if c.begun && (pos.Input < c.last.Input || pos.Txn <= c.last.Txn || c.last.AppID != "" && pos.AppID != c.last.AppID) {
		m.fail("%s: position %d of app %s follows position %d, transaction %d, of app %s",
			where, pos.Input, pos.AppID, c.last.Input, c.last.Txn, c.last.AppID)
	}
	if c.adopt {
		return
	}
	bad := pos.Dead + pos.Skipped - c.last.Dead - c.last.Skipped
	if got := pos.Processed - c.last.Processed; got != t.read || bad != int64(len(t.bad)) || pos.Filtered != c.last.Filtered {
		m.differ(versus{"", fmt.Sprintf("%d events and %d that cannot be read", t.read, len(t.bad)), fmt.Sprintf("%d and %d", got, bad)},
			"%s: from offset %d to %d it counts %d events and %d that cannot be read, and there are %d and %d",
			where, t.from, pos.Input, got, bad, t.read, len(t.bad))
	}
	if c.stage == 1 && (!maps.Equal(pos.Sources, c.sources) || !slices.Equal(pos.Midway, slices.Sorted(maps.Keys(c.midway)))) {
		m.fail("%s: it says that it has the input up to %v, midway of %v; the partials say %v and %v",
			where, pos.Sources, pos.Midway, c.sources, slices.Sorted(maps.Keys(c.midway)))
	}
	if c.stage == 0 && c.stages() == 2 && pos.Input > t.from {
		c.moved[t.part.id] += sourcePrint(c.partition, pos.Input)
	}
}

// judgeValues holds the values in the changelog to the recount, and takes them over where it does
// not know better.
func (c *column) judgeValues(t *taken, values []Record) {
	m := c.rep.Of(Mapped)
	seen := map[string]bool{}
	for _, rec := range values {
		group := string(rec.Key)
		text, err := valueOf(rec.Value, kindValue)
		var got []decimal
		if err == nil {
			got, err = decodeDecimals(text)
		}
		if err != nil || len(got) != c.counts.width {
			m.differ(versus{show(group), showValues(t.changed[group]), fmt.Sprintf("%.40x", rec.Value)},
				"%s offset %d: the values of %s: %v", c.changelog.place, rec.Offset, show(group), err)
			continue
		}
		if want := t.changed[group]; !c.adopt && (!slices.Equal(got, want) || seen[group]) {
			m.differ(versusOf(group, want, got), "%s offset %d: %v sets %s to %s; the events %d to %d make it %s",
				c.changelog.place, rec.Offset, t.part.id, show(group), showValues(got), t.from, t.pos.Input, showValues(want))
		}
		seen[group] = true
		c.counts.set(group, got)
		t.changed[group] = got
	}
	if !c.adopt && len(seen) < len(t.changed) && !c.holed() {
		for group := range t.changed {
			if !seen[group] {
				m.differ(versusOf(group, t.changed[group], nil),
					"%s: %v has no value of %s, which the events %d to %d make %s", c.changelog.place, t.part.id, show(group),
					t.from, t.pos.Input, showValues(t.changed[group]))
			}
		}
	}
	c.judgeDigest(t)
}

// judgeDigest: what a position record says of the state is what the changelog adds up to.
func (c *column) judgeDigest(t *taken) {
	if c.stage != c.lastStage() || c.astray {
		return
	}
	s := c.rep.Of(Stores)
	s.saw(1, "digests in position records")
	if t.pos.Groups != int64(c.counts.len()) || t.pos.Digest != c.counts.digest {
		s.differ(sides(int64(c.counts.len()), c.counts.digest, t.pos.Groups, t.pos.Digest),
			"%s: %v says %d groups, digest %d; the changelog up to it has %d, digest %d",
			c.changelog.place, t.part.id, t.pos.Groups, t.pos.Digest, c.counts.len(), c.counts.digest)
	}
}

// finish judges what is left when the changelog has ended.
func (c *column) finish() error {
	if err := c.askUpTo(1<<63 - 1); err != nil {
		return err
	}
	for i := range c.asked {
		c.rep.by(c.asked[i].of.endedMs)
		c.judgeAge(&c.asked[i])
		c.judgeToldAfter(&c.asked[i])
	}
	c.rep.by(0)
	c.storesUpTo(1<<63-1, nil)
	if g := c.changelog.gaps; len(g) > 0 {
		c.rep.Of(Stores).undecided("%s: offsets %d to %d were gone before the follower read them", c.changelog.place, g[0].from, g[0].to)
	}
	for _, b := range []*byTxn{c.outputs, c.dead} {
		if b == nil {
			continue
		}
		b.free = b.free || c.holed()
		left, err := b.left()
		if err != nil {
			return err
		}
		if b.dropped > 0 {
			c.rep.Of(Mapped).undecidedOf(int64(b.dropped), "transactions",
				"%s: %d transactions there are none of the positions that were read", b.log.place, b.dropped)
		}
		for _, part := range left {
			c.rep.Of(Mapped).fail("%s offset %d: %v has committed %d records without a position", b.log.place, part.records[0].Offset, part.id, len(part.records))
		}
	}
	return c.judgeRest()
}

// judgeRest: nothing readable is above the last position.
func (c *column) judgeRest() error {
	waiting, first := 0, int64(0)
	for {
		e, err := c.events.peek()
		if err != nil {
			return err
		}
		if e == nil {
			break
		}
		c.events.drop()
		if waiting == 0 {
			first = e.offset
		}
		waiting++
	}
	switch {
	case waiting > 0 && c.holed():
		c.rep.Of(Mapped).undecidedOf(int64(waiting), c.noun(), "%s: what %d %s from offset %d on were counted to, nobody has read", c.source, waiting, c.noun(), first)
	case waiting > 0:
		c.rep.Of(Mapped).differ(versus{"", "all events counted", fmt.Sprintf("%d that are not", waiting)},
			"%s: %d events from offset %d on are not counted", c.source, waiting, first)
	}
	if c.stage == 0 {
		c.rep.Events += c.events.count
		c.inputHoled = c.inputHoled || len(c.events.log.gaps) > 0
	}
	if c.stage == c.lastStage() {
		c.rep.Groups += int64(c.counts.len())
	}
	return nil
}
