package broker

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// kfake's own retention is not used. It deletes all that lies before any old batch, however new it
// is; and it may empty a partition, as a DeleteRecords may, which then begins at offset 0 after a
// restart: kfake forgets a partition's end with its last segment. So what is deleted is found here,
// and each partition keeps its last batch.

const (
	retentionMs    = 7 * 24 * 60 * 60 * 1000 // of a topic that says nothing itself
	retentionBytes = 1 << 30                 // of a partition, likewise
)

// expire deletes what the topics' retention has done with: the batches before the first that is
// neither too old nor too much.
func (t *tidier) expire() {
	now := t.seam.Now().UnixMilli()
	for topic := range t.topics() {
		info := t.cluster.TopicInfo(topic)
		if info == nil || isCompacted(info) && !strings.Contains(*info.Configs["cleanup.policy"], "delete") {
			continue
		}
		before, keep := int64(-1<<62), setting(info, "retention.bytes", retentionBytes)
		if ms := setting(info, "retention.ms", retentionMs); ms >= 0 {
			before = now - ms
		}
		for _, p := range t.cluster.PartitionInfos(topic) {
			excess := int64(0)
			if keep >= 0 {
				excess = p.NumBytes - keep
			}
			below, err := expired(t.dir.partitionDir(topic, p.Partition), p.LogStartOffset, before, excess)
			if below = min(below, p.HighWatermark-1); err == nil && below > p.LogStartOffset {
				err = t.cluster.DeleteRecords(topic, p.Partition, below)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) { // a DeleteRecords or the topic's end came between
				t.log.Warn("old records are not deleted", "topic", topic, "partition", p.Partition, "error", err)
			}
		}
	}
}

// setting is a number of a topic's own.
func setting(info *kfake.TopicInfo, name string, unset int64) int64 {
	if text := info.Configs[name]; text != nil {
		if n, err := strconv.ParseInt(*text, 10, 64); err == nil {
			return n
		}
	}
	return unset
}

// expired is the offset below which a partition's batches may go: those before the first whose
// newest record is from after the time before (ms) and that is not among the first excess bytes.
func expired(path string, start, before, excess int64) (below int64, err error) {
	below = start
	bases, err := segments(path)
	if err != nil {
		return below, err
	}
	for i, last := 0, false; i < len(bases) && !last; i++ {
		if err := eachHeader(datFile(path, bases[i]), func(h header, _ []byte) bool {
			switch {
			case h.last < start: // is deleted, but its segment is there
			case h.maxTimestamp <= before || excess > 0:
				below, excess = h.last+1, excess-h.bytes
			default:
				last = true
			}
			return !last
		}); err != nil {
			return below, err
		}
	}
	return below, nil
}

// keepTail leaves each partition its last batch when a client deletes records to the end.
func keepTail(c *kfake.Cluster) guard {
	return func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		req, ok := kreq.(*kmsg.DeleteRecordsRequest)
		if !ok {
			return nil, nil, false
		}
		for _, t := range req.Topics {
			for i := range t.Partitions {
				p := &t.Partitions[i]
				info := c.PartitionInfo(t.Topic, p.Partition)
				if info == nil || info.HighWatermark == info.LogStartOffset {
					continue
				}
				if p.Offset == -1 || p.Offset == info.HighWatermark {
					p.Offset = info.HighWatermark - 1
				}
			}
		}
		return nil, nil, false
	}
}
