package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// This file is what `tally doctor` asks: nothing in it changes anything.

// Broker is one broker of the cluster at the address that it advertises.
type Broker struct {
	ID   int32
	Addr string
	Err  error // why it does not answer from here; nil when it does
}

// EachBroker asks every broker of the cluster at the address that it advertises, beside each other.
// A bootstrap address that answers proves nothing about these.
func (a *Admin) EachBroker(ctx context.Context) ([]Broker, error) {
	m, err := a.metadata(ctx, "list Kafka's brokers")
	if err != nil {
		return nil, err
	}
	brokers := make([]Broker, len(m.Brokers))
	var wg sync.WaitGroup
	for i, b := range m.Brokers {
		wg.Go(func() {
			brokers[i] = Broker{ID: b.NodeID, Addr: net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))}
			req := kmsg.NewPtrApiVersionsRequest()
			req.ClientSoftwareName, req.ClientSoftwareVersion = "tally", "1"
			if _, err := a.cl.Broker(int(b.NodeID)).RetriableRequest(ctx, req); err != nil {
				brokers[i].Err = a.cfg.Explain(err)
			}
		})
	}
	wg.Wait()
	slices.SortFunc(brokers, func(x, y Broker) int { return int(x.ID) - int(y.ID) })
	return brokers, nil
}

// VersionGuess is Kafka's version as the requests that it takes tell it, such as "v4.2" or "at
// least v4.3": Kafka does not say its version.
func (a *Admin) VersionGuess(ctx context.Context) (string, error) {
	guess := ""
	err := a.try(ctx, "read which requests Kafka takes", func() error {
		resp, err := a.apiVersionsOnce(ctx)
		if err == nil {
			guess = kversion.FromApiVersionsResponse(resp).VersionGuess()
		}
		return err
	})
	return guess, err
}

// BrokerConfigs are the settings of a broker.
func (a *Admin) BrokerConfigs(ctx context.Context, broker int32) (map[string]string, error) {
	configs := map[string]string{}
	err := a.try(ctx, fmt.Sprintf("read the settings of broker %d", broker), func() error {
		req := kmsg.NewPtrDescribeConfigsRequest()
		r := kmsg.NewDescribeConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeBroker, strconv.Itoa(int(broker))
		req.Resources = append(req.Resources, r)
		resp, err := a.cl.Broker(int(broker)).RetriableRequest(ctx, req)
		if err != nil {
			return err
		}
		for _, r := range resp.(*kmsg.DescribeConfigsResponse).Resources {
			if err := withMessage(r.ErrorCode, r.ErrorMessage); err != nil {
				return err
			}
			for _, c := range r.Configs {
				if c.Value != nil {
					configs[c.Name] = *c.Value
				}
			}
		}
		return nil
	})
	return configs, err
}

// OffsetsAt are the first offsets whose records are not older than a time in Unix milliseconds; -1
// where there is no such record.
func (a *Admin) OffsetsAt(ctx context.Context, topic string, ms int64) (map[int32]int64, error) {
	return a.listOffsets(ctx, topic, max(ms, 0), 1)
}

// TailBytes is Tail for those who know no Kafka client: accept gets a record's key and value.
func (a *Admin) TailBytes(ctx context.Context, topic string, partition int32, accept func(key, value []byte) bool) error {
	return a.Tail(ctx, topic, partition, func(r *kgo.Record) bool { return accept(r.Key, r.Value) })
}

// OpenTransaction is a transaction as the leader of a partition sees it: begun there, not ended
// yet.
type OpenTransaction struct {
	Topic       string
	Partition   int32
	ProducerID  int64
	StartOffset int64
	LastMs      int64 // timestamp of the last record: its producer's word
}

// OpenTransactions are those on all partitions of a topic.
func (a *Admin) OpenTransactions(ctx context.Context, topic string) ([]OpenTransaction, error) {
	var open []OpenTransaction
	err := a.try(ctx, fmt.Sprintf("list the open transactions of topic %q", topic), func() error {
		t, ok, err := a.topicOnce(ctx, topic)
		if err != nil || !ok {
			return err
		}
		open, err = a.openOnce(ctx, t)
		return err
	})
	return open, err
}

func (a *Admin) openOnce(ctx context.Context, t kmsg.MetadataResponseTopic) ([]OpenTransaction, error) {
	req := kmsg.NewPtrDescribeProducersRequest()
	rt := kmsg.NewDescribeProducersRequestTopic()
	rt.Topic = *t.Topic
	for _, p := range t.Partitions {
		rt.Partitions = append(rt.Partitions, p.Partition)
	}
	req.Topics = append(req.Topics, rt)
	var open []OpenTransaction
	for _, shard := range a.cl.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return nil, shard.Err
		}
		for _, t := range shard.Resp.(*kmsg.DescribeProducersResponse).Topics {
			for _, p := range t.Partitions {
				if err := withMessage(p.ErrorCode, p.ErrorMessage); err != nil {
					return nil, fmt.Errorf("partition %d: %w", p.Partition, err)
				}
				for _, producer := range p.ActiveProducers {
					if producer.CurrentTxnStartOffset >= 0 {
						open = append(open, OpenTransaction{Topic: t.Topic, Partition: p.Partition,
							ProducerID: producer.ProducerID, StartOffset: producer.CurrentTxnStartOffset, LastMs: producer.LastTimestamp})
					}
				}
			}
		}
	}
	return open, nil
}

// TransactionalIDs finds the transactional ids of producer ids. Kafka leaves out, without a word,
// those that the user may not describe.
func (a *Admin) TransactionalIDs(ctx context.Context, producerIDs []int64) (map[int64]string, error) {
	ids := map[int64]string{}
	err := a.try(ctx, "list Kafka's transactional ids", func() error {
		req := kmsg.NewPtrListTransactionsRequest()
		req.ProducerIDFilters = producerIDs
		for _, shard := range a.cl.RequestSharded(ctx, req) {
			if shard.Err != nil {
				return shard.Err
			}
			resp := shard.Resp.(*kmsg.ListTransactionsResponse)
			if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
				return err
			}
			for _, t := range resp.TransactionStates {
				ids[t.ProducerID] = t.TransactionalID
			}
		}
		return nil
	})
	return ids, err
}

// Denied says whether an error is Kafka's refusal to let this user do it.
func Denied(err error) bool {
	for _, code := range []error{
		kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed,
		kerr.TransactionalIDAuthorizationFailed,
	} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}
