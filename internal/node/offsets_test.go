package node

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/processor"
)

// counted is a node that has counted three events of two partitions and was stopped.
func counted(p *place) (n *tally, events []*kgo.Record) {
	p.t.Helper()
	p.topic(p.in, 2)
	events = []*kgo.Record{event(0, "a", "x"), event(0, "a", "y"), event(1, "b", "x")}
	p.send(events...)
	n = p.start()
	n.right(events)
	n.stop()
	return n, events
}

// offset is the consumer group's, -1 for none.
func (p *place) offset(partition int32) int64 {
	p.t.Helper()
	offsets, err := p.admin.GroupOffsets(p.ctx(), p.app, p.in)
	p.must(err)
	if at, ok := offsets[partition]; ok {
		return at
	}
	return -1
}

func (p *place) setOffset(partition int32, at int64) {
	p.t.Helper()
	var offsets kadm.Offsets
	offsets.AddOffset(p.in, partition, at, -1)
	answer, err := p.adm.CommitOffsets(p.ctx(), p.app, offsets)
	p.must(err)
	p.must(answer.Error())
}

func (p *place) dropOffset(partition int32) {
	p.t.Helper()
	var set kadm.TopicsSet
	set.Add(p.in, partition)
	answer, err := p.adm.DeleteOffsets(p.ctx(), p.app, set)
	p.must(err)
	p.must(answer.Error())
}

func (p *place) deleteOffset(partition int32) {
	p.t.Helper()
	p.dropOffset(partition)
	if at := p.offset(partition); at != -1 {
		p.t.Fatalf("the offset is still %d", at)
	}
}

func TestGroupOffsetDeleted(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		n, events := counted(p)
		p.deleteOffset(0)
		n = p.start(inDir(n.dir))
		n.right(events)
		if at := p.offset(0); at != 2 {
			t.Errorf("the offset is %d, not committed again as 2", at)
		}
	})
}

// An offset ahead of the position record was never committed by this app.
func TestGroupOffsetAhead(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		n, events := counted(p)
		p.setOffset(0, 7)
		n = p.launch(inDir(n.dir))
		l := n.lane(0, api.LaneStopped)
		saysText(t, l.Reason, p.app, p.in+"/0", "offset 7", "says 2", "--delete-offsets --group "+p.app)
		if at := n.lane(1, api.LaneRunning).Position[p.in+"/1"]; at != 1 {
			t.Errorf("the other lane is at %d", at)
		}
		n.stop()
		p.deleteOffset(0) // as the reason says
		n = p.start(inDir(n.dir))
		n.right(events)
	})
}

// An offset behind may be a stale answer: it is asked for again before the lane stops.
func TestGroupOffsetBehind(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		n, events := counted(p)
		p.setOffset(0, 1)
		n = p.launch(inDir(n.dir))
		saysText(t, n.lane(0, api.LaneStopped).Reason, p.in+"/0", "offset 1", "says 2")
		if n.log.count("asking again") == 0 {
			t.Error("it was not asked for again")
		}
		n.stop()

		// The true answer comes while it is asked.
		n = p.launch(inDir(n.dir), func(c *Config) { c.OffsetsWait = patience })
		until(t, func() error {
			if n.log.count("asking again") == 0 {
				return fmt.Errorf("it was not asked for again")
			}
			return nil
		})
		p.setOffset(0, 2)
		n.ready()
		n.right(events)
	})
}

// Offsets without position records are another program's, or the changelog is gone.
func TestOffsetsWithoutRecords(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	p.setOffset(1, 5)
	says(t, p.refused(), p.app, p.in+"/1", "offset 5", "no position record", "--delete-offsets")
	p.deleteOffset(1)
	p.send(event(0, "a", "x"))
	p.start().right([]*kgo.Record{event(0, "a", "x")})
}

func TestGroupWithMembers(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		p.topic(p.in, 2)
		cfg := kafka.Config{Brokers: p.addrs, Seam: seam.World()}
		member, err := cfg.Client(kgo.ConsumerGroup(p.app), kgo.ConsumeTopics(p.in))
		p.must(err)
		defer member.Close()
		until(t, func() error {
			n, state, err := p.admin.GroupMembers(p.ctx(), p.app)
			if err == nil && n == 0 {
				err = fmt.Errorf("the group has no member, it is %s", state)
			}
			return err
		})
		says(t, p.refused(), "consumer group "+p.app, "1 member", "another app name")
	})
}

