package check

import (
	"fmt"
)

// OffsetsTopic is where Kafka keeps the offsets of consumer groups.
const OffsetsTopic = "__consumer_offsets"

// books hold how each transaction has ended, over all logs that it has written to.
type books struct {
	ends ends
	// commits are when a commit of each transaction was first on its way to a broker, in Unix ms.
	commits map[txnID]int64
	// noOffsets: the broker has no topic of consumer groups (an embedded one).
	noOffsets bool
	writers   map[laneOf]map[uint64]*writer
}

// ends are how transactions have ended.
type ends map[txnID]ending

type ending struct {
	outcome Control
	firstMs int64 // of all its markers: before it nobody can have known of the end
}

type laneOf struct {
	app  string
	lane int
}

// writer is who has committed under an epoch.
type writer struct {
	node, incarnation string
	firstSeenMs       int64
}

func newBooks() *books {
	return &books{ends: ends{}, commits: map[txnID]int64{}, writers: map[laneOf]map[uint64]*writer{}}
}

// keepBooks reads all logs of an app once, for what does not need the input.
func (a *app) keepBooks() error {
	for p := range a.Partitions {
		for _, topic := range []string{a.Output, a.Dead, a.Repartition} {
			if topic == "" {
				continue
			}
			if err := a.book(Place{topic, p}, a.bookEnd); err != nil {
				return err
			}
		}
		epochs := &epochs{app: a, place: Place{a.Changelog, p}, lane: int(p) % a.Lanes}
		if err := a.book(epochs.place, func(place Place, part *part) error {
			if err := a.bookEnd(place, part); err != nil || part.outcome != Commit {
				return err
			}
			epochs.order(part)
			epochs.take(part)
			return nil
		}); err != nil {
			return err
		}
	}
	return a.bookOffsets()
}

// book calls fn for each transaction's part in a log, and at last for those that are still open.
func (a *app) book(place Place, fn func(Place, *part) error) error {
	log, err := openParts(a.dump, place)
	if err != nil {
		return err
	}
	defer log.close()
	w, order := a.rep.Of(Whole), newDoubts()
	for {
		part, err := log.read()
		if err != nil {
			return err
		}
		if part == nil {
			break
		}
		a.rep.by(part.when())
		if last, known := order.last[part.id.producer]; part.txn && known && part.id.epoch <= last {
			w.fail("%s offset %d: %v ends a transaction after epoch %d has ended one", place, part.marker, part.id, last)
		}
		order.part(part, log.gaps)
		if err := fn(place, part); err != nil {
			return err
		}
	}
	a.rep.by(0)
	order.end(log.gaps)
	for _, part := range log.open {
		if log.holedBehind(part.last()) {
			w.undecidedOf(1, "parts of transactions", "%s offset %d: nobody has read how the transaction of %v ended", place, part.records[0].Offset, part.id)
			continue
		}
		if err := fn(place, part); err != nil {
			return err
		}
	}
	for _, torn := range log.torn {
		w.fail("%s", torn)
	}
	if len(log.gaps) > 0 {
		a.lost[place] = order
	}
	return nil
}

// walk calls fn for each committed part of a log that has been booked.
func (a *app) walk(place Place, fn func(Place, *part) error) error {
	log, err := openParts(a.dump, place)
	if err != nil {
		return err
	}
	defer log.close()
	for {
		part, err := log.read()
		if err != nil || part == nil {
			a.rep.by(0)
			return err
		}
		a.rep.by(part.when())
		if part.outcome != Commit {
			continue
		}
		if err := fn(place, part); err != nil {
			return fmt.Errorf("%s offset %d: %w", place, part.records[0].Offset, err)
		}
	}
}

// bookEnd notes how a transaction ended in one log: as in all others.
func (a *app) bookEnd(place Place, part *part) error {
	w := a.rep.Of(Whole)
	switch {
	case !part.txn:
		w.fail("%s offset %d: a record outside of any transaction", place, part.marker)
		return nil
	case part.outcome == Data:
		w.fail("%s offset %d: the transaction of %v is still open", place, part.records[0].Offset, part.id)
		return nil
	}
	w.saw(1, "parts of transactions")
	before, known := a.books.ends[part.id]
	switch {
	case !known:
		w.saw(1, "transactions")
		a.books.ends[part.id] = ending{part.outcome, part.endMs}
	case before.outcome != part.outcome:
		w.fail("%s offset %d: the transaction of %v is %s here, and %s elsewhere", place, part.marker, part.id, part.outcome, before.outcome)
	case part.endMs < before.firstMs:
		a.books.ends[part.id] = ending{part.outcome, part.endMs}
	}
	return nil
}

func (c Control) String() string { return [...]string{"open", "committed", "aborted"}[c] }

