package audit

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kgo"
)

// letter is the dead letter of one event.
type letter struct {
	offset int64  // in the dead-letter topic
	sum    uint64 // of the event's key and value
	told   bool   // the letter alone can say why: the event can be read
}

// The reasons of letters of events that can be read.
const (
	reasonRefused = "output: refused by the broker"
	reasonLarge   = "group: its record may need"
)

// readDead takes the dead letters, by the offset of their events.
func (a *audit) readDead(ctx context.Context) error {
	a.letters = a.table("dead", func(dst, key, older, newer []byte) ([]byte, error) {
		p, event := parseEventKey(key)
		a.found.add(Difference{Kind: DeadDoubled, Topic: a.dead.Name, Partition: p, Offset: parseLetter(newer).offset,
			Why: fmt.Sprintf("a second dead letter of the event %s/%d offset %d; the first is at offset %d", a.input.Name, p, event, parseLetter(older).offset)})
		return append(dst, older...), nil
	})
	if a.dead.Name == "" {
		return nil
	}
	starts, err := a.admin.StartOffsets(ctx, a.dead.Name)
	if err != nil {
		return err
	}
	total := int64(0)
	for _, t := range a.running() {
		total += t.deadEnd - starts[t.partition]
	}
	a.meter.begin(a.dead.Name, total)
	var key, entry []byte
	for _, t := range a.running() {
		if starts[t.partition] > 0 {
			a.deadCut = append(a.deadCut, t.partition)
			a.cannot("the dead letters of %s/%d below offset %d are deleted", a.dead.Name, t.partition, starts[t.partition])
		}
		err := a.read(ctx, a.dead.Name, t.partition, starts[t.partition], t.deadEnd, func(r *kgo.Record) error {
			a.records["dead"]++
			event, err := a.eventOf(r)
			if err != nil {
				a.found.add(Difference{Kind: DeadForeign, Topic: a.dead.Name, Partition: r.Partition, Offset: r.Offset, Why: err.Error()})
				return nil
			}
			if event >= a.readTo(t) {
				return nil // of a transaction after the cut
			}
			key, entry = eventKey(key[:0], r.Partition, event), appendLetter(entry[:0], r)
			return a.letters.put(key, entry)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// eventOf is the offset of the event that a dead letter is of.
func (a *audit) eventOf(r *kgo.Record) (int64, error) {
	if err := a.wrongGeneration(r); err != nil {
		return 0, err
	}
	topic, _ := header(r, "topic")
	partition, _ := header(r, "partition")
	text, _ := header(r, "offset")
	offset, err := strconv.ParseInt(text, 10, 64)
	if err != nil || offset < 0 || topic != a.input.Name || partition != strconv.Itoa(int(r.Partition)) {
		return 0, fmt.Errorf("a record whose headers name %s/%s offset %q, which is no event of %s/%d", topic, partition, text, a.input.Name, r.Partition)
	}
	return offset, nil
}

func eventKey(dst []byte, partition int32, offset int64) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(partition))
	return binary.BigEndian.AppendUint64(dst, uint64(offset))
}

func parseEventKey(key []byte) (partition int32, offset int64) {
	return int32(binary.BigEndian.Uint32(key)), int64(binary.BigEndian.Uint64(key[4:]))
}

func appendLetter(dst []byte, r *kgo.Record) []byte {
	reason, _ := header(r, "error")
	told := byte(0)
	if strings.HasPrefix(reason, reasonRefused) || strings.HasPrefix(reason, reasonLarge) {
		told = 1
	}
	dst = binary.BigEndian.AppendUint64(append(dst, told), uint64(r.Offset))
	return binary.BigEndian.AppendUint64(dst, eventSum(r.Key, r.Value))
}

func parseLetter(b []byte) letter {
	return letter{told: b[0] == 1, offset: int64(binary.BigEndian.Uint64(b[1:])), sum: binary.BigEndian.Uint64(b[9:])}
}

// eventSum tells events with another key or value apart; null is not empty.
func eventSum(key, value []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	for _, b := range [][]byte{key, value} {
		n := uint64(len(b)) + 1
		if b == nil {
			n = 0
		}
		_, _ = d.Write(binary.LittleEndian.AppendUint64(nil, n))
		_, _ = d.Write(b)
	}
	return d.Sum64()
}

// letterCursor walks through the letters beside the events.
type letterCursor struct {
	a *audit
	s *stream
}

// next gives the letter of an event. Letters that are passed over are of no event.
func (c *letterCursor) next(partition int32, offset int64) (letter, bool, error) {
	for c.s.ok {
		p, event := parseEventKey(c.s.key)
		order := cmp.Or(cmp.Compare(p, partition), cmp.Compare(event, offset))
		if order > 0 {
			return letter{}, false, nil
		}
		l := parseLetter(c.s.value)
		if err := c.s.next(); err != nil {
			return letter{}, false, err
		}
		if order == 0 {
			return l, true, nil
		}
		if c.a.task(p).decidable() {
			c.a.found.add(Difference{Kind: DeadExtra, Topic: c.a.dead.Name, Partition: p, Offset: l.offset,
				Why: fmt.Sprintf("a dead letter of %s/%d offset %d, where no counted event is", c.a.input.Name, p, event)})
		}
	}
	return letter{}, false, nil
}
