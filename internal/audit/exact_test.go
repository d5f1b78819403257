package audit

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
)

// A node counts, stops, starts again and goes on: all is exact, while it runs and when it is gone,
// on kfake and on a real Kafka.
func TestExact(t *testing.T) {
	onBoth(t, func(p *place) {
		p.topic(p.in, 4)
		n := p.start()
		p.send(p.in, sentences(4, 300)...)
		p.send(p.in, event(0, "user-0", "bad \xff"), &kgo.Record{Partition: 2}, event(3, "\xfe\x00key", "Größe b64"))
		n.settled(303)
		r := p.audit()
		p.exact(r, 303)
		if r.Checks[5].Name != "store" || r.Checks[5].Compared == 0 || r.Checks[5].Skipped != "" {
			p.t.Errorf("the store was not compared: %+v", r.Checks[5])
		}
		n.stop()
		n = p.start(n.dir)
		p.send(p.in, sentences(4, 100)...)
		n.settled(403)
		p.exact(p.audit(), 403)
		n.stop()
		p.node = nil
		r = p.audit()
		p.exact(r, 403)
		if r.Groups == 0 || r.Counters != r.Groups || r.Spanning != 0 || len(r.Partitions) != 4 {
			p.t.Errorf("%+v", r)
		}
	})
}

// While the app runs under load, each audit chooses a cut of its own.
func TestUnderLoad(t *testing.T) {
	onBoth(t, func(p *place) {
		p.topic(p.in, 3)
		n := p.start()
		stop := p.load(3)
		events, positions := int64(0), 0
		for range auditsUnderLoad() {
			before := events
			n.until("the app goes on", func(a api.AppStatus) bool { return a.Processed > before+100 })
			r := p.audit(slowly)
			if r.Verdict != Exact || r.Events <= before {
				p.t.Fatalf("under load, %d events:\n%s", r.Events, p.dump(r))
			}
			events = r.Events
			for _, part := range r.Partitions {
				positions = max(positions, part.Positions)
			}
		}
		if positions < 3 {
			p.t.Errorf("the app committed at most %d times while a cut was made: there was no load", positions-1)
		}
		sent := stop()
		if events >= sent {
			p.t.Errorf("the last audit saw all %d events: there was no load", sent)
		}
		n.settled(sent)
		p.exact(p.audit(), sent)
	})
}

// The consumer group is a moment behind a commit, and asked again.
func TestOffsetsAreAwaited(t *testing.T) {
	p := onFake(t)
	p.small()
	p.commit(1, 1)
	asked := make(chan struct{})
	go func() {
		<-asked
		p.commit(1, 2)
	}()
	var once sync.Once
	r := p.audit(func(c *Config) {
		c.OffsetsWait = patience
		timer := c.Seam.Timer
		c.Seam.Timer = func(d time.Duration) (<-chan time.Time, func()) {
			once.Do(func() { close(asked) })
			return timer(d)
		}
	})
	p.exact(r, 4)
}

// A difference is found under load too.
func TestDifferenceUnderLoad(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	n := p.start()
	p.send(p.in, event(1, "ann", "one"))
	stop := p.load(2)
	n.until("the app goes on", func(a api.AppStatus) bool { return a.Processed > 100 })
	at := p.like(p.out, `"one"`, value(`{"item":"one","count":7}`))
	p.finds(p.audit(), OutputWrong, p.out, 1, at, `["ann","one"]`, `{"count":7}, the recount says {"count":1}`)
	stop()
}

// auditsUnderLoad is how many follow each other: with -race each takes long enough, and the load
// goes on meanwhile.
func auditsUnderLoad() int {
	if testing.Short() {
		return 1
	}
	return 3
}

// slowly gives the audit a slow way to Kafka, so that the app goes on while the cut is made.
func slowly(c *Config) {
	dial := c.Kafka.Seam.Dial
	c.Kafka.Seam.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return slowConn{conn}, err
	}
}

type slowConn struct{ net.Conn }

func (c slowConn) Write(b []byte) (int, error) {
	<-time.After(10 * time.Millisecond) // a way has a length; there is nothing to poll for
	return c.Conn.Write(b)
}

