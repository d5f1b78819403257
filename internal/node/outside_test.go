package node

import (
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/api"
)

// A deposed broker, whose log ends where it was deposed, calls the position of a lane out of range:
// seen on three real brokers, when the new owner read the input from it. The lane asks the others
// and goes on; it used to stop for good, and to speak of deleted events.
func TestOffsetOutOfRangeIsAskedAgain(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	id := p.topicID(p.in)
	var lie atomic.Bool
	lie.Store(true)
	p.fake.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		p.fake.KeepControl()
		req := r.(*kmsg.FetchRequest)
		if !lie.Load() || len(req.Topics) != 1 || req.Topics[0].TopicID != id {
			return nil, nil, false
		}
		return unread(req, kerr.OffsetOutOfRange.Code), nil, true
	})
	n = p.start(inDir(n.dir))
	n.until("the lanes are told that their positions are out of range", func(api.Status) bool {
		return n.log.count("acquiring the lane again", "outside the log") >= 2
	})
	lie.Store(false)
	more := event(0, "a", "more")
	p.send(more)
	n.right(append(events, more))
}

// topicID is Kafka's id of a topic.
func (p *place) topicID(name string) [16]byte {
	topic, _, err := p.admin.Topic(p.ctx(), name)
	p.must(err)
	return topicID(topic.ID)
}

// unread answers a fetch with one error for each partition.
func unread(req *kmsg.FetchRequest, code int16) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.FetchResponse)
	for _, t := range req.Topics {
		topic := kmsg.NewFetchResponseTopic()
		topic.Topic, topic.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			part := kmsg.NewFetchResponseTopicPartition()
			part.Partition, part.ErrorCode = p.Partition, code
			part.HighWatermark, part.LastStableOffset = -1, -1
			topic.Partitions = append(topic.Partitions, part)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}
