package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/audit"
	"github.com/tally-kafka/tally/internal/testkafka"
	"github.com/tally-kafka/tally/state"
)

// undecided fails unless the audit finds no difference, and says what it cannot compare.
func (n *tally) undecided(parts ...string) {
	n.t.Helper()
	r := n.audited()
	if r.Verdict != audit.Undecided || r.Found != 0 {
		text, _ := json.MarshalIndent(r, "", " ")
		n.t.Errorf("the verdict is %s:\n%s", r.Verdict, text)
	}
	saysText(n.t, strings.Join(r.Undecided, "\n"), parts...)
}

// A compacted input is counted as it is when it is read: what compaction left, and over the gaps.
// Once more is compacted, the counts stay, and the audit says that it cannot compare them.
func TestCompactedInput(t *testing.T) {
	p := onFake(t)
	compactedInput(t, p, p.fake.Compact)
}

func compactedInput(t *testing.T, p *place, compact func()) {
	p.topic(p.in, 2, "cleanup.policy", "compact", "min.compaction.lag.ms", "0", "min.cleanable.dirty.ratio", "0.01", "segment.ms", "300", "delete.retention.ms", "0")
	for i := range 10 {
		p.send(event(0, fmt.Sprint("k", i%3), fmt.Sprint("w", i)), event(1, "same", fmt.Sprint("w", i)))
	}
	p.transaction(kgo.TryAbort, event(0, "k0", "never"), event(1, "same", "never"))
	p.send(odd(0, []byte("k1"), nil), event(1, "other", "end"))
	p.compacted(compact)
	p.setTopic(p.in, "cleanup.policy", "delete") // no more of it while the node counts
	left := p.read(p.in)
	until(t, func() error {
		before := len(left)
		if left = p.read(p.in); len(left) != before {
			return fmt.Errorf("%d events are left, %d were", len(left), before)
		}
		return nil
	})
	n := p.start()
	n.settled(int64(len(left)))
	n.has(count(left))
	n.exact(int64(len(left)))
	n.stop()
	n.wipe()
	n = p.start(inDir(n.dir))
	n.exact(int64(len(left)))

	p.setTopic(p.in, "cleanup.policy", "compact")
	for i := range 10 {
		p.send(event(0, "k2", fmt.Sprint("v", i)), event(1, "other", "x"))
	}
	n.settled(int64(len(left)) + 20)
	before := n.counts()
	p.compacted(compact)
	n.until("what followed is counted", func(st api.Status) bool { return st.Apps[0].Lag == 0 })
	for group, want := range before {
		if got := n.counts()[group]; got != want && !strings.Contains(group, "roll") {
			t.Errorf("%s was %s before the compaction, now %s", group, want, got)
		}
	}
	n.undecided(p.in+"/0", "is compacted")
}

// compacted waits until hardly anything is left of each partition of the input. It writes
// meanwhile: the last segment is never compacted, and a further record ends one that is old enough.
func (p *place) compacted(compact func()) {
	p.t.Helper()
	until(p.t, func() error {
		p.send(event(0, "roll", "x"), event(1, "roll", "x"))
		compact()
		left := map[int32]int{}
		for _, r := range p.read(p.in) {
			if string(r.Key) != "roll" {
				left[r.Partition]++
			}
		}
		if left[0] > 4 || left[1] > 3 {
			return fmt.Errorf("%v events are left", left)
		}
		return nil
	})
}

// Events of last year: what retention does to an output with their times is the output's loss
// alone. The counts go on, exact, and the audit says what of the output it cannot compare.
func TestOldEventsAndShortRetention(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 1)
	p.topic(p.out, 1, "retention.ms", "60000", "segment.ms", "1")
	old := func(value string) *kgo.Record {
		e := event(0, "a", value)
		e.Timestamp = time.Now().AddDate(-1, 0, 0)
		return e
	}
	n := p.start()
	p.send(old("x"))
	n.settled(1)
	p.send(old("x y"))
	n.settled(2)
	until(t, func() error {
		p.fake.ApplyRetention()
		starts, err := p.admin.StartOffsets(p.ctx(), p.out)
		if err == nil && starts[0] == 0 {
			err = errors.New("the output is all there")
		}
		return err
	})
	p.send(old("y"))
	n.settled(3)
	n.undecided("the output " + p.out)
	n.stop()
	n.wipe()
	n = p.start(inDir(n.dir))
	n.has(map[string]string{`["a","x"]`: `{"count":2}`, `["a","y"]`: `{"count":2}`})
	n.undecided("the output " + p.out)
}

