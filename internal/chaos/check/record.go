package check

import (
	"errors"
	"fmt"
	"io"
)

// Place is a partition of a topic.
type Place struct {
	Topic     string
	Partition int32
}

func (p Place) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.Partition) }

// Control says what a control record ends its producer's transaction with.
type Control byte

// The kinds of records: what a producer has sent, and the two markers.
const (
	Data Control = iota
	Commit
	Abort
)

// Header is a record's header.
type Header struct{ Key, Value string }

// Record is one record as its log has it: of a transaction that is open or was aborted too.
type Record struct {
	Offset     int64
	Producer   int64 // -1: without one
	Epoch      int16 // of the producer
	Txn        bool  // a part of a transaction
	Control    Control
	TimeMs     int64 // its timestamp
	SeenMs     int64 // when the follower had it; 0: it was read afterwards
	Key, Value []byte
	Headers    []Header
}

// header is the value of the last header of that name.
func (r *Record) header(name string) (value string, ok bool) {
	for _, h := range r.Headers {
		if h.Key == name {
			value, ok = h.Value, true
		}
	}
	return value, ok
}

// Reader reads a log from its beginning; Next returns io.EOF at its end. A record is the caller's.
type Reader interface {
	Next() (Record, error)
	Close() error
}

// Dump is what the topics held. A place that it does not have is an empty log.
type Dump interface {
	Open(Place) (Reader, error)
	// OffsetsOf is where the offsets of a consumer group are; not ok where nobody can read them.
	OffsetsOf(group string) (Place, bool)
}

// Memory is a dump of a test.
type Memory map[Place][]Record

// Open reads a log.
func (m Memory) Open(p Place) (Reader, error) { return &sliceReader{m[p]}, nil }

// OffsetsOf is one log for all consumer groups.
func (m Memory) OffsetsOf(string) (Place, bool) { return Place{OffsetsTopic, 0}, true }

type sliceReader struct{ left []Record }

func (r *sliceReader) Next() (Record, error) {
	if len(r.left) == 0 {
		return Record{}, io.EOF
	}
	rec := r.left[0]
	r.left = r.left[1:]
	return rec, nil
}

func (r *sliceReader) Close() error { return nil }

// txnID is a transaction: under transactions v2 each has an epoch of its own.
type txnID struct {
	producer int64
	epoch    int16
}

func (id txnID) String() string { return fmt.Sprintf("producer %d epoch %d", id.producer, id.epoch) }

// part is what one transaction has in one log; a record without a transaction is a part of its own.
type part struct {
	id      txnID
	txn     bool
	outcome Control // Commit or Abort; Data while it is open
	records []Record
	marker  int64 // its offset
	seenMs  int64 // of the marker
}

// parts reads a log's transactions in the order of their ends. A marker ends what its producer has
// open, whatever the marker's epoch is: it is one higher under transactions v2, and by a fence
// more.
type parts struct {
	place Place
	r     Reader
	next  int64 // offset
	open  map[int64]*part
	gaps  []gap
	count int64
}

// gap are offsets that nobody can read any more, or that never were.
type gap struct{ from, to int64 }

func openParts(d Dump, p Place) (*parts, error) {
	r, err := d.Open(p)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", p, err)
	}
	return &parts{place: p, r: r, open: map[int64]*part{}}, nil
}

func (s *parts) close() { _ = s.r.Close() }

// read gives the next part that has ended; nil at the end of the log.
func (s *parts) read() (*part, error) {
	for {
		rec, err := s.record()
		if err != nil || rec == nil {
			return nil, err
		}
		id := txnID{rec.Producer, rec.Epoch}
		switch {
		case rec.Control != Data:
			if ended := s.open[rec.Producer]; ended != nil {
				delete(s.open, rec.Producer)
				ended.outcome, ended.marker, ended.seenMs = rec.Control, rec.Offset, rec.SeenMs
				return ended, nil
			} // else: a marker where its transaction has written nothing
		case !rec.Txn:
			return &part{id: id, outcome: Commit, records: []Record{*rec}, marker: rec.Offset, seenMs: rec.SeenMs}, nil
		case s.open[rec.Producer] == nil:
			s.open[rec.Producer] = &part{id: id, txn: true, records: []Record{*rec}}
		default:
			of := s.open[rec.Producer]
			if of.id != id && s.holedSince(of) { // its marker is among what is missing
				s.open[rec.Producer] = &part{id: id, txn: true, records: []Record{*rec}}
				continue
			}
			if of.id != id {
				return nil, fmt.Errorf("%s offset %d: %v writes in the transaction of %v", s.place, rec.Offset, id, of.id)
			}
			of.records = append(of.records, *rec)
		}
	}
}

// holedSince reports whether records are missing behind those of a part.
func (s *parts) holedSince(of *part) bool {
	return len(s.gaps) > 0 && s.gaps[len(s.gaps)-1].to > of.records[len(of.records)-1].Offset
}

// record reads on, and notes offsets that are missing.
func (s *parts) record() (*Record, error) {
	rec, err := s.r.Next()
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s behind offset %d: %w", s.place, s.next, err)
	}
	if rec.Offset > s.next {
		s.gaps = append(s.gaps, gap{s.next, rec.Offset})
	}
	s.next = rec.Offset + 1
	s.count++
	return &rec, nil
}

// committed reads a log's committed records in the order of their offsets, as a read-committed
// consumer gets them.
type committed struct {
	*parts
	queue   []Record          // from the first offset that is not decided
	verdict map[int64]Control // of the offsets in queue
	over    bool
}

func openCommitted(d Dump, p Place) (*committed, error) {
	s, err := openParts(d, p)
	if err != nil {
		return nil, err
	}
	return &committed{parts: s, verdict: map[int64]Control{}}, nil
}

// read gives the next committed record; nil at the end, or at a transaction that is still open
// there.
func (c *committed) read() (*Record, error) {
	for {
		for len(c.queue) > 0 {
			rec := c.queue[0]
			outcome, known := c.verdict[rec.Offset]
			if !known {
				break
			}
			delete(c.verdict, rec.Offset)
			c.queue = c.queue[1:]
			if outcome == Commit {
				return &rec, nil
			}
		}
		if c.over {
			return nil, nil
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// fill reads one record, and decides what it decides.
func (c *committed) fill() error {
	rec, err := c.record()
	if err != nil {
		return err
	}
	if rec == nil {
		c.over = true
		return nil
	}
	switch {
	case rec.Control != Data:
		if of := c.open[rec.Producer]; of != nil {
			delete(c.open, rec.Producer)
			for i := range of.records {
				c.verdict[of.records[i].Offset] = rec.Control
			}
		}
		return nil
	case !rec.Txn:
		c.verdict[rec.Offset] = Commit
	case c.open[rec.Producer] == nil:
		c.open[rec.Producer] = &part{records: []Record{{Offset: rec.Offset}}}
	default:
		of := c.open[rec.Producer]
		of.records = append(of.records, Record{Offset: rec.Offset})
	}
	c.queue = append(c.queue, *rec)
	return nil
}
