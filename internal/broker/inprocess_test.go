package broker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/twmb/franz-go/pkg/kgo"
)

// inProcess is a broker in this process, which a test ends as it likes.
type inProcess struct {
	*Running
	t    *testing.T
	data string
	end  func() error // orderly; twice is once
}

func start(t *testing.T, data string) *inProcess {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- Main(ctx, MainOptions{DataDir: data, Keep: true, Ready: func(addr string) { ready <- addr }, Seam: seam.World()})
	}()
	b := &inProcess{t: t, data: data, end: sync.OnceValue(func() error { cancel(); return <-ended })}
	t.Cleanup(func() {
		if err := b.end(); err != nil {
			t.Error(err)
		}
	})
	select {
	case addr := <-ready:
		b.Running = &Running{Addr: addr}
	case err := <-ended:
		b.end = func() error { return nil }
		t.Fatal(err)
	}
	return b
}

func (b *inProcess) dir() dir { return dir(filepath.Join(b.data, "broker")) }

// again is the broker after an orderly end.
func (b *inProcess) again() *inProcess {
	b.t.Helper()
	if err := b.end(); err != nil {
		b.t.Fatal(err)
	}
	return start(b.t, b.data)
}

// killed is a broker on what a SIGKILL would leave of this one now, or of what that would be but
// for damage. This one is ended.
func (b *inProcess) killed(damage ...func(dir)) *inProcess {
	b.t.Helper()
	next := b.t.TempDir()
	if err := os.CopyFS(next, os.DirFS(b.data)); err != nil {
		b.t.Fatal(err)
	}
	if err := b.end(); err != nil { // its address is free
		b.t.Fatal(err)
	}
	for _, f := range damage {
		f(dir(filepath.Join(next, "broker")))
	}
	return start(b.t, next)
}

func (b *inProcess) topic(partitions int, configs map[string]string) {
	b.t.Helper()
	spec := kafka.TopicSpec{Name: "t", Partitions: partitions, Replication: 1, Configs: configs}
	if err := admin(b.t, b.Running).Create(limit(b.t), spec); err != nil {
		b.t.Fatal(err)
	}
}

// client is of a producer that names each record's partition.
func (b *inProcess) client(opts ...kgo.Opt) *kgo.Client {
	b.t.Helper()
	cl, err := config(b.Running).Client(append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(cl.Close)
	return cl
}

// send produces records to topic t, each in a batch of its own.
func (b *inProcess) send(cl *kgo.Client, records ...*kgo.Record) {
	b.t.Helper()
	for _, r := range records {
		r.Topic = "t"
		if err := cl.ProduceSync(limit(b.t), r).FirstErr(); err != nil {
			b.t.Fatal(err)
		}
	}
}

// transact sends values to a partition of topic t in a transaction of lane-0, of a new client.
func (b *inProcess) transact(partition int32, end kgo.TransactionEndTry, values ...string) {
	b.t.Helper()
	cl := b.begun(partition, values...)
	if err := cl.EndTransaction(limit(b.t), end); err != nil {
		b.t.Fatal(err)
	}
}

// begun leaves the transaction open.
func (b *inProcess) begun(partition int32, values ...string) *kgo.Client {
	b.t.Helper()
	cl := b.client(kgo.TransactionalID("app.lane-0"))
	if err := cl.BeginTransaction(); err != nil {
		b.t.Fatal(err)
	}
	for _, v := range values {
		b.send(cl, &kgo.Record{Partition: partition, Value: []byte(v)})
	}
	return cl
}

// has compares what a reader of committed records finds in a partition of topic t, from its start.
func (b *inProcess) has(partition int32, want ...string) {
	b.t.Helper()
	a := admin(b.t, b.Running)
	starts, ends, err := a.Bounds(limit(b.t), "t", true)
	if err != nil {
		b.t.Fatal(err)
	}
	var got []string
	if err := a.Read(limit(b.t), "t", partition, starts[partition], ends[partition], func(r *kgo.Record) error {
		got = append(got, string(r.Value))
		return nil
	}); err != nil {
		b.t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		b.t.Errorf("partition %d has %.500q, want %q", partition, got, want)
	}
}

// bounded compares the first and the next offset of a partition of topic t.
func (b *inProcess) bounded(partition int32, start, end int64) {
	b.t.Helper()
	starts, ends, err := admin(b.t, b.Running).Bounds(limit(b.t), "t", false)
	if err != nil {
		b.t.Fatal(err)
	}
	if starts[partition] != start || ends[partition] != end {
		b.t.Errorf("partition %d has offsets %d to %d, want %d to %d", partition, starts[partition], ends[partition], start, end)
	}
}

// numbered are records with the values 0, 1, ... and these ages.
func numbered(partition int32, ages ...time.Duration) (records []*kgo.Record) {
	for n, age := range ages {
		records = append(records, &kgo.Record{Partition: partition, Value: fmt.Append(nil, n), Timestamp: now().Add(-age)})
	}
	return records
}
