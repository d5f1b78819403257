package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Special timestamps of a ListOffsets request.
const (
	listEnd   = -1
	listStart = -2
)

// StartOffsets are the first offsets that each partition still has.
func (a *Admin) StartOffsets(ctx context.Context, topic string) (map[int32]int64, error) {
	return a.listOffsets(ctx, topic, listStart, 0)
}

// EndOffsets are the offsets after each partition's last record; with committed, the last stable
// ones, beyond which a transaction is open.
func (a *Admin) EndOffsets(ctx context.Context, topic string, committed bool) (map[int32]int64, error) {
	var isolation int8
	if committed {
		isolation = 1
	}
	return a.listOffsets(ctx, topic, listEnd, isolation)
}

// Bounds are StartOffsets and EndOffsets at once.
func (a *Admin) Bounds(ctx context.Context, topic string, committed bool) (starts, ends map[int32]int64, err error) {
	var isolation int8
	if committed {
		isolation = 1
	}
	err = a.try(ctx, fmt.Sprintf("read the offsets of topic %q", topic), func() error {
		t, ok, err := a.topicOnce(ctx, topic)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%w %q", ErrNoTopic, topic)
		}
		if ends, err = a.listOnce(ctx, t, listEnd, isolation); err != nil {
			return err
		}
		starts, err = a.listOnce(ctx, t, listStart, 0)
		return err
	})
	return starts, ends, err
}

// listOffsets answers for every partition of the topic or not at all.
func (a *Admin) listOffsets(ctx context.Context, topic string, at int64, isolation int8) (map[int32]int64, error) {
	var offsets map[int32]int64
	err := a.try(ctx, fmt.Sprintf("read the offsets of topic %q", topic), func() error {
		t, ok, err := a.topicOnce(ctx, topic)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%w %q", ErrNoTopic, topic)
		}
		offsets, err = a.listOnce(ctx, t, at, isolation)
		return err
	})
	return offsets, err
}

func (a *Admin) listOnce(ctx context.Context, t kmsg.MetadataResponseTopic, at int64, isolation int8) (map[int32]int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.IsolationLevel, req.TimeoutMillis = -1, isolation, int32(requestTimeout.Milliseconds())
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = *t.Topic
	for _, p := range t.Partitions {
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp = p.Partition, at
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	offsets := make(map[int32]int64, len(t.Partitions))
	for _, shard := range a.cl.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return nil, shard.Err
		}
		for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return nil, fmt.Errorf("partition %d: %w", p.Partition, err)
				}
				offsets[p.Partition] = p.Offset
			}
		}
	}
	for _, p := range t.Partitions {
		if _, ok := offsets[p.Partition]; !ok {
			return nil, fmt.Errorf("partition %d was left out of the answer: %w", p.Partition, kerr.UnknownTopicOrPartition)
		}
	}
	return offsets, nil
}

// Committed is a consumer group's offset of a partition.
type Committed struct {
	Offset int64
	Epoch  int32 // the leader epoch of the record before it, -1 where whoever committed it did not say
}

// GroupOffsets are a consumer group's committed offsets of the given partitions of a topic; a
// partition without one is absent. It waits for pending transactions of these partitions, and only
// these: without partitions it asks for all, and a busy neighbour can hold it up.
func (a *Admin) GroupOffsets(ctx context.Context, group, topic string, partitions ...int32) (map[int32]int64, error) {
	committed, err := a.GroupCommits(ctx, group, topic, partitions...)
	return offsetsOf(committed), err
}

// GroupCommits is GroupOffsets with the leader epochs.
func (a *Admin) GroupCommits(ctx context.Context, group, topic string, partitions ...int32) (map[int32]Committed, error) {
	var committed map[int32]Committed
	err := a.try(ctx, fmt.Sprintf("read the offsets of consumer group %q", group), func() error {
		ask := partitions
		if len(ask) == 0 {
			t, ok, err := a.topicOnce(ctx, topic)
			if err != nil {
				return err
			}
			if !ok {
				return fmt.Errorf("%w %q", ErrNoTopic, topic)
			}
			for _, p := range t.Partitions {
				ask = append(ask, p.Partition)
			}
		}
		var err error
		committed, err = a.groupCommitsOnce(ctx, group, topic, ask, true)
		return err
	})
	return committed, err
}

// SettledOffsets are like GroupOffsets, but as they were before any transaction that is pending:
// what a coordinator answers whose pending transaction never ends.
func (a *Admin) SettledOffsets(ctx context.Context, group, topic string, partitions ...int32) (map[int32]int64, error) {
	committed, err := a.SettledCommits(ctx, group, topic, partitions...)
	return offsetsOf(committed), err
}

