package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
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
	if err := l.checkStranger(ctx); err != nil {
		return nil, err
	}
	l.phase("looked for a stranger")
	if l.store == nil {
		if err := l.openStore(); err != nil {
			return nil, err
		}
	}
	session, err := l.fence(ctx)
	if err != nil {
		return nil, err
	}
	if err = l.checkGrant(ctx); err == nil {
		err = l.settle(ctx, session)
	}
	if err != nil {
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

// freshGrant is how long a grant is taken to be the newest without asking Kafka, by a node that has
// the leader's word: a takeover is not held up by the question. One that stood still, or was cut
// off, may hear only now of what was granted long ago, and then of what has come of it since.
const freshGrant = 250 * time.Millisecond

// checkGrant looks behind the fence whether another process has taken the lane under a later grant
// while this one was away, held up or cut off. From the fence on nobody else writes there, and
// nothing is written under the older epoch behind the newer one.
func (l *lane) checkGrant(ctx context.Context) error {
	if l.stays == 1 && l.seam().Since(l.grantedAt) < freshGrant && l.app.node.cluster.Renewed() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	by, err := l.overtakenBy(ctx)
	if err != nil || by == nil {
		return err
	}
	if l.stays == 1 && !by.Stranger { // or Raft knows less than Kafka
		return &epochError{floor: by.Epoch, grant: l.epoch}
	}
	return by
}

func (l *lane) fence(ctx context.Context) (*txn.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	began := l.seam().Now()
	session, err := l.fenceReady(ctx)
	if err != nil {
		return nil, err
	}
	l.phase("fence")
	l.freed(l.epoch)
	l.mu.Lock()
	l.status.fenceMs = l.seam().Since(began).Milliseconds()
	l.mu.Unlock()
	return session, nil
}

// fenceReady fences with the client that was prepared, if there is one.
func (l *lane) fenceReady(ctx context.Context) (*txn.Session, error) {
	if f := l.takeFence(); f != nil {
		return f.Fence(ctx)
	}
	return txn.Fence(ctx, l.sessionConfig(l.transactionalID()))
}

// settle brings store, position records and consumer group to one position and starts to read
// there.
func (l *lane) settle(ctx context.Context, session *txn.Session) error {
	said, err := l.findPosition(ctx, session)
	if err != nil {
		return err
	}
	records, err := l.compareOffsets(ctx, said)
	if errors.As(err, new(*OffsetsError)) {
		// The next owner may have fenced this session since, and counted on. Then this is refused,
		// and who has the lane decides; else nobody had the right to move the offsets.
		if _, fenced := l.commitBarrier(ctx, session); fenced != nil {
			return fenced
		}
	}
	if err != nil {
		return err
	}
	if len(records) > 0 {
		if err := l.proc.CommitPositions(ctx, session, l.store, records); err != nil {
			return err
		}
		// A start that was looked up a moment ago may lie beyond an end that was asked for before.
		if said.bounds, err = l.askBounds(ctx); err != nil {
			return err
		}
	}
	at := l.readFrom()
	if err := l.skipGaps(ctx, session, at); err != nil {
		return err
	}
	if err := l.checkBounds(ctx, at, said); err != nil {
		return err
	}
	l.phase("compared with Kafka")
	session.Assign(at, l.epochsOf(at, said.group))
	return nil
}

// findPosition catches the store up to the barrier. Beside that it asks Kafka what the position is
// to be held against, with questions of behind the fence: nobody but this session moves the offsets
// any more. Where another transactional id had to be fenced, all of it is found out anew.
func (l *lane) findPosition(ctx context.Context, session *txn.Session) (*answers, error) {
	for fenced := map[string]bool{l.transactionalID(): true}; ; {
		to, err := l.commitBarrier(ctx, session)
		if err != nil {
			return nil, err
		}
		asked := l.ask(ctx)
		err = l.catchUp(ctx, to)
		said := <-asked
		if err != nil {
			return nil, err
		}
		l.phase("caught up")
		again, err := l.fenceOthers(ctx, fenced)
		if err != nil {
			return nil, err
		}
		if !again {
			return said, errors.Join(l.verify(ctx), said.err)
		}
	}
}

// readFrom is where the lane's tasks go on reading.
func (l *lane) readFrom() txn.Offsets {
	at := txn.Offsets{}
	for _, t := range l.tasks {
		pos, known := l.store.Position(t)
		if !known || !pos.Known() {
			panic(fmt.Sprintf("node: lane %d was acquired without a position of stage %d, partition %d", l.k, t.Stage, t.Partition))
		}
		at[l.place(t)] = pos.Record.Input
	}
	return at
}

// place is what a task reads.
func (l *lane) place(t state.Task) txn.TopicPartition {
	return txn.TopicPartition{Topic: l.app.source(t).Name, Partition: t.Partition}
}

// commitBarrier proves the ends of the lane's changelog partitions: the barriers' offsets in them.
func (l *lane) commitBarrier(ctx context.Context, session *txn.Session) (to map[int32]int64, err error) {
	var recs []*kgo.Record
	for _, t := range l.tasks {
		recs = append(recs, l.barrier(l.app.changelog.Name, t))
	}
	for q := range int32(l.app.repartitions) {
		recs = append(recs, l.barrier(l.app.repartition.Name, state.Task{Stage: state.SecondStage, Partition: q}))
	}
	at, err := session.Barrier(ctx, recs)
	if err != nil {
		return nil, l.blame(err)
	}
	for q, end := range at.Of(l.app.repartition.Name) {
		l.proc.SetSent(q, end+1) // all that the lane has ever sent lies below
	}
	l.phase("barrier")
	return at.Of(l.app.changelog.Name), nil
}

func (l *lane) catchUp(ctx context.Context, to map[int32]int64) error {
	l.setState(api.LaneRestoring, "")
	before := l.store.Positions()
	progress, err := l.takePlayback().CatchUp(ctx, to)
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

// checkEpoch refuses a grant that is not above every epoch in the position records and barriers of
// others: the position records of this stay will carry it.
func (l *lane) checkEpoch() error {
	if l.barriers >= l.epoch {
		return &epochError{floor: l.barriers, grant: l.epoch}
	}
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
	if err := l.store.Flush(); err != nil { // what the disk gives back is verified, not what memory has
		return err
	}
	if err := l.store.Verify(ctx); err != nil {
		return err
	}
	l.strange, l.rebuilt, l.copied, l.unseeded = false, false, false, false
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
		batch    *txn.BatchError
		cut      *txn.TruncatedError
	)
	return errors.As(err, &refused) || errors.As(err, &offsets) || errors.As(err, &ahead) || errors.As(err, &digest) ||
		errors.As(err, &identity) || errors.As(err, &outside) || errors.As(err, &batch) || errors.As(err, &cut) || errors.As(err, &replaced) && replaced.Now != "" ||
		errors.Is(err, replication.ErrForeign) || errors.Is(err, state.ErrNewer)
}
