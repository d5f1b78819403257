package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/audit"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/testkafka"
)

// numbers say where a kind of input ends.
type numbers struct{ processed, filtered, skipped, dead int64 }

// kind is a strange input with its end: what becomes of its events, and the counts. Each is
// counted, counted again from the changelog alone, and audited both times.
type kind struct {
	name   string
	spec   string   // default: wordcount
	in     []string // configs of the input topic
	events []*kgo.Record
	send   func(p *place) // instead of events
	want   numbers
	counts map[string]string
	check  func(p *place, n *tally)
	real   bool // a real Kafka could differ
	heavy  bool // counted once, on kfake, unless TALLY_PROOF=1
}

// TestInputs: every strange input has a defined end.
func TestInputs(t *testing.T) {
	t.Parallel()
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			if k.real && !k.heavy {
				onBoth(t, k.run)
				return
			}
			k.run(t, onFake(t))
		})
	}
}

// TestInputsProof is what a real Kafka takes its time for.
func TestInputsProof(t *testing.T) {
	if os.Getenv("TALLY_PROOF") == "" {
		return
	}
	t.Parallel()
	for _, k := range kinds() {
		if k.heavy {
			t.Run(k.name, func(t *testing.T) { k.run(t, newPlace(t, testkafka.Shared(t).Addrs())) })
		}
	}
	t.Run("compacted", func(t *testing.T) { compactedInput(t, newPlace(t, testkafka.Shared(t).Addrs()), func() {}) })
}

func (k kind) run(t *testing.T, p *place) {
	if k.heavy && testing.Short() {
		t.Skip("left out, it takes too long with -race: -short")
	}
	p.topic(p.in, 2, k.in...)
	if k.send == nil {
		k.send = func(p *place) { p.send(copies(k.events)...) }
	}
	k.send(p)
	if k.spec == "" {
		k.spec = wordcount
	}
	s := running(p.spec(k.spec))
	n := p.start(s)
	k.ends(p, n)
	if k.check != nil {
		k.check(p, n)
	}
	if k.heavy && p.fake != nil {
		return
	}
	n.stop()
	n.wipe()
	n = p.start(s, inDir(n.dir))
	k.ends(p, n)
}

func (k kind) ends(p *place, n *tally) {
	p.t.Helper()
	want := k.want
	total := want.processed + want.filtered + want.skipped + want.dead
	a := n.settled(total)
	if got := (numbers{a.Processed, a.Filtered, a.Skipped, a.Dead}); got != want {
		p.t.Errorf("processed, filtered, skipped, dead: %v, want %v", got, want)
	}
	if k.counts != nil {
		n.has(k.counts)
	}
	n.exact(total)
}

// copies are records of their own: the client fills in what it has sent, and others send them too.
func copies(events []*kgo.Record) []*kgo.Record {
	var own []*kgo.Record
	for _, e := range events {
		c := *e
		own = append(own, &c)
	}
	return own
}

// audited runs an audit of the node's app.
func (n *tally) audited() *audit.Report {
	n.t.Helper()
	p := n.p
	info, err := n.client.App(p.ctx(), p.app)
	p.must(err)
	scan := func(ctx context.Context, fn func(group, values json.RawMessage) error) (map[int32]int64, error) {
		end, err := n.client.Scan(ctx, p.app, nil, api.ReadOptions{Wait: -1}, func(c api.Count) error { return fn(c.Group, c.Values) })
		at := map[int32]int64{}
		for _, part := range end.Parts {
			at[part.Partition] = part.Position[fmt.Sprintf("%s/%d", p.in, part.Partition)]
		}
		return at, err
	}
	report, err := audit.Run(p.ctx(), audit.Config{
		Spec: p.spec(info.Spec), Kafka: kafka.Config{Brokers: p.addrs, Seam: seam.World()}, Seam: seam.World(), TempDir: p.t.TempDir(),
		Node: &audit.Node{AppID: info.AppID, Generation: info.Generation, Scan: scan},
	})
	p.must(err)
	return report
}

// exact fails unless the audit finds all of so many events exact.
func (n *tally) exact(events int64) *audit.Report {
	n.t.Helper()
	r := n.audited()
	if r.Verdict != audit.Exact || r.Events != events {
		text, _ := json.MarshalIndent(r, "", " ")
		n.t.Errorf("%d events are not exact:\n%s", events, text)
	}
	return r
}

