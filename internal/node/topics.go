package node

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/processor/spec"
)

// changelogConfigs are those of DESIGN: a compacted topic in segments that the cleaner reaches
// soon.
var changelogConfigs = map[string]string{
	"cleanup.policy":            "compact",
	"segment.bytes":             strconv.Itoa(128 << 20),
	"segment.ms":                strconv.Itoa(3600_000),
	"min.cleanable.dirty.ratio": "0.3",
	"min.compaction.lag.ms":     strconv.Itoa(3600_000),
}

// ownExtraBytes is by how much the limit of a topic that tally owns exceeds the input's.
const ownExtraBytes = 64 << 10

// findTopics looks at the app's topics, refuses those that would lose counts, and makes none. One
// that is missing and will be made has its name, and a Replication of 0.
func (a *app) findTopics(ctx context.Context) error {
	changelog, dead := spec.ChangelogTopic(a.name()), spec.DeadTopic(a.name())
	all, err := a.topics(ctx, append(a.specTopics(), changelog, dead)...)
	if err != nil {
		return err
	}
	if err := a.takeSpecTopics(all); err != nil {
		return err
	}
	if err := a.refuseDeletion(all[changelog]); err != nil {
		return err
	}
	a.changelog = all[changelog]
	if a.spec.OnError == spec.Dead {
		a.dead = all[dead]
	}
	return nil
}

// findSpecTopics looks at the topics that the spec names.
func (a *app) findSpecTopics(ctx context.Context) error {
	all, err := a.topics(ctx, a.specTopics()...)
	if err != nil {
		return err
	}
	return a.takeSpecTopics(all)
}

func (a *app) specTopics() []string {
	if a.spec.Output == nil {
		return []string{a.spec.Input.Topic}
	}
	return []string{a.spec.Input.Topic, a.spec.Output.Topic}
}

func (a *app) takeSpecTopics(all map[string]kafka.Topic) error {
	if err := a.takeInput(all[a.spec.Input.Topic]); err != nil || a.spec.Output == nil {
		return err
	}
	return a.takeOutput(all[a.spec.Output.Topic])
}

func missing(t kafka.Topic) bool { return t.Replication == 0 }

// topics describes topics by name, also those that are missing.
func (n *Node) topics(ctx context.Context, names ...string) (map[string]kafka.Topic, error) {
	all, err := n.admin.Topics(ctx, names...)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if _, ok := all[name]; !ok {
			all[name] = kafka.Topic{Name: name}
		}
	}
	return all, nil
}

// A topic that was made a moment ago may be unknown yet to the broker that is asked.
const (
	inputTries = 8
	inputPause = 250 * time.Millisecond
)

// topics describes topics by name, the input among them. Before that counts as missing where it is
// not made, it is looked for again.
func (a *app) topics(ctx context.Context, names ...string) (map[string]kafka.Topic, error) {
	for try := 1; ; try++ {
		all, err := a.node.topics(ctx, names...)
		if err != nil || !missing(all[a.spec.Input.Topic]) || a.inputToMake() > 0 || try == inputTries {
			return all, err
		}
		if err := a.node.cfg.Seam.Sleep(ctx, inputPause); err != nil {
			return nil, err
		}
	}
}

// inputToMake is the partitions with which a missing input is made; 0: it is not.
func (a *app) inputToMake() int {
	if create := a.node.cfg.CreateTopics; create > 0 || a.node.embedded == nil {
		return create
	}
	return EmbeddedPartitions
}

func (a *app) find(ctx context.Context, name string) (kafka.Topic, error) {
	all, err := a.node.topics(ctx, name)
	return all[name], err
}

func (a *app) findInput(ctx context.Context) error {
	all, err := a.topics(ctx, a.spec.Input.Topic)
	if err != nil {
		return err
	}
	return a.takeInput(all[a.spec.Input.Topic])
}

