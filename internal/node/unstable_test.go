package node

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A coordinator that was killed in the middle of a commit was seen to call the group's offsets
// unstable until the producer commits again. The lane does that, from its position records.
func TestOffsetsStayUnstable(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	n.stop()
	var settled atomic.Bool
	p.fake.ControlKey(int16(kmsg.TxnOffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		p.fake.KeepControl()
		settled.Store(true)
		return nil, nil, false
	})
	p.fake.ControlKey(int16(kmsg.OffsetFetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		p.fake.KeepControl()
		req := r.(*kmsg.OffsetFetchRequest)
		if !req.RequireStable || settled.Load() {
			return nil, nil, false
		}
		return unstable(req), nil, true
	})
	n = p.start(inDir(n.dir), func(c *Config) { c.UnstableWait = 300 * time.Millisecond })
	if !settled.Load() {
		t.Error("the node runs, and has not committed the offsets again")
	}
	more := event(0, "a", "more")
	p.send(more)
	n.right(append(events, []*kgo.Record{more}...))
}

// unstable answers for each partition that was asked for that a commit of it is pending.
func unstable(req *kmsg.OffsetFetchRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
	for _, g := range req.Groups {
		group := kmsg.NewOffsetFetchResponseGroup()
		group.Group = g.Group
		for _, t := range g.Topics {
			topic := kmsg.NewOffsetFetchResponseGroupTopic()
			topic.Topic, topic.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				part := kmsg.NewOffsetFetchResponseGroupTopicPartition()
				part.Partition, part.ErrorCode = p, kerr.UnstableOffsetCommit.Code
				topic.Partitions = append(topic.Partitions, part)
			}
			group.Topics = append(group.Topics, topic)
		}
		resp.Groups = append(resp.Groups, group)
	}
	return resp
}
