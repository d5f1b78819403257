package broker

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/kafka"
)

// A commit whose marker cannot be written is not answered: the broker ends, and says why.
func TestMarkerThatIsNotWritten(t *testing.T) {
	data := t.TempDir()
	r := ensure(t, data)
	spec := kafka.TopicSpec{Name: "t", Partitions: 1, Replication: 1, Configs: map[string]string{"segment.bytes": "100"}}
	if err := admin(t, r).Create(limit(t), spec); err != nil {
		t.Fatal(err)
	}
	cl, err := config(r).Client(kgo.TransactionalID("id"), kgo.DefaultProduceTopic("t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(limit(t), &kgo.Record{Value: make([]byte, 200)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	// The segment is full, and where the next one would be nothing can be made.
	d := dir(filepath.Join(data, "broker"))
	partition := d.partitionDir("t", 0)
	if err := os.Rename(partition, partition+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(partition, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(limit(t))
	committed := make(chan error, 1)
	go func() { committed <- cl.EndTransaction(ctx, kgo.TryCommit) }()
	poll(t, "the end of the broker", func() bool { return !running(data) })
	cancel()
	if err := <-committed; err == nil {
		t.Error("the commit was answered")
	}
	text, err := os.ReadFile(d.file("broker.log"))
	if err != nil || !strings.Contains(string(text), "could not write the end of a transaction") || !strings.Contains(string(text), "not a directory") {
		t.Errorf("it says (%v):\n%s", err, text)
	}
	if err := os.Remove(partition); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(partition+".away", partition); err != nil {
		t.Fatal(err)
	}
	if again := ensure(t, data); !again.Started || len(again.Warnings) == 0 {
		t.Errorf("the next start: %+v", again)
	}
}