func (a *app) takeInput(t kafka.Topic) error {
	name, create := a.spec.Input.Topic, a.inputToMake()
	if a.input = t; !missing(t) {
		return nil
	}
	if create == 0 {
		return fmt.Errorf("the input topic %s does not exist on %s; make it with\n  kafka-topics --bootstrap-server %s --create --topic %s --partitions 4\nor start with --create-topics 4",
			name, strings.Join(a.node.kafka.Brokers, ","), a.node.kafka.Brokers[0], name)
	}
	a.input.Partitions = create
	return nil
}

func (a *app) takeOutput(t kafka.Topic) error {
	if a.output = t; missing(t) {
		return nil
	}
	if a.spec.Output.Key == spec.KeyEvent && strings.Contains(t.Configs["cleanup.policy"], "compact") {
		return fmt.Errorf("the output topic %s is compacted, and with `key: event` several groups share a key, so that compaction would drop counts: set output.key: group, or use a topic with cleanup.policy=delete",
			t.Name)
	}
	return nil
}

// makeTopics makes what was found missing, and grows tally's own topics to the size that the input
// asks for.
func (a *app) makeTopics(ctx context.Context) (err error) {
	if missing(a.input) {
		ts := kafka.TopicSpec{Name: a.input.Name, Partitions: a.input.Partitions, Replication: -1}
		if a.input, err = a.create(ctx, ts); err != nil {
			return err
		}
	}
	if a.spec.Output != nil && missing(a.output) {
		ts := kafka.TopicSpec{Name: a.output.Name, Partitions: a.counted(), Replication: -1}
		if a.output, err = a.create(ctx, ts); err != nil {
			return err
		}
	}
	if a.repartitions > 0 {
		if a.repartition, err = a.makeOwn(ctx, a.repartition, a.repartitions, repartitionConfigs); err != nil {
			return err
		}
	}
	if a.changelog, err = a.makeOwn(ctx, a.changelog, a.widest(), changelogConfigs); err != nil || a.dead.Name == "" {
		return err
	}
	a.dead, err = a.makeOwn(ctx, a.dead, a.input.Partitions, map[string]string{
		"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1",
	})
	return err
}

func (a *app) makeOwn(ctx context.Context, t kafka.Topic, partitions int, configs map[string]string) (kafka.Topic, error) {
	switch {
	case missing(t):
		return a.createOwn(ctx, t.Name, partitions, configs)
	case t.Partitions < partitions:
		return a.grow(ctx, t.Name, partitions)
	default:
		return t, nil
	}
}

// createOwn makes a topic that tally owns: replicated on up to three brokers, and with room for
// what an input record may become.
func (a *app) createOwn(ctx context.Context, name string, partitions int, configs map[string]string) (kafka.Topic, error) {
	brokers, err := a.node.admin.Brokers(ctx)
	if err != nil {
		return kafka.Topic{}, err
	}
	c := maps.Clone(configs)
	c["max.message.bytes"] = strconv.Itoa(recordLimit(a.input) + ownExtraBytes)
	if brokers >= 3 {
		c["min.insync.replicas"] = "2"
	}
	return a.create(ctx, kafka.TopicSpec{Name: name, Partitions: partitions, Replication: min(3, brokers), Configs: c})
}

func (a *app) create(ctx context.Context, ts kafka.TopicSpec) (kafka.Topic, error) {
	if err := a.node.admin.Create(ctx, ts); err != nil {
		return kafka.Topic{}, fmt.Errorf("app %s: %w", a.name(), err)
	}
	a.node.cfg.Log.Info("created topic", "topic", ts.Name, "partitions", ts.Partitions)
	return a.topic(ctx, ts.Name)
}

func (a *app) grow(ctx context.Context, name string, partitions int) (kafka.Topic, error) {
	if err := a.node.admin.AddPartitions(ctx, name, partitions); err != nil {
		return kafka.Topic{}, fmt.Errorf("app %s: %w", a.name(), err)
	}
	a.node.cfg.Log.Info("added partitions, since the input has more", "topic", name, "partitions", partitions)
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