// counted1 are the counts of groups that were counted once.
func counted1(groups ...string) map[string]string {
	counts := map[string]string{}
	for _, g := range groups {
		counts[g] = `{"count":1}`
	}
	return counts
}

// odd is a record with a key or value that is null.
func odd(partition int32, key, value []byte) *kgo.Record {
	return &kgo.Record{Partition: partition, Key: key, Value: value}
}

const trade = `
app: $APP
input: {topic: $IN, format: json}
where: [{path: user.id, exists: true}]
group: [key, {path: user.kind, as: kind}]
aggregates: {n: count, total: {sum: price}, low: {min: price}}
output: {topic: $OUT}
`

func kinds() []kind {
	x := []byte("x")
	return append([]kind{
		{name: "null and odd keys", real: true, want: numbers{processed: 5, dead: 1},
			events: []*kgo.Record{
				odd(0, nil, x), odd(0, []byte{}, x), odd(1, []byte{0, 0xff}, x), odd(1, []byte("\"\n\u2028"), x),
				odd(0, bytes.Repeat([]byte("k"), 2_000), x), odd(0, bytes.Repeat([]byte("k"), 40_000), x), // beyond the largest group
			},
			counts: counted1(`[null,"x"]`, `["","x"]`, `[{"b64":"AP8="},"x"]`, "[\"\\\"\\n\u2028\",\"x\"]", `["`+strings.Repeat("k", 2_000)+`","x"]`)},
		{name: "words of tombstones, of nothing and of no text", want: numbers{processed: 4, dead: 2},
			events: []*kgo.Record{odd(0, x, nil), odd(0, x, []byte{}), odd(1, x, []byte(" .,- ")), odd(1, x, []byte("ok \xff")), odd(1, x, []byte("ok\xc3")), odd(1, x, []byte("Ok"))},
			counts: counted1(`["x","ok"]`)},
		{name: "the same, skipped", spec: wordcount + "on_error: skip\n", want: numbers{processed: 1, skipped: 2},
			events: []*kgo.Record{odd(0, x, []byte("ok \xff")), odd(0, x, []byte("ok\xc3")), odd(1, x, x)},
			counts: counted1(`["x","x"]`)},
		{name: "lines of tombstones, of nothing and of any bytes", spec: replaced(wordcount, "split: words", "split: lines"), want: numbers{processed: 4},
			events: []*kgo.Record{odd(0, x, nil), odd(0, x, []byte{}), odd(1, x, []byte("a\r\n\nb\n")), odd(1, x, []byte{'a', 0, 0xff})},
			counts: counted1(`["x","a"]`, `["x",""]`, `["x","b"]`, `["x",{"b64":"YQD/"}]`)},
		{name: "events that are their own item", spec: replaced(wordcount, "split: words", "split: none"), want: numbers{processed: 4},
			events: []*kgo.Record{odd(0, x, nil), odd(0, x, []byte{}), odd(0, x, []byte("null")), odd(1, nil, []byte{0xff})},
			counts: counted1(`["x",null]`, `["x",""]`, `["x","null"]`, `[null,{"b64":"/w=="}]`)},
		{name: "JSON", spec: trade, want: numbers{processed: 9, filtered: 2, dead: 15},
			events: jsonEvents(),
			counts: map[string]string{
				`["k","1"]`:   `{"n":1,"total":1,"low":1}`,
				`["k",1]`:     `{"n":2,"total":0.3,"low":0.1}`,
				`["k",true]`:  `{"n":1,"total":-1.5,"low":-1.5}`,
				`["k",null]`:  `{"n":2,"total":1999999999999999998,"low":999999999999999999}`,
				`["k",""]`:    `{"n":1,"total":1000000000000000000,"low":1000000000000000000}`,
				`["k",-0.5]`:  `{"n":1,"total":0.000000000000000001,"low":0.000000000000000001}`,
				`[null,"\n"]`: `{"n":1,"total":0,"low":0}`,
			}},
		{name: "JSON, skipped", spec: trade + "on_error: skip\n", want: numbers{processed: 9, filtered: 2, skipped: 15}, events: jsonEvents()},
	}, largeKinds()...)
}

