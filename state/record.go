package state

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// format is the format byte with which every key and value begins, here and in the changelog. A
// reader refuses a larger one: what it does not know it must not count.
const format byte = 1

// formatMax is the last one that there will be: what begins with a letter is foreign.
const formatMax byte = 31

// Kind is the second byte of every key and value.
type Kind byte

// The kinds of changelog records.
const (
	KindValue    Kind = 'v'
	KindPosition Kind = 'p'
	KindBarrier  Kind = 'b'
)

// slot is the time slot of every key of this format: windows will need others.
const slot byte = 0

// ErrNewer marks a record or a store whose format this build does not know.
var ErrNewer = errors.New("written by a newer tally")

// A changelog key is: format, kind, stage; a value's key goes on with its slot and group. The
// partition is the changelog partition's own.
const (
	keyHead      = 3
	keyHeadValue = 4
)

// ValueKey appends the changelog key of a group's values.
func ValueKey(dst []byte, t Task, group []byte) []byte {
	return append(append(dst, format, byte(KindValue), t.Stage, slot), group...)
}

// PositionKey is the changelog key of a task's position record: one key, so that compaction keeps
// the last record.
func PositionKey(t Task) []byte { return []byte{format, byte(KindPosition), t.Stage} }

// BarrierKey is the changelog key of a task's barriers. It differs from PositionKey, or compaction
// would drop the position record below a barrier.
func BarrierKey(t Task) []byte { return []byte{format, byte(KindBarrier), t.Stage} }

// DecodeKey takes a changelog key apart. The group is a part of key, nil for kinds without one.
func DecodeKey(key []byte) (kind Kind, stage uint8, group []byte, err error) {
	if err := checkFormat(key, "changelog key"); err != nil {
		return 0, 0, nil, err
	}
	kind = Kind(key[1])
	switch {
	case kind == KindValue && len(key) >= keyHeadValue:
		if key[3] != slot {
			return 0, 0, nil, fmt.Errorf("changelog key %x: time slot %d is unknown", short(key), key[3])
		}
		return kind, key[2], key[keyHeadValue:], nil
	case (kind == KindPosition || kind == KindBarrier) && len(key) == keyHead:
		return kind, key[2], nil, nil
	}
	return 0, 0, nil, fmt.Errorf("changelog key %x is not of a known shape", short(key))
}

// AppendValue appends a group's values as they are stored: format, kind, values.
func AppendValue(dst, values []byte) []byte {
	return append(append(dst, format, byte(KindValue)), values...)
}

// DecodeValue returns the values in b, which are a part of it.
func DecodeValue(b []byte) ([]byte, error) { return body(b, KindValue, "value") }

// EncodePosition returns a position record: format, kind, JSON.
func EncodePosition(p PositionRecord) []byte { return encodeJSON(KindPosition, p) }

// DecodePosition reads a position record.
func DecodePosition(b []byte) (p PositionRecord, err error) {
	err = decodeJSON(b, KindPosition, "position record", &p)
	if err == nil && p.AppID == "" {
		err = errors.New("position record has no app_id")
	}
	return p, err
}

// EncodeBarrier returns a barrier: format, kind, JSON.
func EncodeBarrier(b Barrier) []byte { return encodeJSON(KindBarrier, b) }

// DecodeBarrier reads a barrier.
func DecodeBarrier(b []byte) (r Barrier, err error) {
	err = decodeJSON(b, KindBarrier, "barrier", &r)
	return r, err
}

// Hash is a group's share of its task's digest. The length before the group keeps (ab, c) and (a,
// bc) apart.
func Hash(group, values []byte) uint64 {
	var d xxhash.Digest
	var n [8]byte
	d.Reset()
	binary.LittleEndian.PutUint64(n[:], uint64(len(group)))
	_, _ = d.Write(n[:])
	_, _ = d.Write(group)
	_, _ = d.Write(values)
	return d.Sum64()
}

func encodeJSON(kind Kind, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("state: a %T is always JSON: %v", v, err))
	}
	return append([]byte{format, byte(kind)}, b...)
}

func decodeJSON(b []byte, kind Kind, what string, v any) error {
	b, err := body(b, kind, what)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if dec.InputOffset() != int64(len(b)) {
		return fmt.Errorf("%s: %d bytes follow its JSON", what, int64(len(b))-dec.InputOffset())
	}
	return nil
}

// body checks the two bytes before a value.
func body(b []byte, kind Kind, what string) ([]byte, error) {
	if err := checkFormat(b, what); err != nil {
		return nil, err
	}
	if b[1] != byte(kind) {
		return nil, fmt.Errorf("%s: kind is %q, want %q", what, b[1], byte(kind))
	}
	return b[2:], nil
}

func checkFormat(b []byte, what string) error {
	switch {
	case len(b) < 2:
		return fmt.Errorf("%s of %d bytes is too short", what, len(b))
	case b[0] > format && b[0] <= formatMax:
		return fmt.Errorf("%s has format %d and this tally knows up to %d: %w: run the newer version here",
			what, b[0], format, ErrNewer)
	case b[0] != format:
		return fmt.Errorf("%s has format %d, which tally never has", what, b[0])
	}
	return nil
}

// short cuts what an error message shows of a key.
func short(b []byte) []byte { return b[:min(len(b), 32)] }
