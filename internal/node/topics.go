package node

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/processor/spec"
)

// changelogConfigs are those of DESIGN: a compacted topic in segments that the cleaner reaches soon.
var changelogConfigs = map[string]string{
	"cleanup.policy":            "compact",
	"segment.bytes":             strconv.Itoa(128 << 20),
	"segment.ms":                strconv.Itoa(3600_000),
	"min.cleanable.dirty.ratio": "0.3",
	"min.compaction.lag.ms":     strconv.Itoa(3600_000),
}

// ownExtraBytes is by how much the limit of a topic that tally owns exceeds the input's.
const ownExtraBytes = 64 << 10

// openTopics finds or makes the app's topics and refuses those that would lose counts.
func (a *app) openTopics(ctx context.Context) error {
	if err := a.openInput(ctx); err != nil {
		return err
	}
	if err := a.spec.CheckLocal(a.input.Partitions); err != nil {
		return fmt.Errorf("app %s: %w", a.name(), err)
	}
	if err := a.openOutput(ctx); err != nil {
		return err
	}
	if err := a.openChangelog(ctx); err != nil {
		return err
	}
	return a.openDead(ctx)
}

func (a *app) openInput(ctx context.Context) error {
	name, create := a.spec.Input.Topic, a.node.cfg.CreateTopics
	if create == 0 && a.node.embedded != nil {
		create = EmbeddedPartitions
	}
	t, ok, err := a.node.admin.Topic(ctx, name)
	if err != nil {
		return err
	}
	if !ok && create == 0 {
		return fmt.Errorf("the input topic %s does not exist on %s; make it with\n  kafka-topics --bootstrap-server %s --create --topic %s --partitions 4\nor start with --create-topics 4",
			name, strings.Join(a.node.kafka.Brokers, ","), a.node.kafka.Brokers[0], name)
	}
	if !ok {
		if t, err = a.create(ctx, kafka.TopicSpec{Name: name, Partitions: create, Replication: -1}); err != nil {
			return err
		}
	}
	a.input = t
	return nil
}

func (a *app) openOutput(ctx context.Context) error {
	out := a.spec.Output
	if out == nil {
		return nil
	}
	t, ok, err := a.node.admin.Topic(ctx, out.Topic)
	if err != nil {
		return err
	}
	if !ok {
		t, err = a.create(ctx, kafka.TopicSpec{Name: out.Topic, Partitions: a.input.Partitions, Replication: -1})
		if err != nil {
			return err
		}
	}
	if t.Partitions < a.input.Partitions {
		return fmt.Errorf("the output topic %s has %d partitions, the input %s has %d: a counter's outputs go to the partition that it is counted in; run\n  kafka-topics --bootstrap-server %s --alter --topic %s --partitions %d",
			t.Name, t.Partitions, a.input.Name, a.input.Partitions, a.node.kafka.Brokers[0], t.Name, a.input.Partitions)
	}
	if out.Key == spec.KeyEvent && strings.Contains(t.Configs["cleanup.policy"], "compact") {
		return fmt.Errorf("the output topic %s is compacted, and with `key: event` several groups share a key, so that compaction would drop counts: set output.key: group, or use a topic with cleanup.policy=delete",
			t.Name)
	}
	a.output = t
	return nil
}

func (a *app) openChangelog(ctx context.Context) error {
	name := a.name() + ".changelog"
	t, ok, err := a.node.admin.Topic(ctx, name)
	if err != nil {
		return err
	}
	if !ok {
		t, err = a.createOwn(ctx, name, changelogConfigs)
	} else if t.Partitions < a.input.Partitions {
		t, err = a.grow(ctx, name)
	}
	if err != nil {
		return err
	}
	if policy, known := t.Configs["cleanup.policy"]; known && policy != "compact" {
		return fmt.Errorf("the changelog %s has cleanup.policy=%s: it must be `compact`, or Kafka deletes counts; run\n  kafka-configs --bootstrap-server %s --alter --topic %s --add-config cleanup.policy=compact",
			name, policy, a.node.kafka.Brokers[0], name)
	}
	a.changelog = t
	return nil
}

func (a *app) openDead(ctx context.Context) error {
	if a.spec.OnError != spec.Dead {
		return nil
	}
	name := a.name() + ".dead"
	t, ok, err := a.node.admin.Topic(ctx, name)
	if err != nil {
		return err
	}
	if !ok {
		t, err = a.createOwn(ctx, name, map[string]string{"cleanup.policy": "delete", "retention.ms": "-1"})
	} else if t.Partitions < a.input.Partitions {
		t, err = a.grow(ctx, name)
	}
	a.dead = t
	return err
}

// createOwn makes a topic that tally owns: replicated on up to three brokers, and with room for what
// an input record may become.
func (a *app) createOwn(ctx context.Context, name string, configs map[string]string) (kafka.Topic, error) {
	brokers, err := a.node.admin.Brokers(ctx)
	if err != nil {
		return kafka.Topic{}, err
	}
	c := maps.Clone(configs)
	c["max.message.bytes"] = strconv.Itoa(recordLimit(a.input) + ownExtraBytes)
	if brokers >= 3 {
		c["min.insync.replicas"] = "2"
	}
	return a.create(ctx, kafka.TopicSpec{Name: name, Partitions: a.input.Partitions, Replication: min(3, brokers), Configs: c})
}

func (a *app) create(ctx context.Context, ts kafka.TopicSpec) (kafka.Topic, error) {
	if err := a.node.admin.Create(ctx, ts); err != nil {
		return kafka.Topic{}, fmt.Errorf("app %s: %w", a.name(), err)
	}
	a.node.cfg.Log.Info("created topic", "topic", ts.Name, "partitions", ts.Partitions)
	return a.topic(ctx, ts.Name)
}

func (a *app) grow(ctx context.Context, name string) (kafka.Topic, error) {
	if err := a.node.admin.AddPartitions(ctx, name, a.input.Partitions); err != nil {
		return kafka.Topic{}, fmt.Errorf("app %s: %w", a.name(), err)
	}
	a.node.cfg.Log.Info("added partitions, since the input has more", "topic", name, "partitions", a.input.Partitions)
	return a.topic(ctx, name)
}

// topic reads a topic that was just made or grown, until the broker that answers knows of it.
func (a *app) topic(ctx context.Context, name string) (kafka.Topic, error) {
	for {
		t, ok, err := a.node.admin.Topic(ctx, name)
		if err != nil || ok && t.Partitions > 0 {
			return t, err
		}
		if err := a.node.cfg.Seam.Sleep(ctx, retryPause); err != nil {
			return t, fmt.Errorf("topic %s was created but does not appear: %w", name, err)
		}
	}
}

// recordLimit is a topic's max.message.bytes; Kafka's default where the broker does not say.
func recordLimit(t kafka.Topic) int {
	if n, err := strconv.Atoi(t.Configs["max.message.bytes"]); err == nil && n > 0 {
		return n
	}
	return 1048588
}
