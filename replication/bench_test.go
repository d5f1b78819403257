package replication

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/state"
)

// BenchmarkPlayback plays back a changelog of new groups, a position record behind each thousand:
// what a restore does with each record once it was fetched. An operation is a record.
func BenchmarkPlayback(b *testing.B) {
	const transaction = 1000
	task := state.Task{}
	position := state.EncodePosition(state.PositionRecord{Task: task, AppID: "app-id", Generation: 1, InputTopicID: "in", ChangelogTopicID: "cl"})
	store, err := state.Open("lane", testIdentity, state.Options{Seam: seam.World(), FS: vfs.NewMem()})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Abandon()
	p := New(Config{Store: store, Seam: seam.World(), Tasks: []state.Task{task}})
	r := &run{Playback: p, to: map[int32]int64{0: 1 << 60}, at: map[int32]int64{}, loose: map[state.Task]int64{}}
	r.load = store.Load(state.LoadOptions{})
	defer r.load.Drop()
	records := make([]*kgo.Record, transaction)
	for i := range records {
		records[i] = &kgo.Record{Value: state.AppendValue(nil, []byte("12345678"))}
	}
	next := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		rec := records[next%transaction]
		if rec.Offset = next; next%transaction == transaction-1 {
			rec = &kgo.Record{Key: state.PositionKey(task), Value: position, Offset: next}
		} else {
			rec.Key = state.ValueKey(rec.Key[:0], task, fmt.Appendf(nil, "group %d", next))
		}
		if err := r.take(rec); err != nil {
			b.Fatal(err)
		}
		next++
	}
}