// SettledCommits is SettledOffsets with the leader epochs.
func (a *Admin) SettledCommits(ctx context.Context, group, topic string, partitions ...int32) (map[int32]Committed, error) {
	var committed map[int32]Committed
	err := a.try(ctx, fmt.Sprintf("read the settled offsets of consumer group %q", group), func() (err error) {
		committed, err = a.groupCommitsOnce(ctx, group, topic, partitions, false)
		return err
	})
	return committed, err
}

// offsetsOf is nil for nil.
func offsetsOf(committed map[int32]Committed) (offsets map[int32]int64) {
	if committed != nil {
		offsets = make(map[int32]int64, len(committed))
	}
	for p, c := range committed {
		offsets[p] = c.Offset
	}
	return offsets
}

func (a *Admin) groupCommitsOnce(ctx context.Context, group, topic string, partitions []int32, stable bool) (map[int32]Committed, error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.RequireStable = stable
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	t := kmsg.NewOffsetFetchRequestGroupTopic()
	t.Topic, t.Partitions = topic, slices.Sorted(slices.Values(partitions))
	g.Topics = append(g.Topics, t)
	req.Groups = append(req.Groups, g)
	resp, err := req.RequestWith(ctx, a.cl)
	if err != nil {
		return nil, err
	}
	if len(resp.Groups) != 1 {
		return nil, fmt.Errorf("the answer is for %d consumer groups, not one", len(resp.Groups))
	}
	committed := map[int32]Committed{}
	if err := kerr.ErrorForCode(resp.Groups[0].ErrorCode); errors.Is(err, kerr.GroupIDNotFound) {
		return committed, nil // kfake says so of a group that does not exist yet; Kafka answers -1
	} else if err != nil {
		return nil, err
	}
	answered := 0
	for _, t := range resp.Groups[0].Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, fmt.Errorf("partition %d: %w", p.Partition, err)
			}
			answered++
			if p.Offset >= 0 {
				committed[p.Partition] = Committed{p.Offset, p.LeaderEpoch}
			}
		}
	}
	if answered != len(partitions) {
		return nil, fmt.Errorf("the answer is for %d of %d partitions: %w", answered, len(partitions), kerr.UnknownTopicOrPartition)
	}
	return committed, nil
}

// GroupMembers is the number of members that a consumer group has now, and its state as Kafka says
// it (Empty, Stable, Dead for one that is not there). Groups of both protocols are seen.
func (a *Admin) GroupMembers(ctx context.Context, group string) (n int, state string, err error) {
	err = a.try(ctx, fmt.Sprintf("describe consumer group %q", group), func() error {
		n, state, err = a.classicGroupOnce(ctx, group)
		if err != nil || state != "Dead" {
			return err
		}
		n, state, err = a.consumerGroupOnce(ctx, group)
		return err
	})
	return n, state, err
}

// classicGroupOnce calls a group Dead that is of the newer protocol, as Kafka does.
func (a *Admin) classicGroupOnce(ctx context.Context, group string) (int, string, error) {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{group}
	resp, err := req.RequestWith(ctx, a.cl)
	if err != nil {
		return 0, "", err
	}
	if len(resp.Groups) != 1 {
		return 0, "", fmt.Errorf("the answer is for %d consumer groups, not one", len(resp.Groups))
	}
	g := resp.Groups[0]
	if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
		if errors.Is(err, kerr.GroupIDNotFound) {
			return 0, "Dead", nil
		}
		return 0, "", err
	}
	return len(g.Members), g.State, nil
}

// consumerGroupOnce asks for a group of the protocol of Kafka 4; an older Kafka has none.
func (a *Admin) consumerGroupOnce(ctx context.Context, group string) (int, string, error) {
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	if ok, err := a.supports(ctx, req.Key()); err != nil || !ok {
		return 0, "Dead", err
	}
	req.Groups = []string{group}
	resp, err := req.RequestWith(ctx, a.cl)
	if err != nil {
		return 0, "", err
	}
	if len(resp.Groups) != 1 {
		return 0, "", fmt.Errorf("the answer is for %d consumer groups, not one", len(resp.Groups))
	}
	g := resp.Groups[0]
	if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
		if errors.Is(err, kerr.GroupIDNotFound) || errors.Is(err, kerr.UnsupportedVersion) {
			return 0, "Dead", nil
		}
		return 0, "", err
	}
	return len(g.Members), g.State, nil
}

// supports asks a broker whether it knows a request.
func (a *Admin) supports(ctx context.Context, key int16) (bool, error) {
	resp, err := a.apiVersionsOnce(ctx)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(resp.ApiKeys, func(k kmsg.ApiVersionsResponseApiKey) bool { return k.ApiKey == key }), nil
}
