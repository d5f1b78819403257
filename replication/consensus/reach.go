package consensus

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/tally-kafka/tally/internal/seam"
)

// reachLook is how often one who waits for a node looks whether it is still in the group.
const reachLook = time.Second

var errLeadershipEnded = errors.New("this node does not lead any more")

// reach knows which nodes a leader cannot reach. Raft doubles the pause before it sends entries to
// such a node, up to 10 s, and waits it out when the node is back: measured, a node that was away
// for 7 s got the log 4 s after its start. Heartbeats are tried four times a second at least, so
// entries for a node that could not be reached wait here until one has got through.
type reach struct {
	seam seam.Seam

	mu     sync.Mutex
	member func(id string) bool            // whether a node is in the group
	lost   map[raft.ServerID]chan struct{} // closed when it is reached
	// ended is closed when the leadership ends; nil while this node does not lead: nobody waits.
	ended chan struct{}
}

func newReach(s seam.Seam) *reach {
	return &reach{seam: s, member: func(string) bool { return true }, lost: map[raft.ServerID]chan struct{}{}}
}

// lead begins a leadership.
func (r *reach) lead() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = make(chan struct{})
}

// end ends a leadership, and with it all waits.
func (r *reach) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended != nil {
		close(r.ended)
	}
	r.ended = nil
	clear(r.lost)
}

// note takes the outcome of a request.
func (r *reach) note(id raft.ServerID, heartbeat bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	back, lost := r.lost[id]
	switch {
	case err == nil && heartbeat && lost:
		close(back)
		delete(r.lost, id)
	case err != nil && !lost && r.ended != nil:
		r.lost[id] = make(chan struct{})
	}
}

// wait returns when the node may be reached; with an error when that does not matter any more.
func (r *reach) wait(id raft.ServerID) error {
	r.mu.Lock()
	back, lost := r.lost[id]
	ended := r.ended
	r.mu.Unlock()
	for lost {
		timer, stop := r.seam.Timer(reachLook)
		select {
		case <-back:
			lost = false
		case <-ended:
			stop()
			return errLeadershipEnded
		case <-timer:
			if !r.isMember(id) {
				return fmt.Errorf("node %s is not in the group any more", id)
			}
		}
		stop()
	}
	return nil
}

func (r *reach) memberIs(member func(id string) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.member = member
}

func (r *reach) isMember(id raft.ServerID) bool {
	r.mu.Lock()
	member := r.member
	r.mu.Unlock()
	return member(string(id))
}

// isHeartbeat is Raft's own mark: a request with nothing in it but a term.
func isHeartbeat(a *raft.AppendEntriesRequest) bool {
	return a.PrevLogEntry == 0 && a.PrevLogTerm == 0 && len(a.Entries) == 0 && a.LeaderCommitIndex == 0
}