// load sends ten events each twenty milliseconds until stop, which gives their number. One in ten
// cannot be read.
func (p *place) load(partitions int) (stop func() int64) {
	quit, done := make(chan struct{}), make(chan int64)
	go func() {
		sent := int64(0)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for all := sentences(partitions, 500); ; {
			select {
			case <-quit:
				done <- sent
				return
			case <-tick.C:
			}
			from := int(sent) % 500
			var batch []*kgo.Record
			for i, e := range all[from : from+10] {
				if i == 0 {
					e = event(e.Partition, "bad", "\xff")
				}
				batch = append(batch, &kgo.Record{Topic: p.in, Partition: e.Partition, Key: e.Key, Value: e.Value})
			}
			if err := p.cl.ProduceSync(context.Background(), batch...).FirstErr(); err != nil {
				p.t.Errorf("the load: %v", err)
			}
			sent += 10
		}
	}()
	return func() int64 { close(quit); return <-done }
}

const trades = `
app: $APP
input: {topic: $IN, format: json}
where: [{path: type, in: [buy, sell]}]
group: [key]
aggregates: {n: count, total: {sum: price}, low: {min: price}, high: {max: price}}
output: {topic: $OUT, key: group}
on_error: skip
`

// Sums that are wider than a number may be, minima, maxima, filtered and skipped events, strange
// keys, and a record that is too large for the topics.
func TestSumMinMaxWhereSkip(t *testing.T) {
	p := onFake(t)
	p.use(trades)
	p.topic(p.in, 2)
	p.topic(p.out, 2, "max.message.bytes", "20000")
	n := p.start()
	var events []*kgo.Record
	for i := range 50 {
		events = append(events, event(int32(i%2), "big", `{"type":"buy","price":999999999999999999e18}`),
			event(0, "x", fmt.Sprintf(`{"type":"sell","price":%d.%03d}`, 25-i, i)), event(1, "\xff\x00", `{"type":"buy","price":-1e-18}`))
	}
	p.send(p.in, events...)
	p.send(p.in, &kgo.Record{Value: []byte(`{"type":"buy","price":1}`)}, &kgo.Record{Key: []byte{}, Value: []byte(`{"type":"buy","price":1}`)},
		event(0, "x", `{"type":"quote","price":9}`), event(1, "x", `{"type":"buy","price":"many"}`), event(1, "x", `broken`),
		event(0, strings.Repeat("k", 8000), `{"type":"buy","price":1}`))
	n.settled(156)
	r := p.audit()
	p.exact(r, 156)
	if f, s := r.Partitions[0].Filtered+r.Partitions[1].Filtered, r.Partitions[0].Skipped+r.Partitions[1].Skipped; f != 1 || s != 3 {
		t.Errorf("filtered %d, skipped %d", f, s)
	}
	if r.Spanning != 1 {
		t.Errorf("%d groups span partitions, not 1", r.Spanning)
	}
}

// A max that does not rise and a min that does not fall write nothing; a min that rises is found.
func TestMinMaxOnly(t *testing.T) {
	p := onFake(t)
	p.use("app: $APP\ninput: {topic: $IN, format: json}\ngroup: [key, {path: a.b, as: b}]\naggregates: {low: {min: v}, high: {max: v}}\noutput: {topic: $OUT}\n")
	p.topic(p.in, 1)
	n := p.start()
	for i, v := range []int{5, 5, 3, 9, 4} {
		p.send(p.in, event(0, "k", fmt.Sprintf(`{"a":{"b":1.5},"v":%d}`, v)), event(0, "k", fmt.Sprintf(`{"a":{"b":null},"v":%d}`, v)))
		n.settled(int64(2*i + 2))
	}
	p.exact(p.audit(), 10)
	n.stop()
	p.node = nil
	at := p.like(p.out, `"b":null`, value(`{"b":null,"low":4,"high":9}`))
	p.finds(p.audit(), OutputFell, p.out, 0, at, "the min low rises from 3 to 4")
	at = p.like(p.out, `"b":1.5`, value(`{"b":1.5,"low":3,"high":8}`))
	p.finds(p.audit(), OutputFell, p.out, 0, at, "the max high falls from 9 to 8")
}

