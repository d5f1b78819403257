package node

import (
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/seam"
)

// An owner says that it comes no further only of the grant that it has, and only once the node
// before it is done: while that one may have a transaction open, the cluster waits for its word.
func TestStuckLane(t *testing.T) {
	t.Parallel()
	now := seam.World().Now()
	for _, c := range []struct {
		what  string
		part  part
		state string
		free  uint64
		ago   time.Duration // since the grant
		read  bool          // it has read its changelog
		epoch uint64        // that it acts on
		stuck bool
	}{
		{"stopped at once", partOwner, api.LaneStopped, 7, 0, true, 7, true},
		{"lost", partOwner, api.LaneLost, 7, 0, true, 7, true},
		{"stopped, and the one before is not done", partOwner, api.LaneStopped, 6, time.Minute, true, 7, false},
		{"stopped under an earlier grant", partOwner, api.LaneStopped, 7, 0, true, 6, false},
		{"it runs", partOwner, api.LaneRunning, 7, time.Minute, true, 7, false},
		{"it has just begun", partOwner, api.LaneAcquiring, 7, stuckAfter / 2, false, 7, false},
		{"it tries and tries", partOwner, api.LaneAcquiring, 7, 2 * stuckAfter, false, 7, true},
		{"and the one before is not done", partOwner, api.LaneAcquiring, 6, 2 * stuckAfter, false, 7, false},
		{"it reads its changelog", partOwner, api.LaneRestoring, 7, time.Minute, false, 7, false},
		{"it has, and asks for offsets", partOwner, api.LaneRestoring, 7, time.Minute, true, 7, true},
		{"a standby that has stopped", partStandby, api.LaneStopped, 0, 0, false, 0, true},
		{"a standby that reads", partStandby, api.LaneStandby, 0, time.Minute, false, 0, false},
		{"nobody's", partNone, api.LaneStopped, 7, time.Minute, true, 7, false},
	} {
		l := &lane{app: &app{node: &Node{cfg: Config{Seam: seam.World()}}}}
		l.epoch, l.free, l.loaded, l.grantedAt, l.status.state = c.epoch, c.free, c.read, now.Add(-c.ago), c.state
		if got := l.stuck(grant{part: c.part, epoch: 7}); got != c.stuck {
			t.Errorf("%s: stuck %v", c.what, got)
		}
	}
}

// The word of the node before counts whenever it comes, and an older one takes nothing back.
func TestFreedLane(t *testing.T) {
	t.Parallel()
	l := &lane{released: make(chan uint64, 1)}
	l.hearReleased(5)
	l.freed(4)
	if l.free != 5 {
		t.Errorf("free up to epoch %d, not 5", l.free)
	}
}
