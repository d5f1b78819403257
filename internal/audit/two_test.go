package audit

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
)

// byWord has two stages, since events of one word lie in several partitions.
const byWord = `
app: $APP
input: {topic: $IN}
split: words
group: [item]
output: {topic: $OUT, key: group}
`

func (p *place) sent() string { return p.app + ".repartition" }

// An app of two stages counts, stops, starts again and goes on: all is exact, with one counter a
// group, on kfake and on a real Kafka.
func TestTwoStagesExact(t *testing.T) {
	onBoth(t, func(p *place) {
		p.use(byWord)
		p.topic(p.in, 4)
		n := p.start()
		p.send(p.in, sentences(4, 300)...)
		p.send(p.in, event(0, "user-0", "bad \xff"), &kgo.Record{Partition: 2}, event(3, "x", "Größe spark"))
		n.settled(303)
		r := p.audit()
		p.exact(r, 303)
		for _, c := range r.Checks {
			if c.Compared == 0 || c.Skipped != "" {
				p.t.Errorf("nothing was compared: %+v", c)
			}
		}
		n.stop()
		n = p.start(n.dir)
		p.send(p.in, sentences(4, 100)...)
		n.settled(403)
		n.stop()
		p.node = nil
		r = p.audit()
		p.exact(r, 403)
		if r.Groups != 7 || r.Counters != r.Groups || r.Spanning != 0 || len(r.Partitions) != 4 || len(r.Repartitions) != 4 {
			p.t.Error(p.dump(r))
		}
	})
}

// While an app of two stages runs under load, each audit chooses a cut of its own.
func TestTwoStagesUnderLoad(t *testing.T) {
	onBoth(t, func(p *place) {
		p.use(byWord)
		p.topic(p.in, 3)
		n := p.start()
		stop := p.load(3)
		events := int64(0)
		for range auditsUnderLoad() {
			before := events
			n.until("the app goes on", func(a api.AppStatus) bool { return a.Processed > before+100 })
			r := p.audit(slowly)
			if r.Verdict != Exact || r.Events <= before {
				p.t.Fatalf("under load, %d events:\n%s", r.Events, p.dump(r))
			}
			events = r.Events
		}
		sent := stop()
		n.settled(sent)
		p.exact(p.audit(), sent)
	})
}

// Other aggregates, a null key, and `repartition: always` for what would have strays.
func TestTwoStagesOfOtherShapes(t *testing.T) {
	for name, text := range map[string]string{
		"always":    words + "repartition: {mode: always, partitions: 5}\n",
		"partition": "app: $APP\ninput: {topic: $IN}\nsplit: lines\ngroup: [item, partition]\noutput: {topic: $OUT, key: group}\nrepartition: always\n",
		"no output": "app: $APP\ninput: {topic: $IN}\ngroup: [item]\n",
		"every":     "app: $APP\ninput: {topic: $IN}\nsplit: words\ngroup: [item]\noutput: {topic: $OUT, key: group, emit: every}\n",
		"numbers":   "app: $APP\ninput: {topic: $IN, format: json}\ngroup: [{path: c, as: c}]\naggregates: {s: {sum: v}, lo: {min: v}, hi: {max: v}}\noutput: {topic: $OUT, key: group}\non_error: skip\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := onFake(t)
			p.use(text)
			p.topic(p.in, 2)
			n := p.start()
			p.send(p.in, event(0, "a", "x y"), event(1, "a", "x"), &kgo.Record{Partition: 1})
			n.settled(3)
			var events []*kgo.Record
			for i := range 40 {
				events = append(events, event(int32(i%2), "a", fmt.Sprintf(`{"c":"c%d","v":%d.5}`, i%3, i*7%11-5)))
			}
			p.send(p.in, events...)
			n.settled(43)
			r := p.audit()
			p.exact(r, 43)
			if r.Spanning != 0 || len(r.Repartitions) == 0 {
				t.Error(p.dump(r))
			}
		})
	}
}

