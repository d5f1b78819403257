package node

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/step"
	"github.com/tally-kafka/tally/state"
)

// stream sends an event every few milliseconds until stop is called, which returns all that were
// sent.
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
			if err := p.produce(e); err != nil {
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

// produce sends an event; the end of the test alone does not break it off.
func (p *place) produce(e *kgo.Record) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return p.cl.ProduceSync(ctx, e).FirstErr()
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

// To a node whose clock is fast each record of another cluster looks old. It watches all the same,
// and is refused, while the other commits; and when that has stopped it starts.
func TestSecondNodeByAFastClock(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	first := p.start(named("prod-1"))
	stop := p.stream(2)
	first.until("the first commits", func(st api.Status) bool { return st.Apps[0].Processed > 10 })
	fast := func(c *Config) { c.Seam.Now = func() time.Time { return time.Now().Add(time.Hour) } }
	err := p.refused(named("prod-2"), fast)
	says(t, err, p.app, "prod-1", "--takeover")
	if code := exitCode(err); code != 5 {
		t.Errorf("exit code %d, not 5", code)
	}
	var elsewhere *RunningElsewhereError
	if !errors.As(err, &elsewhere) || elsewhere.Age > time.Second {
		t.Errorf("the age of the last commit, which was seen in a watch of a second: %v", err)
	}
	events := stop()
	first.right(events)
	first.stop()
	second := p.start(named("prod-2"), fast)
	if second.log.count("another cluster's node", "watching") != 1 {
		t.Error("it has not watched for the node that was the last to commit")
	}
	second.right(events)
	second.stop()
	if second = p.start(named("prod-2"), inDir(second.dir), fast); second.log.count("watching") != 0 {
		t.Error("it has watched for its own cluster")
	}
}

// A node that has stopped is no obstacle: the watch sees no commit.
func TestSecondNodeAfterTheFirst(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	if n.log.count("watching") != 0 {
		t.Error("the first start has watched for another node")
	}
	n = p.start(named("node-b"))
	if n.log.count("another cluster's node", "watching") != 1 {
		t.Error("it has not watched for the node that had committed a moment ago")
	}
	n.right(events)
}

// failNextCommit has the broker refuse what the next transaction writes, with an error that tells
// nothing.
func (p *place) failNextCommit() {
	var failed atomic.Bool
	p.fake.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		p.fake.KeepControl()
		req := r.(*kmsg.ProduceRequest)
		if req.TransactionID == nil || failed.Swap(true) {
			return nil, nil, false
		}
		return refuseProduce(req, kerr.UnknownServerError), nil, true
	})
}

// What tells a lane that another took it can look like any failed commit: a real Kafka has answered
// EndTxn with UNKNOWN_SERVER_ERROR. The first node must not fence back then.
func TestTakenWhileACommitFails(t *testing.T) {
	p := onFake(t)
	first, events := counted(p)
	first = p.start(named("prod-1"), inDir(first.dir))
	second := p.start(named("prod-2"), takeover())
	epoch := second.lane(0, api.LaneRunning).Epoch
	second.stop() // so that the first alone sees the next event

	p.failNextCommit()
	p.send(event(0, "a", "x"))
	saysText(t, first.lane(0, api.LaneLost).Reason, "prod-2")
	if first.log.count("acquiring the lane again", "UNKNOWN_SERVER_ERROR") != 1 {
		t.Error("the commit did not fail")
	}
	if now := first.lane(0, api.LaneLost).Epoch; now >= epoch {
		t.Errorf("the first has acquired the lane again, under epoch %d", now)
	}
	first.stop()
	p.start(named("prod-2"), inDir(second.dir)).right(append(events, event(0, "a", "x")))
}

// stranger writes a barrier of another process to the changelog of lane 0, as one does that has
// acquired the lane and committed nothing yet.
func (p *place) stranger(cluster string, epoch uint64) {
	p.t.Helper()
	task := state.Task{Partition: 0}
	at := time.Now()
	rec := &kgo.Record{Topic: p.app + ".changelog", Partition: 0, Key: state.BarrierKey(task), Timestamp: at,
		Value: state.EncodeBarrier(state.Barrier{
			Task: task, AppID: p.appID(), Generation: 1, ClusterID: cluster, Node: "another", NodeName: "stranger",
			Incarnation: "another", Epoch: epoch, AtMs: at.UnixMilli(),
		})}
	if err := p.cl.ProduceSync(p.ctx(), rec).FirstErr(); err != nil {
		p.t.Errorf("the barrier of another: %v", err)
	}
}

// appID is that of the changelog's records.
func (p *place) appID() string {
	p.t.Helper()
	h, err := readHead(p.ctx(), p.admin, p.app+".changelog", 0)
	p.must(err)
	return h.record.AppID
}

// A node that was away fences whoever took its lane meanwhile; that cannot be helped. It finds that
// out before it has written anything, also when the other has committed nothing but its barrier.
func TestTakenBeforeTheFence(t *testing.T) {
	p := onFake(t)
	n, _ := counted(p)
	var armed atomic.Bool
	var epoch uint64
	n = p.start(inDir(n.dir), func(c *Config) {
		c.Step = func(s step.Name) {
			if s == step.Fence && armed.Swap(false) {
				p.stranger("another", epoch)
			}
		}
	})
	epoch = n.lane(0, api.LaneRunning).Epoch + 1
	n.lane(1, api.LaneRunning)
	armed.Store(true)
	p.failNextCommit()
	p.send(event(0, "a", "x"))
	saysText(t, n.lane(0, api.LaneLost).Reason, "stranger")
	h, err := readHead(p.ctx(), p.admin, p.app+".changelog", 0)
	p.must(err)
	if h.author.epoch != epoch {
		t.Errorf("behind the stranger's barrier of epoch %d stands one of epoch %d", epoch, h.author.epoch)
	}
}

// A barrier of another process of the cluster that only the catch-up finds asks for a later grant:
// nothing is counted under an epoch that is not above it.
func TestBarrierAboveTheGrant(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 1)
	events := []*kgo.Record{event(0, "a", "x"), event(0, "a", "y")}
	p.send(events...)
	n := p.start()
	n.right(events)
	st, err := n.client.Status(p.ctx())
	p.must(err)
	n.stop()
	var armed atomic.Bool
	armed.Store(true)
	const epoch = 40
	n = p.start(inDir(n.dir), func(c *Config) {
		c.Step = func(s step.Name) {
			if s == step.Fence && armed.Swap(false) {
				p.stranger(st.Cluster, epoch)
			}
		}
	})
	n.right(events)
	if got := n.lane(0, api.LaneRunning).Epoch; got <= epoch {
		t.Errorf("lane 0 runs under epoch %d, and the changelog has a barrier of epoch %d", got, epoch)
	}
}
