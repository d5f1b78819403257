package broker

import (
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fillByPartition moves a fetch's limit from the whole answer to its partitions. When an answer of
// kfake becomes full in the middle of a partition, it leaves out which of that partition's
// transactions were aborted, and their records count as committed. At a partition's own limit it
// does not. What a fetch session takes over from earlier requests was limited by those.
func fillByPartition(kreq kmsg.Request) (kmsg.Response, error, bool) { //nolint:revive // kfake's order
	req, ok := kreq.(*kmsg.FetchRequest)
	if !ok || req.IsolationLevel == 0 {
		return nil, nil, false
	}
	n := int32(0)
	for _, t := range req.Topics {
		n += int32(len(t.Partitions))
	}
	for _, t := range req.Topics {
		for i := range t.Partitions {
			p := &t.Partitions[i]
			p.PartitionMaxBytes = min(p.PartitionMaxBytes, req.MaxBytes/n)
		}
	}
	req.MaxBytes = math.MaxInt32
	return nil, nil, false
}
