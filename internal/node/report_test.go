package node

import (
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/replication/ownership"
	"github.com/tally-kafka/tally/replication/session"
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

// Of an app that is not open here a node tells the leader, too, that it does not get to run its
// lanes: as their owner once the one before has had the time for its word, and as one that shall
// follow them once the app was refused.
func TestStuckLanesOfAClosedApp(t *testing.T) {
	t.Parallel()
	if stuckAfter <= releaseWait {
		t.Errorf("an owner says after %v that it waits for no word, and that has %v", stuckAfter, releaseWait)
	}
	n := &Node{cfg: Config{Seam: seam.World()}, incarnation: "1", dir: &dataDir{}, hosts: map[string]*host{}}
	n.dir.id.ID = "me"
	h := &host{name: "closed"}
	n.hosts["closed"], n.hosts["open"] = h, &host{name: "open"}
	lanes := []ownership.Lane{
		{Owner: "me", Incarnation: "1", Epoch: 7, From: "other"},
		{Owner: "other", Incarnation: "9", Epoch: 4, Target: "me", Standbys: []string{"me"}},
		{Owner: "me", Incarnation: "0", Epoch: 2},
		{Owner: "other", Incarnation: "9", Epoch: 3},
	}
	st := ownership.New()
	for _, name := range []string{"closed", "open"} {
		st.Apps[name] = &ownership.App{Name: name, Generation: 1, Lanes: lanes}
	}
	open := []*app{{spec: &spec.Spec{App: "open"}}}
	report := func(ago time.Duration) (copies []session.Copy) {
		t.Helper()
		if heard, ok := h.heard[0]; ok {
			h.heard[0] = hearing{heard.epoch, heard.at.Add(-ago)}
		}
		copies = n.closedCopies(st, open)
		if len(copies) != 3 || copies[0].App != "closed" || copies[0].Running || copies[1].Ready || copies[2].Stuck {
			t.Errorf("it reports %+v", copies)
		}
		return copies
	}
	if c := report(0); c[0].Stuck || c[1].Stuck {
		t.Errorf("the app is just being opened: %+v", c)
	}
	halted := *st.Apps["closed"]
	halted.Halted = "it is being reset"
	h.fails, h.refused = true, &halted
	if c := report(0); c[1].Stuck {
		t.Errorf("the app was refused while it was being reset, and is just being opened: %+v", c)
	}
	h.refused = st.Apps["closed"]
	if c := report(releaseWait); c[0].Stuck || !c[1].Stuck || c[1].State != api.LaneStopped {
		t.Errorf("the app was refused: %+v", c)
	}
	if c := report(stuckAfter); !c[0].Stuck || c[0].Epoch != 7 {
		t.Errorf("the app was refused long ago: %+v", c)
	}
	lanes[0].Epoch = 9
	if c := report(0); c[0].Stuck || c[0].Epoch != 9 {
		t.Errorf("another grant: %+v", c)
	}
	st.Apps["closed"].Halted = "it is being reset"
	if c := n.closedCopies(st, open); len(c) != 0 {
		t.Errorf("of a halted app: %+v", c)
	}
}
