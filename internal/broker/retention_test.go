package broker

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const month = 30 * 24 * time.Hour

// TestDeleteToTheEnd deletes all records: a partition's end must outlive that, however the broker
// ends.
func TestDeleteToTheEnd(t *testing.T) {
	b := start(t, t.TempDir())
	b.topic(3, nil)
	cl := b.client()
	b.send(cl, numbered(0, 0, 0, 0)...)
	b.send(cl, numbered(1, 0, 0, 0)...)
	if err := admin(t, b.Running).DeleteRecords(limit(t), "t", map[int32]int64{0: 3, 1: -1, 2: 0}); err != nil {
		t.Fatal(err)
	}
	check := func(b *inProcess) {
		t.Helper()
		b.bounded(0, 2, 3)
		b.bounded(1, 2, 3)
		b.bounded(2, 0, 0)
	}
	check(b)
	b = b.again()
	check(b)
	b = b.killed()
	check(b)
	b.send(b.client(), &kgo.Record{Value: []byte("3")})
	b.has(0, "2", "3")
	if err := admin(t, b.Running).DeleteRecords(limit(t), "t", map[int32]int64{0: 5}); err == nil {
		t.Error("it deleted what is not there yet")
	}
}

// TestRetention has one old record between new ones. Each start applies the retention.
func TestRetention(t *testing.T) {
	b := start(t, t.TempDir())
	b.topic(3, nil)
	cl := b.client()
	b.send(cl, numbered(0, 0, 0, month, 0)...)
	b.send(cl, numbered(1, month, month, month)...)
	b.send(cl, numbered(2, month, month, 0, month, 0)...)
	for _, next := range []func(*inProcess) *inProcess{(*inProcess).again, (*inProcess).again, func(b *inProcess) *inProcess { return b.killed() }} {
		b = next(b)
		b.has(0, "0", "1", "2", "3")
		b.has(1, "2") // the last batch stays
		b.bounded(1, 2, 3)
		b.has(2, "2", "3", "4")
	}
}

// TestRetentionOfATopic has a topic say how much it keeps, which compaction must leave alone.
func TestRetentionOfATopic(t *testing.T) {
	value := make([]byte, 400)
	b := start(t, t.TempDir())
	b.topic(2, map[string]string{"retention.bytes": "1000", "retention.ms": "60000"})
	cl := b.client()
	for range 5 {
		b.send(cl, &kgo.Record{Value: value})
	}
	b.send(cl, numbered(1, month, 0, time.Hour, 0)...)
	b = b.again()
	b.bounded(0, 3, 5) // two of about 470 bytes
	b.has(1, "1", "2", "3")
}

// TestCompactionLeavesOthers compacts a topic beside one whose retention kfake takes differently.
func TestCompactionLeavesOthers(t *testing.T) {
	tidy, cfg, a := compacting(t)
	if err := tidy.cluster.CreateTopic("kept", 1, map[string]string{"retention.ms": "60000"}); err != nil {
		t.Fatal(err)
	}
	cl, err := cfg.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, r := range numbered(0, 0, month, 0) {
		r.Topic = "kept"
		if err := cl.ProduceSync(limit(t), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	write(t, cl, "k", "1")
	write(t, cl, "k", "2")
	if !compacts(t, tidy) {
		t.Fatal("it did not compact")
	}
	if starts, err := a.StartOffsets(limit(t), "kept"); err != nil || starts[0] != 0 {
		t.Errorf("the other topic starts at %v, %v", starts, err)
	}
	if topic, _, err := a.Topic(limit(t), "kept"); err != nil || topic.Configs["retention.ms"] != "60000" {
		t.Errorf("its settings are %v, %v", topic.Configs, err)
	}
}
