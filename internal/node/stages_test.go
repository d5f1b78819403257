package node

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/processor"
	"github.com/tally-kafka/tally/state"
)

// byWord needs the second stage: events of one word lie in several partitions.
const byWord = `
app: $APP
input: {topic: $IN}
split: words
group: [item]
output: {topic: $OUT}
`

// words counts the words of events, however they are keyed.
func words(events []*kgo.Record) map[string]string {
	n := map[string]int{}
	for _, e := range events {
		for _, w := range strings.Fields(string(e.Value)) {
			n[w]++
		}
	}
	counts := map[string]string{}
	for w, k := range n {
		counts[fmt.Sprintf("[%q]", w)] = fmt.Sprintf(`{"count":%d}`, k)
	}
	return counts
}

// lastByWord are the last outputs of each word, which must rise and lie in one partition.
func (p *place) lastByWord() map[string]string {
	p.t.Helper()
	last, where, at := map[string]string{}, map[string]int32{}, map[string]int{}
	for _, r := range p.read(p.out) {
		key := string(r.Key)
		if in, ok := where[key]; ok && in != r.Partition {
			p.t.Errorf("outputs of %s lie in partitions %d and %d", key, in, r.Partition)
		}
		var v struct {
			Item  string `json:"item"`
			Count int    `json:"count"`
		}
		p.must(json.Unmarshal(r.Value, &v))
		n := v.Count
		if n <= at[key] {
			p.t.Errorf("outputs of %s went from %d to %d", key, at[key], n)
		}
		where[key], at[key] = r.Partition, n
		last[key] = fmt.Sprintf(`{"count":%d}`, n)
	}
	return last
}

func (n *tally) rightByWord(events []*kgo.Record) {
	n.t.Helper()
	n.settled(int64(len(events)))
	want := words(events)
	n.has(want)
	// EndTxn is answered before its markers are written: readers see the records a little later.
	until(n.t, func() error {
		if got := n.p.lastByWord(); !maps.Equal(got, want) {
			return fmt.Errorf("the output ends at %v, want %v", got, want)
		}
		return nil
	})
}

func TestTwoStages(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		p.topic(p.in, 3)
		s := p.spec(byWord)
		events := sentences(3, 200)
		p.send(events...)
		n := p.start(running(s))
		n.rightByWord(events)
		n.stop()

		n = p.start(running(s), inDir(n.dir)) // with its state
		more := sentences(3, 100)
		p.send(more...)
		events = append(events, more...)
		n.rightByWord(events)
		n.stop()

		n = p.start(running(s)) // from the changelog alone
		more = sentences(3, 50)
		p.send(more...)
		n.rightByWord(append(events, more...))
	})
}

// The number of the input's partitions may change: no word strays.
func TestTwoStagesOfAGrownInput(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	s := p.spec(byWord)
	events := sentences(2, 100)
	p.send(events...)
	n := p.start(running(s))
	n.rightByWord(events)
	n.stop()
	if _, err := p.adm.UpdatePartitions(p.ctx(), 5, p.in); err != nil {
		t.Fatal(err)
	}
	p.connect() // a client that knows the new partitions
	more := sentences(5, 100)
	p.send(more...)
	n = p.start(running(s), inDir(n.dir))
	n.rightByWord(append(events, more...))
}

// What an offset of the input has brought is counted when --after is answered, through both stages.
func TestAfterThroughTwoStages(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	n := p.start(running(p.spec(byWord)), paced(processor.Pace{}))
	for i := range 50 {
		p.send(event(int32(i%2), "k", "spark"))
		after := fmt.Sprintf("%s/%d:%d", p.in, i%2, i/2)
		got, err := n.client.Get(p.ctx(), p.app, []byte(`["spark"]`), api.ReadOptions{Wait: patience, After: []string{after}})
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf(`{"count":%d}`, i+1); string(got.Values) != want {
			t.Fatalf("after %s: %s, want %s", after, got.Values, want)
		}
	}
}

// The repartition topic is trimmed up to the position and no further.
func TestRepartitionIsTrimmed(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		p.topic(p.in, 2)
		events := sentences(2, 200)
		p.send(events...)
		n := p.start(running(p.spec(byWord)))
		n.settled(200)
		until(t, func() error {
			starts, err := p.admin.StartOffsets(p.ctx(), p.app+".repartition")
			if err != nil {
				return err
			}
			for q := range int32(2) {
				pos := n.lane(int(q), api.LaneRunning).Position[fmt.Sprintf("%s.repartition/%d", p.app, q)]
				if starts[q] == 0 || starts[q] > pos {
					return fmt.Errorf("partition %d is trimmed to %d, the position is %d", q, starts[q], pos)
				}
			}
			return nil
		})
		more := sentences(2, 50)
		p.send(more...)
		n.rightByWord(append(events, more...))
	})
}

// Partials of another life of the app are not counted with the new ones.
func TestOldPartialsAreRefused(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 1)
	p.topic(p.app+".repartition", 1)
	p.must(p.cl.ProduceSync(p.ctx(), &kgo.Record{
		Topic: p.app + ".repartition", Key: state.PartialKey(nil, []byte("g")), Value: state.AppendPartial(nil, state.Partial{Generation: 1}, 0),
	}).FirstErr())
	says(t, p.refused(running(p.spec(byWord+"repartition: always\n"))), "1 records", "earlier life", "--delete --topic "+p.app+".repartition")
}

// A repartition topic that loses something is not used.
func TestRepartitionSettings(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	topic := p.app + ".repartition"
	p.topic(topic, 2, "message.timestamp.type", "LogAppendTime")
	says(t, p.refused(running(p.spec(byWord))), "message.timestamp.type=LogAppendTime", "times of events", "--add-config message.timestamp.type=CreateTime")
	p.setTopic(topic, "message.timestamp.type", "CreateTime")
	p.setTopic(topic, "cleanup.policy", "compact")
	says(t, p.refused(running(p.spec(byWord))), "cleanup.policy=compact", "not counted yet", "--add-config cleanup.policy=delete")
}

// A foreign record in the repartition topic stops its lane, and the other goes on.
func TestForeignRecordInTheRepartitionTopic(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	n := p.start(running(p.spec(byWord)))
	n.ready()
	p.must(p.cl.ProduceSync(p.ctx(), &kgo.Record{Topic: p.app + ".repartition", Partition: 1, Value: []byte("hello")}).FirstErr())
	st := n.lane(1, api.LaneStopped)
	saysText(t, st.Reason, p.app+".repartition/1 offset", "is not what this app has to read next", "tally reset")
	n.lane(0, api.LaneRunning)
}
