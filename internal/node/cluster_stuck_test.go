package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tally-kafka/tally/internal/api"
)

// besideLost is two nodes with two apps: the one whose name sorts first, which is to get stuck, and
// one that goes on. The first node runs more lanes of the one than it may give away at a time, and
// a lane of the other.
func besideLost(p *place) (lost, well *band) {
	p.t.Helper()
	p.topic(p.in, 4)
	lost = p.band(2, standbys(1))
	well = lost.running("well", 4)
	for first, b := range map[int]*band{3: lost, 1: well} {
		b.lanesAre("shared by both nodes, with standbys", func(l api.LaneStatus) bool {
			to := nodeName(min(l.Lane/first, 1))
			if l.Owner != to && l.Target != to {
				_, _ = b.nodes[0].client.Move(b.ctx(), b.app, l.Lane, api.MoveRequest{To: to}) // or the next time
			}
			return runsAt(to)(l) && len(l.Copies) == 1 && l.Copies[0].Ready
		})
	}
	return lost, well
}

// lanesAre waits until all lanes of the app are as they shall be, and returns them.
func (b *band) lanesAre(what string, ok func(api.LaneStatus) bool) (lanes []api.LaneStatus) {
	b.t.Helper()
	until(b.t, func() error {
		now := b.alive()
		st, err := now[len(now)-1].client.Status(b.ctx())
		if err != nil {
			return err
		}
		for _, a := range st.Apps {
			if a.App == b.app {
				lanes = a.Lanes
			}
		}
		for _, l := range lanes {
			if !ok(l) {
				return fmt.Errorf("until the lanes of %s are %s: %+v", b.app, what, l)
			}
		}
		if len(lanes) == 0 {
			return fmt.Errorf("no lane of %s in %+v", b.app, st.Apps)
		}
		return nil
	})
	return lanes
}

// runsAt and stoppedAt: the lane is that node's, no move of it is under way, and it runs, or has
// stopped on the events that its input lost.
func runsAt(node string) func(api.LaneStatus) bool {
	return func(l api.LaneStatus) bool {
		return l.Owner == node && l.State == api.LaneRunning && l.From == "" && l.Target == ""
	}
}

func stoppedAt(node string) func(api.LaneStatus) bool {
	return func(l api.LaneStatus) bool {
		return l.Owner == node && l.State == api.LaneStopped && strings.Contains(l.Reason, "retention") && l.From == "" && l.Target == ""
	}
}

// lose lets retention take events of every partition before the lanes have read them.
func (b *band) lose() {
	b.t.Helper()
	release := b.holdReads(b.in)
	for range 2 { // a fetch that is under way may get the first
		for part := range int32(4) {
			b.send(event(part, "a", "lost"))
		}
	}
	ends, err := b.admin.EndOffsets(b.ctx(), b.in, true)
	b.must(err)
	for part, end := range ends {
		b.deleteBefore(part, end)
	}
	release()
	b.lanesAre("stopped", func(l api.LaneStatus) bool { return l.State == api.LaneStopped })
}

