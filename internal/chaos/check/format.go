package check

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// The kinds of keys: the second byte, behind the format.
const (
	kindValue    = 'v'
	kindPosition = 'p'
	kindBarrier  = 'b'
	kindPartial  = 'r'
	kindSources  = 's'

	formatKnown = 1
)

var errFormat = errors.New("not as the formats say")

// key is a key of the changelog or of the repartition topic.
type key struct {
	kind  byte
	stage uint8
	group []byte // encoded; of values and partials alone
}

func parseKey(b []byte) (k key, err error) {
	if len(b) < 3 || b[0] != formatKnown {
		return k, fmt.Errorf("key %x: %w", b, errFormat)
	}
	k = key{kind: b[1], stage: b[2]}
	switch k.kind {
	case kindValue, kindPartial:
		if len(b) < 4 || b[3] != 0 {
			return k, fmt.Errorf("key %x: %w", b, errFormat)
		}
		k.group = b[4:]
	case kindPosition, kindBarrier, kindSources:
		if len(b) != 3 {
			return k, fmt.Errorf("key %x: %w", b, errFormat)
		}
	default:
		return k, fmt.Errorf("key %x: %w", b, errFormat)
	}
	return k, nil
}

// valueOf is what is behind the two bytes that every value begins with.
func valueOf(b []byte, kind byte) ([]byte, error) {
	if len(b) < 2 || b[0] != formatKnown || b[1] != kind {
		return nil, fmt.Errorf("value %.20x: %w", b, errFormat)
	}
	return b[2:], nil
}

// position is a position record, or a barrier, as far as the checks read it.
type position struct {
	Stage           uint8           `json:"stage"`
	Partition       int32           `json:"partition"`
	AppID           string          `json:"app_id"`
	Generation      int             `json:"generation"`
	TransactionalID string          `json:"transactional_id"`
	NodeName        string          `json:"node_name"`
	Incarnation     string          `json:"incarnation"`
	Epoch           uint64          `json:"epoch"`
	Txn             uint64          `json:"txn"`
	Start           int64           `json:"start"`
	Input           int64           `json:"input"`
	Processed       int64           `json:"processed"`
	Filtered        int64           `json:"filtered"`
	Skipped         int64           `json:"skipped"`
	Dead            int64           `json:"dead"`
	Gaps            int64           `json:"gaps"`
	Sources         map[int32]int64 `json:"sources"`
	Midway          []int           `json:"midway"`
	Groups          int64           `json:"groups"`
	Digest          uint64          `json:"digest,string"`

	made bool // of what else its transaction has written: the record itself is lost
}

func parsePosition(b []byte, kind byte) (p position, err error) {
	if b, err = valueOf(b, kind); err != nil {
		return p, err
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return p, fmt.Errorf("%s: %w", b, err)
	}
	return p, nil
}

// parsePartial gives the lane that sent a partial, and its values.
func parsePartial(b []byte) (lane int, values []byte, err error) {
	if b, err = valueOf(b, kindPartial); err != nil {
		return 0, nil, err
	}
	lane, b, err = parseSender(b)
	if err != nil {
		return 0, nil, err
	}
	_, n := binary.Varint(b) // how much older than its record its newest event is
	if n <= 0 {
		return 0, nil, fmt.Errorf("partial: %w", errFormat)
	}
	return lane, b[n:], nil
}

// parseSources gives the next offset of each input partition that the partials before it go up to.
func parseSources(b []byte) (lane int, next map[int32]int64, err error) {
	if b, err = valueOf(b, kindSources); err != nil {
		return 0, nil, err
	}
	if lane, b, err = parseSender(b); err != nil {
		return 0, nil, err
	}
	next = map[int32]int64{}
	for len(b) > 0 {
		p, n := binary.Uvarint(b)
		at, m := binary.Uvarint(b[max(n, 0):])
		if n <= 0 || m <= 0 {
			return 0, nil, fmt.Errorf("sources: %w", errFormat)
		}
		next[int32(p)], b = int64(at), b[n+m:]
	}
	return lane, next, nil
}

func parseSender(b []byte) (lane int, rest []byte, err error) {
	_, n := binary.Uvarint(b) // the generation
	l, m := binary.Uvarint(b[max(n, 0):])
	if n <= 0 || m <= 0 {
		return 0, nil, fmt.Errorf("sender: %w", errFormat)
	}
	return int(l), b[n+m:], nil
}