// epochs judges one partition of a changelog, which has one writer after another.
type epochs struct {
	app   *app
	place Place
	lane  int
	last  uint64
	ended txnID // whose last record, of those that have ended, has the highest offset
	above int64 // that offset
}

// order holds a committed transaction to those that ended before it: all of it is behind them, or
// what follows each other by its markers does not by its offsets.
func (e *epochs) order(part *part) {
	c := e.app.rep.Of(Epochs)
	c.saw(1, "transactions behind each other")
	if first := part.records[0].Offset; first < e.above && part.id != e.ended {
		c.fail("%s offset %d: %v writes there, in the midst of the transaction of %v, which ended earlier and goes up to offset %d",
			e.place, first, part.id, e.ended, e.above)
	}
	if last := part.last(); last > e.above {
		e.ended, e.above = part.id, last
	}
	e.app.lanes[part.id.producer] = e.lane
}

// take reads the position records and barriers of a committed transaction. One that nobody can read
// is a failure of who has written it.
func (e *epochs) take(part *part) {
	c := e.app.rep.Of(Epochs)
	for _, rec := range part.records {
		k, err := parseKey(rec.Key)
		if err == nil && k.kind != kindPosition && k.kind != kindBarrier {
			continue
		}
		var pos position
		if err == nil {
			pos, err = parsePosition(rec.Value, k.kind)
		}
		if err != nil {
			c.fail("%s offset %d: nobody can read it: %v", e.place, rec.Offset, err)
			continue
		}
		c.saw(1, "position records and barriers")
		if k.kind == kindPosition && k.stage == 0 && e.app.stages() == 2 {
			e.app.told.inputs[e.place.Partition] = append(e.app.told.inputs[e.place.Partition], pos.Input)
		}
		if pos.Epoch < e.last {
			c.fail("%s offset %d: epoch %d of %s comes behind epoch %d", e.place, rec.Offset, pos.Epoch, pos.NodeName, e.last)
		}
		e.last = max(e.last, pos.Epoch)
		e.app.books.write(e, rec.Offset, &pos, part.seenMs, c)
	}
}

func (b *books) write(e *epochs, offset int64, pos *position, seenMs int64, c *Check) {
	lane := laneOf{e.app.Name, e.lane}
	if b.writers[lane] == nil {
		b.writers[lane] = map[uint64]*writer{}
	}
	w := b.writers[lane][pos.Epoch]
	switch {
	case w == nil:
		c.saw(1, "epochs")
		b.writers[lane][pos.Epoch] = &writer{pos.NodeName, pos.Incarnation, seenMs}
	case w.incarnation != pos.Incarnation:
		c.fail("%s offset %d: %s (%s) writes under epoch %d, as %s (%s) has done", e.place, offset, pos.NodeName, pos.Incarnation,
			pos.Epoch, w.node, w.incarnation)
	case seenMs != 0:
		w.firstSeenMs = min(w.firstSeenMs, seenMs)
	}
}

// bookOffsets reads the offsets of the app's consumer group: they never fall.
func (a *app) bookOffsets() error {
	place, ok := a.dump.OffsetsOf(a.ConsumerGroup)
	a.offsetsIn = place
	if a.books.noOffsets = !ok; !ok {
		a.rep.Of(Offsets).undecided("this Kafka has no topic of consumer groups")
		return nil
	}
	last := map[Place]int64{}
	err := a.book(place, func(place Place, part *part) error {
		ours, err := a.ownOffsets(part)
		if err != nil || len(ours) == 0 {
			return err
		}
		if err := a.bookEnd(place, part); err != nil || part.outcome != Commit {
			return err
		}
		c := a.rep.Of(Offsets)
		for _, o := range ours {
			c.saw(1, "commits of an offset")
			if before, known := last[o.place]; known && o.at < before {
				c.differ(versus{"", fmt.Sprint("not below ", before), fmt.Sprint(o.at)},
					"%s: the offset of %s goes from %d to %d (%v)", a.ConsumerGroup, o.place, before, o.at, part.id)
			}
			last[o.place] = o.at
			if a.offsets[part.id] == nil {
				a.offsets[part.id] = map[Place]int64{}
			}
			a.offsets[part.id][o.place] = o.at
		}
		return nil
	})
	if d := a.lost[place]; d != nil {
		a.rep.Of(Offsets).undecidedOf(d.lost, "commits of an offset", "%s: offsets %d to %d were gone before the follower read them",
			place, d.first.from, d.first.to)
	}
	return err
}

// ownOffsets are those of the app's consumer group.
func (a *app) ownOffsets(part *part) (ours []offsetCommit, err error) {
	for _, rec := range part.records {
		o, ok, err := parseOffset(rec)
		if err != nil {
			return nil, err
		}
		if ok && o.group == a.ConsumerGroup {
			ours = append(ours, o)
		}
	}
	return ours, nil
}
