package txn

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

// TestSettle: a transaction is not ended while the client has not loaded the topic that it wrote
// to.
func TestSettle(t *testing.T) {
	c, s := fencedOn(t)
	release := make(chan struct{})
	c.ControlKey(int16(kmsg.Metadata), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		c.SleepControl(func() { <-release })
		return nil, nil, false
	})
	if err := s.Begin(); err != nil {
		t.Fatal(err)
	}
	s.Produce(&kgo.Record{Topic: "t", Value: []byte("v")})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.settle(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("settled before the client knew the topic: %v", err)
	}
	close(release)
	if out, err := s.Commit(t.Context(), nil); out != Committed {
		t.Errorf("%v, %v", out, err)
	}
	if s.settled != 1 {
		t.Errorf("%d topics are settled behind a commit to one", s.settled)
	}
}

// fencedOn is a session on a broker of its own, which has the topic t.
func fencedOn(t *testing.T) (*kfake.Cluster, *Session) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	s, err := Fence(t.Context(), Config{Kafka: kafka.Config{Brokers: c.ListenAddrs(), Seam: seam.World()}, TransactionalID: "lane", Group: "lane", Seam: seam.World()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return c, s
}

// TestTurnedCommit: a commit that the client turns into an abort, since it believes that nothing
// was produced, and calls done, is none; and one that sends nothing is not known to be one.
func TestTurnedCommit(t *testing.T) {
	c, s := fencedOn(t)
	c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := r.ResponseKind().(*kmsg.ProduceResponse)
		for _, topic := range r.(*kmsg.ProduceRequest).Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = topic.Topic, topic.TopicID
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.ErrorCode = kerr.InvalidRecord.Code
			rt.Partitions = append(rt.Partitions, rp)
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	if err := s.Begin(); err != nil {
		t.Fatal(err)
	}
	s.Produce(&kgo.Record{Topic: "t", Value: []byte("v")})
	if err := s.flush(t.Context()); err == nil {
		t.Fatal("the produce was not refused")
	}
	if out, err := s.end(t.Context()); out != Aborted || !errors.Is(err, errTurned) {
		t.Errorf("%v, %v", out, err)
	}
	if err := s.Begin(); err != nil {
		t.Fatal(err)
	}
	if out, err := s.end(t.Context()); out != Unknown || !errors.Is(err, errNotSent) {
		t.Errorf("without a record: %v, %v", out, err)
	}
}
