package state

import (
	"encoding/binary"
	"fmt"
)

// Kinds of keys that only the store has. A task's position is of KindPosition and a group's values
// are of KindValue, as in the changelog.
const (
	storeIdentity Kind = 'i' // whose state it is
	storeVerified Kind = 'm' // a mark: Verify passed
)

// A key of the store is: format, kind, stage, partition (big endian), then for values slot and
// group. So the order of keys is that of tasks, then of groups, and all positions sort before all
// values.
const (
	keyTask  = 7
	keyGroup = 8
)

func appendStoreKey(dst []byte, t Task, group []byte) []byte {
	dst = append(dst, format, byte(KindValue), t.Stage)
	dst = binary.BigEndian.AppendUint32(dst, uint32(t.Partition))
	return append(append(dst, slot), group...)
}

func storePositionKey(t Task) []byte {
	dst := []byte{format, byte(KindPosition), t.Stage}
	return binary.BigEndian.AppendUint32(dst, uint32(t.Partition))
}

func storeKey(k Kind) []byte { return []byte{format, byte(k)} }

// splitStoreKey takes a key of KindValue or KindPosition apart.
func splitStoreKey(key []byte) (t Task, group []byte, err error) {
	if err := checkFormat(key, "key in the store"); err != nil {
		return t, nil, err
	}
	known := Kind(key[1]) == KindPosition && len(key) == keyTask ||
		Kind(key[1]) == KindValue && len(key) >= keyGroup && key[keyTask] == slot
	if !known {
		return t, nil, fmt.Errorf("key %x in the store is not of a known shape", short(key))
	}
	t = Task{Stage: key[2], Partition: int32(binary.BigEndian.Uint32(key[3:]))}
	if Kind(key[1]) == KindValue {
		group = key[keyGroup:]
	}
	return t, group, nil
}

// after is the smallest key above all keys that begin with prefix, which is not all 0xFF: every key
// begins with the format.
func after(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xFF {
			end := append([]byte(nil), prefix[:i+1]...)
			end[i]++
			return end
		}
	}
	panic("state: a key cannot be all 0xFF")
}

// The stored form of a position is: format, kind, changelog offset (big endian), the record's JSON.
// A position without a record keeps its task in the JSON like any other.
const positionHead = 10

func encodeStorePosition(p Position) []byte {
	rec := encodeJSON(KindPosition, p.Record)
	b := make([]byte, 0, len(rec)+8)
	b = append(b, rec[:2]...)
	b = binary.BigEndian.AppendUint64(b, uint64(p.Changelog))
	return append(b, rec[2:]...)
}

// decodeStoreOffset reads only the changelog offset.
func decodeStoreOffset(b []byte) (int64, error) {
	if _, err := body(b, KindPosition, "position in the store"); err != nil {
		return 0, err
	}
	if len(b) < positionHead {
		return 0, fmt.Errorf("position in the store of %d bytes is too short", len(b))
	}
	return int64(binary.BigEndian.Uint64(b[2:])), nil
}

func decodeStorePosition(b []byte) (p Position, err error) {
	if p.Changelog, err = decodeStoreOffset(b); err != nil {
		return p, err
	}
	rec := append([]byte{format, byte(KindPosition)}, b[positionHead:]...)
	return p, decodeJSON(rec, KindPosition, "position in the store", &p.Record)
}
