package kafka

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/seam"
)

// TestTailOfADeposedLeader: a broker that does not have what another one has named as the end is
// asked again, for a while.
func TestTailOfADeposedLeader(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cfg := Config{Brokers: c.ListenAddrs(), Seam: seam.World()}
	world := cfg.Seam.Timer
	cfg.Seam.Timer = func(d time.Duration) (<-chan time.Time, func()) { return world(d / 100) }
	cl, err := cfg.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	a, err := NewAdmin(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	var lies atomic.Int32
	c.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if lies.Add(-1) < 0 {
			return nil, nil, false
		}
		req := r.(*kmsg.FetchRequest)
		resp := req.ResponseKind().(*kmsg.FetchResponse)
		topic := kmsg.NewFetchResponseTopic()
		topic.Topic, topic.TopicID = req.Topics[0].Topic, req.Topics[0].TopicID
		part := kmsg.NewFetchResponseTopicPartition()
		part.ErrorCode = kerr.OffsetOutOfRange.Code
		topic.Partitions = append(topic.Partitions, part)
		resp.Topics = append(resp.Topics, topic)
		return resp, nil, true
	})
	for told, want := range map[int32]error{3: nil, 1000: kerr.OffsetOutOfRange} {
		lies.Store(told)
		found := 0
		err := a.Tail(t.Context(), "t", 0, func(*kgo.Record) bool { found++; return true })
		if !errors.Is(err, want) || (found == 1) != (want == nil) {
			t.Errorf("%d lies: %d records, %v", told, found, err)
		}
	}
}
