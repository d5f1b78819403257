package node

import (
	"context"
	"fmt"
	"maps"
	"strconv"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/step"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

// An app of two stages has two kinds of tasks in each lane. Those of stage 0 read the input and
// send partials to <app>.repartition; those of stage 1 read that and have the values. The position
// records of both go to the changelog partition of the task's number. One lane alone writes each of
// them, since input partition p and repartition partition p both belong to lane p mod L.

// repartitionConfigs are those of the repartition topic: nothing is deleted from it by age, since
// what is not folded yet would be lost; tally trims it behind the position. Small segments let the
// disk space go soon. A partial's time is kept as the difference to its record's timestamp, which
// the broker must not change. The broker compresses: partials are short and alike, and that halves
// them, while its CPU stays the same within what can be measured.
var repartitionConfigs = map[string]string{
	"cleanup.policy":  "delete",
	"retention.ms":    "-1",
	"retention.bytes": "-1",
	"segment.bytes":   strconv.Itoa(32 << 20),
	"segment.ms":      strconv.Itoa(600_000),

	"message.timestamp.type": "CreateTime",
	"compression.type":       "lz4",
}

// decideStages takes the number of stages from the spec, for an app that counts its first events
// now. partitions are those of the input.
func (a *app) decideStages(partitions int) error {
	two, err := a.spec.TwoStages(partitions)
	if err != nil || !two {
		a.repartitions = 0
		return err
	}
	if a.repartitions = a.spec.Repartition.Partitions; a.repartitions == 0 {
		a.repartitions = min(partitions, spec.MaxRepartitions)
	}
	return nil
}

// fitStages refuses what does not fit the number of stages that the app has.
func (a *app) fitStages(ctx context.Context, heads map[int32]head) error {
	if a.repartitions == 0 {
		if a.spec.Local(a.input.Partitions) {
			return a.checkOutput()
		}
		return fmt.Errorf("app %s counted in one stage while its input %s had one partition, and now it has %d: the events of one group lie in several of them; `tally reset %s` starts anew with two stages, or give the spec another `app:` name",
			a.name(), a.input.Name, a.input.Partitions, a.name())
	}
	if err := a.checkOutput(); err != nil {
		return err
	}
	return a.findRepartition(ctx, heads)
}

// findRepartition looks at the repartition topic. A first start finds none, or one with nothing to
// count in it: partials of another life of the app would be counted with the new ones.
func (a *app) findRepartition(ctx context.Context, heads map[int32]head) error {
	stored := a.repartition.ID // of the position records
	t, err := a.find(ctx, spec.RepartitionTopic(a.name()))
	if err != nil {
		return err
	}
	a.repartition = t
	if !a.fresh {
		if err := a.sameTopic("repartition topic", t.Name, stored, t.ID); err != nil {
			return err
		}
	}
	if missing(t) {
		return nil
	}
	if err := a.checkRepartition(t); err != nil {
		return err
	}
	if t.Partitions < a.repartitions {
		return fmt.Errorf("the repartition topic %s has %d partitions, and the groups belong to %d: delete it before the app's first start, or `tally reset %s`",
			t.Name, t.Partitions, a.repartitions, a.name())
	}
	if !a.fresh || acquiredBefore(heads) {
		return nil
	}
	n, err := a.records(ctx, t.Name)
	if err == nil && n > 0 {
		err = fmt.Errorf("the repartition topic %s holds %d records of an earlier life of app %s, whose changelog is gone: run\n  kafka-topics --bootstrap-server %s --delete --topic %s\nor `tally reset %s`, to count anew",
			t.Name, n, a.name(), a.node.kafka.Brokers[0], t.Name, a.name())
	}
	return err
}

// checkRepartition refuses settings under which something would be lost between the stages.
func (a *app) checkRepartition(t kafka.Topic) error {
	for _, c := range []struct{ name, must, or string }{
		{"cleanup.policy", "delete", "Kafka drops partial results that are not counted yet"},
		{"message.timestamp.type", "CreateTime", "the times of events are lost"},
	} {
		if is, known := t.Configs[c.name]; known && is != c.must {
			return fmt.Errorf("the repartition topic %s has %s=%s: it must be `%s`, or %s; run\n  kafka-configs --bootstrap-server %s --alter --topic %s --add-config %s=%s",
				t.Name, c.name, is, c.must, c.or, a.node.kafka.Brokers[0], t.Name, c.name, c.must)
		}
	}
	return nil
}

// checkOutput refuses an output with too few partitions.
func (a *app) checkOutput() error {
	if a.spec.Output == nil || missing(a.output) || a.output.Partitions >= a.counted() {
		return nil
	}
	what := fmt.Sprintf("the input %s has %d", a.input.Name, a.input.Partitions)
	if a.repartitions > 0 {
		what = fmt.Sprintf("the counts are spread over %d", a.repartitions)
	}
	return fmt.Errorf("the output topic %s has %d partitions, %s: a counter's outputs go to the partition that it is counted in; run\n  kafka-topics --bootstrap-server %s --alter --topic %s --partitions %d",
		a.output.Name, a.output.Partitions, what, a.node.kafka.Brokers[0], a.output.Name, a.counted())
}

// counted is the number of partitions that counters are spread over.
func (a *app) counted() int {
	if a.repartitions > 0 {
		return a.repartitions
	}
	return a.input.Partitions
}

// widest is the number of changelog partitions: each task has the one of its number.
func (a *app) widest() int { return max(a.input.Partitions, a.repartitions) }

// tasks are those of lane k: partition p of either topic belongs to lane p mod L.
func (a *app) tasks(k int) (tasks []state.Task) {
	for p := k; p < a.input.Partitions; p += a.lanesN {
		tasks = append(tasks, state.Task{Partition: int32(p)})
	}
	for q := k; q < a.repartitions; q += a.lanesN {
		tasks = append(tasks, state.Task{Stage: state.SecondStage, Partition: int32(q)})
	}
	return tasks
}

// source is the topic that a task reads.
func (a *app) source(t state.Task) kafka.Topic {
	if t.Stage == state.SecondStage {
		return a.repartition
	}
	return a.input
}

// sources are the topics that the app's tasks read.
func (a *app) sources() []kafka.Topic {
	if a.repartitions == 0 {
		return []kafka.Topic{a.input}
	}
	return []kafka.Topic{a.input, a.repartition}
}

// stateTask is the task that has the values of a partition's counters.
func (a *app) stateTask(partition int32) state.Task {
	if a.repartitions > 0 {
		return state.Task{Stage: state.SecondStage, Partition: partition}
	}
	return state.Task{Partition: partition}
}

// tasksOf are the lane's tasks that read this topic.
func (l *lane) tasksOf(topic string) (tasks []state.Task) {
	for _, t := range l.tasks {
		if l.app.source(t).Name == topic {
			tasks = append(tasks, t)
		}
	}
	return tasks
}

// sent is the offset below which a partition of the repartition topic has all that the first stages
// of this node's lanes have sent so far of the events below their positions.
func (a *app) sent(partition int32) (next int64) {
	for _, l := range a.lanes {
		next = max(next, l.proc.Sent(partition))
	}
	return next
}

// trim deletes what the repartition topic has below the positions that were known to be committed
// at its last look, so that its size stays bounded, and who reads the topic beside tally has an
// interval for it. It never goes ahead of them: the store's position is published only after its
// transaction has committed, and a new owner reads from that position or a later one.
func (a *app) trim(ctx context.Context) {
	now := a.node.cfg.Seam.Now()
	if a.repartitions == 0 || now.Sub(a.trimmedAt) < a.node.cfg.TrimInterval {
		return
	}
	a.trimmedAt = now
	below := a.trimmable
	a.trimmable = map[int32]int64{}
	for _, l := range a.lanes {
		for t, at := range l.committed() {
			if t.Stage == state.SecondStage {
				a.trimmable[t.Partition] = at
			}
		}
	}
	maps.DeleteFunc(below, func(q int32, at int64) bool { return at <= a.trimmed[q] })
	if len(below) == 0 {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, a.node.cfg.UnreachableAt)
	defer cancel()
	if err := a.trimBelow(bounded, below); err != nil {
		if ctx.Err() == nil {
			a.node.cfg.Log.Warn("the repartition topic cannot be trimmed: it grows until that is possible", "app", a.name(), "error", err)
		}
		return
	}
	for p, at := range below {
		a.trimmed[p] = at
	}
	a.node.cfg.Step.At(step.Trim)
}

// trimBelow looks first whether the topic is still the one that the positions are of: this node may
// have slept through a reset.
func (a *app) trimBelow(ctx context.Context, below map[int32]int64) error {
	if _, err := a.stillThere(ctx, "repartition topic", a.repartition); err != nil {
		return err
	}
	return a.node.admin.DeleteRecords(ctx, a.repartition.Name, below)
}

// committed are the positions of the lane's tasks whose transactions are known to be committed;
// none while the lane is not this node's.
func (l *lane) committed() map[state.Task]int64 {
	l.mu.Lock()
	store, loaded := l.store, l.loaded
	l.mu.Unlock()
	at := map[state.Task]int64{}
	if store == nil || !loaded {
		return at
	}
	for t, pos := range store.Positions() {
		if pos.Known() {
			at[t] = pos.Record.Input
		}
	}
	return at
}
