package dead

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/seam/seamtest"
)

// place is a Kafka in memory with the topics in (3 partitions) and app.dead (2).
type place struct {
	t     *testing.T
	cfg   kafka.Config
	admin *kafka.Admin
}

func newPlace(t *testing.T) *place {
	t.Helper()
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "in"), kfake.SeedTopics(2, "app.dead"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	p := &place{t: t, cfg: kafka.Config{Brokers: c.ListenAddrs(), Seam: seam.World()}}
	p.admin, err = kafka.NewAdmin(p.cfg)
	p.must(err)
	t.Cleanup(p.admin.Close)
	return p
}

func (p *place) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	p.t.Cleanup(cancel)
	return ctx
}

func (p *place) send(recs ...kafka.Record) {
	p.t.Helper()
	n, err := kafka.Send(p.ctx(), p.cfg, 1<<20, slices.Values(recs))
	p.must(err)
	if n != len(recs) {
		p.t.Fatalf("%d of %d are acknowledged", n, len(recs))
	}
}

func (p *place) box() *Box {
	p.t.Helper()
	b, err := Open(p.ctx(), p.cfg, "app")
	p.must(err)
	p.t.Cleanup(b.Close)
	return b
}

// letter is a dead letter as the processor writes it.
func letter(partition int32, key, value []byte, reason string, source int32, offset int64, own ...kafka.Header) kafka.Record {
	h := append(own, kafka.Header{Key: "error", Value: []byte(reason)}, kafka.Header{Key: "topic", Value: []byte("in")},
		kafka.Header{Key: "partition", Value: fmt.Append(nil, source)}, kafka.Header{Key: "offset", Value: fmt.Append(nil, offset)},
		kafka.Header{Key: "timestamp", Value: []byte("1700000000123")}, kafka.Header{Key: "tally.generation", Value: []byte("2")})
	return kafka.Record{Topic: "app.dead", Partition: partition, TimestampMs: 1800000000000, Key: key, Value: value, Headers: h}
}

func header(r kafka.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// input are the records of the input, partition by partition.
func (p *place) input() (all []kafka.Record) {
	p.t.Helper()
	ends, err := p.admin.EndOffsets(p.ctx(), "in", true)
	p.must(err)
	for part := range int32(3) {
		p.must(p.admin.Records(p.ctx(), "in", part, 0, ends[part], func(r kafka.Record) error {
			all = append(all, r)
			return nil
		}))
	}
	return all
}

func (p *place) replay(c Choice) (sent int, before []Place) {
	p.t.Helper()
	plan, err := p.box().Plan(p.ctx(), c)
	p.must(err)
	sent, err = plan.Send(p.ctx())
	p.must(err)
	if sent != plan.Len() {
		p.t.Fatalf("%d of %d were sent", sent, plan.Len())
	}
	return sent, plan.Before
}

func (p *place) list() (all []Letter) {
	p.t.Helper()
	p.must(p.box().Each(p.ctx(), func(l Letter) error { all = append(all, l); return nil }))
	return all
}

func TestReading(t *testing.T) {
	p := newPlace(t)
	own := []kafka.Header{{Key: "error", Value: []byte("the event's own")}, {Key: "trace", Value: nil}}
	p.send(
		letter(0, []byte("k"), []byte("v"), "not JSON", 2, 1234, own...),
		letter(0, nil, nil, "empty", 0, 5, kafka.Header{Key: ReplayHeader, Value: []byte("app.dead/1/0")}),
		letter(1, []byte(""), []byte(""), "x", 1, 6),
		kafka.Record{Topic: "app.dead", Partition: 1, Key: []byte("hello"), Value: []byte("world")},
	)
	all := p.list()
	if len(all) != 4 {
		t.Fatalf("%d letters", len(all))
	}
	l := all[0]
	if l.Place != (Place{0, 0}) || l.Error != "not JSON" || l.Topic != "in" || l.SourcePartition != 2 || l.SourceOffset != 1234 ||
		l.EventMs != 1700000000123 || l.WrittenMs != 1800000000000 || l.Generation != "2" || l.ReplayOf != "" || l.Foreign {
		t.Errorf("%+v", l)
	}
	if len(l.Headers) != 2 || string(l.Headers[0].Value) != "the event's own" || l.Headers[1].Key != "trace" {
		t.Errorf("the event's own headers: %+v", l.Headers)
	}
	if all[1].ReplayOf != "app.dead/1/0" || len(all[1].Headers) != 0 || all[1].Key != nil || all[1].Value != nil {
		t.Errorf("%+v", all[1])
	}
	if all[2].Key == nil || all[2].Value == nil {
		t.Error("an empty key or value became null")
	}
	if !all[3].Foreign {
		t.Errorf("%+v", all[3])
	}
	if got, err := p.box().Get(p.ctx(), Place{1, 0}); err != nil || got.Error != "x" {
		t.Errorf("%+v, %v", got, err)
	}
	for at, want := range map[Place]string{{0, 2}: "offsets 0 to 1", {2, 0}: "no partition 2"} {
		if _, err := p.box().Get(p.ctx(), at); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", at, err)
		}
	}
	n := 0
	p.must(p.box().Each(p.ctx(), func(Letter) error { n++; return ErrEnough }))
	if n != 1 {
		t.Errorf("it went on for %d letters", n)
	}
	if _, err := Open(p.ctx(), p.cfg, "nobody"); err == nil || !strings.Contains(err.Error(), "nobody.dead") {
		t.Error(err)
	}
}

