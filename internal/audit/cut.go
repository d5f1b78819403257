package audit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/processor/spec"
)

// pollEvery is the pause between two looks at something that has to come.
const pollEvery = 20 * time.Millisecond

// findTopics looks at the topics of the app.
func (a *audit) findTopics(ctx context.Context) error {
	name := a.spec.App
	for _, t := range []struct {
		to   *kafka.Topic
		name string
	}{{&a.input, a.spec.Input.Topic}, {&a.output, a.outputTopic()}, {&a.changelog, spec.ChangelogTopic(name)}, {&a.dead, spec.DeadTopic(name)}} {
		if t.name == "" {
			continue
		}
		topic, ok, err := a.admin.Topic(ctx, t.name)
		if err != nil {
			return err
		}
		if topic.Name = t.name; ok {
			*t.to = topic
		}
	}
	switch {
	case a.input.Name == "":
		return fmt.Errorf("there is no topic %s, the input of app %s: see the brokers given, or the spec's input.topic", a.spec.Input.Topic, name)
	case a.changelog.Name == "":
		return fmt.Errorf("there is no topic %s: app %s has counted nothing on this Kafka; see the brokers given, or the spec's app name", spec.ChangelogTopic(name), name)
	case a.spec.Output != nil && a.output.Name == "":
		a.cannot("the output topic %s does not exist", a.spec.Output.Topic)
	}
	a.tasks = make([]*task, min(a.input.Partitions, a.changelog.Partitions))
	a.recordBytes = recordLimit(a.changelog)
	if a.output.Name != "" {
		a.recordBytes = min(a.recordBytes, recordLimit(a.output))
		if strings.Contains(a.output.Configs["cleanup.policy"], "compact") {
			a.cannot("the output %s is compacted: its last values are compared, but what compaction took away cannot be", a.output.Name)
		}
	}
	return nil
}

func (a *audit) outputTopic() string {
	if a.spec.Output == nil {
		return ""
	}
	return a.spec.Output.Topic
}

// recordLimit is a topic's max.message.bytes; Kafka's default where the broker does not say.
func recordLimit(t kafka.Topic) int {
	if n, err := strconv.Atoi(t.Configs["max.message.bytes"]); err == nil && n > 0 {
		return n
	}
	return 1048588
}

// cut fixes up to where everything is read; the package's comment says why in this order.
func (a *audit) cut(ctx context.Context) error {
	a.meter.begin("find a cut", 0)
	for _, step := range []func(context.Context) error{a.findPositions, a.noteStarting, a.awaitSecond} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	a.placeStore()
	if err := a.findOffsets(ctx); err != nil {
		return err
	}
	if err := a.dropStarted(ctx); err != nil {
		return err
	}
	if err := a.findEnds(ctx, a.output, a.keepers(), func(t *task) *int64 { return &t.outputEnd }); err != nil {
		return err
	}
	if err := a.findEnds(ctx, a.changelog, a.all(), func(t *task) *int64 { return &t.changelogEnd }); err != nil {
		return err
	}
	if err := a.settleSecond(ctx); err != nil {
		return err
	}
	return a.findEnds(ctx, a.dead, a.running(), func(t *task) *int64 { return &t.deadEnd })
}

// findEnds fixes up to where a topic is read.
func (a *audit) findEnds(ctx context.Context, topic kafka.Topic, tasks []*task, end func(*task) *int64) error {
	if topic.Name == "" {
		return nil
	}
	ends, err := a.stableEnds(ctx, topic.Name)
	if err != nil {
		return err
	}
	for _, t := range tasks {
		*end(t) = ends[t.partition]
	}
	return nil
}

