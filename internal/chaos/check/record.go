package check

import (
	"errors"
	"fmt"
	"io"
	"slices"
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
	endMs   int64 // when the broker wrote the marker
	seenMs  int64 // of the marker
	// holed: records are missing between its first one and its marker, perhaps of its own.
	holed bool
}

// last is the offset of the last record.
func (p *part) last() int64 { return p.records[len(p.records)-1].Offset }

// parts reads a log's transactions in the order of their ends. A marker ends what its producer has
// open, whatever the marker's epoch is: it is one higher under transactions v2, and by a fence
// more. Only where records are missing behind what is open it may be the marker of a later one.
type parts struct {
	place Place
	r     Reader
	next  int64 // offset
	open  map[int64]*part
	gaps  []gap
	torn  []string // transactions that no marker has ended before their producer's next one
	count int64
}

// gap are offsets that nobody can read any more, or that never were.
type gap struct{ from, to int64 }

func openParts(d Dump, p Place) (*parts, error) {
	r, err := d.Open(p)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", p, err)
	}
	return partsOf(p, r), nil
}

func partsOf(p Place, r Reader) *parts { return &parts{place: p, r: r, open: map[int64]*part{}} }

func (s *parts) close() { _ = s.r.Close() }

// read gives the next part that has ended; nil at the end of the log.
func (s *parts) read() (*part, error) {
	for {
		rec, err := s.record()
		if err != nil || rec == nil {
			return nil, err
		}
		id := txnID{rec.Producer, rec.Epoch}
		of := s.open[rec.Producer]
		switch {
		case rec.Control != Data:
			if of == nil { // its transaction has written nothing here
				continue
			}
			delete(s.open, rec.Producer)
			if !s.holedBehind(of.last()) || rec.Epoch <= of.id.epoch+1 {
				of.holed = s.holedBehind(of.records[0].Offset)
				of.outcome, of.marker, of.endMs, of.seenMs = rec.Control, rec.Offset, rec.TimeMs, rec.SeenMs
				return of, nil
			} // else its own is among what is missing
		case !rec.Txn:
			return &part{id: id, outcome: Commit, records: []Record{*rec}, marker: rec.Offset, seenMs: rec.SeenMs}, nil
		case of != nil && of.id == id:
			of.records = append(of.records, *rec)
		default:
			if of != nil && !s.holedBehind(of.last()) { // else its marker is among what is missing
				s.torn = append(s.torn, fmt.Sprintf("%s offset %d: %v writes before the transaction of %v is ended", s.place, rec.Offset, id, of.id))
			}
			s.open[rec.Producer] = &part{id: id, txn: true, records: []Record{*rec}}
		}
	}
}

// holedBehind reports whether records are missing behind an offset.
func (s *parts) holedBehind(offset int64) bool {
	return len(s.gaps) > 0 && s.gaps[len(s.gaps)-1].to > offset
}

// lacks reports whether offsets from one up to another are missing.
func (s *parts) lacks(from, to int64) bool {
	return slices.ContainsFunc(s.gaps, func(g gap) bool { return g.from < to && from < g.to })
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
