package txn_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/testkafka"
	"github.com/tally-kafka/tally/txn"
)

// TestEpochOverflow: a producer epoch has 16 bits, and each transaction takes one. A session goes
// on over the end of them, under a new producer id, and nobody of before the end can commit any
// more.
func TestEpochOverflow(t *testing.T) {
	t.Run("kfake", func(t *testing.T) {
		c, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		testEpochOverflow(t, newEnv(t, c.ListenAddrs()))
	})
	if os.Getenv("TALLY_PROOF") == "" {
		return // the epochs of a real broker are in its log: tens of thousands take a while
	}
	t.Run("kafka", func(t *testing.T) { testEpochOverflow(t, newEnv(t, testkafka.Shared(t).Addrs())) })
}

func testEpochOverflow(t *testing.T, e *env) {
	ctx := context.Background()
	first := e.fence(t)
	e.begin(t, first, "never")
	e.burnEpochs(t, math.MaxInt16-6)
	zombie := e.fence(t)
	e.begin(t, zombie, "never")
	zombie.FlushForTest(ctx)
	s := e.fence(t)
	var want []string
	for i := range int64(12) {
		want = append(want, fmt.Sprint(i))
		e.begin(t, s, want[i])
		if out, err := s.Commit(ctx, e.at(map[int32]int64{0: i})); out != txn.Committed {
			t.Fatalf("transaction %d: %v, %v", i, out, err)
		}
	}
	for _, old := range []*txn.Session{first, zombie} {
		if out, err := old.Commit(ctx, e.at(map[int32]int64{0: 99})); out == txn.Committed || !txn.Fenced(err) {
			t.Errorf("an owner of before the end of the epochs: %v, %v", out, err)
		}
	}
	if got := e.visible(t); got != strings.Join(want, " ") {
		t.Errorf("visible: %s", got)
	}
	if at := e.offset(t); at != 11 {
		t.Errorf("the group's offset is %d", at)
	}
	if ids := e.producers(t); len(ids) != 2 {
		t.Errorf("the transactions are of the producer ids %v: the epochs did not end", ids)
	}
}

// burnEpochs fences the lane until its epoch is as high as that.
func (e *env) burnEpochs(t *testing.T, to int16) {
	t.Helper()
	cl, err := e.kafka.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis = kmsg.StringPtr(e.cfg.TransactionalID), 10_000
	for at := int16(0); at < to; {
		resp, err := req.RequestWith(context.Background(), cl)
		if err != nil {
			t.Fatal(err)
		}
		switch err := kerr.ErrorForCode(resp.ErrorCode); err {
		case nil:
			at = resp.ProducerEpoch
		case kerr.ConcurrentTransactions: // the one before is being aborted
		default:
			t.Fatalf("epoch %d: %v", at, err)
		}
	}
}

// producers are the ids under which the output was written, committed or not.
func (e *env) producers(t *testing.T) map[int64]int {
	t.Helper()
	end, err := e.admin.EndOffsets(context.Background(), e.output, false)
	if err != nil {
		t.Fatal(err)
	}
	cl, err := e.kafka.Client(kgo.ConsumeTopics(e.output), kgo.KeepControlRecords())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ids := map[int64]int{}
	for at := int64(0); at < end[1]; {
		cl.PollFetches(context.Background()).EachRecord(func(r *kgo.Record) {
			at = r.Offset + 1
			ids[r.ProducerID]++
		})
	}
	return ids
}