// A day-old group offset is committed again, so that it does not expire; nothing else of an idle
// app is.
func TestRefreshAndIdle(t *testing.T) {
	p := onFake(t)
	idle, events := counted(p)
	n := p.start(inDir(idle.dir))
	before := n.settled(3)
	asOf := before.Lanes[0].AsOfMs
	for looks := 0; looks < 20; looks++ { // each look at the input's end is 20 ms
		st := n.until("the node looks at the input's end", func(st api.Status) bool { return st.Apps[0].Lanes[0].AsOfMs > asOf })
		asOf = st.Apps[0].Lanes[0].AsOfMs
	}
	if after := n.settled(3); after.Lanes[0].Transactions != 0 || after.Lanes[1].Transactions != 0 {
		t.Errorf("an idle app has committed: %+v", after.Lanes)
	}
	records := len(p.read(p.app + ".changelog"))
	n.stop()
	if got := len(p.read(p.app + ".changelog")); got != records {
		t.Errorf("the stop of an idle app wrote %d records", got-records)
	}

	n = p.start(inDir(idle.dir), paced(processor.Pace{Interval: 5 * time.Millisecond, Refresh: 50 * time.Millisecond}))
	n.until("the offsets are refreshed", func(st api.Status) bool {
		return st.Apps[0].Lanes[0].Transactions > 1 && st.Apps[0].Lanes[1].Transactions > 1
	})
	n.right(events)
}

// A lost offset that is refreshed is there again without a restart.
func TestRefreshCommitsLostOffset(t *testing.T) {
	p := onFake(t)
	n, _ := counted(p)
	p.start(inDir(n.dir), paced(processor.Pace{Interval: 5 * time.Millisecond, Refresh: 50 * time.Millisecond}))
	p.dropOffset(0)
	until(t, func() error {
		if at := p.offset(0); at != 2 {
			return fmt.Errorf("the offset is %d, not 2", at)
		}
		return nil
	})
}

// Lag reaches 0 on an input that ends in a commit marker, or in aborted data and its marker.
func TestInputEndsInMarkers(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		p.topic(p.in, 2)
		cfg := kafka.Config{Brokers: p.addrs, Seam: seam.World()}
		producer, err := cfg.Client(kgo.TransactionalID(p.app+"-producer"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		p.must(err)
		defer producer.Close()
		transaction := func(end kgo.TransactionEndTry, events ...*kgo.Record) {
			p.must(producer.BeginTransaction())
			for _, e := range events {
				e.Topic = p.in
			}
			p.must(producer.ProduceSync(p.ctx(), events...).FirstErr())
			p.must(producer.EndTransaction(p.ctx(), end))
		}
		good := []*kgo.Record{event(0, "a", "x"), event(1, "b", "x")}
		transaction(kgo.TryCommit, good...)
		n := p.start()
		n.right(good)
		transaction(kgo.TryAbort, event(0, "a", "aborted"), event(0, "a", "aborted"))
		until(t, func() error {
			ends, err := p.admin.EndOffsets(p.ctx(), p.in, true)
			if err == nil && ends[0] != 5 { // x, its marker, two aborted, their marker
				err = fmt.Errorf("the last stable offset is %d", ends[0])
			}
			return err
		})
		n.until("lag 0 behind the aborted data", func(st api.Status) bool {
			return st.Apps[0].Lag == 0 && st.Apps[0].Lanes[0].Position[p.in+"/0"] == 5
		})
		if answer, err := n.client.Get(p.ctx(), p.app, []byte(`["a","x"]`), api.ReadOptions{Wait: -1, After: []string{p.in + "/0:3"}}); err != nil || !answer.Found {
			t.Errorf("get --after an aborted offset: %+v, %v", answer, err)
		}
		n.stop()
		n = p.start(inDir(n.dir))
		n.right(good)
		transaction(kgo.TryCommit, event(0, "a", "x"))
		n.right(append(good, event(0, "a", "x")))
	})
}
