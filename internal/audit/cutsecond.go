package audit

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// checkSecond looks at the topic between two stages.
func (a *audit) checkSecond(ctx context.Context) error {
	if a.repartitions == 0 {
		return nil
	}
	for q, t := range a.seconds {
		if t == nil {
			return fmt.Errorf("the changelog %s has no position record of partition %d of the second stage: the first start of app %s has not come to its end; try again when the app runs",
				a.changelog.Name, q, a.spec.App)
		}
		t.second = &second{}
	}
	topic, ok, err := a.admin.Topic(ctx, a.seconds[0].source)
	if err != nil {
		return err
	}
	if id := a.seconds[0].at(0).RepartitionTopicID; !ok || topic.ID != id || topic.Partitions < a.repartitions {
		a.cannot("the repartition topic %s was deleted or made again: its id is %q, the app used the one with id %s; what was on its way between the stages is gone",
			a.seconds[0].source, topic.ID, id)
		return nil
	}
	a.repartition = topic
	a.recordBytes = min(a.recordBytes, recordLimit(topic))
	return nil
}

// awaitSecond waits until the second stage has read all that the first has sent of the events below
// its newest positions, or stands still; then A of the second stage is its newest position record.
func (a *audit) awaitSecond(ctx context.Context) error {
	if a.repartition.Name == "" {
		return nil
	}
	starts, err := a.admin.StartOffsets(ctx, a.repartition.Name)
	if err != nil {
		return err
	}
	ends, err := a.stableEnds(ctx, a.repartition.Name)
	if err != nil {
		return err
	}
	for _, t := range a.seconds {
		t.second.startsAt, t.second.sentEnd = starts[t.partition], ends[t.partition]
		if err := a.findLastSent(ctx, t); err != nil {
			return err
		}
	}
	return a.await(ctx, func(t *task, newest position) (bool, error) {
		t.positions = []position{newest}
		return newest.Input >= t.second.sentLast && len(newest.Midway) == 0, nil
	})
}

// findLastSent looks for the last record that the first stage has sent: behind it are only barriers
// and control records, which move no position.
func (a *audit) findLastSent(ctx context.Context, t *task) error {
	if t.at(0).Input >= t.second.sentEnd {
		return nil
	}
	return a.admin.Tail(ctx, a.repartition.Name, t.partition, func(r *kgo.Record) bool {
		if r.Offset < t.at(0).Input {
			return true
		}
		kind, _, err := parseSentKey(r.Key)
		if r.Offset >= t.second.sentEnd || err == nil && kind == kindBarrier {
			return false
		}
		t.second.sentLast = r.Offset + 1
		return true
	})
}

// await polls the newest position record of each task of the second stage until done says yes to
// all. It ends too when none has moved for a while: the app is down, or stopped.
func (a *audit) await(ctx context.Context, done func(*task, position) (bool, error)) error {
	began := a.cfg.Seam.Now()
	moved := began
	last := map[*task]int64{}
	for left := slices.Clone(a.seconds); ; {
		var still []*task
		for _, t := range left {
			newest, err := a.newest(ctx, t)
			if err != nil {
				return err
			}
			if newest.offset != last[t] {
				last[t], moved = newest.offset, a.cfg.Seam.Now()
			}
			ok, err := done(t, newest)
			if err != nil {
				return err
			}
			if !ok {
				still = append(still, t)
			}
		}
		if left = still; len(left) == 0 || a.cfg.Seam.Since(moved) >= a.cfg.StageWait || a.cfg.Seam.Since(began) >= a.cfg.CutWait {
			return nil
		}
		if err := a.cfg.Seam.Sleep(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// newest is the newest position record of a task of the second stage.
func (a *audit) newest(ctx context.Context, t *task) (newest position, err error) {
	newest = t.at(0)
	err = a.eachBack(ctx, t, func(p position) bool {
		newest = p
		return true
	})
	return newest, err
}

// eachBack calls fn for a task's position records, the newest first, until it says true.
func (a *audit) eachBack(ctx context.Context, t *task, fn func(position) bool) error {
	return a.admin.Tail(ctx, a.changelog.Name, t.partition, func(r *kgo.Record) bool {
		key, err := parseKey(r.Key)
		if err != nil || key.kind != kindPosition || key.stage != t.stage {
			return false
		}
		rec, err := parsePosition(r.Value, key.stage, t.partition)
		return err == nil && fn(position{rec, r.Offset})
	})
}

// settleSecond chooses B of each task of the second stage: the first position record from the
// newest below the changelog's end on that is complete. Where the app stands still in the middle of
// what a transaction has sent, it is the last complete one before.
func (a *audit) settleSecond(ctx context.Context) error {
	if a.repartitions == 0 {
		return nil
	}
	settled := map[*task]bool{}
	err := a.await(ctx, func(t *task, _ position) (ok bool, err error) {
		settled[t], err = a.chooseB(ctx, t)
		return settled[t], err
	})
	for _, t := range a.seconds {
		if err == nil && !settled[t] {
			err = a.stepBack(ctx, t)
		}
	}
	return err
}

// chooseB looks for a complete position record at or behind the newest one below the changelog's
// end. Values that come behind it are of later transactions.
func (a *audit) chooseB(ctx context.Context, t *task) (ok bool, err error) {
	var b position
	err = a.eachBack(ctx, t, func(p position) bool {
		if len(p.Midway) == 0 {
			b, ok = p, true
		}
		return p.offset < t.changelogEnd
	})
	if err != nil || !ok {
		return false, err
	}
	if b.offset >= t.changelogEnd {
		t.changelogEnd, t.valuesEnd = b.offset+1, b.offset+1
	}
	t.second.caughtUp = b.Input >= t.second.sentLast
	return true, nil
}

// stepBack takes the last complete position record below the changelog's end for B.
func (a *audit) stepBack(ctx context.Context, t *task) error {
	found := false
	err := a.eachBack(ctx, t, func(p position) bool {
		if p.offset >= t.changelogEnd || len(p.Midway) > 0 {
			return false
		}
		found = true
		t.second.caughtUp = p.Input >= t.second.sentLast
		if t.valuesEnd = p.offset + 1; p.offset < t.at(0).offset {
			t.positions = []position{p}
		}
		return true
	})
	if err == nil && !found {
		err = fmt.Errorf("the second stage stands in the middle of what a transaction has sent, and %s/%d has no position record from before: start app %s, and try again",
			a.changelog.Name, t.partition, a.spec.App)
	}
	return err
}
