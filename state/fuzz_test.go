package state

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
)

// seeds are the records of all formats that there was, and a few that are broken.
func seeds(f *testing.F, add func(key, value []byte)) {
	f.Helper()
	eachLine(f, "../testdata/formats/v1/changelog.jsonl", func(line []byte) {
		var r struct{ Key, Value json.RawMessage }
		must(f, json.Unmarshal(line, &r))
		add(unwire(f, r.Key), unwire(f, r.Value))
	})
	for _, s := range []string{"", "\x01", "\x01v", "\x01v\x00", "\x01v\x00\x00", "\x01v\x00\x01g", "\x02v\x00\x00g", "\x00v\x00\x00g", "\x01p\x00x",
		"\x01x\x00", `{"stage":256}`, "\x01p{}", "\x01p{\"app_id\":\"a\"} ", "\x01p{\"app_id\":\"a\",\"digest\":\"-1\"}", "\x01bnull", "\x01i[]"} {
		add([]byte(s), []byte(s))
	}
}

// FuzzDecodeKey: a key that is taken is the one way to write what it says, in the changelog and in
// the store.
func FuzzDecodeKey(f *testing.F) {
	seeds(f, func(key, _ []byte) { f.Add(key) })
	f.Fuzz(func(t *testing.T, key []byte) {
		if kind, stage, group, err := DecodeKey(key); err == nil {
			task := Task{Stage: stage, Partition: 7}
			again := map[Kind]func() []byte{
				KindValue:    func() []byte { return ValueKey(nil, task, group) },
				KindPosition: func() []byte { return PositionKey(task) },
				KindBarrier:  func() []byte { return BarrierKey(task) },
			}[kind]
			if again == nil || !bytes.Equal(again(), key) {
				t.Fatalf("%x is taken for kind %c, stage %d, group %x", key, kind, stage, group)
			}
			stored, group2, err := splitStoreKey(appendStoreKey(nil, task, group))
			if err != nil || stored != task || !bytes.Equal(group2, group) {
				t.Fatalf("%x in the store is %v %x, %v", group, stored, group2, err)
			}
		}
		if task, group, err := splitStoreKey(key); err == nil {
			again := storePositionKey(task)
			if Kind(key[1]) == KindValue {
				again = appendStoreKey(nil, task, group)
			}
			if !bytes.Equal(again, key) {
				t.Fatalf("the store's key %x is taken for %v %x", key, task, group)
			}
		}
	})
}

// FuzzDecodeValue: what is taken of a changelog's or a store's value is written again as it was,
// but for the JSON's order, spaces and fields that are not known.
func FuzzDecodeValue(f *testing.F) {
	seeds(f, func(_, value []byte) { f.Add(value) })
	f.Add(encodeIdentity(testIdentity))
	f.Add(encodeStorePosition(Position{Record: PositionRecord{Task: Task{Partition: 3}, AppID: "a"}, Changelog: 1 << 40}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := DecodeValue(b); err == nil && !bytes.Equal(AppendValue(nil, v), b) {
			t.Fatalf("%x is taken for the values %x", b, v)
		}
		if p, err := DecodePosition(b); err == nil {
			again, err := DecodePosition(EncodePosition(p))
			if err != nil || !reflect.DeepEqual(again, p) {
				t.Fatalf("%q: %+v became %+v, %v", b, p, again, err)
			}
		}
		if r, err := DecodeBarrier(b); err == nil {
			if again, err := DecodeBarrier(EncodeBarrier(r)); err != nil || again != r {
				t.Fatalf("%q: %+v became %+v, %v", b, r, again, err)
			}
		}
		if i, err := decodeIdentity(b); err == nil {
			if again, err := decodeIdentity(encodeIdentity(i)); err != nil || again != i {
				t.Fatalf("%q: %+v became %+v, %v", b, i, again, err)
			}
		}
		if p, err := decodeStorePosition(b); err == nil {
			again, err := decodeStorePosition(encodeStorePosition(p))
			if err != nil || !reflect.DeepEqual(again, p) {
				t.Fatalf("%q: %+v became %+v, %v", b, p, again, err)
			}
		}
	})
}
