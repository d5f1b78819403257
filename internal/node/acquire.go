package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/step"
	"github.com/tally-kafka/tally/processor"
	"github.com/tally-kafka/tally/replication"
	"github.com/tally-kafka/tally/state"
	"github.com/tally-kafka/tally/txn"
)

// fenceTimeout bounds InitProducerID: it ends a predecessor's open transaction, which takes the
// broker milliseconds once it answers at all.
const fenceTimeout = 15 * time.Second

// acquire is the only way to a running lane, in the only order: fence, barrier, catch up to the
// barrier, take the last position record below it as the position, compare with the consumer group.
// The session that it returns reads the input from that position.
func (l *lane) acquire(ctx context.Context) (*txn.Session, error) {
	if l.stays++; l.stays > 1 {
		if err := l.checkStill(ctx); err != nil {
			return nil, err
		}
		if err := l.app.readLimits(ctx); err != nil {
			return nil, err
		}
	}
	if l.store == nil {
		if err := l.openStore(); err != nil {
			return nil, err
		}
	}
	session, err := l.fence(ctx)
	if err != nil {
		return nil, err
	}
	if err := l.settle(ctx, session); err != nil {
		session.Close()
		return nil, err
	}
	return session, nil
}

// checkStill refuses to acquire a lane again whose topics were deleted and made again meanwhile,
// since the positions are those of the old ones, or which another node has taken: that can look
// like any other failed commit, and a lost lane is not fought for. Before the first stay, open has
// just looked.
func (l *lane) checkStill(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	if err := l.app.checkTopics(ctx); err != nil {
		return err
	}
	by, err := l.overtakenBy(ctx)
	if err == nil && by != nil {
		return by
	}
	return err
}

func (l *lane) fence(ctx context.Context) (*txn.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	began := l.seam().Now()
	session, err := txn.Fence(ctx, l.sessionConfig(l.transactionalID()))
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.status.fenceMs = l.seam().Since(began).Milliseconds()
	l.mu.Unlock()
	return session, nil
}

// settle brings store, position records and consumer group to one position and starts to read
// there.
func (l *lane) settle(ctx context.Context, session *txn.Session) error {
	for fenced := map[string]bool{l.transactionalID(): true}; ; {
		if err := l.catchUp(ctx, session); err != nil {
			return err
		}
		again, err := l.fenceOthers(ctx, fenced)
		if err != nil {
			return err
		}
		if !again {
			break
		}
	}
	if err := l.verify(ctx); err != nil {
		return err
	}
	records, err := l.compareOffsets(ctx)
	if err != nil {
		return err
	}
	if len(records) > 0 {
		if err := l.proc.CommitPositions(ctx, session, l.store, records); err != nil {
			return err
		}
	}
	at := txn.Offsets{}
	for _, t := range l.tasks {
		pos, known := l.store.Position(t)
		if !known || !pos.Known() {
			panic(fmt.Sprintf("node: lane %d was acquired without a position of stage %d, partition %d", l.k, t.Stage, t.Partition))
		}
		at[l.place(t)] = pos.Record.Input
	}
	if err := l.skipGaps(ctx, session, at); err != nil {
		return err
	}
	if err := l.checkBounds(ctx, at); err != nil {
		return err
	}
	session.Assign(at)
	return nil
}

// place is what a task reads.
func (l *lane) place(t state.Task) txn.TopicPartition {
	return txn.TopicPartition{Topic: l.app.source(t).Name, Partition: t.Partition}
}

// checkBounds refuses positions outside what the sources hold; a client would move them silently.
func (l *lane) checkBounds(ctx context.Context, at txn.Offsets) error {
	for _, topic := range l.app.sources() {
		if err := l.checkBoundsOf(ctx, topic.Name, at.Of(topic.Name)); err != nil {
			return err
		}
	}
	return nil
}

