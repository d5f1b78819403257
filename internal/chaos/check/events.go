package check

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// event is a record of a task's source: an input event, a partial, or sources.
type event struct {
	offset   int64
	readable bool
	items    []item
	lane     int // that sent it; of the second stage alone
	sources  map[int32]int64
	sum      uint64 // of one that cannot be read: of its key and its value
}

// events reads a task's source with one record of foresight.
type events struct {
	log   *committed
	parse func(*Record) *event // nil: no event
	head  *event
	count int64
}

func openEvents(c *column) (*events, error) {
	log, err := openCommitted(c.dump, c.source)
	if err != nil {
		return nil, err
	}
	e := &events{log: log, parse: c.inputEvent}
	if c.stage == 1 {
		e.parse = c.partialEvent
	}
	return e, nil
}

func (e *events) peek() (*event, error) {
	for e.head == nil {
		rec, err := e.log.read()
		if err != nil || rec == nil {
			return nil, err
		}
		e.head = e.parse(rec)
	}
	return e.head, nil
}

func (e *events) drop() { e.head, e.count = nil, e.count+1 }

func (c *column) inputEvent(rec *Record) *event {
	e := &event{offset: rec.Offset}
	if e.items, e.readable = c.spec.items(rec); !e.readable {
		e.sum = bytesSum(rec)
	}
	return e
}

// bytesSum is a sum of a record's key and value, where none is not as empty.
func bytesSum(rec *Record) uint64 {
	var all []byte
	for _, b := range [][]byte{rec.Key, rec.Value} {
		size := uint64(len(b)) + 1
		if b == nil {
			size = 0
		}
		all = append(binary.LittleEndian.AppendUint64(all, size), b...)
	}
	return xxhash.Sum64(all)
}

// partialEvent is none of what nobody can read; judgeSent says of that that it is wrong.
func (c *column) partialEvent(rec *Record) *event {
	k, err := parseKey(rec.Key)
	e := &event{offset: rec.Offset, readable: true}
	switch {
	case err != nil:
	case k.kind == kindPartial:
		var adds []decimal
		e.lane, adds, err = c.partialOf(rec)
		e.items = []item{{string(k.group), adds}}
	case k.kind == kindSources:
		e.lane, e.sources, err = parseSources(rec.Value)
	default: // a barrier
		return nil
	}
	if err != nil {
		return nil
	}
	return e
}

// partialOf reads a partial, which has all aggregates.
func (a *app) partialOf(rec *Record) (lane int, adds []decimal, err error) {
	lane, text, err := parsePartial(rec.Value)
	if err != nil {
		return 0, nil, err
	}
	if adds, err = decodeDecimals(text); err == nil && len(adds) != len(a.spec.sums) {
		err = fmt.Errorf("partial of %d values: %w", len(adds), errFormat)
	}
	return lane, adds, err
}

// byTxn finds the committed part of a transaction in a log whose transactions come in the same
// order as those of the changelog.
type byTxn struct {
	log   *parts
	ahead []*part
	over  bool
	each  func(*Record) // of every committed record, in order
	// free: positions are missing in the changelog since a part was found last. Those before the
	// next one that is found may be of these, however many they are.
	free    bool
	dropped int // so many were
}

// aheadMax bounds how many transactions are read on in the search for one: between two of a task
// there may be some that do not belong there, never so many, unless positions are missing.
const aheadMax = 64

func openByTxn(d Dump, p Place) (*byTxn, error) {
	log, err := openParts(d, p)
	if err != nil {
		return nil, err
	}
	return &byTxn{log: log}, nil
}

func (b *byTxn) close() { b.log.close() }

// take gives the transaction's part, or nil.
func (b *byTxn) take(id txnID) (*part, error) {
	for i := 0; ; i++ {
		if i == len(b.ahead) {
			if i >= aheadMax && !b.free || b.passed(id) {
				return nil, nil
			}
			if more, err := b.more(); err != nil || !more {
				return nil, err
			}
		}
		if part := b.ahead[i]; part.id == id {
			from := i
			if b.free {
				b.free, b.dropped, from = false, b.dropped+i, 0
			}
			b.ahead = slices.Delete(b.ahead, from, i+1)
			return part, nil
		}
	}
}

// passed reports whether the last part read is of a later transaction of the same producer.
func (b *byTxn) passed(id txnID) bool {
	n := len(b.ahead)
	return n > 0 && b.ahead[n-1].id.producer == id.producer && b.ahead[n-1].id.epoch > id.epoch
}

// more reads the next committed part.
func (b *byTxn) more() (bool, error) {
	for !b.over {
		part, err := b.log.read()
		if err != nil {
			return false, err
		}
		if part == nil {
			b.over = true
			break
		}
		if part.outcome != Commit {
			continue
		}
		if b.each != nil {
			for i := range part.records {
				b.each(&part.records[i])
			}
		}
		b.ahead = append(b.ahead, part)
		return true, nil
	}
	return false, nil
}

// left gives all that nobody has taken, and has not been dropped.
func (b *byTxn) left() ([]*part, error) {
	for {
		more, err := b.more()
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
	}
	if b.free {
		b.dropped, b.ahead = b.dropped+len(b.ahead), nil
	}
	return b.ahead, nil
}
