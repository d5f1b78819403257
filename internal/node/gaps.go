package node

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/processor"
	"github.com/tally-kafka/tally/state"
	"github.com/tally-kafka/tally/txn"
)

// probeOffsets bounds how far a probe looks: with more between position and end, there is lag.
const probeOffsets = 100_000

// errEvent ends a probe that has met something to count.
var errEvent = errors.New("an event")

// passGaps moves read positions over what the input's end has that is no record: what compaction
// left of a tail. A client tells only of records, so the lane cannot know that it is at the end; a
// fetch that finds nothing between its position and the end proves it. Only a lane that has stood
// still since the last look is probed.
func (a *app) passGaps(ctx context.Context) {
	for _, l := range a.lanes {
		if l.snapshot().state != api.LaneRunning {
			continue
		}
		for _, t := range l.tasks {
			at := l.position(t)
			lag, _ := a.lag(t, at)
			stood := a.probed[t] == at
			a.probed[t] = at
			if stood && lag > 0 && lag <= probeOffsets && a.nothingUpTo(ctx, t, at, at+lag) {
				l.proc.Pass(t, at, at+lag)
			}
		}
	}
}

// nothingUpTo reads and reports whether no record lies between two offsets of a task's source.
func (a *app) nothingUpTo(ctx context.Context, t state.Task, from, to int64) bool {
	ctx, cancel := context.WithTimeout(ctx, a.node.cfg.UnreachableAt)
	defer cancel()
	err := a.node.admin.Read(ctx, a.source(t).Name, t.Partition, from, to, func(*kgo.Record) error { return errEvent })
	return err == nil
}

// skipGaps moves positions that lie below what the input still holds to its start, when the
// operator has said so, and counts the offsets that it passes. at is changed.
func (l *lane) skipGaps(ctx context.Context, session *txn.Session, at txn.Offsets) error {
	if !l.app.node.cfg.SkipGaps {
		return nil
	}
	starts, err := l.app.node.admin.StartOffsets(ctx, l.app.input.Name)
	if err != nil {
		return err
	}
	var records []state.PositionRecord
	for _, t := range l.tasksOf(l.app.input.Name) {
		p := l.place(t)
		lost := starts[t.Partition] - at[p]
		if lost <= 0 {
			continue
		}
		pos, _ := l.store.Position(t)
		rec := processor.Follow(pos.Record, l.stamp(), l.seam().Now())
		rec.Input = starts[t.Partition]
		rec.Gaps += lost
		records = append(records, rec)
		at[p] = rec.Input
		l.log().Warn("passed offsets that the input lost before they were read", "partition", t.Partition, "offsets", lost, "next", rec.Input)
	}
	if len(records) == 0 {
		return nil
	}
	return l.proc.CommitPositions(ctx, session, l.store, records)
}

// skipsGap reports whether an error is of events lost below the input's start that may be passed.
func (l *lane) skipsGap(ctx context.Context, err error) bool {
	var gap *txn.GapError
	var lost *LostEventsError
	return l.app.node.cfg.SkipGaps && errors.As(err, &gap) &&
		errors.As(l.lostEvents(ctx, gap), &lost) && lost.Next < lost.Start
}

// passesCut reports whether an error is of an input that was cut off below where it was read, which
// the operator has said to pass. The next stay begins there and does not ask again.
func (l *lane) passesCut(err error) bool {
	var cut *txn.TruncatedError
	if !l.app.node.cfg.SkipGaps || !errors.As(err, &cut) || cut.Topic != l.app.input.Name {
		return false
	}
	if l.cuts == nil {
		l.cuts = map[txn.TopicPartition]int64{}
	}
	l.cuts[txn.TopicPartition{Topic: cut.Topic, Partition: cut.Partition}] = cut.Read
	return true
}

// epochsOf are the leader epochs of the positions that the consumer group has, too: for any other
// its epoch says nothing.
func (l *lane) epochsOf(at txn.Offsets, group groupSays) txn.Epochs {
	epochs := txn.Epochs{}
	for p, epoch := range group.epochs {
		cut, passed := l.cuts[p]
		if group.offsets[p] == at[p] && (!passed || cut != at[p]) {
			epochs[p] = epoch
		}
	}
	return epochs
}
