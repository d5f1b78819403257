package node

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
)

// stream sends an event every few milliseconds until stop is called, which returns all that were sent.
func (p *place) stream(partitions int32) (stop func() []*kgo.Record) {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var events []*kgo.Record
	var sending sync.WaitGroup
	sending.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for i := int32(0); ; i++ {
			user := i % 8
			e := event(user%partitions, "user-"+string('a'+user), "stream x")
			e.Topic = p.in
			if err := p.cl.ProduceSync(p.ctx(), e).FirstErr(); err != nil {
				p.t.Errorf("produce: %v", err)
				return
			}
			events = append(events, e)
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	stop = func() []*kgo.Record {
		cancel()
		sending.Wait()
		return events
	}
	p.t.Cleanup(func() { stop() })
	return stop
}

// A second node with the same app is refused while the first commits. With --takeover it fences the
// first, which names it, does not fence back and goes on answering.
func TestSecondNode(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		p.topic(p.in, 2)
		first := p.start(named("prod-1"))
		stop := p.stream(2)
		first.until("the first commits", func(st api.Status) bool { return st.Apps[0].Processed > 10 })

		err := p.refused(named("prod-2"))
		says(t, err, p.app, "prod-1", "last commit", " ms ago", "--takeover", "another app name")
		if code := exitCode(err); code != 5 {
			t.Errorf("exit code %d, not 5", code)
		}
		if st := first.until("the first goes on", func(st api.Status) bool { return true }); st.Apps[0].Lanes[0].State != api.LaneRunning {
			t.Errorf("the refused node has harmed the first: %+v", st.Apps[0].Lanes[0])
		}

		second := p.start(named("prod-2"), takeover())
		for lane := range 2 {
			saysText(t, first.lane(lane, api.LaneLost).Reason, "prod-2", p.app, "--takeover")
		}
		answer, err := first.client.Get(p.ctx(), p.app, []byte(`["user-a","x"]`), api.ReadOptions{Wait: -1})
		p.must(err)
		if !answer.Found || answer.Parts[0].Role != api.RoleLost {
			t.Errorf("the lost node answers %+v", answer)
		}
		old := first.lane(0, api.LaneLost)
		events := stop()
		second.right(events)
		if now := first.lane(0, api.LaneLost); now.Position[p.in+"/0"] != old.Position[p.in+"/0"] || now.Epoch >= second.settled(int64(len(events))).Lanes[0].Epoch {
			t.Errorf("the lost lane has moved or has no older epoch: %+v, then %+v", old, now)
		}
		if first.log.count("level=ERROR", "state=lost") != 2 {
			t.Errorf("not one line a lost lane")
		}

		// The first one's data dir is behind: it catches up with what the second counted.
		first.stop()
		second.stop()
		first = p.start(named("prod-1"), inDir(first.dir), takeover())
		first.right(events)
	})
}

// A node that has stopped is no obstacle: the watch sees no commit.
func TestSecondNodeAfterTheFirst(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	if n.log.count("another node") != 0 {
		t.Error("the first start has watched for another node")
	}
	n = p.start(named("node-b"))
	if n.log.count("another node", "watching") != 1 {
		t.Error("it has not watched for the node that had committed a moment ago")
	}
	n.right(events)
}