// An output that takes no old times refuses the record of an old event, and no other: that event
// gets its on_error, and the letter says why.
func TestOutputRefusesOldTimes(t *testing.T) {
	if testing.Short() {
		t.Skip("left out, it needs a real Kafka: -short")
	}
	t.Parallel()
	p := newPlace(t, testkafka.Shared(t).Addrs())
	p.topic(p.in, 1)
	p.topic(p.out, 1, "message.timestamp.before.max.ms", "3600000")
	old := event(0, "a", "old")
	old.Timestamp = time.Now().AddDate(-1, 0, 0)
	p.send(event(0, "a", "x"), event(0, "a", "y"))
	p.send(old)
	p.send(event(0, "a", "x"))
	n := p.start()
	if a := n.settled(4); a.Processed != 3 || a.Dead != 1 {
		t.Errorf("processed %d, dead %d", a.Processed, a.Dead)
	}
	n.has(map[string]string{`["a","x"]`: `{"count":2}`, `["a","y"]`: `{"count":1}`})
	n.exact(4)
	for _, h := range p.read(p.app + ".dead")[0].Headers {
		if h.Key == "error" {
			saysText(t, string(h.Value), "refused by the broker", p.out, "INVALID_TIMESTAMP")
		}
	}
}

// What was deleted before it was counted is told from what was deleted after: --on-gap skip counts
// the offsets of the gap, and the audit compares what is left.
func TestTruncatedInputIsAudited(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		n, _ := counted(p)
		p.send(event(0, "a", "lost"), event(0, "a", "lost"), event(0, "a", "kept"))
		p.deleteBefore(0, 4)
		n = p.launch(inDir(n.dir))
		saysText(t, n.lane(0, api.LaneStopped).Reason, p.in+"/0", "offset 2 to 3", "--on-gap skip")
		n.undecided(p.in+"/0", "deleted below offset 4")
		n.stop()
		n = p.start(inDir(n.dir), skippingGaps)
		st := n.settled(4)
		if st.Gaps != 2 || st.Lag != 0 {
			t.Errorf("gaps %d, lag %d", st.Gaps, st.Lag)
		}
		n.undecided(p.in+"/0", "deleted below offset 4")
		if got := n.counts(); got[`["a","kept"]`] != `{"count":1}` || got[`["a","x"]`] != `{"count":1}` || got[`["a","lost"]`] != "" {
			t.Errorf("counts %v", got)
		}
	})
}

// An input that ends below the position is of an older copy of Kafka, or was truncated: the lane
// stops, with both numbers.
func TestInputEndsBelowThePosition(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	var short atomic.Bool
	short.Store(true)
	p.fake.ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
		p.fake.KeepControl()
		req := r.(*kmsg.ListOffsetsRequest)
		if !short.Load() || len(req.Topics) != 1 || req.Topics[0].Topic != p.in || req.Topics[0].Partitions[0].Timestamp != -1 {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		topic := kmsg.NewListOffsetsResponseTopic()
		topic.Topic = p.in
		for _, part := range req.Topics[0].Partitions {
			a := kmsg.NewListOffsetsResponseTopicPartition()
			a.Partition, a.Offset, a.LeaderEpoch = part.Partition, 1, 0
			topic.Partitions = append(topic.Partitions, a)
		}
		resp.Topics = append(resp.Topics, topic)
		return resp, nil, true
	})
	n = p.launch(inDir(n.dir))
	saysText(t, n.lane(0, api.LaneStopped).Reason, p.in+"/0", "ends at offset 1", "counted up to 2", "older copy", "tally reset "+p.app)
	n.lane(1, api.LaneRunning)
	n.has(count(events))
	n.stop()
	short.Store(false) // an answer that was old, and no more than that
	n = p.start(inDir(n.dir))
	n.right(events)
	n.exact(3)
}