func TestParsePlace(t *testing.T) {
	for text, want := range map[string]Place{"0:17": {0, 17}, "12:0": {12, 0}} {
		if got, err := ParsePlace(text); err != nil || got != want || got.String() != text {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "1", "1:", ":1", "a:1", "1:-1", "-1:1", "1:2:3", "99999999999:1"} {
		if got, err := ParsePlace(text); err == nil {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// A replayed event is the event as it was, in its key's partition, with one header more.
func TestReplayedEvent(t *testing.T) {
	p := newPlace(t)
	p.send(letter(1, []byte("user-1"), []byte("v\x00"), "x", 2, 7, kafka.Header{Key: "trace", Value: []byte("t")},
		kafka.Header{Key: ReplayHeader, Value: []byte("app.dead/0/99")}))
	p.send(letter(0, nil, []byte("null key"), "x", 2, 8), letter(0, []byte("gone"), nil, "x", 1, 9))
	if n, before := p.replay(Choice{}); n != 3 || len(before) != 0 {
		t.Fatalf("%d, %v", n, before)
	}
	got := map[string]kafka.Record{}
	for _, r := range p.input() {
		got[header(r, ReplayHeader)] = r
		if r.TimestampMs != 1700000000123 {
			t.Errorf("the time is %d", r.TimestampMs)
		}
	}
	r := got["app.dead/1/0"]
	if string(r.Key) != "user-1" || string(r.Value) != "v\x00" || r.Partition != kafka.PartitionMurmur2([]byte("user-1"), 3) {
		t.Errorf("%+v", r)
	}
	if len(r.Headers) != 2 || r.Headers[0].Key != "trace" || string(r.Headers[0].Value) != "t" {
		t.Errorf("headers %+v", r.Headers)
	}
	if r := got["app.dead/0/0"]; r.Key != nil || r.Partition != 2 || string(r.Value) != "null key" {
		t.Errorf("the event without a key: %+v", r)
	}
	if r := got["app.dead/0/1"]; r.Value != nil || string(r.Key) != "gone" {
		t.Errorf("the event without a value: %+v", r)
	}
	if len(p.list()) != 3 {
		t.Error("a letter is gone")
	}
}

func TestChoice(t *testing.T) {
	p := newPlace(t)
	var recs []kafka.Record
	for i := range int64(10) {
		reason := "not JSON"
		if i%2 == 0 {
			reason = "too large"
		}
		p.send(kafka.Record{Topic: "in", Partition: 0, Value: []byte("the event")}) // at offset i
		recs = append(recs, letter(int32(i%2), fmt.Append(nil, "k", i), fmt.Append(nil, "v", i), reason, 0, i))
	}
	p.send(recs...)
	p.send(kafka.Record{Topic: "app.dead", Partition: 0, Key: []byte("foreign")})
	values := func() (all []string) {
		for _, r := range p.input() {
			if header(r, ReplayHeader) != "" {
				all = append(all, string(r.Value))
			}
		}
		slices.Sort(all)
		return all
	}
	places := []Place{{1, 3}, {0, 4}, {1, 0}, {1, 3}} // v7, v8, v1; one twice
	if n, _ := p.replay(Choice{Places: places}); n != 3 || !slices.Equal(values(), []string{"v1", "v7", "v8"}) {
		t.Errorf("%d: %v", n, values())
	}
	// The second replay leaves out what was replayed, and says so.
	n, before := p.replay(Choice{Match: func(l Letter) bool { return l.Error == "not JSON" }})
	if n != 3 || !slices.Equal(before, []Place{{1, 0}, {1, 3}}) || len(values()) != 6 {
		t.Errorf("%d sent, before %v: %v", n, before, values())
	}
	if n, before := p.replay(Choice{}); n != 4 || len(before) != 6 || len(values()) != 10 {
		t.Errorf("%d sent, before %v: %v", n, before, values())
	}
	if n, before := p.replay(Choice{}); n != 0 || len(before) != 10 {
		t.Errorf("%d sent, before %v", n, before)
	}
	if n, before := p.replay(Choice{Again: true, Places: []Place{{0, 0}}}); n != 1 || len(before) != 0 || len(values()) != 11 {
		t.Errorf("%d sent, before %v: %v", n, before, values())
	}
	if _, err := p.box().Plan(p.ctx(), Choice{Places: []Place{{0, 5}}}); err == nil || !strings.Contains(err.Error(), "no dead letter of tally") {
		t.Error(err)
	}
}

// twoLetters are in partitions of their own, and their events in the input.
func (p *place) twoLetters() {
	p.t.Helper()
	p.send(kafka.Record{Topic: "in", Value: []byte("an event")}, kafka.Record{Topic: "in", Value: []byte("another")})
	p.send(letter(0, nil, []byte("v"), "not JSON", 0, 0), letter(1, nil, []byte("w"), "not JSON", 0, 1))
}

// Of two replays that were planned at once the later one leaves out what the other has sent.
func TestTwoReplaysAtOnce(t *testing.T) {
	p := newPlace(t)
	p.twoLetters()
	one, err := p.box().Plan(p.ctx(), Choice{})
	p.must(err)
	other, err := p.box().Plan(p.ctx(), Choice{Places: []Place{{0, 0}}})
	p.must(err)
	sent, err := other.Send(p.ctx())
	if p.must(err); sent != 1 {
		t.Errorf("%d were sent", sent)
	}
	sent, err = one.Send(p.ctx())
	if p.must(err); sent != 1 || !slices.Equal(one.Before, []Place{{0, 0}}) {
		t.Errorf("%d were sent, and %v left out", sent, one.Before)
	}
}

// A replay whose records the input refuses reads no further dead letters.
func TestReplayEndsAtARefusal(t *testing.T) {
	p := newPlace(t)
	p.twoLetters()
	plan, err := p.box().Plan(p.ctx(), Choice{})
	p.must(err)
	taken := 0
	p.must(plan.each(p.ctx(), func(kafka.Record) bool { taken++; return false }))
	if plan.Len() != 2 || taken != 1 {
		t.Errorf("of %d events %d were read after the refusal of the first", plan.Len(), taken-1)
	}
}

// The marker of a letter that lay in the same place before a reset is no replay of this one.
func TestMarkerOfAnotherGeneration(t *testing.T) {
	p := newPlace(t)
	p.send(kafka.Record{Topic: "in", Partition: 0, Value: []byte("old"), Headers: []kafka.Header{{Key: ReplayHeader, Value: []byte("app.dead/0/0")}}})
	p.send(letter(0, nil, []byte("new"), "x", 0, 0))
	if n, before := p.replay(Choice{}); n != 1 || len(before) != 0 {
		t.Errorf("%d sent, before %v", n, before)
	}
}

// Letters that are no longer what was planned are not sent.
func TestLettersThatChanged(t *testing.T) {
	p := newPlace(t)
	p.send(letter(0, []byte("k"), []byte("v"), "x", 0, 0))
	plan, err := p.box().Plan(p.ctx(), Choice{})
	p.must(err)
	plan.sends[0].sum++
	if n, err := plan.Send(p.ctx()); n != 0 || !errors.Is(err, errLost) {
		t.Errorf("%d, %v", n, err)
	}
	if got := p.input(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

// A replay is found where it was sent before the input grew; and where the input no longer holds
// all that came after a letter, or an open transaction hides it, nothing is sent a second time
// unasked.
func TestReplayedAndGrown(t *testing.T) {
	p := newPlace(t)
	var key []byte
	for i := 0; ; i++ { // one that goes elsewhere once there are six partitions
		key = fmt.Append(nil, "k", i)
		if kafka.PartitionMurmur2(key, 3) != kafka.PartitionMurmur2(key, 6) {
			break
		}
	}
	p.send(letter(0, key, []byte("bad"), "not JSON", 0, 0))
	if n, _ := p.replay(Choice{}); n != 1 {
		t.Fatalf("%d were replayed", n)
	}
	p.must(p.admin.AddPartitions(p.ctx(), "in", 6))
	if n, before := p.replay(Choice{}); n != 0 || len(before) != 1 {
		t.Errorf("%d were replayed a second time, %v before", n, before)
	}
}

func TestReplayOfWhatIsGone(t *testing.T) {
	p := newPlace(t)
	p.send(kafka.Record{Topic: "in", Value: []byte("bad"), TimestampMs: 1700000000123})
	p.send(letter(0, nil, []byte("bad"), "not JSON", 0, 0))
	if n, _ := p.replay(Choice{}); n != 1 {
		t.Fatalf("%d were replayed", n)
	}
	p.must(p.admin.DeleteRecords(p.ctx(), "in", map[int32]int64{0: 2}))
	plan, err := p.box().Plan(p.ctx(), Choice{})
	p.must(err)
	if plan.Len() != 0 || len(plan.Unsure) != 1 {
		t.Errorf("%d are to be sent, %v are unsure", plan.Len(), plan.Unsure)
	}
	if n, _ := p.replay(Choice{Again: true}); n != 1 {
		t.Errorf("--again sends %d", n)
	}
}

func TestReplayBehindAnOpenTransaction(t *testing.T) {
	p := newPlace(t)
	cl, err := kgo.NewClient(kgo.SeedBrokers(p.cfg.Brokers...), kgo.TransactionalID("open"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	p.must(err)
	defer cl.Close()
	p.must(cl.BeginTransaction())
	p.must(cl.ProduceSync(p.ctx(), &kgo.Record{Topic: "in", Value: []byte("x")}).FirstErr())
	p.send(letter(0, nil, []byte("bad"), "not JSON", 0, 0))
	hasty := *p
	hasty.cfg.Seam.Now = seamtest.Fast(time.Now, 20)
	began := hasty.cfg.Seam.Now()
	if _, err := hasty.box().Plan(p.ctx(), Choice{}); err == nil || !strings.Contains(err.Error(), "a transaction is open in in/0") {
		t.Errorf("%v", err)
	}
	if waited := hasty.cfg.Seam.Since(began); waited < openMax {
		t.Errorf("it has waited for %s", waited)
	}
	p.must(cl.EndTransaction(p.ctx(), kgo.TryCommit))
	if n, _ := p.replay(Choice{}); n != 1 {
		t.Errorf("%d were replayed", n)
	}
}

// An input that was made again: what was replayed into it is found though its offsets began anew,
// and a letter of a partition that is no more is named.
func TestReplayIntoAnInputMadeAgain(t *testing.T) {
	p := newPlace(t)
	p.send(letter(0, nil, []byte("bad"), "not JSON", 0, 5000))
	if n, _ := p.replay(Choice{}); n != 1 {
		t.Fatalf("%d were replayed", n)
	}
	if n, before := p.replay(Choice{}); n != 0 || len(before) != 1 {
		t.Errorf("%d were replayed a second time, %v before", n, before)
	}
	p.send(letter(1, nil, []byte("worse"), "not JSON", 5, 0))
	if _, err := p.box().Plan(p.ctx(), Choice{}); err == nil || !strings.Contains(err.Error(), "partition 5 of topic in, which has 3 partitions now") {
		t.Errorf("a letter of a partition that is no more: %v", err)
	}
}