// offsetCommit is one record of the consumer groups' topic.
type offsetCommit struct {
	group string
	place Place
	at    int64 // -1: the offset was deleted
}

// parseOffset reads a record of __consumer_offsets; ok is false for one of another kind.
func parseOffset(rec Record) (c offsetCommit, ok bool, err error) {
	b := rec.Key
	if len(b) < 2 || binary.BigEndian.Uint16(b) > 1 {
		return c, false, nil
	}
	b = b[2:]
	if c.group, b, err = kafkaString(b); err != nil {
		return c, false, err
	}
	if c.place.Topic, b, err = kafkaString(b); err != nil {
		return c, false, err
	}
	if len(b) != 4 {
		return c, false, fmt.Errorf("key %x of an offset: %w", rec.Key, errFormat)
	}
	c.place.Partition = int32(binary.BigEndian.Uint32(b))
	if rec.Value == nil {
		c.at = -1
		return c, true, nil
	}
	if len(rec.Value) < 10 {
		return c, false, fmt.Errorf("value %x of an offset: %w", rec.Value, errFormat)
	}
	c.at = int64(binary.BigEndian.Uint64(rec.Value[2:])) // behind the version, in all of them
	return c, true, nil
}

func kafkaString(b []byte) (string, []byte, error) {
	if len(b) < 2 || len(b) < 2+int(binary.BigEndian.Uint16(b)) {
		return "", nil, fmt.Errorf("string in the key of an offset: %w", errFormat)
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	return string(b[2:n]), b[n:], nil
}

// offsetsPartition is where a consumer group's offsets are: by Java's hash of its name.
func offsetsPartition(group string, partitions int32) int32 {
	var h int32
	for _, c := range group {
		h = 31*h + c
	}
	return (h & 0x7fffffff) % partitions
}

// The tags of the parts of an encoded group that workloads have. Everywhere in the checks a group
// is its encoding, as the changelog has it: a part after another, a text with its end 00 01, and 00
// ff for a 00 in it.
const (
	tagNull   = 0x10
	tagString = 0x40
)

// encodeGroup encodes texts; a nil one is null.
func encodeGroup(parts ...[]byte) string {
	var out []byte
	for _, p := range parts {
		if p == nil {
			out = append(out, tagNull)
			continue
		}
		out = append(out, tagString)
		for _, c := range p {
			if out = append(out, c); c == 0 {
				out = append(out, 0xff)
			}
		}
		out = append(out, 0, 1)
	}
	return string(out)
}

// groupFromJSON encodes a JSON array of texts and nulls.
func groupFromJSON(text string) (string, error) {
	parts, err := partsFromJSON(text)
	return encodeGroup(parts...), err
}

// partsFromJSON gives what is in one; a null is nil.
func partsFromJSON(text string) (raw [][]byte, err error) {
	var parts []*string
	if err := json.Unmarshal([]byte(text), &parts); err != nil {
		return nil, fmt.Errorf("group %s: %w", text, err)
	}
	raw = make([][]byte, len(parts))
	for i, p := range parts {
		if p != nil {
			raw[i] = append([]byte{}, *p...)
		}
	}
	return raw, nil
}

// show makes the JSON array of an encoded group, for people.
func show(group string) string {
	out := []byte{'['}
	for at := []byte(group); len(at) > 0; {
		if len(out) > 1 {
			out = append(out, ',')
		}
		text, rest, err := groupString(at)
		switch {
		case at[0] == tagNull:
			out, at = append(out, "null"...), at[1:]
		case at[0] != tagString || err != nil:
			return fmt.Sprintf("%x", group)
		default:
			out, at = strconv.AppendQuote(out, string(text)), rest
		}
	}
	return string(append(out, ']'))
}

// groupString reads behind the tag up to the end.
func groupString(b []byte) (text, rest []byte, err error) {
	for i := 1; i+1 < len(b); i++ {
		switch {
		case b[i] != 0:
			text = append(text, b[i])
		case b[i+1] == 0x01:
			return text, b[i+2:], nil
		case b[i+1] == 0xff:
			text, i = append(text, 0), i+1
		default:
			return nil, nil, errFormat
		}
	}
	return nil, nil, errFormat
}
