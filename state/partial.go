package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// The kinds of records of the repartition topic; barriers are there too.
const (
	KindPartial Kind = 'r' // a group's increments of one transaction, folded together
	KindSources Kind = 's' // what the partials before it, of the same transaction, come from
)

// A Partial is what one transaction of the first stage has for one group. Its key names the group.
type Partial struct {
	Generation int
	Lane       int    // that sent it
	Newest     int64  // newest event time, ms; -1 for none
	Values     []byte // as the spec encodes them
}

// PartialKey appends the repartition key of a group.
func PartialKey(dst, group []byte) []byte {
	return append(append(dst, format, byte(KindPartial), 0, slot), group...)
}

// AppendPartial appends the value of a group's partial: format, kind, generation, lane, how long
// before the record's own timestamp its newest event was, values. The time is most of what two
// stages send to each other, unless it is as short as that.
func AppendPartial(dst []byte, p Partial, timestampMs int64) []byte {
	dst = appendSender(append(dst, format, byte(KindPartial)), p.Generation, p.Lane)
	return append(binary.AppendVarint(dst, timestampMs-p.Newest), p.Values...)
}

// DecodePartial takes the value of a partial apart, whose record has this timestamp; Values is a
// part of b.
func DecodePartial(b []byte, timestampMs int64) (p Partial, err error) {
	const what = "partial in the repartition topic"
	if b, err = body(b, KindPartial, what); err != nil {
		return p, err
	}
	if p.Generation, p.Lane, b, err = sender(b, what); err != nil {
		return p, err
	}
	before, n := binary.Varint(b)
	if n <= 0 {
		return p, fmt.Errorf("%s: its time cannot be read", what)
	}
	p.Newest, p.Values = timestampMs-before, b[n:]
	return p, nil
}

// Sources is the last record that a transaction of the first stage writes to a partition of the
// repartition topic: the next input offset of each input partition that the transaction moved. So
// who has read up to it knows which events are in the partials so far.
type Sources struct {
	Generation int
	Lane       int
	Next       map[int32]int64
}

// SourcesKey is the key of all Sources.
func SourcesKey() []byte { return []byte{format, byte(KindSources), 0} }

// EncodeSources returns the value: format, kind, generation, lane, then pairs of partition and
// offset in the order of partitions.
func EncodeSources(s Sources) []byte {
	b := appendSender([]byte{format, byte(KindSources)}, s.Generation, s.Lane)
	partitions := make([]int32, 0, len(s.Next))
	for p := range s.Next {
		partitions = append(partitions, p)
	}
	slices.Sort(partitions)
	for _, p := range partitions {
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(p)), uint64(s.Next[p]))
	}
	return b
}

// DecodeSources reads what EncodeSources has written.
func DecodeSources(b []byte) (s Sources, err error) {
	const what = "sources in the repartition topic"
	if b, err = body(b, KindSources, what); err != nil {
		return s, err
	}
	if s.Generation, s.Lane, b, err = sender(b, what); err != nil {
		return s, err
	}
	s.Next = map[int32]int64{}
	for last := int64(-1); len(b) > 0; {
		p, n := binary.Uvarint(b)
		next, m := binary.Uvarint(b[max(n, 0):])
		if n <= 0 || m <= 0 || p > 1<<31-1 || next > 1<<63-1 || int64(p) <= last {
			return s, fmt.Errorf("%s: its offsets cannot be read", what)
		}
		last = int64(p)
		s.Next[int32(p)], b = int64(next), b[n+m:]
	}
	return s, nil
}

func appendSender(dst []byte, generation, lane int) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, uint64(generation)), uint64(lane))
}

func sender(b []byte, what string) (generation, lane int, rest []byte, err error) {
	g, n := binary.Uvarint(b)
	l, m := binary.Uvarint(b[max(n, 0):])
	if n <= 0 || m <= 0 || g > 1<<31-1 || l > 1<<31-1 {
		return 0, 0, nil, fmt.Errorf("%s: its generation and lane cannot be read", what)
	}
	return int(g), int(l), b[n+m:], nil
}

// DecodeRepartitionKey takes a key of the repartition topic apart. The group is a part of key, nil
// for sources and barriers.
func DecodeRepartitionKey(key []byte) (kind Kind, group []byte, err error) {
	if err := checkFormat(key, "repartition key"); err != nil {
		return 0, nil, err
	}
	switch kind = Kind(key[1]); {
	case kind == KindPartial && len(key) >= keyHeadValue && key[2] == 0 && key[3] == slot:
		return kind, key[keyHeadValue:], nil
	case (kind == KindSources || kind == KindBarrier) && len(key) == keyHead:
		return kind, nil, nil
	}
	return 0, nil, fmt.Errorf("repartition key %x: %w", short(key), errRepartitionKey)
}

var errRepartitionKey = errors.New("not of a known shape")
