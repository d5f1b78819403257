package audit

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/processor/spec"
)

// findPositions makes a task of each stage in each partition that has a position record, with the
// newest one.
func (a *audit) findPositions(ctx context.Context) error {
	for p := int32(0); int(p) < min(a.changelog.Partitions, max(len(a.tasks), a.repartitions)); p++ {
		if err := a.findNewest(ctx, p); err != nil {
			return err
		}
	}
	if err := a.awaitFirst(ctx); err != nil {
		return err
	}
	if len(a.all()) == 0 {
		return fmt.Errorf("the changelog %s has no position record: app %s has counted nothing yet; start it with `tally run`, or try again when its lanes run",
			a.changelog.Name, a.spec.App)
	}
	if err := a.findBeyond(ctx); err != nil {
		return err
	}
	for _, t := range a.all() {
		if err := a.checkIdentity(t); err != nil {
			return err
		}
	}
	return a.checkSecond(ctx)
}

// awaitFirst waits for the partitions that have no position record yet, as long as there come some:
// at an app's first start its lanes write theirs one after the other.
func (a *audit) awaitFirst(ctx context.Context) error {
	began := a.cfg.Seam.Now()
	came := began
	for left := a.uncounted(); len(left) > 0; {
		if a.cfg.Seam.Since(came) >= a.cfg.StageWait || a.cfg.Seam.Since(began) >= a.cfg.CutWait {
			return nil
		}
		if err := a.cfg.Seam.Sleep(ctx, pollEvery); err != nil {
			return err
		}
		for _, p := range left {
			if err := a.findNewest(ctx, p); err != nil {
				return err
			}
		}
		before := left
		if left = a.uncounted(); !slices.Equal(left, before) {
			came = a.cfg.Seam.Now()
		}
	}
	return nil
}

// uncounted are the partitions of which a task has no position record.
func (a *audit) uncounted() (ps []int32) {
	inputs := min(a.input.Partitions, a.changelog.Partitions)
	for p := range int32(max(inputs, a.repartitions)) {
		if int(p) < inputs && a.task(p) == nil || int(p) < a.repartitions && of(a.seconds, p) == nil {
			ps = append(ps, p)
		}
	}
	return ps
}

// findBeyond looks for tasks in partitions that the input does not have, where it is another than
// the one that the app has counted: that may have had more.
func (a *audit) findBeyond(ctx context.Context) error {
	other := func(t *task) bool { return t.at(0).InputTopicID != a.input.ID }
	if !slices.ContainsFunc(a.all(), other) {
		return nil
	}
	for len(a.tasks) < a.changelog.Partitions {
		a.tasks = append(a.tasks, nil)
		if err := a.findNewest(ctx, int32(len(a.tasks)-1)); err != nil {
			return err
		}
	}
	return nil
}

// noteStarting says of which partitions of the input the app has counted nothing.
func (a *audit) noteStarting(context.Context) error {
	a.starting = nil
	for _, p := range a.uncounted() {
		if a.task(p) == nil {
			a.starting = append(a.starting, p)
		}
	}
	if len(a.starting) > 0 {
		a.cannot("nothing is counted yet of %s, partitions %v: the first start of app %s is under way, or the input has grown since it was started",
			a.input.Name, a.starting, a.spec.App)
	}
	return nil
}

// dropStarted forgets the offsets that the consumer group has of partitions whose counting has
// begun since noteStarting.
func (a *audit) dropStarted(ctx context.Context) error {
	for _, p := range a.starting {
		err := a.admin.Tail(ctx, a.changelog.Name, p, func(r *kgo.Record) bool {
			key, err := parseKey(r.Key)
			if err != nil || key.kind != kindPosition || key.stage != 0 {
				return false
			}
			delete(a.offsets[a.input.Name], p)
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// findNewest looks for the newest position record of each stage in a partition of the changelog.
func (a *audit) findNewest(ctx context.Context, p int32) error {
	var found [secondStage + 1]bool
	return a.admin.Tail(ctx, a.changelog.Name, p, func(r *kgo.Record) bool {
		key, err := parseKey(r.Key)
		if err != nil || key.kind != kindPosition || found[key.stage] {
			return false
		}
		rec, err := parsePosition(r.Value, key.stage, p)
		if err != nil || !a.place(p, position{rec, r.Offset}) {
			return false
		}
		found[key.stage] = true
		return (found[0] || int(p) >= len(a.tasks)) && (found[secondStage] || int(p) >= a.repartitions)
	})
}

// place makes a task of its newest position record; false when there is no such task.
func (a *audit) place(p int32, pos position) bool {
	if a.repartitions == 0 {
		a.repartitions = pos.Repartitions
		a.seconds = make([]*task, a.repartitions)
	}
	tasks, source := a.tasks, a.input.Name
	if pos.Stage == secondStage {
		tasks, source = a.seconds, spec.RepartitionTopic(a.spec.App)
	}
	if int(p) >= len(tasks) {
		return false
	}
	tasks[p] = &task{stage: pos.Stage, partition: p, source: source, group: -1, store: -1, positions: []position{pos}}
	a.generation = max(a.generation, pos.Generation)
	return true
}
