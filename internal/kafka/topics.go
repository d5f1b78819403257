package kafka

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Topic is what a cluster says of a topic.
type Topic struct {
	Name        string
	ID          string // as Kafka prints it; "" from a Kafka before 2.8
	Partitions  int
	Replication int
	Configs     map[string]string // nil when the user may not read them
}

// TopicSpec is a topic to be created.
type TopicSpec struct {
	Name        string
	Partitions  int // -1: the brokers' default
	Replication int // -1: the brokers' default
	Configs     map[string]string
}

// metadata asks for the cluster.
func (a *Admin) metadata(ctx context.Context, what string) (*kmsg.MetadataResponse, error) {
	var resp *kmsg.MetadataResponse
	err := a.try(ctx, what, func() (err error) {
		resp, err = a.metadataOnce(ctx)
		return err
	})
	return resp, err
}

// metadataOnce asks for the cluster and these topics. It goes past the client's cache.
func (a *Admin) metadataOnce(ctx context.Context, topics ...string) (*kmsg.MetadataResponse, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{} // none; nil would be all
	for _, name := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, a.cl)
	if err != nil {
		return nil, err
	}
	if len(resp.Topics) != len(topics) {
		return nil, fmt.Errorf("the answer is for %d topics, not %d", len(resp.Topics), len(topics))
	}
	return resp, nil
}

// Topic describes a topic; ok is false when there is none of the name.
func (a *Admin) Topic(ctx context.Context, name string) (t Topic, ok bool, err error) {
	all, err := a.Topics(ctx, name)
	t, ok = all[name]
	return t, ok, err
}

// Topics describes topics; those that are not there are absent. It asks two questions, however many
// topics they are of.
func (a *Admin) Topics(ctx context.Context, names ...string) (all map[string]Topic, err error) {
	err = a.try(ctx, fmt.Sprintf("describe topic %q", names), func() error {
		all = map[string]Topic{}
		resp, err := a.metadataOnce(ctx, names...)
		if err != nil {
			return err
		}
		for _, meta := range resp.Topics {
			if ok, err := exists(meta); err != nil {
				return err
			} else if ok {
				all[*meta.Topic] = plainTopic(meta)
			}
		}
		return a.addConfigs(ctx, all)
	})
	return all, err
}

func plainTopic(meta kmsg.MetadataResponseTopic) Topic {
	t := Topic{Name: *meta.Topic, ID: topicID(meta.TopicID), Partitions: len(meta.Partitions)}
	for _, p := range meta.Partitions {
		t.Replication = max(t.Replication, len(p.Replicas))
	}
	return t
}

// exists tells a topic that is not there from one that a broker cannot speak of now.
func exists(meta kmsg.MetadataResponseTopic) (bool, error) {
	err := kerr.ErrorForCode(meta.ErrorCode)
	if errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID) {
		return false, nil
	}
	return err == nil, err
}

// topicOnce asks for one topic's metadata.
func (a *Admin) topicOnce(ctx context.Context, name string) (t kmsg.MetadataResponseTopic, ok bool, err error) {
	resp, err := a.metadataOnce(ctx, name)
	if err != nil {
		return t, false, err
	}
	ok, err = exists(resp.Topics[0])
	return resp.Topics[0], ok, err
}

// addConfigs adds the settings of topics that are there; those of a topic stay nil when the user
// may not read them.
func (a *Admin) addConfigs(ctx context.Context, all map[string]Topic) error {
	if len(all) == 0 {
		return nil
	}
	req := kmsg.NewPtrDescribeConfigsRequest()
	for name := range all {
		r := kmsg.NewDescribeConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, name
		req.Resources = append(req.Resources, r)
	}
	resp, err := req.RequestWith(ctx, a.cl)
	if err != nil {
		return err
	}
	for _, r := range resp.Resources {
		err := withMessage(r.ErrorCode, r.ErrorMessage)
		if errors.Is(err, kerr.TopicAuthorizationFailed) {
			continue
		}
		if err != nil {
			return err
		}
		t := all[r.ResourceName]
		t.Configs = map[string]string{}
		for _, c := range r.Configs {
			if c.Value != nil {
				t.Configs[c.Name] = *c.Value
			}
		}
		all[r.ResourceName] = t
	}
	return nil
}

// Create makes a topic and waits until each partition of it has a leader. A topic that exists
// already is ErrTopicExists, unless an earlier try of this call may have made it.
func (a *Admin) Create(ctx context.Context, spec TopicSpec) error {
	what := fmt.Sprintf("create topic %q", spec.Name)
	tries := 0
	err := a.try(ctx, what, func() error {
		tries++
		err := a.createOnce(ctx, spec, false)
		if errors.Is(err, kerr.TopicAlreadyExists) {
			if tries > 1 {
				return nil
			}
			return ErrTopicExists
		}
		return err
	})
	if err != nil {
		return err
	}
	return a.awaitLeaders(ctx, spec.Name, spec.Partitions)
}

