package state

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The golden bytes pin the format: changelogs that hold them outlive this build.
func TestGoldenBytes(t *testing.T) {
	task := Task{Stage: 1, Partition: 0x01020304}
	pos := PositionRecord{
		Task: Task{Stage: 0, Partition: 3}, AppID: "a1", Generation: 2, InputTopicID: "in", ChangelogTopicID: "cl",
		Fingerprint: "fp", Spec: "app: x\n", Lanes: 4, Partitions: 8, TransactionalID: "x.lane-3", ClusterID: "c",
		Node: "n", NodeName: "name", Incarnation: "i", Epoch: 7, Txn: 9, AtMs: 11, Start: 5, Input: 25,
		Processed: 17, Filtered: 1, Skipped: 1, Dead: 1, Strays: 2, Groups: 4, Digest: 1<<64 - 1,
		Hints: Hints{Murmur2: 1, Example: []byte{0xFF}},
	}
	bar := Barrier{Task: Task{Partition: 3}, AppID: "a1", Generation: 2, ClusterID: "c", Node: "n", NodeName: "name",
		Incarnation: "i", Epoch: 7, AtMs: 11}
	posJSON := `{"stage":0,"partition":3,"app_id":"a1","generation":2,"input_topic_id":"in","changelog_topic_id":"cl",` +
		`"fingerprint":"fp","spec":"app: x\n","lanes":4,"partitions":8,"transactional_id":"x.lane-3","cluster_id":"c",` +
		`"node":"n","node_name":"name","incarnation":"i","epoch":7,"txn":9,"at_ms":11,"start":5,"input":25,` +
		`"processed":17,"filtered":1,"skipped":1,"dead":1,"strays":2,"groups":4,"digest":"18446744073709551615",` +
		`"hints":{"murmur2":1,"example":"/w=="}}`
	barJSON := `{"stage":0,"partition":3,"app_id":"a1","generation":2,"cluster_id":"c","node":"n","node_name":"name",` +
		`"incarnation":"i","epoch":7,"at_ms":11}`
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"value key", ValueKey([]byte("+"), task, []byte("g")), "+\x01v\x01\x00g"},
		{"position key", PositionKey(task), "\x01p\x01"},
		{"barrier key", BarrierKey(task), "\x01b\x01"},
		{"value", AppendValue([]byte("+"), []byte("xyz")), "+\x01vxyz"},
		{"position record", EncodePosition(pos), "\x01p" + posJSON},
		{"barrier", EncodeBarrier(bar), "\x01b" + barJSON},
		{"store value key", appendStoreKey(nil, task, []byte("g")), "\x01v\x01\x01\x02\x03\x04\x00g"},
		{"store position key", storePositionKey(task), "\x01p\x01\x01\x02\x03\x04"},
		{"store position", encodeStorePosition(Position{Record: pos, Changelog: 0x0102}),
			"\x01p\x00\x00\x00\x00\x00\x00\x01\x02" + posJSON},
	} {
		if string(c.got) != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.name, c.got, c.want)
		}
	}
	if h := Hash([]byte("ab"), []byte("c")); h != 0x4b60798139549d1d {
		t.Errorf("Hash is %#x", h)
	}
	if Hash([]byte("ab"), []byte("c")) == Hash([]byte("a"), []byte("bc")) {
		t.Error("Hash does not keep group and values apart")
	}
	got, err := DecodePosition(EncodePosition(pos))
	if err != nil || !reflect.DeepEqual(got, pos) {
		t.Errorf("position record came back as %+v, %v", got, err)
	}
	gotBar, err := DecodeBarrier(EncodeBarrier(bar))
	if err != nil || gotBar != bar {
		t.Errorf("barrier came back as %+v, %v", gotBar, err)
	}
}

func TestCodecsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		task := Task{Stage: rapid.Uint8().Draw(t, "stage"), Partition: rapid.Int32Min(0).Draw(t, "partition")}
		group, values := rapid.SliceOf(rapid.Byte()).Draw(t, "group"), rapid.SliceOf(rapid.Byte()).Draw(t, "values")

		kind, stage, g, err := DecodeKey(ValueKey(nil, task, group))
		if kind != KindValue || stage != task.Stage || !bytes.Equal(g, group) || err != nil {
			t.Fatalf("changelog key: %c %d %x %v", kind, stage, g, err)
		}
		v, err := DecodeValue(AppendValue(nil, values))
		if !bytes.Equal(v, values) || err != nil {
			t.Fatalf("values: %x %v", v, err)
		}
		st, g, err := splitStoreKey(appendStoreKey(nil, task, group))
		if st != task || !bytes.Equal(g, group) || err != nil {
			t.Fatalf("store key: %v %x %v", st, g, err)
		}
		p := Position{Changelog: rapid.Int64Min(0).Draw(t, "offset"), Record: PositionRecord{Task: task, Digest: rapid.Uint64().Draw(t, "digest")}}
		back, err := decodeStorePosition(encodeStorePosition(p))
		if !reflect.DeepEqual(back, p) || err != nil {
			t.Fatalf("store position: %+v %v", back, err)
		}
	})
}

// Keys of the store sort by task, then by group, and a prefix's keys lie below after(prefix).
func TestStoreKeyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(n string) (Task, []byte) {
			return Task{Stage: rapid.Uint8Max(2).Draw(t, n+"stage"), Partition: rapid.Int32Range(0, 300).Draw(t, n+"partition")},
				rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0xFE, 0xFF}), 0, 4).Draw(t, n+"group")
		}
		ta, ga := draw("a")
		tb, gb := draw("b")
		want := compareTasks(ta, tb)
		if want == 0 {
			want = bytes.Compare(ga, gb)
		}
		ka, kb := appendStoreKey(nil, ta, ga), appendStoreKey(nil, tb, gb)
		if got := bytes.Compare(ka, kb); (got < 0) != (want < 0) || (got > 0) != (want > 0) {
			t.Fatalf("order of %x and %x is %d, want %d", ka, kb, got, want)
		}
		inside := bytes.Compare(kb, ka) >= 0 && bytes.Compare(kb, after(ka)) < 0
		if inside != bytes.HasPrefix(kb, ka) {
			t.Fatalf("%x in the range of prefix %x: %v", kb, ka, inside)
		}
	})
}

func TestDecodeRefuses(t *testing.T) {
	task := Task{}
	pos := EncodePosition(PositionRecord{AppID: "a"})
	for _, c := range []struct {
		name   string
		decode func([]byte) error
		in     []byte
		says   string
		newer  bool
	}{
		{"newer key", key, append([]byte{2}, PositionKey(task)[1:]...), "format 2", true},
		{"newer value", value, []byte{9, 'v', 1}, "format 9", true},
		{"newer position", position, append([]byte{2}, pos[1:]...), "format 2", true},
		{"format 0", value, []byte{0, 'v'}, "never has", false},
		{"empty key", key, nil, "too short", false},
		{"kind", key, []byte{1, 'z', 0}, "not of a known shape", false},
		{"short value key", key, []byte{1, 'v', 0}, "not of a known shape", false},
		{"long position key", key, []byte{1, 'p', 0, 0}, "not of a known shape", false},
		{"time slot", key, []byte{1, 'v', 0, 5, 'g'}, "time slot 5", false},
		{"kind of value", value, []byte{1, 'p'}, "want 'v'", false},
		{"position is a barrier", position, EncodeBarrier(Barrier{AppID: "a"}), "want 'p'", false},
		{"no JSON", position, []byte{1, 'p'}, "position record", false},
		{"more than JSON", position, append(bytes.Clone(pos), '}'), "follow", false},
		{"no app id", position, EncodePosition(PositionRecord{}), "app_id", false},
		{"barrier", barrier, []byte{1, 'b', '['}, "barrier", false},
	} {
		err := c.decode(c.in)
		if err == nil || !strings.Contains(err.Error(), c.says) || errors.Is(err, ErrNewer) != c.newer {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func key(b []byte) error      { _, _, _, err := DecodeKey(b); return err }
func value(b []byte) error    { _, err := DecodeValue(b); return err }
func position(b []byte) error { _, err := DecodePosition(b); return err }
func barrier(b []byte) error  { _, err := DecodeBarrier(b); return err }
