package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/step"
	"github.com/tally-kafka/tally/processor"
	"github.com/tally-kafka/tally/state"
)

// What is folded when the node is asked to stop is committed, however long the interval would be.
func TestStopCommitsWhatIsFolded(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	var folded atomic.Int64
	slow := func(c *Config) {
		c.Pace = processor.Pace{Interval: time.Hour, IntervalMax: time.Hour}
		c.Step = func(s step.Name) {
			if s == step.Fold {
				folded.Add(1)
			}
		}
	}
	n := p.start(slow)
	events := []*kgo.Record{event(0, "a", "w"), event(1, "b", "w")}
	p.send(events...)
	n.right(events) // what a lane reads first does not wait
	before := fmt.Sprint(n.counts())
	folded.Store(0)
	more := []*kgo.Record{event(0, "a", "x"), event(1, "b", "x y")}
	events = append(events, more...)
	p.send(more...)
	until(t, func() error {
		if folded.Load() < 2 {
			return errors.New("the events are not folded")
		}
		return nil
	})
	if got := fmt.Sprint(n.counts()); got != before {
		t.Fatalf("what is not committed is visible: %v, and before it was %s", got, before)
	}
	n.stop()
	for part := range int32(2) {
		if at := p.offset(part); at < 2 {
			t.Errorf("partition %d is committed up to %d, not 2", part, at)
		}
	}
	n = p.start(inDir(n.dir))
	n.right(events)
	if got := restored(n.settled(4)); got != 0 {
		t.Errorf("%d records were replayed", got)
	}
}

// A first start that ends before its first position record is no obstacle to the next.
func TestFirstStartCutOff(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	var open atomic.Bool
	p.fake.ControlKey(int16(kmsg.InitProducerID), func(r kmsg.Request) (kmsg.Response, error, bool) {
		p.fake.KeepControl()
		if r.(*kmsg.InitProducerIDRequest).TransactionalID == nil || open.Load() {
			return nil, nil, false
		}
		return nil, errors.New("cut off"), true
	})
	n := p.launch()
	n.until("the lanes try", func(st api.Status) bool { return len(st.Apps) == 1 })
	n.stop()
	open.Store(true)
	p.start(inDir(n.dir)).settled(0)
}

// A damaged store is set aside and made again from the changelog.
func TestDamagedStore(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	err := filepath.WalkDir(filepath.Join(n.dir, "state", p.app, "0"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasPrefix(d.Name(), "MANIFEST") {
			return err
		}
		return os.WriteFile(path, []byte("damage"), 0o600)
	})
	p.must(err)
	n = p.start(inDir(n.dir))
	n.right(events)
	if n.log.count("level=WARN", "damaged", "set aside") != 1 {
		t.Errorf("the log does not say that the store was damaged:\n%s", n.log)
	}
}

// tamper writes to the changelog what the app did not.
func (p *place) tamper(key, value []byte) {
	p.t.Helper()
	rec := &kgo.Record{Topic: p.app + ".changelog", Partition: 0, Key: key, Value: value}
	p.must(p.cl.ProduceSync(p.ctx(), rec).FirstErr())
}

// A changelog whose values do not add up to the digest of its position record is not counted on.
// Whoever has the counts of before goes on; whoever restores from it finds it, and a reset counts
// anew.
func TestTamperedChangelog(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	n = p.start(inDir(n.dir))
	var key []byte
	for _, r := range p.read(p.app + ".changelog") {
		if kind, _, _, err := state.DecodeKey(r.Key); err == nil && kind == state.KindValue && r.Partition == 0 {
			key = r.Key
		}
	}
	p.tamper(key, state.AppendValue(nil, n.otherValue()))
	events = append(events, event(0, "c", "z")) // its position record vouches for other values
	p.send(events[3])
	n.right(events)
	n.stop()
	n = p.start(inDir(n.dir))
	n.right(events)
	n.stop()
	n.wipe()
	n = p.launch(inDir(n.dir))
	reason := n.lane(0, api.LaneStopped).Reason
	saysText(t, reason, p.app+".changelog", "digest", "made from it alone", "another `app:` name", "tally reset "+p.app)
	if n.log.count("level=WARN", "set aside") != 1 {
		t.Error("the store was not made again once, to tell whether it or the changelog is at fault")
	}
	n.lane(1, api.LaneRunning)
	n.reset(api.ResetRequest{From: "earliest"}) // as it says
	n.settled(int64(len(events)))
	n.has(count(events))
}

// otherValue is the stored form of a count that no group has.
func (n *tally) otherValue() []byte {
	n.t.Helper()
	for _, r := range n.p.read(n.p.app + ".changelog") {
		if kind, _, _, err := state.DecodeKey(r.Key); err == nil && kind == state.KindValue {
			if v, err := state.DecodeValue(r.Value); err == nil {
				other := append([]byte(nil), v...)
				other[len(other)-1]++
				return other
			}
		}
	}
	n.t.Fatal("the changelog has no value")
	return nil
}

func TestForeignRecordInChangelog(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	p.tamper([]byte("hello"), []byte("world"))
	for _, dir := range []string{n.dir, t.TempDir()} {
		says(t, p.refused(inDir(dir)), p.app+".changelog/0", "not a record of tally", "another `app:` name", "to count anew")
	}
	p.must(p.admin.DeleteTopics(p.ctx(), p.app+".changelog")) // as it says
	p.deleteOffset(0)
	p.deleteOffset(1)
	n.wipe()
	n = p.start(inDir(n.dir))
	n.settled(int64(len(events)))
	n.has(count(events))
}

// Events that retention deleted before they were read stop the lane: they cannot be counted any
// more.
func TestGapInInput(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		n, _ := counted(p)
		p.send(event(0, "a", "lost"), event(0, "a", "lost"), event(0, "a", "kept"), event(1, "b", "y"))
		p.deleteBefore(0, 4)
		n = p.launch(inDir(n.dir))
		saysText(t, n.lane(0, api.LaneStopped).Reason, p.in+"/0", "offset 2 to 3", "retention", "another `app:` name")
		n.until("the other lane goes on", func(st api.Status) bool { return st.Apps[0].Lanes[1].Position[p.in+"/1"] == 2 })
		if got := n.counts()[`["a","x"]`]; got != `{"count":1}` {
			t.Errorf("the stopped lane answers %s", got)
		}
	})
}

func (p *place) deleteBefore(partition int32, offset int64) {
	p.t.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 5000
	topic := kmsg.NewDeleteRecordsRequestTopic()
	topic.Topic = p.in
	part := kmsg.NewDeleteRecordsRequestTopicPartition()
	part.Partition, part.Offset = partition, offset
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	for _, shard := range p.cl.RequestSharded(p.ctx(), req) {
		p.must(shard.Err)
	}
	until(p.t, func() error {
		starts, err := p.admin.StartOffsets(p.ctx(), p.in)
		if err == nil && starts[partition] != offset {
			err = fmt.Errorf("the input begins at %d", starts[partition])
		}
		return err
	})
}
