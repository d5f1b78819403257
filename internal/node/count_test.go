package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/processor/spec"
)

// A node counts, stops, starts and goes on; its state can be removed at any stop.
func TestCountStopStartWipe(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		p.topic(p.in, 4)
		events := sentences(4, 300)
		p.send(events...)
		n := p.start()
		n.right(events)
		answer, err := n.client.Get(p.ctx(), p.app, []byte(`["user-1","raft"]`), api.ReadOptions{Wait: -1})
		p.must(err)
		if !answer.Found || answer.Parts[0].Role != api.RoleOwner || answer.Parts[0].Lag != 0 {
			t.Errorf("get: %+v", answer)
		}
		n.stop()

		n = p.start(inDir(n.dir))
		if got := restored(n.settled(300)); got != 0 {
			t.Errorf("after a clean stop %d records were replayed, not 0", got)
		}
		n.has(count(events))
		more := sentences(4, 100)
		p.send(more...)
		events = append(events, more...)
		n.right(events)
		n.stop()

		n.wipe()
		n = p.start(inDir(n.dir))
		if got, groups := restored(n.settled(400)), int64(len(count(events))); got < groups {
			t.Errorf("a full restore replayed %d records, of at least %d groups", got, groups)
		}
		n.right(events)
		n.stop()

		n = p.start(named("node-b")) // another data dir: another node
		n.right(events)
	})
}

func TestStartLatest(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		p.topic(p.in, 2)
		p.send(event(0, "a", "before"), event(0, "a", "before"), event(1, "b", "before"))
		latest := running(p.spec(replaced(wordcount, "$IN}", "$IN, start: latest}")))
		n := p.start(latest)
		n.stop() // the start offset is committed before the first poll
		p.send(event(0, "a", "after"))
		n = p.start(latest, inDir(n.dir))
		n.settled(1)
		n.has(map[string]string{`["a","after"]`: `{"count":1}`})
		n.stop()
		n.wipe()
		n = p.start(latest, inDir(n.dir))
		n.settled(1)
		n.has(map[string]string{`["a","after"]`: `{"count":1}`})
	})
}

// One lane may have many partitions.
func TestOneLane(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 5)
	events := sentences(5, 200)
	p.send(events...)
	one := running(p.spec(wordcount + "lanes: 1\n"))
	n := p.start(one)
	n.right(events)
	if lanes := n.settled(200).Lanes; len(lanes) != 1 || len(lanes[0].Position) != 5 {
		t.Errorf("not one lane of five partitions: %+v", lanes)
	}
	n.stop()
	n.wipe()
	n = p.start(one, inDir(n.dir))
	n.right(events)
}

const trades = `
app: $APP
input: {topic: $IN, format: json}
where: [{path: type, in: [buy, sell]}]
group: [key]
aggregates: {n: count, total: {sum: price}, low: {min: price}, high: {max: price}}
output: {topic: $OUT, key: group}
`

func TestSumMinMaxWhere(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	p.topic(p.out, 2, "cleanup.policy", "compact") // with key: group it may be
	p.send(
		event(0, "x", `{"type":"buy","price":1.10}`), event(0, "x", `{"type":"sell","price":2.2}`),
		event(0, "x", `{"type":"quote","price":9}`), event(0, "x", `{"price":9}`),
		event(1, "y", `{"type":"buy","price":-5}`))
	n := p.start(running(p.spec(trades)))
	if a := n.settled(5); a.Filtered != 2 || a.Processed != 3 {
		t.Errorf("filtered %d, processed %d", a.Filtered, a.Processed)
	}
	n.has(map[string]string{
		`["x"]`: `{"n":2,"total":3.3,"low":1.1,"high":2.2}`,
		`["y"]`: `{"n":1,"total":-5,"low":-5,"high":-5}`,
	})
	until(t, func() error {
		last := map[string]string{}
		for _, r := range p.read(p.out) {
			last[string(r.Key)] = string(r.Value)
		}
		if want := `{"n":2,"total":3.3,"low":1.1,"high":2.2}`; last[`["x"]`] != want {
			return fmt.Errorf("the output of x is %s, not %s", last[`["x"]`], want)
		}
		return nil
	})
}

