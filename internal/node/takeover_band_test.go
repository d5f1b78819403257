package node

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/step"
)

// strangers are a band whose app a node of another cluster has taken, and that node. Events come
// in all the time.
func (p *place) strangers(nodes int, opts ...option) (b *band, taker *tally) {
	p.t.Helper()
	p.topic(p.in, 4)
	b = p.band(nodes, opts...)
	stop := p.stream(4)
	b.balanced() // else a lane's new owner fences whoever takes it just then
	taker = p.start(named("prod-2"), takeover())
	b.until("every lane is lost", allLost)
	epochs := taker.epochs()
	p.t.Cleanup(func() {
		if p.t.Failed() {
			return
		}
		taker.right(stop())
		if now := taker.epochs(); now != epochs {
			p.t.Errorf("the epochs of who took the lanes are %s, and were %s", now, epochs)
		}
		if taker.log.count("fenced") > 0 {
			p.t.Error("who took the lanes was fenced")
		}
	})
	return b, taker
}

func (n *tally) epochs() string {
	var epochs []uint64
	for k := range 4 {
		epochs = append(epochs, n.lane(k, api.LaneRunning).Epoch)
	}
	return fmt.Sprint(epochs)
}

func allLost(st api.Status) error {
	for _, l := range st.Apps[0].Lanes {
		if l.State != api.LaneLost {
			return fmt.Errorf("lane %d of %s is %s (%s)", l.Lane, l.Owner, l.State, l.Reason)
		}
	}
	return nil
}

// lostWithout waits until a node has no lane, and those that have them have lost them to another
// cluster's node.
func (b *band) lostWithout(gone, taker string) {
	b.t.Helper()
	var reason string
	b.until(gone+" has no lane, and the others have lost them", func(st api.Status) error {
		for _, l := range st.Apps[0].Lanes {
			if l.Owner == gone || l.Owner == "" {
				return fmt.Errorf("lane %d is %q's", l.Lane, l.Owner)
			}
		}
		reason = st.Apps[0].Lanes[0].Reason
		return allLost(st)
	})
	saysText(b.t, reason, b.app, "node "+taker+" of another cluster", "--takeover")
}

// A cluster whose app another one has taken gives its lanes to others of its nodes, and none of
// these fences who took them: neither when a node hands its lanes over, nor when it is gone.
func TestBandDoesNotFightBack(t *testing.T) {
	for name, stop := range map[string]option{
		"handed over": func(*Config) {},
		"gone":        func(c *Config) { c.HandOverMax, c.DepartMax = 1, 1 }, // its end is as good as a kill
	} {
		for _, copies := range []int{0, 1} {
			t.Run(fmt.Sprintf("%s, standbys %d", name, copies), func(t *testing.T) {
				keptByShort(t, (name == "gone") == (copies == 0)) // each way, and each number of copies, once
				p := onFake(t)
				b, _ := p.strangers(3, standbys(copies), stop)
				b.nodes[0].stop()
				b.lostWithout("node-a", "prod-2")
			})
		}
	}
}

// A node of such a cluster that starts again without --takeover does not fence who took its lanes,
// and neither do those to whom its lanes go.
func TestBandStartsAgainAfterATakeover(t *testing.T) {
	p := onFake(t)
	b, _ := p.strangers(2, standbys(0))
	b.nodes[0].stop()
	again := p.launch(listening(b.addrs[0]), joined(b.addrs), named("node-a"), inDir(b.nodes[0].dir), standbys(0), noSpecs())
	until(t, func() error {
		if again.log.count("cannot run on this node", "prod-2", "--takeover") == 0 {
			return fmt.Errorf("it has not tried")
		}
		return nil
	})
	again.stop()
	b.lostWithout("node-a", "prod-2")
}

