package check

import (
	"fmt"
	"maps"
	"slices"
)

// OffsetsTopic is where Kafka keeps the offsets of consumer groups.
const OffsetsTopic = "__consumer_offsets"

// books hold how each transaction has ended, over all logs that it has written to.
type books struct {
	ends map[txnID]Control
	// noOffsets: the broker has no topic of consumer groups (an embedded one).
	noOffsets bool
	writers   map[laneOf]map[uint64]*writer
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
	return &books{ends: map[txnID]Control{}, writers: map[laneOf]map[uint64]*writer{}}
}

// keepBooks reads all logs of an app once, for what does not need the input.
func (a *app) keepBooks() error {
	for p := range a.Partitions {
		for _, topic := range []string{a.Output, a.Dead, a.Repartition} {
			if topic != "" {
				if err := a.book(Place{topic, p}, a.bookEnd); err != nil {
					return err
				}
			}
		}
		epochs := &epochs{app: a, place: Place{a.Changelog, p}, lane: int(p) % a.Lanes}
		if err := a.book(Place{a.Changelog, p}, func(place Place, part *part) error {
			if err := a.bookEnd(place, part); err != nil || part.outcome != Commit {
				return err
			}
			return epochs.take(part)
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
	order := map[int64]int16{} // the epoch that each producer's last transaction had
	for {
		part, err := log.read()
		if err != nil {
			return err
		}
		if part == nil {
			break
		}
		if last, known := order[part.id.producer]; part.txn && known && part.id.epoch <= last {
			a.rep.Of(Whole).fail("%s offset %d: %v ends a transaction after epoch %d has ended one", place, part.marker, part.id, last)
		}
		order[part.id.producer] = part.id.epoch
		if err := fn(place, part); err != nil {
			return err
		}
	}
	for _, part := range log.open {
		if log.holedSince(part) {
			a.rep.Of(Whole).undecided("%s offset %d: nobody has read how the transaction of %v ended", place, part.records[0].Offset, part.id)
			continue
		}
		if err := fn(place, part); err != nil {
			return err
		}
	}
	if len(log.gaps) > 0 {
		a.lost[place] = log.gaps[0]
	}
	return nil
}

// bookEnd notes how a transaction ended in one log: as in all others.
func (a *app) bookEnd(place Place, part *part) error {
	w := a.rep.Of(Whole)
	if !part.txn {
		w.fail("%s offset %d: a record outside of any transaction", place, part.marker)
		return nil
	}
	if part.outcome == Data {
		w.fail("%s offset %d: the transaction of %v is still open", place, part.records[0].Offset, part.id)
		return nil
	}
	w.saw(1, "parts of transactions")
	before, known := a.books.ends[part.id]
	if !known {
		w.saw(1, "transactions")
		a.books.ends[part.id] = part.outcome
	} else if before != part.outcome {
		w.fail("%s offset %d: the transaction of %v is %s here, and %s elsewhere", place, part.marker, part.id, part.outcome, before)
	}
	return nil
}

func (c Control) String() string { return [...]string{"open", "committed", "aborted"}[c] }

// epochs judges one partition of a changelog.
type epochs struct {
	app   *app
	place Place
	lane  int
	last  uint64
}

// take reads the position records and barriers of a committed transaction.
func (e *epochs) take(part *part) error {
	c := e.app.rep.Of(Epochs)
	for _, rec := range part.records {
		k, err := parseKey(rec.Key)
		if err != nil {
			return fmt.Errorf("%s offset %d: %w", e.place, rec.Offset, err)
		}
		if k.kind != kindPosition && k.kind != kindBarrier {
			continue
		}
		pos, err := parsePosition(rec.Value, k.kind)
		if err != nil {
			return fmt.Errorf("%s offset %d: %w", e.place, rec.Offset, err)
		}
		c.saw(1, "position records and barriers")
		if pos.Epoch < e.last {
			c.fail("%s offset %d: epoch %d of %s comes behind epoch %d", e.place, rec.Offset, pos.Epoch, pos.NodeName, e.last)
		}
		e.last = max(e.last, pos.Epoch)
		e.app.books.write(e, rec.Offset, &pos, part.seenMs, c)
	}
	return nil
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
	if a.books.noOffsets = !ok; !ok {
		a.rep.Of(Offsets).undecided("this Kafka has no topic of consumer groups")
		return nil
	}
	last := map[Place]int64{}
	return a.book(place, func(place Place, part *part) error {
		ours, err := a.offsetsIn(part)
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
				c.fail("%s: the offset of %s goes from %d to %d (%v)", a.ConsumerGroup, o.place, before, o.at, part.id)
			}
			last[o.place] = o.at
			if a.offsets[part.id] == nil {
				a.offsets[part.id] = map[Place]int64{}
			}
			a.offsets[part.id][o.place] = o.at
		}
		return nil
	})
}

// offsetsIn are those of the app's consumer group.
func (a *app) offsetsIn(part *part) (ours []offsetCommit, err error) {
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

// judgeSends holds the partials of each transaction of the first stage to the events that it has
// counted, and its sources to its positions.
func (a *app) judgeSends() error {
	m := a.rep.Of(Mapped)
	for q := range a.Partitions {
		err := a.book(Place{a.Repartition, q}, func(place Place, part *part) error {
			if part.outcome != Commit {
				return nil
			}
			if err := a.judgeSent(place, part); err != nil {
				return fmt.Errorf("%s offset %d: %w", place, part.records[0].Offset, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for place, g := range a.lost {
		if place.Topic == a.Repartition || place.Topic == a.Changelog {
			m.undecided("%s: offsets %d to %d were gone before the follower read them", place, g.from, g.to)
			return nil
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(a.sends), compareIDs) {
		m.saw(1, "transactions of a first stage")
		if a.sends[id] != 0 {
			m.fail("app %s: what %v has sent to the second stage is not what its events add up to", a.Name, id)
		}
	}
	return nil
}

// unread reports whether there are records of a changelog that nobody has read in time: perhaps
// position records.
func (a *app) unread() bool {
	for place := range a.lost {
		if place.Topic == a.Changelog {
			return true
		}
	}
	return false
}

func compareIDs(a, b txnID) int {
	if a.producer != b.producer {
		return int(min(max(a.producer-b.producer, -1), 1))
	}
	return int(a.epoch) - int(b.epoch)
}

func (a *app) judgeSent(place Place, part *part) error {
	named := false
	for i := range part.records {
		rec := &part.records[i]
		k, err := parseKey(rec.Key)
		if err != nil {
			return err
		}
		switch k.kind {
		case kindPartial:
			_, adds, err := partialOf(rec)
			if err != nil {
				return err
			}
			sum, err := printOf(string(k.group), adds)
			if err != nil {
				return err
			}
			a.sends[part.id] -= sum
		case kindSources:
			_, next, err := parseSources(rec.Value)
			if err != nil {
				return err
			}
			named = true
			var sum uint64
			for p, at := range next {
				sum += sourcePrint(p, at)
			}
			if _, known := a.moved[part.id]; sum != a.moved[part.id] && (known || !a.unread()) {
				a.rep.Of(Mapped).fail("%s offset %d: %v says that it is of the input up to %v, and that is not where its positions are",
					place, rec.Offset, part.id, next)
			}
		case kindBarrier:
			named = true
		}
	}
	if !named {
		a.rep.Of(Mapped).fail("%s offset %d: %v does not say what its partials are of", place, part.records[0].Offset, part.id)
	}
	return nil
}
