package measure

import (
	"context"
	"errors"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Kept is what the brokers keep, all replicas together, of the topics whose names begin with
// prefix, and the names.
func Kept(ctx context.Context, cl *kgo.Client, prefix string) (size int64, names []string, err error) {
	seen := map[string]bool{}
	for _, shard := range cl.RequestSharded(ctx, kmsg.NewPtrDescribeLogDirsRequest()) {
		if shard.Err != nil {
			return 0, nil, shard.Err
		}
		resp, ok := shard.Resp.(*kmsg.DescribeLogDirsResponse)
		if !ok {
			return 0, nil, errors.New("a broker did not describe its log directories")
		}
		for _, dir := range resp.Dirs {
			if err := kerr.ErrorForCode(dir.ErrorCode); err != nil {
				return 0, nil, err
			}
			for _, topic := range dir.Topics {
				if !strings.HasPrefix(topic.Topic, prefix) {
					continue
				}
				if !seen[topic.Topic] {
					seen[topic.Topic] = true
					names = append(names, topic.Topic)
				}
				for _, p := range topic.Partitions {
					size += p.Size
				}
			}
		}
	}
	return size, names, nil
}