// A cluster that was itself started with --takeover does not fight back either, once the app was
// taken back from it.
func TestBandIsTakenBackFrom(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	first := p.start(named("prod-1"))
	stop := p.stream(4)
	b := p.band(2, standbys(0), takeover())
	for k := range 4 {
		first.lane(k, api.LaneLost)
	}
	first.stop()
	b.whole()
	first = p.start(named("prod-1"), inDir(first.dir), takeover())
	epochs := first.epochs()
	b.nodes[0].stop()
	b.lostWithout("node-a", "prod-1")
	first.right(stop())
	if now := first.epochs(); now != epochs {
		t.Errorf("the epochs of who took the lanes back are %s, and were %s", now, epochs)
	}
}

// The leader of such a cluster does not fence the lanes that none of its nodes can have.
func TestOwnerlessAfterATakeover(t *testing.T) {
	p := onFake(t)
	b, _ := p.strangers(2, standbys(0))
	_, err := b.nodes[0].client.Drain(b.ctx(), "node-a", api.DrainRequest{})
	p.must(err)
	b.until("node-b has a lane", func(st api.Status) error {
		for _, l := range st.Apps[0].Lanes {
			if l.Owner == "node-b" {
				return nil
			}
		}
		return fmt.Errorf("lanes %+v", st.Apps[0].Lanes)
	})
	b.nodes[1].stop() // what it had is granted once a fence has ended
	_, err = b.nodes[0].client.Drain(b.ctx(), "node-a", api.DrainRequest{Undo: true})
	p.must(err)
	b.lostWithout("node-b", "prod-2")
}

// A node that was told to take an app over does so although the others go on writing until then.
func TestTakeoverAtASecondTry(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	first := p.start(named("prod-1"))
	stop := p.stream(2)
	first.until("the first commits", func(st api.Status) bool { return st.Apps[0].Processed > 10 })
	var refused atomic.Int32
	p.fake.ControlKey(int16(kmsg.InitProducerID), func(r kmsg.Request) (kmsg.Response, error, bool) {
		p.fake.KeepControl()
		if refused.Add(1) > 4 {
			return nil, nil, false
		}
		resp := r.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ErrorCode = kerr.UnknownServerError.Code
		return resp, nil, true
	})
	second := p.start(named("prod-2"), takeover())
	if second.log.count("acquiring the lane again", "UNKNOWN_SERVER_ERROR") == 0 {
		t.Error("it has not tried twice")
	}
	second.right(stop())
}

// Such a cluster may delete its app, and leaves the topics alone: they are the other one's.
func TestDeleteAfterATakeover(t *testing.T) {
	p := onFake(t)
	b, _ := p.strangers(2, standbys(0))
	_, err := b.nodes[0].client.Delete(b.ctx(), b.app, true)
	says(t, err, "prod-2 of another cluster", "`tally delete "+b.app+"`", b.app+".changelog")
	_, err = b.nodes[0].client.Delete(b.ctx(), b.app, false)
	p.must(err)
}

// A node that was told to take an app over does so although the others, who cannot know yet, move
// their lanes just then.
func TestTakeoverOfLanesThatMove(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(2, standbys(0))
	stop := p.stream(4)
	b.whole()
	fenced, moved := make(chan struct{}, 8), make(chan struct{})
	taker := p.launch(named("prod-2"), takeover(), func(c *Config) {
		c.Step = func(s step.Name) {
			if s == step.Fence {
				fenced <- struct{}{}
				<-moved
			}
		}
	})
	<-fenced
	_, err := b.nodes[1].client.Drain(b.ctx(), "node-a", api.DrainRequest{})
	p.must(err)
	b.until("node-b has the lanes", func(st api.Status) error {
		for _, l := range st.Apps[0].Lanes {
			if l.Owner != "node-b" || l.State != api.LaneRunning {
				return fmt.Errorf("lane %+v", l)
			}
		}
		return nil
	})
	close(moved)
	taker.ready()
	b.until("every lane is lost", allLost)
	if taker.log.count("asking for a later grant") == 0 {
		t.Error("no lane had moved away from it")
	}
	taker.right(stop())
}
