package processor

import (
	"context"
	"fmt"
	"math/rand"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
	"github.com/tally-kafka/tally/txn"
)

// BenchmarkLane is the lane's own work, without a broker: fold, read, fold into the values, make
// the records, publish, apply. An operation is one event, committed in transactions of 100,000.
func BenchmarkLane(b *testing.B) {
	for _, w := range []struct {
		name, split, group string
		keys, words        int
	}{
		{"count-per-key/keys=50k", "none", "[key]", 50_000, 0},
		{"count-per-key/keys=1M", "none", "[key]", 1_000_000, 0},
		{"words-per-key/keys=10k", "words", "[key, item]", 10_000, 10},
	} {
		b.Run(w.name, func(b *testing.B) {
			l, store := benchLane(b, w.split, w.group)
			l.size.most = 1 << 40
			events := benchEvents(200_000, w.keys, w.words)
			b.ReportAllocs()
			b.ResetTimer()
			polled := make([]*kgo.Record, 0, l.cfg.Limits.PollRecords)
			var next int64
			for done := 0; done < b.N; done += 100_000 {
				n := min(100_000, b.N-done)
				for i := 0; i < n; { // as many at a time as a poll brings
					l.pending = polled[:0]
					for ; i < n && len(l.pending) < cap(polled); i++ {
						e := events[(done+i)%len(events)]
						e.Offset = next
						next++
						l.pending = append(l.pending, e)
					}
					if err := l.foldPending(); err != nil {
						b.Fatal(err)
					}
					if len(l.pending) > 0 {
						b.Fatal("the batch is full")
					}
				}
				batch := l.filling
				l.filling, l.begun = l.newBatch(), l.cfg.Seam.Now()
				if err := l.onEnding(l.commit(context.Background(), batch)); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			m := store.Metrics()
			b.ReportMetric(float64(m.CacheBytes)/1e6, "cache-MB")
		})
	}
}

func benchLane(b *testing.B, split, group string) (*Lane, *state.Store) {
	text := fmt.Sprintf("app: b\ninput: {topic: input, format: text}\nsplit: %s\ngroup: %s\noutput: {topic: output}\n", split, group)
	sp, err := spec.Parse([]byte(text), "bench")
	if err != nil {
		b.Fatal(err)
	}
	store, err := state.Open("lane", state.Identity{App: "b", AppID: "app", Generation: 1}, state.Options{Seam: seam.World(), FS: vfs.NewMem(), CacheBytes: 128 << 20})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { store.Abandon() })
	l := New(Config{
		Spec: sp, Program: spec.Compile(sp), Partitions: 4, Changelog: "changelog", Dead: "dead", RecordBytes: 1 << 20,
		Partitioners: [...]func([]byte, int) int32{kafka.PartitionMurmur2, kafka.PartitionCRC32},
		Limits:       Limits{TxnGroups: 1 << 30, TxnBytes: 1 << 40},
		Stamp:        state.PositionRecord{AppID: "app", Generation: 1}, Seam: seam.World(),
	}, []state.Task{{}})
	s := &nullSession{}
	first := state.PositionRecord{AppID: "app", Generation: 1, AtMs: time.Now().UnixMilli()}
	if err := l.CommitPositions(context.Background(), s, store, []state.PositionRecord{first}); err != nil {
		b.Fatal(err)
	}
	l.begin(s, store)
	return l, store
}

func benchEvents(n, keys, words int) []*kgo.Record {
	r := rand.New(rand.NewSource(1))
	zipf := rand.NewZipf(r, 1.1, 1, 50_000)
	events := make([]*kgo.Record, n)
	for i := range events {
		value := fmt.Sprintf(`{"id":%d,"amount":%d,"note":"%032x"}`, r.Intn(1e9), r.Intn(1e6), r.Uint64())
		if words > 0 {
			value = ""
			for range words {
				value += fmt.Sprintf("w%d ", zipf.Uint64())
			}
		}
		events[i] = &kgo.Record{
			Topic: "input", Key: fmt.Appendf(nil, "key-%08d", r.Intn(keys)), Value: []byte(value), Timestamp: time.Now(),
		}
	}
	return events
}

// nullSession takes all and commits at once.
type nullSession struct {
	records []*kgo.Record
	offset  int64
}

func (s *nullSession) Poll(context.Context, int) ([]*kgo.Record, int64, error) { panic("not used") }
func (s *nullSession) Begin() error                                            { s.records = s.records[:0]; return nil }
func (s *nullSession) Produce(r *kgo.Record)                                   { s.records = append(s.records, r) }
func (s *nullSession) Commit(context.Context, txn.Offsets) (txn.Outcome, error) {
	for _, r := range s.records {
		r.Offset = s.offset
		s.offset++
	}
	return txn.Committed, nil
}
