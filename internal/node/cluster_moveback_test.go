package node

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/replication/ownership"
)

// A lane that is on its way to a node which does not get its copy is moved to where it still is: it
// stays there, under its epoch, and moves when it is asked to once more.
func TestBandTakesAMoveBack(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 3)
	b := p.band(2)
	lane := b.ofTheRichest()
	to := map[string]string{nodeName(0): nodeName(1), nodeName(1): nodeName(0)}[lane.Owner]
	release := p.holdReads(p.app + ".changelog")
	client := b.nodes[0].client
	_, err := client.Move(b.ctx(), b.app, lane.Lane, api.MoveRequest{To: to})
	p.must(err)
	onItsWay := func(st api.Status) error {
		if l := st.Apps[0].Lanes[lane.Lane]; l.Target != to {
			return fmt.Errorf("lane %+v", l)
		}
		return nil
	}
	b.until("it is on its way", onItsWay)
	back := api.MoveRequest{To: lane.Owner, DryRun: true}
	got, err := client.Move(b.ctx(), b.app, lane.Lane, back)
	p.must(err)
	if got.Done || got.TakenBack != to || !strings.Contains(strings.Join(got.Plan, "; "), "its move to "+to+" is taken back") {
		t.Errorf("a dry run: %+v", got)
	}
	b.until("the dry run has done nothing", onItsWay)
	back.DryRun = false
	got, err = client.Move(b.ctx(), b.app, lane.Lane, back)
	p.must(err)
	if !got.Done || got.TakenBack != to || got.From != lane.Owner || got.To != lane.Owner {
		t.Errorf("it is taken back: %+v", got)
	}
	if l := b.whole().Lanes[lane.Lane]; l.Owner != lane.Owner || l.Epoch != lane.Epoch {
		t.Errorf("it does not stay: %+v, before %+v", l, lane)
	}
	release()
	if l := b.move(lane.Lane, to); l.Owner != to {
		t.Errorf("lane %+v", l)
	}
}

// A lane that the leader moves to a node which may have lanes again, to make shares even, is moved
// to where it still is: it stays there, and another goes in its place. One that was asked to stay
// before the leader had begun stays, too.
func TestBandKeepsALaneFromTheBalance(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(3)
	client := b.nodes[0].client
	_, err := client.Drain(b.ctx(), "node-c", api.DrainRequest{})
	p.must(err)
	var rests api.LaneStatus
	b.until("it is drained", func(st api.Status) error {
		for _, l := range st.Apps[0].Lanes {
			if l.Owner == "node-c" || l.Target != "" || l.State != api.LaneRunning {
				return fmt.Errorf("lane %+v", l)
			}
		}
		rests = st.Apps[0].Lanes[0]
		return nil
	})
	got, err := client.Move(b.ctx(), b.app, rests.Lane, api.MoveRequest{To: rests.Owner})
	p.must(err)
	if !got.Done || got.TakenBack != "" {
		t.Errorf("it is there already: %+v", got)
	}
	release := p.holdReads(p.app + ".changelog")
	_, err = client.Drain(b.ctx(), "node-c", api.DrainRequest{Undo: true})
	p.must(err)
	underWay := func() (lane api.LaneStatus) {
		b.until("a lane is on its way to the node", func(st api.Status) error {
			for _, l := range st.Apps[0].Lanes {
				if l.Target == "node-c" {
					lane = l
					return nil
				}
			}
			return fmt.Errorf("lanes %+v", st.Apps[0].Lanes)
		})
		return lane
	}
	first := underWay()
	got, err = client.Move(b.ctx(), b.app, first.Lane, api.MoveRequest{To: first.Owner})
	p.must(err)
	if !got.Done || got.TakenBack != "node-c" {
		t.Errorf("it is taken back: %+v", got)
	}
	if next := underWay(); next.Lane == first.Lane || next.Lane == rests.Lane {
		t.Errorf("lane %d goes, and %d and %d were to stay", next.Lane, first.Lane, rests.Lane)
	}
	release()
	b.until("the node has a lane", b.hasLane("node-c"))
	for _, was := range []api.LaneStatus{first, rests} {
		if l := b.whole().Lanes[was.Lane]; l.Owner != was.Owner || l.Epoch != was.Epoch {
			t.Errorf("it does not stay: %+v, before %+v", l, was)
		}
	}
}

// ofTheRichest is a lane of the node that owns the most: none comes back to that one for a lane
// that it gives.
func (b *band) ofTheRichest() (lane api.LaneStatus) {
	owned, most := map[string]int{}, 0
	for _, l := range b.balanced().Lanes {
		if owned[l.Owner]++; owned[l.Owner] > most {
			lane, most = l, owned[l.Owner]
		}
	}
	return lane
}

// holdReads lets nobody read a topic until release.
func (p *place) holdReads(topic string) (release func()) {
	id := p.topicID(topic)
	var held atomic.Bool
	held.Store(true)
	p.fake.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		p.fake.KeepControl()
		req := r.(*kmsg.FetchRequest)
		if !held.Load() || len(req.Topics) != 1 || req.Topics[0].TopicID != id {
			return nil, nil, false
		}
		return unread(req, kerr.NotLeaderForPartition.Code), nil, true
	})
	return func() { held.Store(false) }
}

// A lane is where it is asked to be only if its node may keep it, and no move away is under way.
func TestMoveOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what   string
		member ownership.Member
		target string
		done   bool
		back   string
		words  []string // of the error
	}{
		{"it is there", ownership.Member{Alive: true}, "", true, "", nil},
		{"it is on its way", ownership.Member{Alive: true}, "2", false, "node-b", nil},
		{"its owner is dead", ownership.Member{}, "", false, "", []string{"node-a is dead", "takes no lane", "node-b"}},
		{"its owner is drained", ownership.Member{Alive: true, Draining: true}, "2", false, "", []string{"node-a is being drained", "takes no lane", "node-b"}},
		{"its owner was started again", ownership.Member{Alive: true, Incarnation: "j"}, "", false, "", nil},
	} {
		st := ownership.New()
		a := c.member
		a.ID, a.Name = "1", "node-a"
		st.Members["1"], st.Members["2"] = &a, &ownership.Member{ID: "2", Name: "node-b", Alive: true}
		st.Apps["x"] = &ownership.App{Name: "x", Lanes: []ownership.Lane{{Owner: "1", Epoch: 4, Target: c.target}}}
		got, err := moveOf(st, ownership.LaneRef{App: "x"}, &a)
		if got.Done != c.done || got.TakenBack != c.back || got.From != "node-a" || got.To != "node-a" || got.Epoch != 4 {
			t.Errorf("%s: %+v", c.what, got)
		}
		if c.words == nil && err == nil {
			continue
		}
		says(t, err, c.words...)
		if e, ok := err.(*api.Error); !ok || e.Status != http.StatusConflict {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}
