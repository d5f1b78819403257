package node

import (
	"context"
	"slices"

	"github.com/tally-kafka/tally/replication/ownership"
)

// part is what this node is to do with a lane.
type part string

const (
	partNone    part = "none"
	partOwner   part = "owner"
	partStandby part = "standby"
	// partAwaits is an owner to be whose grant is an earlier process's: it keeps the store and does
	// nothing until the leader has heard of this one.
	partAwaits part = "awaits"
)

// grant is what Raft says of a lane, as this node has to act on it. Two grants that are equal ask
// for the same.
type grant struct {
	part  part
	epoch uint64
	from  string // id of the node that hands the lane over, "" for none
}

// grantOf reads a lane's grant. A grant counts for the incarnation that it names alone, and for the
// generation of the app that is open here.
func grantOf(st *ownership.State, ref ownership.LaneRef, generation int, id, incarnation string) grant {
	a := st.Apps[ref.App]
	if a == nil || a.Halted != "" || a.Generation != generation || ref.Lane >= len(a.Lanes) {
		return grant{part: partNone}
	}
	l := a.Lanes[ref.Lane]
	switch {
	case l.Owner == id && l.Incarnation == incarnation:
		return grant{part: partOwner, epoch: l.Epoch, from: l.From}
	case l.Owner == id:
		return grant{part: partAwaits}
	case l.Target == id, slices.Contains(l.Standbys, id):
		return grant{part: partStandby}
	}
	return grant{part: partNone}
}

// same reports whether a lane goes on as it is under another grant. The word that the lane has come
// from another node is dropped once this one runs it: that changes nothing for the owner.
func (g grant) same(now grant) bool {
	now.from = g.from
	return g == now
}

func (l *lane) ref() ownership.LaneRef { return ownership.LaneRef{App: l.app.name(), Lane: l.k} }

// granted is the lane's grant now, and a channel that is closed when it may be another.
func (l *lane) granted() (grant, <-chan struct{}) {
	n := l.app.node
	changed := n.cluster.Changed() // before the state: a change between the two closes it
	return grantOf(n.cluster.State(), l.ref(), l.app.generation, n.dir.id.ID, n.incarnation), changed
}

// anothers reports whether another node of this cluster has the lane, or had it until this grant.
func (l *lane) anothers(g grant) bool {
	n := l.app.node
	now, _ := n.cluster.State().Lane(l.ref())
	return g.from != "" || now.Owner != "" && now.Owner != n.dir.id.ID
}

// soonRuns reports whether this node is to run the lane now, or once the leader has heard of it.
func (l *lane) soonRuns() bool {
	g, _ := l.granted()
	return g.part == partOwner || g.part == partAwaits
}

// whileGranted gives a channel that is closed when the grant is over, drain is closed, or the part
// is ended by its caller.
//
// A grant that was over before this node looked is one that it never ran the lane under, and its
// successor waits for this node's word all the same. It is given while this part lasts that runs
// nothing: later there may be a transaction of the node's own.
func (l *lane) whileGranted(ctx context.Context, ended, drain <-chan struct{}, g grant) <-chan struct{} {
	over := make(chan struct{})
	go func() {
		defer close(over)
		for {
			now, changed := l.granted()
			if !g.same(now) {
				return
			}
			if g.part != partOwner {
				if word, to := l.owed(); to != nil {
					go l.tellUntilHeard(ctx, word, to)
				}
			}
			select {
			case <-changed:
			case <-drain:
				return
			case <-ended:
				return
			}
		}
	}()
	return over
}
