package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The repartition topic's format, as documented: keys begin with format, kind and a zero; a
// partial's key goes on with a slot and the group. A partial's value is format, kind, generation,
// lane (uvarints), its newest event's time (varint), and values. The value of sources is format,
// kind, generation, lane, and pairs of input partition and next offset (uvarints), by partition.
const (
	kindPartial = 'r'
	kindSources = 's'
)

// parseSentKey takes a key of the repartition topic apart; group is nil for kinds without one.
func parseSentKey(key []byte) (kind byte, group []byte, err error) {
	if len(key) < 3 || key[0] != changelogFormat {
		return 0, nil, fmt.Errorf("the key %.32x is not of a format that this audit knows", key)
	}
	switch kind = key[1]; {
	case kind == kindPartial && len(key) > 4 && key[2] == 0 && key[3] == changelogSlot:
		return kind, key[4:], nil
	case kind == kindSources && key[2] == 0 && len(key) == 3, kind == kindBarrier && key[2] <= secondStage && len(key) == 3:
		return kind, nil, nil
	}
	return 0, nil, fmt.Errorf("the key %.32x is not of a known shape", key)
}

var errSent = errors.New("a record of the repartition topic that cannot be read")

// parseSender takes the beginning of a partial or of sources off: of which generation it is.
func parseSender(value []byte, kind byte) (generation int64, rest []byte, err error) {
	rest, err = parseBody(value, kind)
	if err != nil {
		return 0, nil, err
	}
	g, rest, ok := uvarint(rest)
	if ok {
		_, rest, ok = uvarint(rest) // the lane
	}
	if !ok {
		return 0, nil, errSent
	}
	return g, rest, nil
}

// parsePartial gives the values of a partial.
func parsePartial(value []byte) (generation int64, values []byte, err error) {
	generation, rest, err := parseSender(value, kindPartial)
	if err != nil {
		return 0, nil, err
	}
	_, n := binary.Varint(rest)
	if n <= 0 {
		return 0, nil, errSent
	}
	return generation, rest[n:], nil
}

// parseSources gives the next offset of each input partition.
func parseSources(value []byte) (generation int64, next map[int32]int64, err error) {
	generation, rest, err := parseSender(value, kindSources)
	if err != nil {
		return 0, nil, err
	}
	next = map[int32]int64{}
	for last := int64(-1); len(rest) > 0; {
		var p, at int64
		var ok bool
		if p, rest, ok = uvarint(rest); ok {
			at, rest, ok = uvarint(rest)
		}
		if !ok || p <= last || p > 1<<31-1 {
			return 0, nil, errSent
		}
		last, next[int32(p)] = p, at
	}
	return generation, next, nil
}

func uvarint(b []byte) (v int64, rest []byte, ok bool) {
	u, n := binary.Uvarint(b)
	if n <= 0 || u > 1<<63-1 {
		return 0, nil, false
	}
	return int64(u), b[n:], true
}
