package replication

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"maps"
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/state"
)

// FuzzPlayback feeds a playback with records of two partitions, whatever they are. It never panics;
// what it takes without an error is the app's own; and then the store holds what a plain map does.
func FuzzPlayback(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b, uint16(1<<12))
		f.Add(b, uint16(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, chunk uint16) {
		records := recordsOf(b)
		store, err := state.Open("lane", testIdentity, state.Options{
			Seam: seam.World(), FS: vfs.NewMem(), CacheBytes: 1 << 20, MemTableBytes: 256 << 10, BlockCacheBytes: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Abandon()
		p := New(Config{Store: store, Seam: seam.World(), Tasks: []state.Task{{Partition: 0}, {Partition: 1}}})
		r := &run{Playback: p, to: map[int32]int64{0: 1 << 60, 1: 1 << 60}, at: map[int32]int64{}, loose: map[state.Task]int64{}}
		r.load = store.Load(state.LoadOptions{ChunkBytes: int64(chunk) + 1, IngestBytes: 4 << 10})
		defer r.load.Drop()
		m := model{values: map[string]string{}, at: map[int32]int64{}}
		for _, rec := range records {
			if err := r.take(rec); err != nil {
				return
			}
			m.take(t, rec)
		}
		if err := r.load.Finish(); err != nil {
			t.Fatal(err)
		}
		m.check(t, store)
	})
}

var testIdentity = state.Identity{App: "formats", AppID: "app-id", InputTopicID: "in", ChangelogTopicID: "cl", Generation: 1}

// model is what a playback must make of the records that it has taken.
type model struct {
	values map[string]string // by partition and group
	at     map[int32]int64
}

func (m *model) take(t *testing.T, rec *kgo.Record) {
	m.at[rec.Partition] = max(m.at[rec.Partition], rec.Offset+1)
	if rec.Attrs.IsControl() {
		return
	}
	own := len(rec.Key) >= 3 && len(rec.Value) >= 2 && rec.Key[0] == 1 && rec.Key[2] == 0 && rec.Value[0] == 1 && rec.Value[1] == rec.Key[1]
	switch {
	case own && rec.Key[1] == 'v' && len(rec.Key) >= 4 && rec.Key[3] == 0:
		m.values[string(rune(rec.Partition))+string(rec.Key[4:])] = string(rec.Value[2:])
	case own && rec.Key[1] == 'p' && len(rec.Key) == 3:
		p, err := state.DecodePosition(rec.Value)
		if err != nil || p.AppID != testIdentity.AppID || p.Partition != rec.Partition || p.Stage != 0 {
			t.Fatalf("the position record %q of partition %d is taken (%v)", rec.Value, rec.Partition, err)
		}
	case own && rec.Key[1] == 'b' && len(rec.Key) == 3:
		if b, err := state.DecodeBarrier(rec.Value); err != nil || b.Partition != rec.Partition || b.Stage != 0 {
			t.Fatalf("the barrier %q of partition %d is taken (%v)", rec.Value, rec.Partition, err)
		}
	default:
		t.Fatalf("the foreign record %q = %q is taken", rec.Key, rec.Value)
	}
}

func (m *model) check(t *testing.T, store *state.Store) {
	cut, err := store.Cut()
	if err != nil {
		t.Fatal(err)
	}
	defer cut.Close()
	got := map[string]string{}
	for p := range int32(2) {
		err := cut.Scan(context.Background(), state.Task{Partition: p}, nil, func(group, values []byte) error {
			got[string(rune(p))+string(group)] = string(values)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if pos, _ := store.Position(state.Task{Partition: p}); pos.Changelog != m.at[p] {
			t.Fatalf("partition %d stands at %d, not %d", p, pos.Changelog, m.at[p])
		}
	}
	if !maps.Equal(got, m.values) {
		t.Fatalf("the store has %q, not %q", got, m.values)
	}
}

// recordsOf makes records of any bytes: for each a byte of flags (partition, control record, gap
// before it), then key and value, a length before each.
func recordsOf(b []byte) []*kgo.Record {
	var records []*kgo.Record
	next := map[int32]int64{}
	for len(b) > 0 && len(records) < 1000 {
		flags := b[0]
		rec := &kgo.Record{Partition: int32(flags & 1)}
		rec.Key, b = cutBytes(b[1:])
		rec.Value, b = cutBytes(b)
		if flags&2 != 0 {
			rec.Attrs = kgo.NewRecordAttrs(kgo.RecordAttrsOpts{Control: true})
		}
		rec.Offset = next[rec.Partition] + int64(flags>>4)
		next[rec.Partition] = rec.Offset + 1
		records = append(records, rec)
	}
	return records
}

func cutBytes(b []byte) (cut, rest []byte) {
	n, size := binary.Uvarint(b)
	if size <= 0 {
		return nil, nil
	}
	b = b[size:]
	n = min(n, uint64(len(b)))
	return b[:n:n], b[n:]
}

func appendRecord(dst []byte, flags byte, key, value []byte) []byte {
	dst = append(dst, flags)
	for _, part := range [][]byte{key, value} {
		dst = append(binary.AppendUvarint(dst, uint64(len(part))), part...)
	}
	return dst
}

// seeds are the changelog of the first format, its identity changed to the test's, and bits of
// others.
func seeds(f *testing.F) [][]byte {
	f.Helper()
	data, err := os.ReadFile("../testdata/formats/v1/changelog.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	var own []byte
	for line := range bytes.Lines(data) {
		var r struct {
			Partition  int32
			Key, Value json.RawMessage
		}
		if err := json.Unmarshal(line, &r); err != nil {
			f.Fatal(err)
		}
		if r.Partition < 2 {
			own = appendRecord(own, byte(r.Partition), unwire(f, r.Key), ours(unwire(f, r.Value)))
		}
	}
	task := state.Task{Partition: 1}
	value := state.AppendValue(nil, []byte("v"))
	stage := state.Task{Stage: 1, Partition: 1}
	position := state.EncodePosition(state.PositionRecord{Task: task, AppID: "app-id", Generation: 1, InputTopicID: "in", ChangelogTopicID: "cl"})
	return [][]byte{
		own,
		appendRecord(appendRecord(nil, 1, state.ValueKey(nil, task, []byte("g")), value), 3, nil, nil),
		appendRecord(appendRecord(nil, 1, state.ValueKey(nil, task, []byte("g")), value), 0x31, state.PositionKey(task), position),
		appendRecord(nil, 1, state.ValueKey(nil, task, []byte("g")), nil),
		appendRecord(nil, 1, state.ValueKey(nil, stage, []byte("g")), value),
		appendRecord(nil, 0, state.PositionKey(task), position),
		appendRecord(nil, 1, state.PositionKey(stage), position),
		appendRecord(nil, 1, state.BarrierKey(task), state.EncodeBarrier(state.Barrier{Task: stage})),
		appendRecord(nil, 1, state.BarrierKey(task), []byte("anything")),
		appendRecord(nil, 1, []byte("hello"), []byte("there")),
	}
}

// ours gives a position record the test's identity.
func ours(value []byte) []byte {
	p, err := state.DecodePosition(value)
	if err != nil {
		return value
	}
	p.AppID, p.Generation, p.InputTopicID, p.ChangelogTopicID = testIdentity.AppID, 1, "in", "cl"
	return state.EncodePosition(p)
}

// unwire gives the bytes that `tally consume --json` has written as a string or {"b64":"..."}.
func unwire(f *testing.F, raw json.RawMessage) []byte {
	f.Helper()
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return []byte(text)
	}
	var object struct{ B64 []byte }
	if err := json.Unmarshal(raw, &object); err != nil {
		f.Fatal(err)
	}
	return object.B64
}
