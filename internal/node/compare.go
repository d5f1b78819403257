package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/step"
	"github.com/tally-kafka/tally/processor"
	"github.com/tally-kafka/tally/state"
	"github.com/tally-kafka/tally/txn"
)

// answers are what Kafka says of a lane's sources, asked behind the lane's fence.
type answers struct {
	group  groupSays
	bounds map[string]bounds
	err    error
}

// groupSays is what the consumer group has for a lane's partitions.
type groupSays struct {
	offsets  txn.Offsets
	epochs   txn.Epochs // of these, where they were committed with them
	unstable bool       // they stay so
}

// bounds are the first and the next offsets of a topic's partitions.
type bounds struct{ starts, ends map[int32]int64 }

// ask asks for all that a position is held against.
func (l *lane) ask(ctx context.Context) <-chan *answers {
	admin, answered := l.app.node.admin, make(chan *answers, 1)
	go func() {
		said := &answers{}
		var asking sync.WaitGroup
		var boundsErr error
		asking.Go(func() {
			said.bounds, boundsErr = l.askBounds(ctx)
		})
		said.group, said.err = l.groupOffsets(ctx, admin)
		asking.Wait()
		said.err = errors.Join(said.err, boundsErr)
		answered <- said
	}()
	return answered
}

func (l *lane) askBounds(ctx context.Context) (map[string]bounds, error) {
	all := map[string]bounds{}
	for _, topic := range l.app.sources() {
		b, err := boundsOf(ctx, l.app.node.admin, topic.Name)
		if err != nil {
			return nil, err
		}
		all[topic.Name] = b
	}
	return all, nil
}

func boundsOf(ctx context.Context, admin *kafka.Admin, topic string) (b bounds, err error) {
	b.starts, b.ends, err = admin.Bounds(ctx, topic, false)
	return b, err
}

// checkBounds refuses positions outside what the sources hold; a client would move them silently.
func (l *lane) checkBounds(ctx context.Context, at txn.Offsets, said *answers) error {
	for _, topic := range l.app.sources() {
		if err := l.checkBoundsOf(ctx, topic.Name, at.Of(topic.Name), said.bounds[topic.Name]); err != nil {
			return err
		}
	}
	return nil
}

// checkBoundsOf looks at one topic. A position beyond the end may be an old answer, and is asked
// about again for a while; one below the start is not, since a start only grows.
func (l *lane) checkBoundsOf(ctx context.Context, input string, at map[int32]int64, said bounds) error {
	admin, began := l.app.node.admin, l.seam().Now()
	defer func() { l.closeFresh(admin) }()
	for {
		var beyond error
		for p, o := range at {
			outside := &OutsideError{&txn.GapError{Topic: input, Partition: p, Position: o, Err: kerr.OffsetOutOfRange}}
			if o < said.starts[p] {
				return outside
			}
			if o > said.ends[p] {
				beyond = outside
			}
		}
		if beyond == nil || l.seam().Since(began) >= l.app.node.cfg.OffsetsWait {
			return beyond
		}
		fresh, err := l.askAnew(ctx, admin)
		if err != nil {
			return err
		}
		admin = fresh
		if said, err = boundsOf(ctx, admin, input); err != nil {
			return err
		}
	}
}

// compareOffsets holds the positions against the consumer group. It returns the position records
// that have to be committed, with their offsets, before the first poll: those of a first start, and
// those whose group offset is missing. said is what Kafka has answered so far, and is changed when
// it is asked again.
func (l *lane) compareOffsets(ctx context.Context, said *answers) ([]state.PositionRecord, error) {
	began, admin := l.seam().Now(), l.app.node.admin
	defer func() { l.closeFresh(admin) }()
	for {
		records, stale, err := l.compare(ctx, said.group.offsets)
		if said.group.unstable && err == nil {
			return l.mirrorAgain(records), nil
		}
		if err != nil {
			return nil, err
		}
		if stale == nil {
			l.app.node.cfg.Step.At(step.CompareOffsets)
			return records, nil
		}
		if l.seam().Since(began) >= l.app.node.cfg.OffsetsWait {
			return nil, stale
		}
		l.log().Warn("the consumer group is behind the position record; asking again", "reason", stale)
		fresh, err := l.askAnew(ctx, admin)
		if err != nil {
			return nil, err
		}
		admin = fresh
		if said.group, err = l.groupOffsets(ctx, admin); err != nil {
			return nil, err
		}
	}
}

