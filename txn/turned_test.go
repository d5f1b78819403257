package txn

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

// TestTurnedCommit: a commit that the client turns into an abort, since it believes that nothing
// was produced, and calls done, is none; and one that sends nothing is not known to be one.
func TestTurnedCommit(t *testing.T) {
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