// createOnce makes a topic, or with onlyTry says whether it could.
func (a *Admin) createOnce(ctx context.Context, spec TopicSpec, onlyTry bool) error {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis, req.ValidateOnly = 15_000, onlyTry
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = spec.Name, int32(spec.Partitions), int16(spec.Replication)
	for k, v := range spec.Configs {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = k, &v
		t.Configs = append(t.Configs, c)
	}
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, a.cl)
	if err != nil {
		return err
	}
	if len(resp.Topics) != 1 {
		return fmt.Errorf("the answer is for %d topics, not one", len(resp.Topics))
	}
	return withMessage(resp.Topics[0].ErrorCode, resp.Topics[0].ErrorMessage)
}

// AddPartitions grows a topic to a total number of partitions and waits for their leaders.
func (a *Admin) AddPartitions(ctx context.Context, topic string, total int) error {
	err := a.try(ctx, fmt.Sprintf("grow topic %q to %d partitions", topic, total), func() error {
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.TimeoutMillis = 15_000
		t := kmsg.NewCreatePartitionsRequestTopic()
		t.Topic, t.Count = topic, int32(total)
		req.Topics = append(req.Topics, t)
		resp, err := req.RequestWith(ctx, a.cl)
		if err != nil {
			return err
		}
		if len(resp.Topics) != 1 {
			return fmt.Errorf("the answer is for %d topics, not one", len(resp.Topics))
		}
		return withMessage(resp.Topics[0].ErrorCode, resp.Topics[0].ErrorMessage)
	})
	if err != nil {
		return err
	}
	return a.awaitLeaders(ctx, topic, total)
}

// DeleteTopics deletes the topics that exist of those named.
func (a *Admin) DeleteTopics(ctx context.Context, names ...string) error {
	for _, name := range names {
		t := kmsg.NewDeleteTopicsRequestTopic()
		t.Topic = &name
		if err := a.deleteTopic(ctx, fmt.Sprintf("delete topic %q", name), t, name); err != nil {
			return err
		}
	}
	return nil
}

// DeleteTopicID deletes the topic of an id, as Kafka prints it, and none that has its name since. A
// topic that is not there is no error.
func (a *Admin) DeleteTopicID(ctx context.Context, id string) error {
	raw, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil || len(raw) != 16 {
		return fmt.Errorf("delete the topic with the id %q: that is no topic's id", id)
	}
	t := kmsg.NewDeleteTopicsRequestTopic()
	t.TopicID = [16]byte(raw)
	return a.deleteTopic(ctx, "delete the topic with the id "+id, t)
}

// deleteTopic deletes one topic. name is for brokers of before there were ids.
func (a *Admin) deleteTopic(ctx context.Context, what string, t kmsg.DeleteTopicsRequestTopic, name ...string) error {
	return a.try(ctx, what, func() error {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.TimeoutMillis = 15_000
		req.Topics, req.TopicNames = append(req.Topics, t), name
		resp, err := req.RequestWith(ctx, a.cl)
		if err != nil {
			return err
		}
		for _, t := range resp.Topics {
			err := withMessage(t.ErrorCode, t.ErrorMessage)
			if err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) && !errors.Is(err, kerr.UnknownTopicID) {
				return err
			}
		}
		return nil
	})
}

// DeleteRecords deletes what a topic's partitions hold below these offsets, of which each is at
// most the partition's high watermark. What is deleted already is no error.
func (a *Admin) DeleteRecords(ctx context.Context, topic string, below map[int32]int64) error {
	return a.try(ctx, fmt.Sprintf("delete old records of topic %q", topic), func() error {
		req := kmsg.NewPtrDeleteRecordsRequest()
		req.TimeoutMillis = 15_000
		t := kmsg.NewDeleteRecordsRequestTopic()
		t.Topic = topic
		for p, at := range below {
			part := kmsg.NewDeleteRecordsRequestTopicPartition()
			part.Partition, part.Offset = p, at
			t.Partitions = append(t.Partitions, part)
		}
		req.Topics = append(req.Topics, t)
		resp, err := req.RequestWith(ctx, a.cl)
		if err != nil {
			return err
		}
		answered := 0
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return fmt.Errorf("partition %d: %w", p.Partition, err)
				}
				answered++
			}
		}
		if answered != len(below) {
			return fmt.Errorf("the answer is for %d of %d partitions", answered, len(below))
		}
		return nil
	})
}

// awaitLeaders waits until all partitions of a new topic are known and have leaders.
func (a *Admin) awaitLeaders(ctx context.Context, topic string, partitions int) error {
	return a.try(ctx, fmt.Sprintf("see the leaders of topic %q", topic), func() error {
		t, ok, err := a.topicOnce(ctx, topic)
		if err != nil {
			return err
		}
		if !ok || len(t.Partitions) < partitions {
			return kerr.UnknownTopicOrPartition // the broker that was asked has not heard of it yet
		}
		for _, p := range t.Partitions {
			if p.Leader < 0 || p.ErrorCode != 0 {
				return fmt.Errorf("partition %d: %w", p.Partition, kerr.LeaderNotAvailable)
			}
		}
		return nil
	})
}

// topicID prints an id as Kafka does; the zero id means that there is none.
func topicID(id [16]byte) string {
	if id == [16]byte{} {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// withMessage is a broker's error with the sentence that it sent along.
func withMessage(code int16, message *string) error {
	err := kerr.ErrorForCode(code)
	if err == nil || message == nil || *message == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, *message)
}