// checkBoundsOf looks at one topic. A position beyond the end may be an old answer, and is asked
// about again for a while; one below the start is not, since a start only grows.
func (l *lane) checkBoundsOf(ctx context.Context, input string, at map[int32]int64) error {
	admin, began := l.app.node.admin, l.seam().Now()
	defer func() { l.closeFresh(admin) }()
	for {
		starts, err := admin.StartOffsets(ctx, input)
		if err != nil {
			return err
		}
		ends, err := admin.EndOffsets(ctx, input, false)
		if err != nil {
			return err
		}
		var beyond error
		for p, o := range at {
			outside := &OutsideError{&txn.GapError{Topic: input, Partition: p, Position: o, Err: kerr.OffsetOutOfRange}}
			if o < starts[p] {
				return outside
			}
			if o > ends[p] {
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
	}
}

func (l *lane) catchUp(ctx context.Context, session *txn.Session) error {
	var recs []*kgo.Record
	for _, t := range l.tasks {
		recs = append(recs, l.barrier(l.app.changelog.Name, t))
	}
	for q := range int32(l.app.repartitions) {
		recs = append(recs, l.barrier(l.app.repartition.Name, state.Task{Stage: state.SecondStage, Partition: q}))
	}
	to, err := session.Barrier(ctx, recs)
	if err != nil {
		return err
	}
	for q, at := range to.Of(l.app.repartition.Name) {
		l.proc.SetSent(q, at+1) // all that the lane has ever sent lies below
	}
	l.setState(api.LaneRestoring, "")
	before := l.store.Positions()
	progress, err := l.playback().CatchUp(ctx, to.Of(l.app.changelog.Name))
	if err != nil {
		return l.refuseStore(err)
	}
	l.noteStrangers(before)
	l.restored(progress)
	return l.checkEpoch()
}

// barrier is one record of the lane's barrier. It goes to the lane's changelog partitions, whose
// ends it proves, and to every partition of the repartition topic, where it lies above all that the
// lane has sent.
func (l *lane) barrier(topic string, t state.Task) *kgo.Record {
	stamp, now := l.stamp(), l.seam().Now()
	return &kgo.Record{
		Topic: topic, Partition: t.Partition, Key: state.BarrierKey(t), Timestamp: now,
		Value: state.EncodeBarrier(state.Barrier{
			Task: t, AppID: stamp.AppID, Generation: stamp.Generation, ClusterID: stamp.ClusterID, Node: stamp.Node,
			NodeName: stamp.NodeName, Incarnation: stamp.Incarnation, Epoch: stamp.Epoch, AtMs: now.UnixMilli(),
		}),
	}
}

// checkEpoch refuses a grant that is not above every epoch in the position records of others: the
// position records of this stay will carry it.
func (l *lane) checkEpoch() error {
	for _, t := range l.tasks {
		pos, _ := l.store.Position(t)
		if rec := pos.Record; rec.Epoch >= l.epoch && rec.Incarnation != l.app.node.incarnation {
			return &epochError{floor: rec.Epoch, grant: l.epoch}
		}
	}
	l.mu.Lock()
	l.status.epoch = l.epoch
	l.mu.Unlock()
	l.proc.Stamp(l.stamp())
	return nil
}

// fenceOthers fences every transactional id that the lane's position records name besides its own:
// one under which an owner of another cut of the lanes could still commit. again says that one was
// fenced, so that the end has to be found anew.
func (l *lane) fenceOthers(ctx context.Context, fenced map[string]bool) (again bool, err error) {
	for _, t := range l.tasks {
		pos, ok := l.store.Position(t)
		id := pos.Record.TransactionalID
		if !ok || id == "" || fenced[id] {
			continue
		}
		other, err := txn.Fence(ctx, l.sessionConfig(id))
		if err != nil {
			return false, err
		}
		other.Close()
		fenced[id], again = true, true
	}
	return again, nil
}

// verify compares a store that was made from nothing, or that others have counted on from, with the
// position records' number of groups and digest. A store that fails was perhaps damaged: it is set
// aside and made anew once. If it fails again, the changelog itself has a hole.
func (l *lane) verify(ctx context.Context) error {
	if l.store.Verified() && (!l.strange || l.follows) {
		return nil
	}
	if err := l.store.Verify(ctx); err != nil {
		return err
	}
	l.strange = false
	return nil
}

func (l *lane) restored(p replication.Progress) {
	r := &api.Restore{FromOffset: p.From, ToOffset: p.To, Records: p.Records, Ms: p.Elapsed.Milliseconds()}
	l.mu.Lock()
	l.status.restore = r
	l.loaded = true
	l.mu.Unlock()
	l.log().Info("restored", "from_offset", r.FromOffset, "to_offset", r.ToOffset, "records", r.Records, "ms", r.Ms)
}

// compareOffsets holds the positions against the consumer group. It returns the position records
// that have to be committed, with their offsets, before the first poll: those of a first start, and
// those whose group offset is missing.
func (l *lane) compareOffsets(ctx context.Context) ([]state.PositionRecord, error) {
	began, admin := l.seam().Now(), l.app.node.admin
	for {
		// Of the own partitions only: another lane's open transaction would hold the answer up.
		offsets, unstable, err := l.groupOffsets(ctx, admin)
		if err != nil {
			return nil, err
		}
		records, stale, err := l.compare(ctx, offsets)
		if unstable && err == nil {
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
	}
}

// groupOffsets asks for the own partitions' offsets, and waits for a pending commit of them. A
// coordinator that was killed while it ended a transaction was seen to call the offsets unstable
// for ever, although the transaction is over: unstable says so, with the offsets of before.
func (l *lane) groupOffsets(ctx context.Context, admin *kafka.Admin) (all txn.Offsets, unstable bool, err error) {
	all = txn.Offsets{}
	for _, topic := range l.app.sources() {
		offsets, waiting, err := l.groupOffsetsOf(ctx, admin, topic.Name)
		if err != nil {
			return nil, false, err
		}
		unstable = unstable || waiting
		for p, at := range offsets {
			all[txn.TopicPartition{Topic: topic.Name, Partition: p}] = at
		}
	}
	return all, unstable, nil
}

func (l *lane) groupOffsetsOf(ctx context.Context, admin *kafka.Admin, input string) (offsets map[int32]int64, unstable bool, err error) {
	group, partitions := l.app.name(), l.partitionsOf(input)
	if len(partitions) == 0 {
		return nil, false, nil
	}
	bounded, cancel := context.WithTimeout(ctx, l.app.node.cfg.UnstableWait)
	defer cancel()
	offsets, err = admin.GroupOffsets(bounded, group, input, partitions...)
	if !errors.Is(err, kerr.UnstableOffsetCommit) || ctx.Err() != nil {
		return offsets, false, err
	}
	l.log().Warn("the consumer group's offsets stay unstable although the lane is fenced; committing them again from the position records", "error", err)
	offsets, err = admin.SettledOffsets(ctx, group, input, partitions...)
	return offsets, true, err
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
		differ := &OffsetsError{Group: l.app.name(), Topic: l.app.source(t).Name, Partition: t.Partition, Offset: offset, Record: pos.Record.Input}
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

// needsPerson reports whether an error will not go away by trying again.
func needsPerson(err error) bool {
	var (
		offsets  *OffsetsError
		ahead    *replication.AheadError
		digest   *state.DigestError
		identity *state.IdentityError
		outside  *OutsideError
		replaced *ReplacedError
		refused  *state.RefusedError
	)
	return errors.As(err, &refused) || errors.As(err, &offsets) || errors.As(err, &ahead) || errors.As(err, &digest) ||
		errors.As(err, &identity) || errors.As(err, &outside) || errors.As(err, &replaced) && replaced.Now != "" ||
		errors.Is(err, replication.ErrForeign) || errors.Is(err, state.ErrNewer)
}