// What a node of two stages writes has the shapes of the golden bytes.
func TestNodeSendsTheGoldenFormat(t *testing.T) {
	p := onFake(t)
	p.use(byWord + "repartition: always\n")
	p.trim = time.Hour
	p.topic(p.in, 1)
	p.counted(event(0, "ann", "word word word"))
	seen := map[string]int{}
	for _, r := range p.read(p.sent()) {
		key := hex.EncodeToString(r.Key)
		seen[key]++
		generation, values, err := parsePartial(r.Value)
		if key == goldenPartialKey && (err != nil || generation != 1 || hex.EncodeToString(values) != "0006") {
			t.Errorf("the partial is %x: %v", r.Value, err)
		}
		if key == goldenSourcesKey && hex.EncodeToString(r.Value) != "017301000001" {
			t.Errorf("the sources are %x", r.Value)
		}
	}
	if len(seen) != 3 || seen[goldenPartialKey] != 1 || seen[goldenSourcesKey] != 1 || seen["016201"] != 1 {
		t.Errorf("the keys are %v", seen)
	}
}

// A trimmed repartition topic leaves nothing undecided.
func TestTrimmed(t *testing.T) {
	p := onFake(t)
	p.use(byWord)
	p.trim = time.Millisecond
	p.topic(p.in, 2)
	n := p.start()
	p.send(p.in, sentences(2, 100)...)
	n.settled(100)
	n.until("all is trimmed", func(api.AppStatus) bool {
		starts, err := p.admin.StartOffsets(p.ctx(), p.sent())
		p.must(err)
		return starts[0] > 2 && starts[1] > 2
	})
	r := p.audit()
	p.exact(r, 100)
	if r.Repartitions[0].Trimmed == 0 || r.Repartitions[1].Trimmed == 0 {
		t.Error(p.dump(r))
	}
}

// behind takes the last transaction of the second stage in a partition back: the app died before
// it.
func (p *place) behind(q int32) {
	p.t.Helper()
	var before position
	p.rewrite(p.app+".changelog", func(all []*kgo.Record) []*kgo.Record {
		second := func(r *kgo.Record) bool {
			return r.Partition == q && r.Key[2] == secondStage && r.Key[1] != kindBarrier
		}
		var at []int
		for i, r := range all {
			if second(r) && r.Key[1] == kindPosition {
				at = append(at, i)
			}
		}
		cut := all[at[len(at)-2]]
		rec, err := parsePosition(cut.Value, secondStage, q)
		p.must(err)
		before = position{rec, cut.Offset}
		return slices.DeleteFunc(all, func(r *kgo.Record) bool { return second(r) && r.Offset > cut.Offset })
	})
	p.commitOf(p.sent(), q, before.Input)
}

// The app died when the second stage had not read all that was sent: the rest is still there, and
// is compared too.
func TestDiedBetweenTheStages(t *testing.T) {
	p := onFake(t)
	p.smallTwo()
	p.node = nil
	q := p.q("one")
	p.behind(q)
	p.without(p.out, `"count":3`)
	r := p.audit()
	p.exact(r, 4)
	p.resend(func(r *kgo.Record) []*kgo.Record {
		if isPartial(r, "one") && r.Offset >= p.secondAt(q).Input {
			return nil
		}
		return []*kgo.Record{r}
	})
	p.finds(p.audit(), PartialLost, p.sent(), q, p.last(p.sent(), "one").Offset, `["one"] lost between the stages`)
	p.resend(func(r *kgo.Record) []*kgo.Record {
		if r.Partition == q && r.Offset >= p.secondAt(q).Input {
			return nil
		}
		return []*kgo.Record{r}
	})
	p.finds(p.audit(), PartialLost, p.in, 0, 1, `["one"] lost between the stages: the first stage has dealt with this event`)
	p.truncate(p.sent(), q, p.secondAt(q).Input+1)
	p.finds(p.audit(), PartialLost, p.in, 0, 1, "is deleted up to offset", "of which the second stage has read up to")
}