// Without `key` in the group the output's key is null; without an output the rest is compared.
func TestOtherShapes(t *testing.T) {
	for name, text := range map[string]string{
		"partition":  "app: $APP\ninput: {topic: $IN}\nsplit: lines\ngroup: [item, partition]\noutput: {topic: $OUT, key: group}\n",
		"no output":  "app: $APP\ninput: {topic: $IN}\ngroup: [key]\n",
		"null items": "app: $APP\ninput: {topic: $IN}\ngroup: [key, item]\noutput: {topic: $OUT}\n",
		"scalars":    "app: $APP\ninput: {topic: $IN, format: json}\nsplit: {each: l}\ngroup: [item, key]\noutput: {topic: $OUT}\non_error: dead\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := onFake(t)
			p.use(text)
			p.topic(p.in, 2)
			n := p.start()
			p.send(p.in, event(0, "a", "x\n\xff{},:\"\ny\r\n"), event(1, "a", "x"), &kgo.Record{Partition: 1}, &kgo.Record{Partition: 1, Key: []byte("t")},
				event(0, "j", `{"l":[1,1.0,10e-1,"1",true,null,"a\u0000\"}{,:b",1e18,-0.001]}`))
			n.settled(5)
			p.exact(p.audit(), 5)
		})
	}
}

// With emit: every each item has an output; one that is missing or doubled in between is found.
func TestEmitEvery(t *testing.T) {
	p := onFake(t)
	p.use(strings.Replace(words, "$OUT}", "$OUT, emit: every}", 1))
	p.topic(p.in, 2)
	n := p.start()
	p.send(p.in, event(0, "a", "x y x"), event(0, "b", "x"), event(0, "a", "x"), event(1, "c", "x x x x"))
	n.settled(4)
	p.exact(p.audit(), 4)
	n.stop()
	p.node = nil
	p.without(p.out, `{"item":"x","count":2}`)
	r := p.audit()
	p.finds(r, OutputMissing, p.out, 0, 3, `["a","x"]`, "2 outputs", "3 items", "missing before this one")
	p.finds(r, OutputMissing, p.out, 1, 1, `["c","x"]`, "missing before this one")
	if r.Found != 2 {
		t.Errorf("%d differences, not two: %s", r.Found, p.dump(r))
	}
}

// emit may be changed at a restart. Then a counter may have fewer outputs than items; once the
// position records of that time are gone, nobody can know.
func TestEmitChanged(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 1)
	n := p.start()
	p.send(p.in, event(0, "a", "x x x"))
	n.settled(1)
	n.stop()
	p.use(strings.Replace(words, "$OUT}", "$OUT, emit: every}", 1))
	n = p.start(n.dir)
	p.send(p.in, event(0, "a", "x x"))
	n.settled(2)
	p.exact(p.audit(), 2)
	n.stop()
	p.node = nil
	p.rewrite(p.app+".changelog", func(all []*kgo.Record) []*kgo.Record { return all[len(all)-2:] })
	r := p.audit()
	if r.Verdict != Undecided || !strings.Contains(fmt.Sprint(r.Undecided), "1 counters have fewer outputs than items") {
		t.Error(p.dump(r))
	}
}

// After a change of the output topic, what was written to the one before is not missing.
func TestOutputTopicChanged(t *testing.T) {
	for _, emit := range []string{"latest", "every"} {
		t.Run(emit, func(t *testing.T) {
			p := onFake(t)
			p.topic(p.in, 1)
			p.use(strings.Replace(words, "$OUT}", "$OUT, emit: "+emit+"}", 1))
			n := p.start()
			p.send(p.in, event(0, "a", "x y"))
			n.settled(1)
			n.stop()
			p.use(strings.Replace(words, "$OUT}", p.out+"2, emit: "+emit+"}", 1))
			n = p.start(n.dir)
			p.send(p.in, event(0, "a", "x"))
			n.settled(2)
			r := p.audit()
			if r.Found != 0 || r.Verdict != Undecided || !strings.Contains(fmt.Sprint(r.Undecided), "1 counters have no output in "+p.out+"2") {
				t.Error(p.dump(r))
			}
		})
	}
}

// Groups in several partitions are counted in each.
func TestStrays(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 3)
	n := p.start()
	p.send(p.in, event(0, "a", "x y"), event(1, "a", "x"), event(2, "a", "x z"), event(2, "b", "x"))
	n.settled(4)
	r := p.audit()
	p.exact(r, 4)
	if r.Groups != 4 || r.Counters != 6 || r.Spanning != 1 {
		t.Errorf("%d groups, %d counters, %d spanning", r.Groups, r.Counters, r.Spanning)
	}
}

// Aborted input is not counted, and the position passes it, even at the very end.
func TestAbortedInput(t *testing.T) {
	onBoth(t, func(p *place) {
		p.topic(p.in, 1)
		n := p.start()
		cl, err := p.cfg.Client(kgo.TransactionalID(p.app+"-producer"), kgo.DefaultProduceTopic(p.in))
		p.must(err)
		defer cl.Close()
		for i := range 6 {
			p.must(cl.BeginTransaction())
			p.must(cl.ProduceSync(p.ctx(), &kgo.Record{Key: []byte("a"), Value: []byte("x y")}).FirstErr())
			p.must(cl.EndTransaction(p.ctx(), kgo.TransactionEndTry(i%3 == 0)))
		}
		n.settled(2)
		p.exact(p.audit(), 2)
	})
}

