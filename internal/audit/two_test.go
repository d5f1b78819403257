package audit

import (
	"fmt"
	"testing"

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
		for range 3 {
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
