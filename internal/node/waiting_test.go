package node

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/api"
)

// While too few replicas are in sync a commit waits, and the lane's status says so; then the lane
// goes on.
func TestCommitWaitsForReplicas(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 1)
	n := p.start(func(c *Config) { c.UnreachableAt = 50 * time.Millisecond })
	var few atomic.Bool
	few.Store(true)
	p.fake.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		p.fake.KeepControl()
		req := r.(*kmsg.ProduceRequest)
		if req.TransactionID == nil || !few.Load() {
			return nil, nil, false
		}
		return refuseProduce(req, kerr.NotEnoughReplicas), nil, true
	})
	events := sentences(1, 10)
	p.send(events...)
	n.until("the lane says what it waits for", func(st api.Status) bool {
		l := st.Apps[0].Lanes[0]
		return l.State == api.LaneRunning && strings.Contains(l.Reason, "min.insync.replicas")
	})
	few.Store(false)
	n.right(events)
	if reason := n.lane(0, api.LaneRunning).Reason; reason != "" {
		t.Errorf("the lane goes on and still says %q", reason)
	}
}

// refuseProduce answers every partition of a produce with an error.
func refuseProduce(req *kmsg.ProduceRequest, with *kerr.Error) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		rt := kmsg.ProduceResponseTopic{Topic: t.Topic, TopicID: t.TopicID}
		for _, part := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode = part.Partition, with.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}
