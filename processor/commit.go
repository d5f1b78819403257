package processor

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tally-kafka/tally/internal/step"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
	"github.com/tally-kafka/tally/txn"
)

// commit carries one batch through its transaction and, when the commit is known, into the store.
// It runs beside the loop, which fills the next batch meanwhile; it alone uses the session's Begin,
// Produce and Commit and the builder until it has returned, and the loop changes neither l.records
// nor l.store before it has seen the ending.
func (l *Lane) commit(ctx context.Context, b *batch) ending {
	end := ending{batch: b}
	changes, records, err := l.prepare(ctx, b)
	if err != nil {
		end.err = err
		return end
	}
	if _, err := l.session.Commit(ctx, l.offsets(records)); err != nil {
		end.err = err
		return end
	}
	// From here on the transaction is a fact. The store's failure cannot undo it: it is an error of
	// the cache, and the next acquire catches the store up.
	l.noteSent()
	end.positions = l.positions(records)
	end.err = l.publish(end.positions, changes)
	l.out.reset()
	return end
}

// prepare reads the groups' values, folds the deltas into them, and hands every record of the
// transaction to the session.
func (l *Lane) prepare(ctx context.Context, b *batch) ([]state.Change, []state.PositionRecord, error) {
	if err := l.session.Begin(); err != nil {
		return nil, nil, err
	}
	l.out.begin(l.cfg, l.cfg.Seam.Now(), b.groups)
	var changes []state.Change
	var records []state.PositionRecord
	for _, task := range b.ordered() {
		rec, moved := l.nextRecord(task, b.tasks[task])
		if !moved {
			continue
		}
		var err error
		if changes, err = l.prepareTask(ctx, b.tasks[task], &rec, changes); err != nil {
			return nil, nil, err
		}
		records = append(records, rec)
	}
	if l.every {
		l.produceIncrements(b)
	}
	l.produceSends(b, records)
	l.produceDead(b)
	l.producePositions(records)
	return changes, records, nil
}

// nextRecord makes the position record that follows the task's last one. moved is false for a task
// whose position stays: it gets no record.
func (l *Lane) nextRecord(task state.Task, t *taskDelta) (rec state.PositionRecord, moved bool) {
	last, ok := l.records[task]
	if !ok {
		panic(fmt.Sprintf("%v: stage %d, partition %d of lane %d", errNoTask, task.Stage, task.Partition, l.cfg.Lane))
	}
	rec = Follow(last, l.cfg.Stamp, l.out.now)
	rec.Input = t.next
	if task.Stage == secondStage {
		rec.Sources, rec.Midway = merged(last.Sources, t.sources), t.midway
	}
	rec.Processed += t.processed
	rec.Filtered += t.filtered
	rec.Skipped += t.skipped
	rec.Dead += t.dead
	rec.Hints.Murmur2 += t.strays[0]
	rec.Hints.CRC32 += t.strays[1]
	rec.Strays = min(rec.Hints.Murmur2, rec.Hints.CRC32)
	if rec.Hints.Example == nil && rec.Hints.Murmur2+rec.Hints.CRC32 > 0 {
		rec.Hints.Example = l.hintExample(rec.Hints)
	}
	return rec, t.next > last.Input || t.refresh
}

// Follow is the position record that comes after last, written under the grant of stamp: the same
// position, counters and digest, for the caller to move.
func Follow(last, stamp state.PositionRecord, now time.Time) state.PositionRecord {
	rec := stamp
	rec.Task, rec.Start, rec.Partitions = last.Task, last.Start, last.Partitions
	rec.Txn, rec.AtMs, rec.Input = last.Txn+1, now.UnixMilli(), last.Input
	rec.Processed, rec.Filtered, rec.Skipped, rec.Dead = last.Processed, last.Filtered, last.Skipped, last.Dead
	rec.Strays, rec.Gaps, rec.Hints = last.Strays, last.Gaps, last.Hints
	rec.Groups, rec.Digest = last.Groups, last.Digest
	rec.Sources, rec.Midway = last.Sources, last.Midway
	return rec
}

// prepareTask folds a task's deltas into its committed values and produces what changed.
func (l *Lane) prepareTask(ctx context.Context, t *taskDelta, rec *state.PositionRecord, changes []state.Change) ([]state.Change, error) {
	if err := l.readBefore(ctx, t, rec.Task); err != nil {
		return nil, err
	}
	for i, d := range t.order {
		if i%readGroups == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		values, err := l.foldInto(d)
		if err != nil {
			return nil, err
		}
		if d.before != nil && bytes.Equal(values, d.before) {
			continue // a max that did not rise, a sum of zero: nothing changed, nothing is written
		}
		if d.before != nil {
			rec.Digest -= state.Hash(d.group, d.before)
		} else {
			rec.Groups++
		}
		rec.Digest += state.Hash(d.group, values)
		changes = append(changes, state.Change{Task: rec.Task, Group: d.group, Values: values})
		l.produceChange(rec.Task, d, values)
	}
	return changes, nil
}

// readGroups are read, and folded, between two looks at whether the lane is asked to end.
const readGroups = 8192

