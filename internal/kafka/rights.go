package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Right is what an ACL allows, numbered as in Kafka's protocol.
type Right uint8

// The rights that tally needs.
const (
	RightRead  = Right(kmsg.ACLOperationRead)
	RightWrite = Right(kmsg.ACLOperationWrite)

	RightDescribe        = Right(kmsg.ACLOperationDescribe)
	RightDescribeConfigs = Right(kmsg.ACLOperationDescribeConfigs)
)

func (r Right) String() string {
	switch r {
	case RightRead:
		return "Read"
	case RightWrite:
		return "Write"
	case RightDescribe:
		return "Describe"
	case RightDescribeConfigs:
		return "DescribeConfigs"
	}
	panic(fmt.Sprintf("kafka: right %d has no name", uint8(r)))
}

// Rights is the set of rights that a broker says a user has on one thing.
type Rights int32

// Has tells whether a right is among them.
func (r Rights) Has(one Right) bool { return r>>one&1 == 1 }

// TopicRights are this user's rights on a topic; known is false where Kafka does not say (before
// 2.3), or there is no such topic. A topic that the user may not even describe has none.
func (a *Admin) TopicRights(ctx context.Context, topic string) (rights Rights, known bool, err error) {
	err = a.try(ctx, fmt.Sprintf("read this user's rights on topic %q", topic), func() error {
		req := kmsg.NewPtrMetadataRequest()
		req.IncludeTopicAuthorizedOperations = true
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &topic
		req.Topics = append(req.Topics, t)
		resp, err := req.RequestWith(ctx, a.cl)
		if err != nil {
			return err
		}
		if len(resp.Topics) != 1 {
			return fmt.Errorf("the answer is for %d topics, not one", len(resp.Topics))
		}
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			return nil
		}
		if errors.Is(err, kerr.TopicAuthorizationFailed) {
			known = true
			return nil
		}
		rights = Rights(resp.Topics[0].AuthorizedOperations)
		known = err == nil && rights != math.MinInt32
		return err
	})
	return rights, known, err
}

// TryCreate asks whether a topic could be made, without making it.
func (a *Admin) TryCreate(ctx context.Context, spec TopicSpec) error {
	return a.try(ctx, fmt.Sprintf("create topic %q (only tried)", spec.Name), func() error {
		return a.createOnce(ctx, spec, true)
	})
}

// TryOffsets asks whether this user may commit offsets of a consumer group, which needs the same
// right as a member's heartbeat. The heartbeat is of a member that does not exist: it changes
// nothing, and Kafka looks at the right first.
func (a *Admin) TryOffsets(ctx context.Context, group string) error {
	return a.try(ctx, fmt.Sprintf("use the consumer group %q", group), func() error {
		req := kmsg.NewPtrHeartbeatRequest()
		req.Group, req.MemberID, req.Generation = group, "tally-doctor", -1
		resp, err := req.RequestWith(ctx, a.cl)
		if err != nil {
			return err
		}
		return refusal(resp.ErrorCode)
	})
}

// TryTransaction asks whether this user may write transactions under a transactional id. It ends a
// transaction of a producer id that no producer has, so nothing can come of it; Kafka looks at the
// right first.
func (a *Admin) TryTransaction(ctx context.Context, id string) error {
	return a.try(ctx, fmt.Sprintf("use the transactional id %q", id), func() error {
		req := kmsg.NewPtrEndTxnRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = id, math.MaxInt64, 0, false
		resp, err := req.RequestWith(ctx, a.cl)
		if err != nil && !errors.As(err, new(*kerr.Error)) {
			return err
		}
		if err != nil {
			return refusalOf(err)
		}
		return refusal(resp.ErrorCode)
	})
}

// TryTrim asks whether this user may delete records of a topic. It asks for those below offset 0,
// which are none; Kafka looks at the right first.
func (a *Admin) TryTrim(ctx context.Context, topic string) error {
	return refusalOf(a.DeleteRecords(ctx, topic, map[int32]int64{0: 0}))
}

// refusal is the error of a request that must fail anyway, when it failed for want of a right or
// may be tried again; any other error came after the right was looked at.
func refusal(code int16) error { return refusalOf(kerr.ErrorForCode(code)) }

func refusalOf(err error) error {
	if Denied(err) || Retriable(err) {
		return err
	}
	return nil
}