// With emit: every each increment is one record, in input order, over a restart too.
func TestEmitEvery(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 1)
	every := running(p.spec(replaced(wordcount, "$OUT}", "$OUT, emit: every}")))
	p.send(event(0, "a", "x y x"), event(0, "b", "x"), event(0, "a", "x"))
	n := p.start(every)
	n.settled(3)
	n.stop()
	n = p.start(every, inDir(n.dir))
	p.send(event(0, "a", "y x"))
	n.settled(4)
	want := []string{
		`a {"item":"x","count":1}`, `a {"item":"y","count":1}`, `a {"item":"x","count":2}`,
		`b {"item":"x","count":1}`, `a {"item":"x","count":3}`, `a {"item":"y","count":2}`, `a {"item":"x","count":4}`,
	}
	until(t, func() error {
		var got []string
		for _, r := range p.read(p.out) {
			got = append(got, string(r.Key)+" "+string(r.Value))
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("output\n got %v\nwant %v", got, want)
		}
		return nil
	})
}

func TestOnErrorSkipAndDead(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	bad := event(1, "y", `{"type":"buy","price":"many"}`)
	p.send(event(0, "x", `{"type":"buy","price":1}`), event(0, "x", `broken`), bad)
	n := p.start(running(p.spec(trades + "on_error: skip\n")))
	if a := n.settled(3); a.Skipped != 2 || a.Dead != 0 {
		t.Errorf("skipped %d, dead %d", a.Skipped, a.Dead)
	}
	n.stop()

	n = p.start(inDir(n.dir), running(p.spec(trades+"on_error: dead\n")))
	p.send(bad)
	if a := n.settled(4); a.Skipped != 2 || a.Dead != 1 {
		t.Errorf("skipped %d, dead %d", a.Skipped, a.Dead)
	}
	until(t, func() error {
		dead := p.read(p.app + ".dead")
		if len(dead) != 1 {
			return fmt.Errorf("%d dead letters", len(dead))
		}
		headers := map[string]string{}
		for _, h := range dead[0].Headers {
			headers[h.Key] = string(h.Value)
		}
		if string(dead[0].Value) != string(bad.Value) || headers["topic"] != p.in ||
			headers["partition"] != "1" || headers["offset"] != "1" || !strings.Contains(headers["error"], "a string, not a number") {
			t.Errorf("the dead letter: %s %v", dead[0].Value, headers)
		}
		return nil
	})
}

// on_error: stop ends the lane at the event, with all before it committed; the others go on.
// Another on_error passes it.
func TestOnErrorStop(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	p.send(
		event(0, "x", `{"type":"buy","price":1}`), event(0, "x", `{"type":"buy","price":1}`), event(0, "x", `broken`),
		event(0, "x", `{"type":"buy","price":1}`), event(1, "y", `{"type":"buy","price":1}`))
	n := p.launch(running(p.spec(trades + "on_error: stop\n")))
	saysText(t, n.lane(0, api.LaneStopped).Reason, p.in+"/0", "offset 2", "on_error: stop", "change on_error")
	if n.log.count("level=ERROR", p.in+"/0 offset 2") != 1 {
		t.Errorf("the log does not say once what stopped the lane:\n%s", n.log)
	}
	n.until("the other lane goes on", func(st api.Status) bool {
		return st.Apps[0].Processed == 3 && st.Apps[0].Lanes[1].State == api.LaneRunning
	})
	n.stop()

	// It stops at the same event again.
	n = p.launch(inDir(n.dir), running(p.spec(trades+"on_error: stop\n")))
	saysText(t, n.lane(0, api.LaneStopped).Reason, "offset 2")
	n.stop()

	n = p.start(inDir(n.dir), running(p.spec(trades+"on_error: skip\n")))
	if a := n.settled(5); a.Skipped != 1 || a.Processed != 4 {
		t.Errorf("skipped %d, processed %d", a.Skipped, a.Processed)
	}
}

// Two apps run on one node, and run again without specs.
func TestTwoAppsAndStoredSpecs(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	events := sentences(2, 50)
	p.send(events...)
	other := p.spec("app: $APP-2\ninput: {topic: $IN}\ngroup: [key]\n")
	both := func(c *Config) { c.Specs = []*spec.Spec{p.spec(wordcount), other} }
	done := func(st api.Status) bool {
		return len(st.Apps) == 2 && st.Apps[0].Processed == 50 && st.Apps[1].Processed == 50
	}
	n := p.start(both)
	n.until("both apps have counted", done)
	n.stop()
	n = p.start(inDir(n.dir), func(c *Config) { c.Specs = []*spec.Spec{} })
	n.until("both apps have counted", done)
	n.has(count(events))
}

