package world

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// TestWaiting: what waits is what lies behind the committed offsets, and no marker of a
// transaction.
func TestWaiting(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "events", "deltas"))
	must(t, err)
	t.Cleanup(c.Close)
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	must(t, err)
	t.Cleanup(cl.Close)
	w := &World{kafka: cl, admin: kadm.NewClient(cl), apps: []history.App{
		{Name: "app", Input: "events", Repartition: "deltas", ConsumerGroup: "app"}, {Name: "passing", Input: "events", Passing: true},
	}}
	for range 3 {
		must(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: "events", Value: []byte("x")}).FirstErr())
	}
	writer, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.TransactionalID("writer"))
	must(t, err)
	t.Cleanup(writer.Close)
	for _, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		must(t, writer.BeginTransaction())
		for _, key := range []string{"\x01r", "\x01r", "\x01b"} {
			must(t, writer.ProduceSync(t.Context(), &kgo.Record{Topic: "deltas", Key: []byte(key), Value: []byte("x")}).FirstErr())
		}
		must(t, writer.EndTransaction(t.Context(), end))
	}
	topics := []history.Topic{{Topic: "events", End: 3, LastStable: 3}, {Topic: "deltas", End: 8, LastStable: 8}}
	for _, of := range []struct{ events, deltas, waits int64 }{{-1, -1, 5}, {1, 1, 3}, {3, 2, 0}, {3, 6, 0}, {2, 3, 1}} {
		if of.events >= 0 {
			var at kadm.Offsets
			at.AddOffset("events", 0, of.events, -1)
			at.AddOffset("deltas", 0, of.deltas, -1)
			must(t, w.admin.CommitAllOffsets(t.Context(), "app", at))
		}
		if n, err := w.waiting(t.Context(), topics); err != nil || n != of.waits {
			t.Errorf("committed up to %d and %d: %d wait, and not %d (%v)", of.events, of.deltas, n, of.waits, err)
		}
	}
}
