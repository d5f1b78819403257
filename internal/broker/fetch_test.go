package broker

import (
	"testing"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestAbortedInAFullAnswer aborts more than one answer holds.
func TestAbortedInAFullAnswer(t *testing.T) {
	b := start(t, t.TempDir())
	b.topic(1, nil)
	b.transact(0, kgo.TryCommit, "T0")
	cl := b.begun(0)
	value := make([]byte, 900<<10)
	seam.World().Rand(value)
	for range 10 {
		b.send(cl, &kgo.Record{Value: value})
	}
	if err := cl.EndTransaction(limit(t), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	b.transact(0, kgo.TryCommit, "T2")
	b.has(0, "T0", "T2")
	b = b.killed()
	b.has(0, "T0", "T2")
}