// jsonEvents are 9 that count, 2 that the filter drops, and 15 that cannot be read.
func jsonEvents() []*kgo.Record {
	var events []*kgo.Record
	for i, user := range []string{
		`{"id":1,"kind":"1"},"price":1.0`, `{"id":1,"kind":1},"price":0.1`, `{"id":1,"kind":1.0},"price":20e-2`, `{"id":null,"kind":true},"price":-1.50`,
		`{"id":1,"kind":null},"price":999999999999999999`, `{"id":1,"kind":null},"price":999999999999999999.0`, `{"id":1,"kind":""},"price":10e17`,
		`{"id":1,"kind":-5e-1},"price":0.000000000000000001`,

		`{"kind":1},"price":1`, `7,"price":"not looked at"`, // filtered

		`{"id":1},"price":1`, `{"id":1,"kind":{}},"price":1`, `{"id":1,"kind":[1]},"price":1`, `{"id":1,"kind":"\ud800"},"price":1`,
		`{"id":1,"kind":12345678901234567891},"price":1`, `{"id":1,"kind":1}`, `{"id":1,"kind":1},"price":"1"`, `{"id":1,"kind":1},"price":true`,
		`{"id":1,"kind":1},"price":null`, `{"id":1,"kind":1},"price":{}`, `{"id":1,"kind":1},"price":1e19`, `{"id":1,"kind":1},"price":1234567890123456789`,
	} {
		events = append(events, event(int32(i%2), "k", `{"user":`+user+`}`))
	}
	return append(events, event(0, "k", "{"), odd(1, []byte("k"), nil), odd(1, []byte("k"), []byte{}), odd(1, nil, []byte(`{"user":{"id":1,"kind":"\n"},"price":-0}`)))
}

// largeKinds are bounded by topics and by the limits of an event, and they are where clients and
// brokers differ.
func largeKinds() []kind {
	year := 365 * 24 * time.Hour
	at := func(r *kgo.Record, when time.Time) *kgo.Record { r.Timestamp = when; return r }
	wide := []string{"max.message.bytes", fmt.Sprint(4 << 20)}
	words := strings.Repeat("word ", 1<<20/5)
	return []kind{
		{name: "a megabyte", in: wide, real: true, want: numbers{processed: 2, dead: 3},
			send: func(p *place) {
				p.sendLarge(event(0, "k", words), event(0, "k", noise(1<<20)), event(1, "k", words+"\xff"), event(1, "k", "x "+noise(1<<20)), event(1, "k", "end"))
			},
			counts: map[string]string{`["k","word"]`: `{"count":209715}`, `["k","end"]`: `{"count":1}`},
			check: func(p *place, _ *tally) {
				var sizes []int
				for _, r := range p.read(p.app + ".dead") {
					sizes = append(sizes, len(r.Value))
				}
				if fmt.Sprint(sizes) != fmt.Sprint([]int{1 << 20, 1<<20/5*5 + 1, 1<<20 + 2}) {
					p.t.Errorf("the dead letters have %d bytes", sizes)
				}
			}},
		{name: "100000 words in one event", real: true, heavy: true, want: numbers{processed: 2},
			events: []*kgo.Record{event(0, "k", distinct(100_000)), event(0, "k", "w00000 w99999")},
			check: func(p *place, n *tally) {
				counts := n.counts()
				if len(counts) != 100_000 || counts[`["k","w00000"]`] != `{"count":2}` || counts[`["k","w99998"]`] != `{"count":1}` {
					p.t.Errorf("%d groups; w00000 %s, w99998 %s", len(counts), counts[`["k","w00000"]`], counts[`["k","w99998"]`])
				}
			}},
		{name: "more items than an event may have", in: wide, want: numbers{processed: 1, dead: 1},
			send:   func(p *place) { p.sendLarge(event(0, "k", strings.Repeat("x ", 1<<20+1)), event(0, "k", "x")) },
			counts: counted1(`["k","x"]`)},
		{name: "times that no clock says", in: []string{"message.timestamp.after.max.ms", "9223372036854775807"}, real: true, want: numbers{processed: 4},
			send: func(p *place) {
				for i, when := range []time.Time{time.UnixMilli(-1), time.Now().Add(-year), time.Now().Add(100 * year), time.UnixMilli(0)} {
					p.send(at(event(0, "k", fmt.Sprint("w", i)), when)) // each a batch of its own
				}
			},
			counts: counted1(`["k","w0"]`, `["k","w1"]`, `["k","w2"]`, `["k","w3"]`),
			check:  func(p *place, n *tally) { p.timesAreKept(n) }},
		{name: "aborted transactions, and a marker at the end", real: true, want: numbers{processed: 3},
			send: func(p *place) {
				p.transaction(kgo.TryAbort, event(0, "k", "never"), event(1, "k", "never"))
				p.transaction(kgo.TryCommit, event(0, "k", "x"), event(0, "k", "x"))
				p.send(event(1, "k", "x"))
				p.transaction(kgo.TryAbort, event(0, "k", "never"), event(1, "k", "never"))
			},
			counts: map[string]string{`["k","x"]`: `{"count":3}`},
			check: func(p *place, n *tally) {
				n.until("the position has passed the last marker", func(st api.Status) bool {
					return st.Apps[0].Lag == 0 && st.Apps[0].Lanes[0].Position[p.in+"/0"] == 7
				})
			}},
	}
}