// A grown input moves keys: their later events lie elsewhere, and count there. That is said, the
// counters are exact per partition, and a query adds them up.
func TestGrownInputMovesKeys(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		p.topic(p.in, 2)
		n := p.start()
		events := sentences(2, 60)
		p.send(copies(events)...)
		n.right(events)
		n.exact(60)
		p.must(p.admin.AddPartitions(p.ctx(), p.in, 4))
		p.must(p.admin.AddPartitions(p.ctx(), p.out, 4))
		until(t, func() error {
			if n.log.count("level=WARN", "4 partitions", "restart", "in both") != 1 {
				return errors.New("no warning of the new partitions")
			}
			return nil
		})
		p.connect()
		more := sentences(4, 60)
		p.send(copies(more)...)
		n.stop()
		n = p.start(inDir(n.dir))
		a := n.settled(120)
		all := count(append(events, more...))
		n.has(all)
		r := n.exact(120)
		if r.Spanning == 0 || r.Counters != r.Groups+r.Spanning || a.Groups != r.Counters || len(r.Partitions) != 4 {
			t.Errorf("%d groups have %d counters in %d partitions, %d span some; the status has %d", r.Groups, r.Counters, len(r.Partitions), r.Spanning, a.Groups)
		}
		both := 0
		for group, want := range all {
			answer, err := n.client.Get(p.ctx(), p.app, []byte(group), api.ReadOptions{Wait: -1})
			p.must(err)
			if string(answer.Values) != want {
				t.Errorf("get %s is %s, not %s", group, answer.Values, want)
			}
			parts := 0
			for _, part := range answer.Parts {
				if part.Values != nil {
					parts++
				}
			}
			both += min(parts-1, 1)
		}
		if int64(both) != r.Spanning {
			t.Errorf("%d answers have two parts, %d groups span partitions", both, r.Spanning)
		}
	})
}

// A rollback: a changelog of a newer tally stops an older one before it writes a byte.
func TestNewerChangelogIsLeftAlone(t *testing.T) {
	p := onFake(t)
	n, _ := counted(p)
	changelog := p.app + ".changelog"
	var last []byte
	for _, r := range p.read(changelog) {
		if kind, _, _, err := state.DecodeKey(r.Key); err == nil && kind == state.KindPosition && r.Partition == 0 {
			last = r.Value
		}
	}
	p.tamper(state.PositionKey(state.Task{}), append([]byte{2}, last[1:]...))
	records, offset := len(p.read(changelog)), p.offset(0)
	for _, dir := range []string{n.dir, t.TempDir()} {
		says(t, p.refused(inDir(dir)), changelog+"/0", "format 2", "run the newer version")
	}
	if got := len(p.read(changelog)); got != records || p.offset(0) != offset {
		t.Errorf("it wrote %d records to the changelog, and moved the group's offset from %d to %d", got-records, offset, p.offset(0))
	}
}

// A store of a newer Pebble is refused and stays as it is. Removing it is always safe.
func TestNewerStoreIsLeftAlone(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	store := filepath.Join(n.dir, "state", p.app, "0")
	markers, err := filepath.Glob(filepath.Join(store, "marker.format-version.*"))
	p.must(err)
	if len(markers) != 1 {
		t.Fatalf("the store has the markers %v", markers)
	}
	newer := markers[0][:strings.LastIndex(markers[0], ".")] + ".999"
	p.must(os.Rename(markers[0], newer))
	files := listed(t, store)
	says(t, p.refused(inDir(n.dir)), store, "newer tally", "run the newer version")
	if now := listed(t, store); now != files {
		t.Errorf("the store's files were\n%s\nand are now\n%s", files, now)
	}
	p.must(os.RemoveAll(store))
	n = p.start(inDir(n.dir))
	n.right(events)
}

func listed(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		if e.Name() == "LOCK" { // opened to be locked
			continue
		}
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, info.Name(), info.Size(), info.ModTime())
	}
	return b.String()
}

// What Kafka lost of the input while no node ran, and what took the offsets, is found by the leader
// epoch that was committed with the position.
func TestInputIsCutOffWhileNobodyRuns(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	p.loses(1)
	more := event(0, "a", "more")
	p.send(more)
	n = p.launch(inDir(n.dir))
	saysText(t, n.lane(0, api.LaneStopped).Reason, p.in+"/0", "read up to offset 2", "below offset 1 is left", "tally reset "+p.app, "--on-gap skip")
	n.lane(1, api.LaneRunning)
	n.stop()
	n = p.start(inDir(n.dir), skippingGaps)
	n.right(append(events, more))
	if n.log.count("level=WARN", "lost after they were read") == 0 {
		t.Error("it does not say that events were lost")
	}
}

// loses has the brokers say that the first partition of the input had other events from an offset
// on.
func (p *place) loses(from int64) {
	p.fake.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		p.fake.KeepControl()
		req := r.(*kmsg.OffsetForLeaderEpochRequest)
		resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
		for _, t := range req.Topics {
			topic := kmsg.NewOffsetForLeaderEpochResponseTopic()
			topic.Topic = t.Topic
			for _, part := range t.Partitions {
				a := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
				a.Partition, a.LeaderEpoch, a.EndOffset = part.Partition, part.LeaderEpoch, math.MaxInt64
				if t.Topic == p.in && part.Partition == 0 {
					a.EndOffset = from
				}
				topic.Partitions = append(topic.Partitions, a)
			}
			resp.Topics = append(resp.Topics, topic)
		}
		return resp, nil, true
	})
}
