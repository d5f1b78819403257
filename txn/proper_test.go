package txn_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/txn"
)

// write puts n events into a partition of the input, by a client that knows the topic as it is now.
func (e *env) write(t *testing.T, partition int32, n int) {
	t.Helper()
	cl, err := e.kafka.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for i := range n {
		rec := &kgo.Record{Topic: e.input, Partition: partition, Value: []byte(fmt.Sprint(i))}
		if err := cl.ProduceSync(context.Background(), rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// onFake is an environment on brokers of its own.
func onFake(t *testing.T, brokers int) (*kfake.Cluster, *env) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(brokers))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, newEnv(t, c.ListenAddrs())
}

// pollsUntil polls until there is an error.
func pollsUntil(ctx context.Context, s *txn.Session) (err error) {
	for err == nil && ctx.Err() == nil {
		_, _, err = s.Poll(ctx, 10)
	}
	return err
}

// A topic that was made again under its name is not read on where the old one ended.
func TestPollOfATopicMadeAgain(t *testing.T) {
	onEachKafka(t, func(t *testing.T, e *env) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := e.admin.DeleteTopics(ctx, e.input); err != nil {
			t.Fatal(err)
		}
		for ctx.Err() == nil { // Kafka takes a moment to have done with the old one
			if err := e.admin.Create(ctx, kafka.TopicSpec{Name: e.input, Partitions: 2, Replication: 1}); err == nil {
				break
			}
		}
		e.write(t, 0, 5)
		s := e.fence(t)
		s.Assign(e.at(map[int32]int64{0: 2}), nil)
		recs, _, err := s.Poll(ctx, 10)
		if err == nil || !strings.Contains(err.Error(), "made again") {
			t.Fatalf("got %d records and %v", len(recs), err)
		}
	})
}

// A client that looks the offset up, since it does not know the topic yet, and gets an old end,
// would read events again.
func TestPollBelowThePosition(t *testing.T) {
	c, e := onFake(t, 1)
	e.write(t, 0, 5)
	s := e.fence(t)

	var hidden, asked atomic.Int64
	c.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := r.(*kmsg.MetadataRequest)
		if len(req.Topics) != 1 || req.Topics[0].Topic == nil || *req.Topics[0].Topic != e.input || hidden.Add(1) > 1 {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic, topic.ErrorCode = req.Topics[0].Topic, kerr.UnknownTopicOrPartition.Code
		resp.Topics = append(resp.Topics, topic)
		return resp, nil, true
	})
	c.ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		asked.Add(1)
		resp := r.ResponseKind().(*kmsg.ListOffsetsResponse)
		topic, part := kmsg.NewListOffsetsResponseTopic(), kmsg.NewListOffsetsResponseTopicPartition()
		topic.Topic, part.Offset, part.LeaderEpoch = e.input, 2, 0
		topic.Partitions = append(topic.Partitions, part)
		resp.Topics = append(resp.Topics, topic)
		return resp, nil, true
	})
	s.Assign(e.at(map[int32]int64{0: 4}), nil)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	recs, _, err := s.Poll(ctx, 10)
	if asked.Load() == 0 {
		t.Fatal("the offset was not looked up: this test tests nothing")
	}
	if err == nil || !strings.Contains(err.Error(), "got offset 2 after 4") {
		t.Fatalf("got %d records and %v", len(recs), err)
	}
}

// Records that were deleted between the position and what comes are a gap, also where the client
// has passed over them.
func TestUnbroken(t *testing.T) {
	for start, want := range map[int64]bool{0: true, 5: true, 6: false} {
		if err := txn.UnbrokenForTest(5, start); (err == nil) != want {
			t.Errorf("position 5, the log begins at %d: %v", start, err)
		}
	}
}

// Kafka loses events that were read: the session says up to where it had read and what is left,
// instead of going on where others take their offsets.
func TestTruncatedSource(t *testing.T) {
	c, e := onFake(t, 2)
	e.write(t, 0, 5)
	s := e.fence(t)
	s.Assign(e.at(map[int32]int64{0: 0}), nil)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for read := 0; read < 5; {
		recs, _, err := s.Poll(ctx, 10)
		if err != nil || ctx.Err() != nil {
			t.Fatal(err, ctx.Err())
		}
		read += len(recs)
	}
	kfakeLoses(c, 3)
	if err := c.MoveTopicPartition(e.input, 0, 1-c.LeaderFor(e.input, 0)); err != nil {
		t.Fatal(err)
	}
	err := pollsUntil(ctx, s)
	var cut *txn.TruncatedError
	if !errors.As(err, &cut) || cut.Topic != e.input || cut.Read != 5 || cut.End != 3 {
		t.Errorf("it says %v", err)
	}
}

// kfakeLoses has each new leader say that all logs end there.
func kfakeLoses(c *kfake.Cluster, end int64) {
	c.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := r.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
		for _, topic := range r.(*kmsg.OffsetForLeaderEpochRequest).Topics {
			rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
			rt.Topic = topic.Topic
			for _, p := range topic.Partitions {
				rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
				rp.Partition, rp.LeaderEpoch, rp.EndOffset = p.Partition, p.LeaderEpoch, end
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
}

// A batch that is larger, decompressed, than a session may hold is said with its place.
func TestBatchTooLarge(t *testing.T) {
	_, e := onFake(t, 1)
	e.write(t, 0, 2)
	cl, err := e.kafka.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.GzipCompression()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: e.input, Value: make([]byte, 10_000)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	cfg := e.cfg
	cfg.DecompressBytes = 5_000
	s, err := txn.Fence(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.Assign(e.at(map[int32]int64{0: 0}), nil)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	err = pollsUntil(ctx, s)
	var batch *txn.BatchError
	if !errors.As(err, &batch) || batch.Topic != e.input || batch.Position != 2 || batch.Most != 5_000 {
		t.Errorf("it says %v", err)
	}
}