// The app died in the middle of what a transaction had sent: what is known is compared.
func TestDiedMidway(t *testing.T) {
	p := onFake(t)
	p.smallTwo()
	q := p.q("one")
	last, sources := p.secondAt(q), int64(0)
	for _, r := range p.read(p.sent()) {
		if r.Partition == q && r.Key[1] == kindSources {
			sources = r.Offset
		}
	}
	p.lastSecond(q, `"sources":{"0":2,"1":2}`, `"sources":{"0":1,"1":2},"midway":[0]`)
	p.lastSecond(q, fmt.Sprintf(`"input":%d`, last.Input), fmt.Sprintf(`"input":%d`, sources))
	p.commitOf(p.sent(), q, sources)
	r := p.audit()
	p.exact(r, 4)
	if r.Repartitions[q].Positions != 2 {
		t.Errorf("%d positions, not the complete one and the one midway", r.Repartitions[q].Positions)
	}
	at := p.like(p.out, `"count":3`, value(`{"item":"one","count":4}`))
	p.finds(p.audit(), OutputWrong, p.out, q, at, `["one"]`)
}

// What cannot be compared of two stages is said.
func TestUndecidedOfTwoStages(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(p *place)
		says []string
	}{
		{"truncated input", func(p *place) { p.truncate(p.in, 0, 1) }, []string{"$IN/0 is deleted below offset 1"}},
		{"a repartition topic of an older copy", func(p *place) {
			p.node = nil
			p.lastSecond(0, fmt.Sprintf(`"input":%d`, p.secondAt(0).Input), `"input":99`)
			p.commitOf(p.sent(), 0, 99)
		}, []string{"$APP.repartition/0 ends at offset", "has read it up to offset 99"}},
		{"no repartition topic", func(p *place) { p.must(p.admin.DeleteTopics(p.ctx(), p.sent())) },
			[]string{"the repartition topic $APP.repartition was deleted or made again"}},
		{"compacted positions", func(p *place) {
			q := p.q("one")
			last := p.secondAt(q)
			p.rewrite(p.app+".changelog", func(all []*kgo.Record) []*kgo.Record {
				return slices.DeleteFunc(all, func(r *kgo.Record) bool {
					return r.Partition == q && r.Key[1] == kindPosition && r.Key[2] == secondStage && r.Offset < last.offset
				})
			})
			scan := p.node.Scan
			p.node.Scan = func(ctx context.Context, fn func(group, values json.RawMessage) error) (map[int32]int64, error) {
				at, err := scan(ctx, fn)
				at[q]--
				return at, err
			}
		}, []string{"the node's answer stands at is compacted away"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := onFake(t)
			p.smallTwo()
			c.do(p)
			for i := range c.says {
				c.says[i] = strings.NewReplacer("$IN", p.in, "$APP", p.app).Replace(c.says[i])
			}
			p.undecides(p.audit(), c.says...)
		})
	}
}

// A grown input needs nothing: its new partitions are recounted with the rest.
func TestTwoStagesOfAGrownInput(t *testing.T) {
	p := onFake(t)
	p.use(byWord)
	p.topic(p.in, 2)
	n := p.start()
	p.send(p.in, sentences(2, 50)...)
	n.settled(50)
	n.stop()
	p.must(p.admin.AddPartitions(p.ctx(), p.in, 4))
	p.cl.PurgeTopicsFromClient(p.in)
	n = p.start(n.dir)
	p.send(p.in, sentences(4, 50)...)
	n.settled(100)
	r := p.audit()
	p.exact(r, 100)
	if len(r.Partitions) != 4 || len(r.Repartitions) != 2 {
		t.Error(p.dump(r))
	}
}

// With runs of a few entries all is the same.
func TestTinyRunsOfTwoStages(t *testing.T) {
	p := onFake(t)
	p.use(byWord)
	p.topic(p.in, 3)
	n := p.start()
	var events []*kgo.Record
	for i := range 300 {
		events = append(events, event(int32(i%3), "k", fmt.Sprintf("a w%d", i)))
	}
	p.send(p.in, events...)
	n.settled(300)
	n.stop()
	p.node = nil
	whole := p.audit()
	p.exact(whole, 300)
	tiny := p.audit(func(c *Config) { c.RunBytes, c.FanIn = 1000, 2 })
	if p.dump(whole) != p.dump(tiny) {
		t.Errorf("with tiny runs:\n%s\nwith large ones:\n%s", p.dump(tiny), p.dump(whole))
	}
}