// groupOffsets asks for the own partitions' offsets, and waits for a pending commit of them. A
// coordinator that was killed while it ended a transaction was seen to call the offsets unstable
// for ever, although the transaction is over: unstable says so, with the offsets of before.
func (l *lane) groupOffsets(ctx context.Context, admin *kafka.Admin) (group groupSays, err error) {
	group.offsets, group.epochs = txn.Offsets{}, txn.Epochs{}
	for _, topic := range l.app.sources() {
		committed, waiting, err := l.groupOffsetsOf(ctx, admin, topic.Name)
		if err != nil {
			return groupSays{}, err
		}
		group.unstable = group.unstable || waiting
		for p, c := range committed {
			at := txn.TopicPartition{Topic: topic.Name, Partition: p}
			group.offsets[at] = c.Offset
			if c.Epoch >= 0 && l.app.node.asksEpochs {
				group.epochs[at] = c.Epoch
			}
		}
	}
	return group, nil
}

func (l *lane) groupOffsetsOf(ctx context.Context, admin *kafka.Admin, input string) (committed map[int32]kafka.Committed, unstable bool, err error) {
	group, partitions := l.app.name(), l.partitionsOf(input)
	if len(partitions) == 0 {
		return nil, false, nil
	}
	bounded, cancel := context.WithTimeout(ctx, l.app.node.cfg.UnstableWait)
	defer cancel()
	committed, err = admin.GroupCommits(bounded, group, input, partitions...)
	if !errors.Is(err, kerr.UnstableOffsetCommit) || ctx.Err() != nil {
		return committed, false, err
	}
	l.log().Warn("the consumer group's offsets stay unstable although the lane is fenced; committing them again from the position records", "error", err)
	committed, err = admin.SettledCommits(ctx, group, input, partitions...)
	return committed, true, err
}

// mirrorAgain adds to records one for each task that has a position: a commit of this producer id
// settles what is pending of it.
func (l *lane) mirrorAgain(records []state.PositionRecord) []state.PositionRecord {
	has := map[state.Task]bool{}
	for _, rec := range records {
		has[rec.Task] = true
	}
	for _, t := range l.tasks {
		if pos, _ := l.store.Position(t); pos.Known() && !has[t] {
			records = append(records, processor.Follow(pos.Record, l.stamp(), l.seam().Now()))
		}
	}
	return records
}

func (l *lane) partitionsOf(topic string) (ps []int32) {
	for _, t := range l.tasksOf(topic) {
		ps = append(ps, t.Partition)
	}
	return ps
}

// askAnew waits a little and returns a client with fresh metadata: a deposed coordinator answers
// with what it last knew.
func (l *lane) askAnew(ctx context.Context, old *kafka.Admin) (*kafka.Admin, error) {
	if err := l.seam().Sleep(ctx, 500*time.Millisecond); err != nil {
		return nil, err
	}
	fresh, err := l.app.node.admin.Fresh()
	if err != nil {
		return nil, err
	}
	l.closeFresh(old)
	return fresh, nil
}

// closeFresh closes a client that askAnew made; the node's own stays.
func (l *lane) closeFresh(admin *kafka.Admin) {
	if admin != nil && admin != l.app.node.admin {
		admin.Close()
	}
}

// compare is one look. stale is set when an offset is behind its position record, which an old
// answer explains as well as a wrong state.
func (l *lane) compare(ctx context.Context, offsets txn.Offsets) (records []state.PositionRecord, stale, err error) {
	for _, t := range l.tasks {
		pos, _ := l.store.Position(t)
		offset, has := offsets[l.place(t)]
		differ := &OffsetsError{Group: l.app.name(), Topic: l.app.source(t).Name, Partition: t.Partition, Offset: offset,
			Record: pos.Record.Input, Broker: l.app.node.kafka.Brokers[0]}
		switch {
		case !pos.Known() && has:
			differ.Record = -1
			return nil, nil, differ
		case !pos.Known():
			rec, err := l.firstRecord(ctx, t)
			if err != nil {
				return nil, nil, err
			}
			records = append(records, rec)
		case !has:
			records = append(records, processor.Follow(pos.Record, l.stamp(), l.seam().Now()))
		case offset > pos.Record.Input:
			return nil, nil, differ
		case offset < pos.Record.Input:
			stale = differ
		}
	}
	return records, stale, nil
}

func (l *lane) firstRecord(ctx context.Context, t state.Task) (state.PositionRecord, error) {
	at, err := l.startOffset(ctx, t)
	if err != nil {
		return state.PositionRecord{}, err
	}
	rec := l.stamp()
	rec.Task, rec.Txn, rec.AtMs, rec.Start, rec.Input = t, 1, l.seam().Now().UnixMilli(), at, at
	return rec, nil
}
