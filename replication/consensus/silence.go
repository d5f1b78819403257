package consensus

import (
	"time"

	"github.com/hashicorp/raft"
)

// silenceSlip is how late a look for silence may come until it says more of this process than of
// the leader, which is then given another round of heartbeats.
const silenceSlip = 50 * time.Millisecond

// silenceStep is from one voter's end of patience to the next one's: longer than the time between
// two heartbeats, by which what they last heard of the leader differs. So two of them hardly ever
// stand at one moment and take each other's vote: only where Raft's own timer does it for one.
func (t Timing) silenceStep() time.Duration { return t.Heartbeat/5 + 30*time.Millisecond }

// watchSilence has a follower notice that its leader is silent when it is: the timer that Raft has
// for that runs freely, and finds it out up to three times its Heartbeat later. A voter that still
// believes in the leader votes for nobody else, so the last of a majority decides, and its turn
// comes by its rank. All that a voter does then is what it does at the end of that timer.
func (r *Raft) watchSilence() {
	wait := r.c.Timing.Heartbeat
	for {
		due := r.c.Seam.Now().Add(wait)
		timer, stop := r.c.Seam.Timer(wait)
		select {
		case <-timer:
		case <-r.done:
			stop()
			return
		}
		wait = r.patience()
		switch {
		case wait > 0:
		case r.c.Seam.Since(due) > silenceSlip:
			wait = r.c.Timing.Heartbeat / 5
		default:
			r.lookForLeader()
			wait = r.c.Timing.Heartbeat
		}
	}
}

// patience is for how long this node goes on believing in a leader of which it hears no more.
func (r *Raft) patience() time.Duration {
	leader, _ := r.Leader()
	rank, votes := r.rank(leader)
	if leader == "" || leader == r.c.ID || !votes {
		return r.c.Timing.Heartbeat
	}
	return r.c.Timing.Heartbeat + time.Duration(rank)*r.c.Timing.silenceStep() - r.c.Seam.Since(r.raft.LastContact())
}

// lookForLeader ends the timer of Raft's follower, which then looks whether its leader is silent,
// as it does when its timeout has become shorter. (Not by one that is shorter than usual: it may
// not be shorter than the leader's lease, nor longer than an election.)
func (r *Raft) lookForLeader() {
	usual := r.raft.ReloadableConfig()
	longer := usual
	longer.HeartbeatTimeout++
	longer.ElectionTimeout++
	for _, c := range []raft.ReloadableConfig{longer, usual} {
		if err := r.raft.ReloadConfig(c); err != nil {
			panic("consensus: timeouts as usual are refused: " + err.Error())
		}
	}
}