// readBefore reads the committed values of a task's groups, many at once: the store reads what it
// has to get from disk in the order of its keys.
func (l *Lane) readBefore(ctx context.Context, t *taskDelta, task state.Task) error {
	for deltas := range slices.Chunk(t.order, readGroups) {
		if err := ctx.Err(); err != nil {
			return err
		}
		l.out.groups = l.out.groups[:0]
		for _, d := range deltas {
			l.out.groups = append(l.out.groups, d.group)
		}
		err := l.store.GetMany(task, l.out.groups, func(i int, values []byte, found bool) {
			if found {
				deltas[i].before = l.out.arena.copy(values)
			}
		})
		if err != nil {
			return fmt.Errorf("read the groups' values: %w", err)
		}
	}
	l.cfg.Step.At(step.Read)
	return nil
}

// foldInto returns the group's new values, encoded, and leaves in d.inc the new values and in
// d.after those from which single increments are counted on.
func (l *Lane) foldInto(d *delta) ([]byte, error) {
	if d.before != nil {
		old, err := l.cfg.Program.DecodeValues(d.before, l.out.numbers[:0])
		if err != nil {
			return nil, fmt.Errorf("the stored values of a group: %w", err)
		}
		l.out.numbers = old[:0]
		if l.every {
			d.after = append([]spec.Decimal(nil), old...)
		}
		l.cfg.Program.Fold(old, d.inc)
		copy(d.inc, old)
	}
	return l.out.values(l.cfg.Program, d.inc), nil
}

func (l *Lane) produceChange(task state.Task, d *delta, values []byte) {
	l.session.Produce(l.out.changelog(task, d.group, values))
	l.cfg.Step.At(step.ProduceChangelog)
	if l.cfg.Spec.Output != nil && !l.every {
		l.session.Produce(l.out.output(task, d.group, d.inc, d.newest))
		l.cfg.Step.At(step.ProduceOutput)
	}
}

// produceIncrements emits the running values of each increment, in input order.
func (l *Lane) produceIncrements(b *batch) {
	for _, inc := range b.increments {
		d := inc.delta
		if d.after == nil {
			d.after = append([]spec.Decimal(nil), inc.inc...)
		} else {
			l.cfg.Program.Fold(d.after, inc.inc)
		}
		l.session.Produce(l.out.output(inc.task, d.group, d.after, inc.time))
		l.cfg.Step.At(step.ProduceOutput)
	}
}

func (l *Lane) produceDead(b *batch) {
	for _, letter := range b.dead {
		l.session.Produce(l.out.deadLetter(letter))
		l.cfg.Step.At(step.ProduceDead)
	}
}

func (l *Lane) producePositions(records []state.PositionRecord) {
	l.out.positions = l.out.positions[:0]
	for _, rec := range records {
		r := l.out.position(rec)
		l.out.positions = append(l.out.positions, r)
		l.session.Produce(r)
		l.cfg.Step.At(step.ProducePosition)
	}
}

func (l *Lane) offsets(records []state.PositionRecord) txn.Offsets {
	at := make(txn.Offsets, len(records))
	for _, rec := range records {
		at[txn.TopicPartition{Topic: l.source(rec.Task), Partition: rec.Partition}] = rec.Input
	}
	return at
}

// positions gives the committed position records their place in the changelog: a position record is
// the last record that its transaction wrote to the partition, so all before it is in the values.
func (l *Lane) positions(records []state.PositionRecord) []state.Position {
	out := make([]state.Position, len(records))
	for i, rec := range records {
		out[i] = state.Position{Record: rec, Changelog: l.out.positions[i].Offset + 1}
	}
	return out
}

// publish makes the values visible, then moves what others see of the position: in this order, so
// that whoever sees the position finds the values.
func (l *Lane) publish(positions []state.Position, changes []state.Change) error {
	if err := l.store.Publish(positions, changes); err != nil {
		return err
	}
	for _, pos := range positions {
		l.views[pos.Record.Task].passed(pos)
	}
	return nil
}

// CommitPositions commits, alone in a transaction, these position records and the group offsets
// that mirror them: at a lane's first start the resolved start offsets, before the first poll;
// later the offsets that the group has lost. It is called by who acquires the lane, never beside
// Run.
func (l *Lane) CommitPositions(ctx context.Context, session Session, store *state.Store, records []state.PositionRecord) error {
	if err := session.Begin(); err != nil {
		return err
	}
	l.session = session
	l.out.begin(l.cfg, l.cfg.Seam.Now(), 0)
	l.producePositions(records)
	if _, err := session.Commit(ctx, l.offsets(records)); err != nil {
		return fmt.Errorf("commit the positions of lane %d: %w", l.cfg.Lane, err)
	}
	return store.Publish(l.positions(records), nil)
}

// sinceEpoch is t in milliseconds, clamped to now: Kafka refuses a timestamp of the future (since
// 4.0 one hour ahead), and a missing one (-1) means now. exact is false when the time had to be
// changed.
func sinceEpoch(ms int64, now time.Time) (clamped int64, exact bool) {
	if limit := now.UnixMilli(); ms < 0 || ms > limit {
		return limit, false
	}
	return ms, true
}