// Lanes that wait for a person hold no other up, although their app sorts first: the others leave a
// node that is drained, and then they do. One of them goes where it is asked to, and no further.
func TestBandDrainsBesideAStoppedApp(t *testing.T) {
	p := onFake(t)
	lost, well := besideLost(p)
	lost.lose()
	client := lost.nodes[1].client
	_, err := client.Drain(p.ctx(), "node-a", api.DrainRequest{})
	p.must(err)
	well.lanesAre("at node-b", runsAt("node-b"))
	before := lost.lanesAre("stopped at node-b", stoppedAt("node-b"))
	_, err = client.Drain(p.ctx(), "node-a", api.DrainRequest{Undo: true})
	p.must(err)
	until(t, func() error { // once node-a is known to take lanes again
		_, err := client.Move(p.ctx(), lost.app, 0, api.MoveRequest{To: "node-a"})
		return err
	})
	stopsAt := func(l api.LaneStatus) bool { return stoppedAt([]string{"node-a", "node-b"}[min(l.Lane, 1)])(l) }
	moved := lost.lanesAre("stopped, and the first at node-a", stopsAt)
	until(t, func() error { // the balance gives node-a the rest of its share in lanes that run
		at, lanes := 0, well.lanesAre("running", func(l api.LaneStatus) bool { return runsAt(l.Owner)(l) })
		for _, l := range lanes {
			if l.Owner == "node-a" {
				at++
			}
		}
		if at != 3 {
			return fmt.Errorf("%d of %+v are at node-a", at, lanes)
		}
		return nil
	})
	for _, l := range lost.lanesAre("where they were", stopsAt) {
		if l.Epoch != moved[l.Lane].Epoch || l.Lane > 0 && l.Epoch != before[l.Lane].Epoch {
			t.Errorf("lane %+v was moved on: %+v, %+v before", l, moved[l.Lane], before[l.Lane])
		}
	}
	lost.noWordInVain()
}

// noWordInVain: no new owner has waited in vain for the word of the one before.
func (b *band) noWordInVain() {
	b.t.Helper()
	for i, n := range b.nodes {
		noWaitInVain(b.t, nodeName(i), n)
	}
}

// A node that stops hands over what runs, beside what does not.
func TestBandStopsBesideAStoppedApp(t *testing.T) {
	p := onFake(t)
	lost, well := besideLost(p)
	lost.lose()
	n := lost.nodes[0]
	n.stop()
	if n.log.count("handing the lanes over", "lanes=4") != 1 || n.log.count("not all lanes were handed over in time") > 0 {
		t.Error("node-a has not handed its lanes over in time")
	}
	well.lanesAre("at node-b", runsAt("node-b"))
	lost.lanesAre("stopped at node-b", stoppedAt("node-b"))
	lost.noWordInVain()
}

// Lanes whose new owner lacks the rights to run them, and tries on for as long as that lasts, hold
// the others up for a moment only. They run once the rights are there.
func TestBandDrainsBesideAnAppWithoutRights(t *testing.T) {
	p := onFake(t)
	lost, well := besideLost(p)
	grant := p.withoutRights(lost.app + ".lane-")
	_, err := lost.nodes[1].client.Drain(p.ctx(), "node-a", api.DrainRequest{})
	p.must(err)
	well.lanesAre("at node-b", runsAt("node-b"))
	lost.lanesAre("at node-b, or waited for no more", func(l api.LaneStatus) bool {
		return l.Owner == "node-b" && l.From == "" && (l.Lane == 3 || l.State == api.LaneAcquiring)
	})
	grant()
	lost.lanesAre("at node-b", runsAt("node-b"))
	lost.noWordInVain()
}

// Lanes of an app that one of two nodes cannot open hold none of another app up: these leave a node
// that is drained, and the others run on there until they can be taken.
func TestBandDrainsBesideAClosedApp(t *testing.T) {
	p := onFake(t)
	closed, well := besideLost(p)
	second := closed.nodes[1]
	second.stop()
	intent := filepath.Join(second.dir, "apps", closed.app+".reset.json")
	p.must(os.WriteFile(intent, []byte("damaged"), 0o644))
	again := closed.launch(1, inDir(second.dir), noSpecs(), standbys(1))
	closed.nodes[1], well.nodes[1] = again, again
	until(t, func() error {
		if again.log.count("the app cannot run on this node", closed.app, "is damaged") == 0 {
			return fmt.Errorf("node-b has opened the app:\n%s", again.log)
		}
		return nil
	})
	_, err := closed.nodes[0].client.Drain(p.ctx(), "node-a", api.DrainRequest{})
	p.must(err)
	well.lanesAre("at node-b", runsAt("node-b"))
	closed.lanesAre("at node-a", func(l api.LaneStatus) bool { return l.Owner == "node-a" && l.State == api.LaneRunning })
	p.must(os.Remove(intent))
	closed.lanesAre("at node-b", runsAt("node-b"))
}
