package node

import (
	"context"

	"github.com/tally-kafka/tally/processor/spec"
)

// checkStranger refuses to acquire a lane that a node of another cluster has taken since the app
// was opened here: whichever node of this cluster is granted the lane next, the takeover is not
// fought back. It looks before the fence, which would end the other's transaction. One partition is
// enough, since an owner's barrier goes to each of its lane's. What the copy that was kept here can
// answer Kafka is not asked: that costs a takeover ten milliseconds.
func (l *lane) checkStranger(ctx context.Context) error {
	if l.stays == 1 && (l.justOpened() || l.followedOwn()) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	p := l.tasks[0].Partition
	h, err := readHead(ctx, l.app.node.admin, l.app.changelog.Name, p)
	if err != nil || !l.isStranger(h.author, p) {
		return err
	}
	l.mu.Lock()
	l.loaded = l.follows && !l.torn.Load() // the copy answers on
	l.mu.Unlock()
	return l.lostTo(h.author, p)
}

// justOpened reports whether the lane was this node's when the app was opened, a moment ago, which
// has looked: a start is not held up. What others had then may have been taken from them since.
func (l *lane) justOpened() bool {
	return l.opened && !l.app.headsAt.IsZero() && l.seam().Since(l.app.headsAt) < freshGrant
}

// followedOwn reports whether the copy has followed the changelog up to the grant, and who acquired
// the lane last there is of this cluster.
func (l *lane) followedOwn() bool {
	n := l.app.node
	return l.follows && l.ready.playback != nil && l.acquired == n.clusterID() && n.kafkaAge() <= cutOffAge
}

// isStranger reports whether who wrote to a partition of the changelog is of another cluster and
// has come, or goes on, since the app was opened here. What was there before was looked at then:
// it did not move, or this node was told to take the app over. Whom it was told to take it from may
// write until then, under no later epoch than was known: what has a later one has taken it back.
func (l *lane) isStranger(by author, partition int32) bool {
	a := l.app
	if before, ok := a.heads[partition]; !by.foreign(a.node.clusterID()) || ok && by.offset <= before.author.offset {
		return false
	}
	return !a.node.cfg.Takeover || by.epoch > max(a.highestEpoch(l.k), a.record.Lanes[l.k].Epoch, l.overruled)
}

// takeoversMax bounds how often a node that was told to take an app over fences a lane once more,
// so that two nodes which were both told do not do it for ever.
const takeoversMax = 3

// mayInsist reports whether a lane that was lost to another cluster is to be taken all the same:
// this node was told to take the app over, and neither it nor another of its cluster has run it.
// Then the other cluster moved the lane before it could hear of the takeover.
func (l *lane) mayInsist(lost *LostError) bool {
	return lost.Stranger && l.app.node.cfg.Takeover && !l.had && l.takeovers < takeoversMax
}

// insist asks for a grant above that of who has taken the lane.
func (l *lane) insist(ctx context.Context, lost *LostError) error {
	l.takeovers++
	l.overruled = lost.Epoch
	return l.raiseGrant(ctx, &epochError{floor: lost.Epoch, grant: l.epoch})
}

func (l *lane) lostTo(by author, partition int32) *LostError {
	n := l.app.node
	return &LostError{
		App: l.app.name(), Lane: l.k, Node: by.called(n.cfg.Name), Epoch: by.epoch,
		Granted:  by.cluster == n.clusterID() && by.node != n.dir.id.ID && by.epoch > l.epoch,
		Stranger: l.isStranger(by, partition),
		// What an earlier process of this data dir wrote is from before this one.
		Copied: by.cluster == n.clusterID() && by.node == n.dir.id.ID && by.atMs >= n.started.UnixMilli(),
	}
}

// isStrangers reports whether the newest record of a lane is another cluster's. Then this cluster
// has nothing open there: whoever wrote it had fenced the lane. A changelog that is not there, or
// damaged, is nobody's; an error is one of a Kafka that does not answer.
func (n *Node) isStrangers(ctx context.Context, app string, lane int) (bool, error) {
	h, err := readHead(ctx, n.admin, spec.ChangelogTopic(app), int32(lane))
	switch {
	case err == nil:
		return h.author.foreign(n.clusterID()), nil
	case unanswered(err):
		return false, err
	}
	return false, nil
}