// An app that begins at the end of the input is recounted from there.
func TestStartLatest(t *testing.T) {
	p := onFake(t)
	p.use(strings.Replace(words, "$IN}", "$IN, start: latest}", 1))
	p.topic(p.in, 2)
	p.send(p.in, event(0, "a", "x"), event(0, "a", "x"))
	n := p.start()
	p.send(p.in, event(0, "a", "x"))
	n.settled(1)
	r := p.audit()
	p.exact(r, 1)
	if r.Partitions[0].Start != 2 {
		t.Errorf("it starts at %d", r.Partitions[0].Start)
	}
}

// What an earlier generation wrote is passed over.
func TestEarlierGeneration(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 1)
	p.topic(p.out, 1)
	old := []kgo.RecordHeader{{Key: "tally.partition", Value: []byte("0")}, {Key: "tally.generation", Value: []byte("0")}}
	p.send(p.out, &kgo.Record{Key: []byte("a"), Value: []byte(`{"item":"x","count":9}`), Headers: old})
	n := p.start()
	p.send(p.in, event(0, "a", "x"))
	n.settled(1)
	p.exact(p.audit(), 1)
}

// A reset begins a new generation, which alone is recounted: from where it begins.
func TestReset(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	n := p.start()
	p.send(p.in, event(0, "a", "x x"), event(1, "b", "\xff"))
	n.settled(2)
	answer, err := n.client.Reset(p.ctx(), p.app, api.ResetRequest{From: "latest"})
	if p.must(err); !answer.Done {
		t.Fatalf("the reset: %+v", answer)
	}
	p.send(p.in, event(0, "a", "x"), event(1, "b", "y"))
	n.settled(2)
	p.node = n.asked()
	r := p.audit()
	p.exact(r, 2)
	if r.Generation != 2 || r.Partitions[0].Start != 1 || r.Groups != 2 {
		t.Error(p.dump(r))
	}
}

// With runs of a few entries and merges of two files all is the same.
func TestTinyRuns(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 3)
	n := p.start()
	events := sentences(3, 600)
	for i := range 200 {
		events = append(events, event(int32(i%3), fmt.Sprintf("k%d", i%40), "a b \xff"), event(int32(i%3), fmt.Sprintf("k%d", i%40), fmt.Sprintf("a w%d", i)))
	}
	for part := range slices.Chunk(events, 100) {
		p.send(p.in, part...)
	}
	n.settled(1000)
	whole := p.audit()
	p.exact(whole, 1000)
	tiny := p.audit(func(c *Config) { c.RunBytes, c.FanIn = 1000, 2 })
	p.exact(tiny, 1000)
	if p.dump(whole) != p.dump(tiny) {
		t.Errorf("with tiny runs:\n%s\nwith large ones:\n%s", p.dump(tiny), p.dump(whole))
	}
	n.stop()
	p.node = nil
	at := p.like(p.out, `"w7"`, same)
	p.finds(p.audit(func(c *Config) { c.RunBytes, c.FanIn = 1000, 2 }), OutputDoubled, p.out, 1, at, `["k7","w7"]`)
}

// Neither emit: latest nor the order of values tells that outputs of a sum were written twice:
// their number does.
func TestRepeatedOutputsOfASum(t *testing.T) {
	p := onFake(t)
	p.use("\napp: $APP\ninput: {topic: $IN, format: json}\ngroup: [key]\naggregates: {total: {sum: v}}\noutput: {topic: $OUT}\n")
	p.topic(p.in, 1)
	n := p.start()
	for i, v := range []string{"5", "3"} {
		p.send(p.in, event(0, "a", `{"v":`+v+`}`))
		n.settled(int64(i + 1))
	}
	p.exact(p.audit(), 2)
	n.stop()
	p.node = nil
	p.like(p.out, `{"total":5}`, func(*kgo.Record) {})
	p.like(p.out, `{"total":8}`, func(*kgo.Record) {})
	p.finds(p.audit(), OutputDoubled, p.out, 0, p.last(p.out, `{"total":8}`).Offset, `["a"]`, "4 outputs", "2 items")
}
