package kafka

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/seam"
)

// A timeout ends a consumer of all that there is; one that comes of a broker which does not answer
// is an error. The markers of transactions, committed and aborted, at the end are no records.
func TestConsumeToTheEnd(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cfg := Config{Brokers: c.ListenAddrs(), Seam: seam.World()}
	cl, err := cfg.Client(kgo.TransactionalID("w"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	for _, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: []byte("x")}, &kgo.Record{Topic: "t", Value: []byte("y")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := cl.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	consume := func(timeout time.Duration) (n int, err error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err = Consume(ctx, cfg, ConsumeOptions{Topic: "t", FromStart: true, Timeout: timeout}, func(Record) error { n++; return nil })
		return n, err
	}
	if n, err := consume(time.Second); n != 2 || err != nil {
		t.Errorf("%d records, %v", n, err)
	}
	c.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		c.SleepControl(func() { <-t.Context().Done() })
		return nil, nil, false
	})
	if n, err := consume(100 * time.Millisecond); n != 0 || err == nil || !strings.Contains(err.Error(), "t/0 was read up to offset 0 of 6 only") {
		t.Errorf("%d records, %v", n, err)
	}
}