// A grown input is counted on: new partitions from their beginning, in the lanes that there are.
func TestGrownInput(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		p.topic(p.in, 4)
		latest := running(p.spec(replaced(wordcount, "$IN}", "$IN, start: latest}")))
		n := p.start(latest)
		first := []*kgo.Record{event(0, "a", "x"), event(3, "d", "x")}
		p.send(first...)
		n.right(first)

		p.must(p.admin.AddPartitions(p.ctx(), p.in, 6))
		p.connect() // a producer that knows of them
		grown := []*kgo.Record{event(4, "e", "x y"), event(5, "f", "x")}
		p.send(grown...)
		n.until("the lag holds the new partitions", func(st api.Status) bool { return st.Apps[0].Lag == 2 })
		until(t, func() error {
			if c := n.log.count("level=WARN", "6 partitions", "restart"); c != 1 {
				return fmt.Errorf("%d warnings of the new partitions", c)
			}
			return nil
		})
		n.stop()

		says(t, p.refused(latest, inDir(n.dir)), p.out, "4 partitions", "has 6", "--alter", "--partitions 6")
		p.must(p.admin.AddPartitions(p.ctx(), p.out, 6))
		n = p.start(latest, inDir(n.dir))
		events := append(first, grown...)
		n.right(events)
		for _, own := range []string{p.app + ".changelog", p.app + ".dead"} {
			if topic, _, err := p.admin.Topic(p.ctx(), own); err != nil || topic.Partitions != 6 {
				t.Errorf("%s has %d partitions: %v", own, topic.Partitions, err)
			}
		}
		for _, l := range n.settled(4).Lanes {
			if l.Restore.Ms > 4500 {
				t.Errorf("lane %d: the new partition's catch-up has waited for the old one's fetch: %d ms", l.Lane, l.Restore.Ms)
			}
		}
		if lanes := n.settled(4).Lanes; len(lanes) != 4 || lanes[1].Position[p.in+"/5"] != 1 {
			t.Errorf("lanes: %+v", lanes)
		}
		n.stop()
		n.wipe()
		n = p.start(latest, inDir(n.dir))
		n.right(events)
	})
}

// Two kinds of clients and null keys spread groups over partitions: the counts are right per
// partition, the answer sums them, and the status says so, with an example.
func TestStrays(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	var events []*kgo.Record
	for i := range 40 {
		key := fmt.Sprintf("user-%d", i)
		events = append(events, placed(4, key, "x"), event(kafka.PartitionCRC32([]byte(key), 4), key, "x"))
	}
	p.send(events[0])
	n := p.start()
	n.settled(1)
	if st := n.settled(1); st.Strays != 0 || st.StrayExample != "" {
		t.Errorf("one client alone strays: %d, %s", st.Strays, st.StrayExample)
	}
	p.send(events[1:]...)
	st := n.settled(80)
	if st.Strays == 0 {
		t.Errorf("strays %d of murmur2 beside CRC32", st.Strays)
	}
	n.has(count(events))

	mixed := st.Strays
	p.send(&kgo.Record{Partition: 1, Value: []byte("x")}, &kgo.Record{Partition: 2, Value: []byte("x")})
	st = n.settled(82)
	if st.Strays != mixed+2 || !strings.Contains(st.StrayExample, `key "user-`) {
		t.Errorf("strays %d, not %d; example %s", st.Strays, mixed+2, st.StrayExample)
	}
	if got := n.counts()[`[null,"x"]`]; got != `{"count":2}` {
		t.Errorf("the null key in two partitions counts %s", got)
	}
	until(t, func() error {
		if n.log.count("level=WARN", "stray") == 0 {
			return errors.New("no warning of strays")
		}
		return nil
	})
	asOf := st.Lanes[0].AsOfMs
	n.until("the node has looked again and again", func(st api.Status) bool { return st.Apps[0].Lanes[0].AsOfMs > asOf+100 })
	n.stop()
	if c := n.log.count("level=WARN", "stray"); c != 1 {
		t.Errorf("%d warnings of strays, not one a node", c)
	}
	n = p.start(inDir(n.dir))
	if st := n.settled(82); st.Strays != mixed+2 || st.StrayExample == "" {
		t.Errorf("after a restart: strays %d, example %q", st.Strays, st.StrayExample)
	}
}

func replaced(s, old, new string) string { return strings.Replace(s, old, new, 1) }