// checkIdentity compares what a position record says of the app with what is there.
func (a *audit) checkIdentity(t *task) error {
	rec := t.at(0)
	switch {
	case a.appID == "":
		a.appID = rec.AppID
	case a.appID != rec.AppID:
		return fmt.Errorf("the changelog %s holds position records of two apps, ids %s and %s: two apps of one name wrote it, so there is no right result",
			a.changelog.Name, a.appID, rec.AppID)
	}
	if rec.Generation != a.generation {
		return fmt.Errorf("partition %d of the changelog %s is of generation %d, others of %d: a reset is under way; try again when the app runs",
			t.partition, a.changelog.Name, rec.Generation, a.generation)
	}
	if rec.Repartitions != a.repartitions {
		return fmt.Errorf("the changelog %s holds position records of an app with %d repartition partitions and of one with %d: two apps of one name wrote it, so there is no right result",
			a.changelog.Name, a.repartitions, rec.Repartitions)
	}
	if rec.Fingerprint != a.spec.Fingerprint() {
		stored, err := spec.Parse([]byte(rec.Spec), "the stored spec of app "+a.spec.App)
		if err != nil {
			return fmt.Errorf("%s/%d offset %d: %v", a.changelog.Name, t.partition, rec.offset, err)
		}
		return &MisfitError{App: a.spec.App, Diff: spec.Fit(stored, a.spec)}
	}
	switch {
	case rec.InputTopicID != a.input.ID:
		a.otherInput = true
		t.why = fmt.Sprintf("the input %s was deleted and made again: its id is %s, the app counted the one with id %s; to count the new one, `tally reset %s`",
			a.input.Name, a.input.ID, rec.InputTopicID, a.spec.App)
	case rec.ChangelogTopicID != a.changelog.ID:
		return fmt.Errorf("the changelog %s was deleted and made again: its id is %s, its position records are of the one with id %s; see `tally status`",
			a.changelog.Name, a.changelog.ID, rec.ChangelogTopicID)
	}
	return nil
}

// findOffsets reads the consumer group's offsets until none is behind its position record, which a
// moment after a commit it may be.
func (a *audit) findOffsets(ctx context.Context) error {
	a.offsets = map[string]map[int32]int64{}
	for began := a.cfg.Seam.Now(); ; {
		for _, topic := range a.sources() {
			offsets, err := a.admin.GroupOffsets(ctx, a.spec.App, topic)
			if err != nil {
				return err
			}
			a.offsets[topic] = offsets
		}
		behind := false
		for _, t := range a.all() {
			t.group = -1
			if o, ok := a.offsets[t.source][t.partition]; ok {
				t.group = o
			}
			behind = behind || a.offsets[t.source] != nil && t.group < t.at(0).Input
		}
		if !behind || a.cfg.Seam.Since(began) >= a.cfg.OffsetsWait {
			return nil
		}
		if err := a.cfg.Seam.Sleep(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// sources are the topics that the app's tasks read, as far as they are those of the position
// records: a topic's offsets go with it.
func (a *audit) sources() (names []string) {
	if !a.otherInput {
		names = append(names, a.input.Name)
	}
	if a.repartition.Name != "" {
		names = append(names, a.repartition.Name)
	}
	return names
}

// stableEnds are kafka.Admin's, or which transactions have to be ended first.
func (a *audit) stableEnds(ctx context.Context, topic string) (map[int32]int64, error) {
	ends, open, err := a.admin.StableEnds(ctx, topic, a.cfg.CutWait)
	if err == nil && len(open) > 0 {
		err = fmt.Errorf("a transaction is open in %s, partitions %v, and did not end within %s: end it (kafka-transactions --list shows it), and try again",
			topic, open, a.cfg.CutWait)
	}
	return ends, err
}

// read calls fn for each committed record of a part of a partition, and shows how far it is.
func (a *audit) read(ctx context.Context, topic string, partition int32, from, to int64, fn func(*kgo.Record) error) error {
	at := from
	err := a.admin.Read(ctx, topic, partition, from, to, func(r *kgo.Record) error {
		a.meter.add(r.Offset + 1 - at)
		at = r.Offset + 1
		return fn(r)
	})
	if err == nil {
		a.meter.add(to - at)
	}
	return err
}

// deleted says that an offset is no longer there.
func deleted(err error) bool { return errors.Is(err, kerr.OffsetOutOfRange) }
