package processor

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
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
	l.out.reset(changes)
	return end
}

// prepare reads the groups' values, folds the deltas into them, and hands every record of the
// transaction to the session.
func (l *Lane) prepare(ctx context.Context, b *batch) ([]state.Change, []state.PositionRecord, error) {
	if err := l.session.Begin(); err != nil {
		return nil, nil, err
	}
	l.out.begin(l.cfg, l.cfg.Seam.Now())
	changes := l.out.changes
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
	if task.Stage == state.SecondStage {
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

// readGroups are read, folded and produced, between two looks at whether the lane is asked to end.
const readGroups = 8192

// prepareTask folds a task's deltas into its committed values and produces what changed.
func (l *Lane) prepareTask(ctx context.Context, t *taskDelta, rec *state.PositionRecord, changes []state.Change) ([]state.Change, error) {
	g := t.groups
	if l.every {
		g.after = append(g.after, make([][]spec.Decimal, g.n)...)
	}
	for place := g.first(); place < g.last(); {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		run := &l.out.run
		place = run.take(g, place)
		if err := l.readBefore(run, rec.Task); err != nil {
			return nil, err
		}
		for i, d := range run.deltas {
			values, err := l.foldInto(g, d, run.before[i])
			if err != nil {
				return nil, err
			}
			changes = l.changed(rec, d, run.before[i], values, changes)
		}
	}
	return changes, nil
}

// commitRun is a part of a task's deltas on its way through the commit.
type commitRun struct {
	deltas []delta
	groups [][]byte
	before [][]byte // the committed values, encoded; nil: none
}

// take fills the run from a place on and returns where the next one begins.
func (r *commitRun) take(g *deltas, place uint32) uint32 {
	r.deltas, r.groups, r.before = r.deltas[:0], r.groups[:0], r.before[:0]
	for ; place < g.last() && len(r.deltas) < readGroups; place = g.next(place) {
		d := g.at(place)
		r.deltas, r.groups, r.before = append(r.deltas, d), append(r.groups, d.group()), append(r.before, nil)
	}
	return place
}

// readBefore reads the committed values of a run of groups: the store reads what it has to get from
// disk in the order of its keys.
func (l *Lane) readBefore(run *commitRun, task state.Task) error {
	err := l.store.GetMany(task, run.groups, func(i int, values []byte, found bool) {
		if found {
			run.before[i] = l.out.arena.copy(values)
		}
	})
	if err != nil {
		return fmt.Errorf("read the groups' values: %w", err)
	}
	l.cfg.Step.At(step.Read)
	return nil
}

// foldInto returns the group's new values, and keeps those from which single increments are counted
// on.
func (l *Lane) foldInto(g *deltas, d delta, before []byte) ([]spec.Decimal, error) {
	sum := g.sum(d, l.out.sum)
	if before == nil {
		return sum, nil
	}
	values, err := l.cfg.Program.DecodeValues(before, l.out.numbers[:0])
	if err != nil {
		return nil, fmt.Errorf("the stored values of a group: %w", err)
	}
	l.out.numbers = values[:0]
	if l.every {
		g.after[d.ordinal()] = append([]spec.Decimal(nil), values...)
	}
	l.cfg.Program.Fold(values, sum)
	return values, nil
}

// changed produces a group's new values, unless they are the old ones: a max that did not rise, a
// sum of zero.
func (l *Lane) changed(rec *state.PositionRecord, d delta, before []byte, values []spec.Decimal, changes []state.Change) []state.Change {
	group := d.group()
	encoded := l.out.values(l.cfg.Program, values)
	switch {
	case before == nil:
		rec.Groups++
	case bytes.Equal(encoded, before):
		return changes
	default:
		rec.Digest -= state.Hash(group, before)
	}
	rec.Digest += state.Hash(group, encoded)
	l.session.Produce(l.out.changelog(rec.Task, group, encoded))
	l.cfg.Step.At(step.ProduceChangelog)
	if l.cfg.Spec.Output != nil && !l.every {
		l.session.Produce(l.out.output(rec.Task, group, values, d.newest()))
		l.cfg.Step.At(step.ProduceOutput)
	}
	return append(changes, state.Change{Task: rec.Task, Group: group, Values: encoded})
}

// produceIncrements emits the running values of each increment, in input order.
func (l *Lane) produceIncrements(b *batch) {
	for _, inc := range b.increments {
		g := b.tasks[inc.task].groups
		d := g.at(inc.delta)
		after := g.after[d.ordinal()]
		if after == nil {
			after = append(after, inc.inc...)
			g.after[d.ordinal()] = after
		} else {
			l.cfg.Program.Fold(after, inc.inc)
		}
		l.session.Produce(l.out.output(inc.task, d.group(), after, inc.time))
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
	l.out.begin(l.cfg, l.cfg.Seam.Now())
	l.producePositions(records)
	if _, err := session.Commit(ctx, l.offsets(records)); err != nil {
		return fmt.Errorf("commit the positions of lane %d: %w", l.cfg.Lane, cmp.Or(l.Faultless(err), err))
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
