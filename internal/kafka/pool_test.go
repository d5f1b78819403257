package kafka

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/seam"
)

// TestRecordPool: records that their reader gives back are used again, for batches that are not
// larger, and small batches have none of them.
func TestRecordPool(t *testing.T) {
	p := &RecordPool{}
	if p.GetRecords(pooledRecords-1) != nil {
		t.Error("a small batch has a slice of the pool")
	}
	reused := func(n int) bool {
		s := p.GetRecords(1000)
		p.PutRecords(s)
		again := p.GetRecords(n)
		if len(again) != n {
			t.Fatalf("%d records, not %d", len(again), n)
		}
		return &again[0] == &s[0]
	}
	var same bool
	for range 100 { // with -race a sync.Pool drops some of what it is given
		same = same || reused(900)
		if reused(1001) {
			t.Fatal("a slice of 1000 records was given for 1001")
		}
	}
	if !same {
		t.Error("nothing is used again")
	}
}

// TestRecordsFromAPool are what was produced, although each is given back before the next is read.
func TestRecordsFromAPool(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cfg := Config{Brokers: c.ListenAddrs(), Seam: seam.World()}
	cl, err := cfg.Client(kgo.DefaultProduceTopic("t"), kgo.ConsumeTopics("t"), kgo.WithPools(&RecordPool{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	const batches, each = 20, 300
	for b := range batches {
		var recs []*kgo.Record
		for i := range each - b {
			recs = append(recs, kgo.KeySliceRecord(fmt.Appendf(nil, "%d-%d", b, i), []byte{byte(b)}))
		}
		if err := cl.ProduceSync(t.Context(), recs...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for b := range batches {
		for i := range each - b {
			fs := cl.PollRecords(t.Context(), 1)
			if err := fs.Err(); err != nil {
				t.Fatal(err)
			}
			r := fs.Records()[0]
			if key := string(r.Key); key != fmt.Sprintf("%d-%d", b, i) || r.Value[0] != byte(b) || r.Topic != "t" {
				t.Fatalf("record %d of batch %d is %q of %q", i, b, key, r.Topic)
			}
			r.Recycle()
		}
	}
}
