package consensus

import (
	"context"
	"slices"
	"time"
)

// The voters that know of a leader's end stand one after the other, in the order of their ids, a
// step apart and a little by chance: two candidates of one moment would take each other's vote, and
// wait for a whole election.
const (
	standStep   = 60 * time.Millisecond
	standChance = 10 * time.Millisecond
	standTries  = 3
)

// Stand makes this node a candidate without the wait for a silent leader, since the leader's
// process is known to have ended at a time. The others vote for it although they may still believe
// in that leader, as they do where a leader hands over; so it does nothing when a leader is heard
// of meanwhile, be it the old one. It returns when there is nothing more to do.
func (r *Raft) Stand(ctx context.Context, leader string, ended time.Time) {
	rank, votes := r.rank(leader)
	if !votes {
		return
	}
	// A leader that lives has sent a heartbeat by then: there is one every tenth to fifth of it.
	wait := r.c.Timing.Heartbeat/5 - r.c.Seam.Since(ended) + time.Duration(rank)*standStep
	for range standTries {
		term := r.raft.CurrentTerm()
		if r.c.Seam.Sleep(ctx, wait+r.c.Seam.Jitter(standChance)) != nil || r.hasLeader(leader, ended) {
			return
		}
		if r.raft.CurrentTerm() == term {
			r.c.Log.Info("the leader's process is gone: standing for election", "leader", r.State().NameOf(leader))
			r.trans.stand(r.c.ID)
			return
		}
		wait = 2 * standStep // another stands, and may win
	}
}

// rank is the place of this node among the voters beside one.
func (r *Raft) rank(beside string) (rank int, votes bool) {
	var ids []string
	for _, s := range r.Servers() {
		if s.Voter && s.ID != beside {
			ids = append(ids, s.ID)
		}
	}
	slices.Sort(ids)
	return slices.BinarySearch(ids, r.c.ID)
}

// hasLeader reports whether there is a leader beside one that has ended, or that one has been heard
// of since.
func (r *Raft) hasLeader(ended string, at time.Time) bool {
	id, _ := r.Leader()
	return id != "" && id != ended || id == ended && r.raft.LastContact().After(at)
}