// distinct are so many different words.
func distinct(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "w%05d ", i)
	}
	return b.String()
}

// sendLarge writes events that are too large for a client with default settings.
func (p *place) sendLarge(events ...*kgo.Record) {
	p.t.Helper()
	cfg := kafka.Config{Brokers: p.addrs, Seam: seam.World()}
	cl, err := cfg.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(3<<20), kgo.ProducerBatchCompression(kgo.NoCompression()))
	p.must(err)
	defer cl.Close()
	for _, e := range events {
		e.Topic = p.in
	}
	p.must(cl.ProduceSync(p.ctx(), events...).FirstErr())
}

// transaction writes events in one transaction of another producer.
func (p *place) transaction(end kgo.TransactionEndTry, events ...*kgo.Record) {
	p.t.Helper()
	cfg := kafka.Config{Brokers: p.addrs, Seam: seam.World()}
	cl, err := cfg.Client(kgo.TransactionalID(p.app+"-other"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	p.must(err)
	defer cl.Close()
	p.must(cl.BeginTransaction())
	for _, e := range events {
		e.Topic = p.in
	}
	p.must(cl.ProduceSync(p.ctx(), events...).FirstErr())
	p.must(cl.EndTransaction(p.ctx(), end))
}

// timesAreKept checks the times of what the app wrote: outputs have the event's unless no broker
// takes it, and what must outlive any retention has the time of writing.
func (p *place) timesAreKept(n *tally) {
	p.t.Helper()
	now, events := time.Now(), p.read(p.in)
	outputs := p.read(p.out)
	if len(outputs) != len(events) {
		p.t.Fatalf("%d outputs of %d events", len(outputs), len(events))
	}
	for i, r := range outputs {
		event, header := events[i].Timestamp.UnixMilli(), ""
		for _, h := range r.Headers {
			if h.Key == "tally.event_time" {
				header = string(h.Value)
			}
		}
		kept := event >= 0 && event <= now.UnixMilli()
		switch {
		case kept && (r.Timestamp.UnixMilli() != event || header != ""):
			p.t.Errorf("%s: the output's time is %v, header %q; the event's is %d", r.Value, r.Timestamp, header, event)
		case !kept && (now.Sub(r.Timestamp).Abs() > time.Minute || header != fmt.Sprint(event)):
			p.t.Errorf("%s: the output's time is %v, header %q; the event's %d is none that Kafka takes", r.Value, r.Timestamp, header, event)
		}
	}
	for _, r := range p.read(p.app + ".changelog") {
		if now.Sub(r.Timestamp).Abs() > time.Minute {
			p.t.Errorf("a changelog record of %v", r.Timestamp)
		}
	}
}

// A dead letter may be as large as its topic takes, whatever a batch of other records may be.
func TestDeadLettersHaveRoom(t *testing.T) {
	large := map[string]string{"max.message.bytes": fmt.Sprint(20 << 20)}
	a := &app{dead: kafka.Topic{Name: "x.dead", Configs: large}, output: kafka.Topic{Name: "out", Configs: large}}
	if got := a.batchBytes("x.dead"); got != 20<<20-1024 {
		t.Errorf("dead letters: %d bytes", got)
	}
	if got := a.batchBytes("out"); got != 8<<20 {
		t.Errorf("outputs: %d bytes", got)
	}
}
