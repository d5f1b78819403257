package check

import (
	"cmp"
	"maps"
	"slices"
)

// judgeSends holds the partials of each transaction of the first stage to the events that it has
// counted, and its sources to its positions.
func (a *app) judgeSends() error {
	m := a.rep.Of(Mapped)
	for q := range a.Partitions {
		if err := a.walk(Place{a.Repartition, q}, a.judgeSent); err != nil {
			return err
		}
	}
	for place, d := range a.lost {
		if place.Topic == a.Repartition || place.Topic == a.Changelog {
			m.undecided("%s: offsets %d to %d were gone before the follower read them", place, d.first.from, d.first.to)
		}
	}
	unsure := 0
	for _, id := range slices.SortedFunc(maps.Keys(a.sends), compareIDs) {
		if a.unsure(id) {
			unsure++
			continue
		}
		m.saw(1, "transactions of a first stage")
		if a.sends[id] != 0 {
			m.fail("app %s: what %v has sent to the second stage is not what its events add up to", a.Name, id)
		}
	}
	if unsure > 0 {
		m.undecidedOf(int64(unsure), "transactions of a first stage",
			"app %s: of what %d transactions have sent to the second stage, or counted, a part may be gone", a.Name, unsure)
	}
	return nil
}

// unsure reports whether of what a transaction of the first stage has written a part may be among
// records that nobody has read: partials, or positions.
func (a *app) unsure(id txnID) bool {
	if a.vague[id] {
		return true
	}
	for place, d := range a.lost {
		lane, known := a.lanes[id.producer]
		switch {
		case place.Topic == a.Changelog && known && lane != int(place.Partition)%a.Lanes: // another's
		case place.Topic != a.Changelog && place.Topic != a.Repartition:
		case d.about(id):
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

// judgeSent looks at what a transaction has sent to the second stage. What nobody can read there is
// a failure of who has written it.
func (a *app) judgeSent(place Place, part *part) error {
	m, named := a.rep.Of(Mapped), false
	for i := range part.records {
		rec := &part.records[i]
		k, err := parseKey(rec.Key)
		switch {
		case err != nil:
		case k.kind == kindPartial:
			err = a.judgePartial(part.id, string(k.group), rec)
		case k.kind == kindSources:
			named = true
			err = a.judgeSources(place, part.id, rec)
		case k.kind == kindBarrier:
			named = true
		}
		if err != nil {
			m.fail("%s offset %d: %v", place, rec.Offset, err)
		}
	}
	if !named && !part.holed {
		m.fail("%s offset %d: %v does not say what its partials are of", place, part.records[0].Offset, part.id)
	}
	return nil
}

// judgePartial takes a partial from what its transaction had to send.
func (a *app) judgePartial(id txnID, group string, rec *Record) error {
	_, adds, err := a.partialOf(rec)
	if err != nil {
		return err
	}
	sum, err := printOf(group, adds)
	a.sends[id] -= sum
	return err
}

// judgeSources holds what a transaction says of its sources to its positions.
func (a *app) judgeSources(place Place, id txnID, rec *Record) error {
	_, next, err := parseSources(rec.Value)
	if err != nil {
		return err
	}
	var sum uint64
	for p, at := range next {
		sum += sourcePrint(p, at)
	}
	if sum != a.moved[id] && !a.unsure(id) {
		a.rep.Of(Mapped).fail("%s offset %d: %v says that it is of the input up to %v, and that is not where its positions are",
			place, rec.Offset, id, next)
	}
	return nil
}

// told is what the first of two stages has told the second: for each partition of the repartition
// topic and each of the input, what lies where there, in the order of offsets.
type told struct {
	inputs map[int32][]int64 // by partition of the input: where its transactions have ended
	by     map[toldOf][]toldAt
}

type toldOf struct{ repartition, input int32 }

// toldAt is a record of sources: what is before it in its transaction comes from the events below
// next.
type toldAt struct{ offset, next int64 }

func newTold() *told { return &told{inputs: map[int32][]int64{}, by: map[toldOf][]toldAt{}} }

// listTold reads all that was told.
func (a *app) listTold() error {
	for q := range a.Partitions {
		err := a.walk(Place{a.Repartition, q}, func(_ Place, part *part) error {
			for i := range part.records {
				rec := &part.records[i]
				if k, err := parseKey(rec.Key); err != nil || k.kind != kindSources {
					continue // judgeSent says so
				}
				_, next, err := parseSources(rec.Value)
				if err != nil {
					continue // it too
				}
				for p, at := range next {
					of := toldOf{q, p}
					a.told.by[of] = append(a.told.by[of], toldAt{rec.Offset, at})
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// behind gives, of the events of an input partition, an offset below which those are that the
// second stage may have with all below an offset of its own; not ok where it has all that there
// ever was.
func (t *told) behind(of toldOf, offset int64) (next int64, ok bool) {
	all := t.by[of]
	i, _ := slices.BinarySearchFunc(all, offset, func(x toldAt, offset int64) int { return cmp.Compare(x.offset, offset) })
	if i == len(all) {
		return 0, false
	}
	return all[i].next, true
}

// began is where the transaction begins that has the events of an input partition below next.
func (a *app) began(p int32, next int64) int64 {
	all := a.told.inputs[p]
	i, known := slices.BinarySearch(all, next)
	if _, lost := a.lost[Place{a.Changelog, p}]; lost || !known || i == 0 {
		return next - 1 // at least that one is of it
	}
	return all[i-1]
}
