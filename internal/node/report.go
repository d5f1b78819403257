package node

import (
	"context"
	"slices"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/replication/ownership"
	"github.com/tally-kafka/tally/replication/session"
)

// contactInterval is how often a node that has no lane looks whether it reaches Kafka: one that
// does not must be given none.
const contactInterval = 500 * time.Millisecond

// report is what this node tells the leader with each ping.
func (n *Node) report() session.Report {
	<-n.clustered
	st := n.cluster.State()
	r := session.Report{
		ID: n.dir.id.ID, Incarnation: n.incarnation, KafkaAgeMs: n.kafkaAge().Milliseconds(), Version: st.Version,
		Disk: n.disk.trouble(),
	}
	open := n.running()
	for _, a := range open {
		for _, l := range a.lanes {
			if g, _ := l.granted(); g.part != partNone {
				r.Copies = append(r.Copies, l.copyReport(g))
			}
		}
	}
	r.Copies = append(r.Copies, n.closedCopies(st, open)...)
	return r
}

// closedCopies are of the lanes that this node is to run or to follow, of apps that are not open
// here. The leader has to hear of these too: it would wait for them for ever, with all that may
// move only after them.
func (n *Node) closedCopies(st *ownership.State, open []*app) (copies []session.Copy) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.cfg.Seam.Now()
	for _, rec := range st.SortedApps() {
		h := n.hosts[rec.Name]
		if h == nil || slices.ContainsFunc(open, func(a *app) bool { return a.name() == rec.Name }) {
			continue
		}
		for k := range rec.Lanes {
			ref := ownership.LaneRef{App: rec.Name, Lane: k}
			if g := grantOf(st, ref, rec.Generation, n.dir.id.ID, n.incarnation); g.part != partNone {
				copies = append(copies, h.closedCopy(ref, g, h.fails && sameLife(h.refused, rec), now))
			}
		}
	}
	return copies
}

// hearing is when a grant was first heard of.
type hearing struct {
	epoch uint64
	at    time.Time
}

// closedCopy is the copy of a lane whose app is not open here: there is none. A standby comes no
// further once the app was refused, as the cluster has it now. An owner says so after as long as
// one that tries and tries; by then it would have waited for the word of the node before in vain,
// and fenced it. The caller holds the node's mu.
func (h *host) closedCopy(ref ownership.LaneRef, g grant, refused bool, now time.Time) session.Copy {
	c := session.Copy{LaneRef: ref, Role: string(g.part), State: api.LaneAcquiring, Epoch: g.epoch}
	if refused {
		c.State = api.LaneStopped
	}
	switch g.part {
	case partStandby:
		c.Stuck = refused
	case partOwner:
		if h.heard == nil {
			h.heard = map[int]hearing{}
		}
		if h.heard[ref.Lane].epoch != g.epoch {
			h.heard[ref.Lane] = hearing{g.epoch, now}
		}
		c.Stuck = now.Sub(h.heard[ref.Lane].at) > stuckAfter
	}
	return c
}

func (l *lane) copyReport(g grant) session.Copy {
	l.mu.Lock()
	st, loaded, stuck := l.status, l.loaded, l.stuck(g)
	l.mu.Unlock()
	c := session.Copy{LaneRef: l.ref(), Role: string(g.part), State: st.state, Epoch: st.epoch}
	c.Running = g.part == partOwner && st.state == api.LaneRunning
	if c.Stuck = stuck; stuck {
		c.Epoch = g.epoch // it may have come to its end before it had read an epoch
	}
	c.Ready = c.Running || st.state == api.LaneStandby && loaded
	if g.part == partStandby {
		c.Lag = l.changelogLag()
	}
	return c
}

// stuckAfter is how long after its grant a lane that neither runs nor reads its changelog counts as
// one that does not get to run. Until then its move counts: one whose new owner lacks the rights is
// to be followed by few others before that is seen. It is longer than releaseWait.
const stuckAfter = 3 * time.Second

// stuck reports whether the lane comes no further under a grant: an error has ended it here, or it
// tries and tries, or asks Kafka again and again. As the owner it says so once nobody before it has
// a part in the lane any more. The caller holds mu.
func (l *lane) stuck(g grant) bool {
	ended := l.status.state == api.LaneStopped || l.status.state == api.LaneLost
	switch g.part {
	case partStandby:
		return ended
	case partOwner:
		if l.epoch != g.epoch || l.free < g.epoch || l.status.state == api.LaneRunning {
			return false
		}
		reads := l.status.state == api.LaneRestoring && !l.loaded
		return ended || !reads && l.seam().Since(l.grantedAt) > stuckAfter
	}
	return false
}

// changelogLag is how much of the changelog a standby has not applied yet.
func (l *lane) changelogLag() int64 {
	l.mu.Lock()
	store := l.store
	l.mu.Unlock()
	if store == nil {
		return 0
	}
	positions := store.Positions()
	l.app.mu.Lock()
	defer l.app.mu.Unlock()
	return l.behind(positions, l.app.changelogEnds)
}

// keepContact looks whether Kafka answers while no app does. What only a node with Kafka can go on
// with is left to others after a while.
func (n *Node) keepContact(ctx context.Context) {
	held := map[string]time.Time{}
	for n.pause(ctx, contactInterval, true, nil) == nil {
		held = n.passResetsOn(ctx, held)
		if n.silent() < contactInterval || n.kafkaAge() < contactInterval && len(n.running()) > 0 {
			continue // an app asks
		}
		bounded, cancel := context.WithTimeout(ctx, n.cfg.UnreachableAt)
		_, err := n.admin.ClusterID(bounded)
		cancel()
		if ctx.Err() == nil {
			n.reached(err)
		}
	}
}
