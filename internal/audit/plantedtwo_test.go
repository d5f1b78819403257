package audit

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/processor/spec"
)

// q is the repartition partition of a word.
func (p *place) q(word string) int32 {
	p.t.Helper()
	group, err := compiled(p.sp).ParseGroupJSON([]byte(`["` + word + `"]`))
	p.must(err)
	return spec.Partition(group, 2)
}

// smallTwo counts four events in two stages and stops: `one` thrice, the last time in a transaction
// of its own, `two` and `three` once; and the event 1/0 cannot be read. The node's answer is kept.
func (p *place) smallTwo() {
	p.t.Helper()
	p.use(byWord)
	p.trim = time.Hour
	p.topic(p.in, 2)
	n := p.start()
	p.send(p.in, event(0, "ann", "one two"), event(1, "bob", "bad \xff"), event(1, "bob", "three one"))
	n.settled(3)
	p.send(p.in, event(0, "ann", "one"))
	n.settled(4)
	p.keepAnswer()
	n.stop()
}

// resend makes the repartition topic anew, each record at its offset: what change leaves out, and
// control records, become barriers. The position records and the consumer group know the new topic.
func (p *place) resend(change func(*kgo.Record) []*kgo.Record) {
	p.t.Helper()
	topic := p.sent()
	before, _, err := p.admin.Topic(p.ctx(), topic)
	p.must(err)
	records := p.read(topic)
	offsets, err := p.admin.GroupOffsets(p.ctx(), p.app, topic)
	p.must(err)
	p.must(p.admin.DeleteTopics(p.ctx(), topic))
	p.topic(topic, before.Partitions)
	after, _, err := p.admin.Topic(p.ctx(), topic)
	p.must(err)
	p.cl.PurgeTopicsFromClient(topic)
	var fresh []*kgo.Record
	next := map[int32]int64{}
	add := func(q int32, key, value []byte) {
		fresh = append(fresh, &kgo.Record{Partition: q, Key: key, Value: value})
		next[q]++
	}
	for _, r := range records {
		for next[r.Partition] < r.Offset {
			add(r.Partition, []byte{1, kindBarrier, 1}, []byte("\x01b{}"))
		}
		for _, left := range change(r) {
			add(r.Partition, left.Key, left.Value)
		}
	}
	for q, at := range offsets {
		for next[q] < at+1 {
			add(q, []byte{1, kindBarrier, 1}, []byte("\x01b{}"))
		}
	}
	p.send(topic, fresh...)
	p.replaced(p.app+".changelog", before.ID, after.ID)
	for q, at := range offsets {
		p.commitOf(topic, q, at)
	}
}

func (p *place) commitOf(topic string, partition int32, offset int64) {
	p.t.Helper()
	os := kadm.Offsets{}
	os.AddOffset(topic, partition, offset, -1)
	p.must(p.adm.CommitAllOffsets(p.ctx(), p.app, os))
}

// isPartial says whether a record is a partial of a word.
func isPartial(r *kgo.Record, word string) bool {
	return r.Key[1] == kindPartial && bytes.Contains(r.Key, []byte(word))
}

func isValue(r *kgo.Record, word string) bool {
	return r.Key[1] == kindValue && bytes.Contains(r.Key, []byte(word))
}

// lastValue is the last value of a word in the changelog.
func (p *place) lastValue(word string) *kgo.Record {
	p.t.Helper()
	var last *kgo.Record
	for _, r := range p.read(p.app + ".changelog") {
		if isValue(r, word) {
			last = r
		}
	}
	if last == nil {
		p.t.Fatalf("the changelog has no value of %s", word)
	}
	return last
}

// lastSecond changes the last position record of the second stage in a partition.
func (p *place) lastSecond(q int32, old, new string) int64 {
	p.t.Helper()
	return p.lastOfStage(secondStage, q, old, new)
}

// secondAt is the last position record of the second stage in a partition.
func (p *place) secondAt(q int32) position {
	p.t.Helper()
	var last position
	for _, r := range p.read(p.app + ".changelog") {
		if r.Partition == q && r.Key[1] == kindPosition && r.Key[2] == secondStage {
			rec, err := parsePosition(r.Value, secondStage, q)
			p.must(err)
			last = position{rec, r.Offset}
		}
	}
	return last
}

// otherWords lets the input have other words than were counted: what an event's partials would be,
// had one been lost and another been made up.
func (p *place) otherWords(old, new string) {
	p.t.Helper()
	before, _, err := p.admin.Topic(p.ctx(), p.in)
	p.must(err)
	p.replaced(p.in, old, new)
	after, _, err := p.admin.Topic(p.ctx(), p.in)
	p.must(err)
	p.replaced(p.app+".changelog", before.ID, after.ID)
	p.commit(0, 2)
	p.commit(1, 2)
}

// Each kind of difference of an app of two stages is planted, and has to be named.
func TestPlantedStages(t *testing.T) {
	for _, c := range []struct {
		name  string
		plant func(p *place) []planted
	}{
		{"output wrong", func(p *place) []planted {
			p.replaced(p.out, `{"item":"one","count":3}`, `{"item":"one","count":5}`)
			return []planted{{OutputWrong, p.out, p.q("one"), p.last(p.out, `"count":5`).Offset, `["one"] the last output: {"count":5}, the recount says {"count":3}`}}
		}},
		{"output missing", func(p *place) []planted {
			p.without(p.out, `"two"`)
			return []planted{{OutputMissing, p.in, 0, 0, `["two"]`}}
		}},
		{"output extra", func(p *place) []planted {
			at := p.like(p.out, `"one"`, func(r *kgo.Record) { r.Key, r.Value = []byte(`["nine"]`), []byte(`{"item":"nine","count":1}`) })
			return []planted{{OutputExtra, p.out, p.q("one"), at, `["nine"] what the input does not have`}}
		}},
		{"output of another partition", func(p *place) []planted {
			at := p.like(p.out, `"two"`, func(r *kgo.Record) {
				r.Partition = 1 - r.Partition
				withHeader("tally.partition", fmt.Sprint(r.Partition))(r)
			})
			return []planted{{OutputExtra, p.out, 1 - p.q("two"), at, `["two"] what the input does not have`}}
		}},
		{"output doubled", func(p *place) []planted {
			return []planted{{OutputDoubled, p.out, p.q("two"), p.like(p.out, `"two"`, same), `["two"]`}}
		}},
		{"output fell", func(p *place) []planted {
			at := p.like(p.out, `"one"`, value(`{"item":"one","count":1}`))
			return []planted{{OutputFell, p.out, p.q("one"), at, "the count count goes from 3 to 1"}}
		}},
		{"changelog wrong", func(p *place) []planted {
			p.rewrite(p.app+".changelog", func(all []*kgo.Record) []*kgo.Record {
				for _, r := range all {
					if isValue(r, "three") {
						r.Value[len(r.Value)-1] += 2
					}
				}
				return all
			})
			return []planted{{ChangelogWrong, p.app + ".changelog", p.q("three"), p.lastValue("three").Offset, `["three"]`}}
		}},
		{"changelog missing", func(p *place) []planted {
			p.rewrite(p.app+".changelog", func(all []*kgo.Record) []*kgo.Record {
				return slices.DeleteFunc(all, func(r *kgo.Record) bool { return isValue(r, "two") })
			})
			return []planted{{ChangelogMissing, p.in, 0, 0, `["two"]`}}
		}},
		{"changelog of the first stage", func(p *place) []planted {
			r := p.lastValue("two")
			r.Key[2] = 0
			copied := &kgo.Record{Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers}
			p.send(p.app+".changelog", copied)
			return []planted{{ChangelogForeign, p.app + ".changelog", p.q("two"), copied.Offset, "a value of stage 0"}}
		}},
		{"position of another digest", func(p *place) []planted {
			at := p.lastSecond(p.q("one"), `"digest":"`, `"digest":"1`)
			return []planted{{PositionGroups, p.app + ".changelog", p.q("one"), at, "digest"}}
		}},
		{"another number of partials folded", func(p *place) []planted {
			q := p.q("one")
			n := p.secondAt(q).Processed
			at := p.lastSecond(q, fmt.Sprintf(`"processed":%d`, n), fmt.Sprintf(`"processed":%d`, n-1))
			return []planted{{PartialFolded, p.app + ".changelog", q, at, fmt.Sprintf("between the stages, %s/%d from offset", p.sent(), q)}}
		}},
		{"sources behind", func(p *place) []planted {
			q := p.q("one")
			at := p.lastSecond(q, `"sources":{"0":2`, `"sources":{"0":1`)
			return []planted{{PartialFolded, p.app + ".changelog", q, at, "the events that the position record has in it"},
				{PartialDoubled, p.sent(), q, p.last(p.sent(), "one").Offset, "counted twice between the stages"},
				{PartialLost, p.in, 0, 1, "lost between the stages: the first stage has dealt with this event"}}
		}},
		{"sources ahead", func(p *place) []planted {
			q := p.q("one")
			at := p.lastSecond(q, `"sources":{"0":2`, `"sources":{"0":9`)
			return []planted{{PartialFolded, p.app + ".changelog", q, at, "map[0:9"}}
		}},
		{"sources that lie", func(p *place) []planted {
			q := p.q("one")
			p.resend(func(r *kgo.Record) []*kgo.Record {
				if r.Partition == q && r.Key[1] == kindSources {
					r.Value = bytes.Replace(r.Value, []byte{0, 2}, []byte{0, 3}, 1)
				}
				return []*kgo.Record{r}
			})
			return []planted{{PartialFolded, p.app + ".changelog", q, p.secondAt(q).offset, "the recount says map[0:3"}}
		}},
		{"partial lost", func(p *place) []planted {
			q, lost := p.q("two"), false
			p.resend(func(r *kgo.Record) []*kgo.Record {
				if isPartial(r, "two") {
					lost = true
					return nil
				}
				return []*kgo.Record{r}
			})
			if !lost {
				p.t.Fatal("there is no partial of two")
			}
			return []planted{{PartialLost, p.in, 0, 0, fmt.Sprintf(`["two"] lost between the stages: %s/%d has nothing of this event`, p.sent(), q)},
				{PartialFolded, p.app + ".changelog", q, p.secondAt(q).offset, "partials folded"}}
		}},
		{"one of several partials lost", func(p *place) []planted {
			at := p.last(p.sent(), "one").Offset
			var before int64
			p.resend(func(r *kgo.Record) []*kgo.Record {
				if isPartial(r, "one") && r.Offset == at {
					return nil
				}
				if isPartial(r, "one") {
					before = r.Offset
				}
				return []*kgo.Record{r}
			})
			return []planted{{PartialLost, p.sent(), p.q("one"), before, `["one"] lost between the stages`}}
		}},
		{"partial doubled", func(p *place) []planted {
			q, at := p.q("one"), p.last(p.sent(), "one").Offset
			first := true
			p.resend(func(r *kgo.Record) []*kgo.Record {
				if isPartial(r, "one") && first {
					first = false
					r.Value[len(r.Value)-1] += 4
				}
				return []*kgo.Record{r}
			})
			return []planted{{PartialDoubled, p.sent(), q, at, `["one"] counted twice between the stages`}}
		}},
		{"partial of another partition", func(p *place) []planted {
			at := p.last(p.sent(), "two")
			copied := &kgo.Record{Partition: 1 - at.Partition, Key: at.Key, Value: at.Value}
			p.send(p.sent(), copied)
			return []planted{{PartialForeign, p.sent(), copied.Partition, copied.Offset, `a partial of ["two"], which belongs to partition`}}
		}},
		{"foreign record between the stages", func(p *place) []planted {
			r := event(1, "x", "y")
			p.send(p.sent(), r)
			return []planted{{PartialForeign, p.sent(), 1, r.Offset, "the key 78"}}
		}},
		{"what was sent is there again", func(p *place) []planted {
			var of []*kgo.Record
			for _, r := range p.read(p.sent()) {
				if r.Partition == p.q("one") && r.Key[1] != kindBarrier {
					of = append(of, &kgo.Record{Partition: r.Partition, Key: r.Key, Value: r.Value})
				}
			}
			p.send(p.sent(), of...)
			return []planted{{PartialForeign, p.sent(), p.q("one"), of[len(of)-1].Offset, "the same events are there twice"},
				{PartialDoubled, p.sent(), p.q("one"), p.last(p.sent(), "one").Offset, `["one"] counted twice between the stages`}}
		}},
		{"lost in the counters", func(p *place) []planted {
			p.otherWords("one two", "one six")
			p.truncate(p.sent(), p.q("six"), p.secondAt(p.q("six")).Input)
			p.truncate(p.sent(), 1-p.q("six"), p.secondAt(1-p.q("six")).Input)
			return []planted{{PartialLost, p.in, 0, 0, `["six"] lost between the stages: counted last by this event`},
				{PartialDoubled, p.app + ".changelog", p.q("two"), p.lastValue("two").Offset, `["two"] counted between the stages`}}
		}},
		{"less in a counter", func(p *place) []planted {
			p.otherWords("one two", "one one two")
			p.truncate(p.sent(), p.q("one"), p.secondAt(p.q("one")).Input)
			return []planted{{PartialLost, p.app + ".changelog", p.q("one"), p.lastValue("one").Offset, `["one"] lost between the stages: the last value`}}
		}},
		{"offset of the input ahead", func(p *place) []planted {
			p.commit(0, 9)
			return []planted{{OffsetMoved, p.in, 0, 9, "has 2"}}
		}},
		{"offset of the repartition topic behind", func(p *place) []planted {
			p.commitOf(p.sent(), 1, 1)
			return []planted{{OffsetMoved, p.sent(), 1, 1, "the position record"}}
		}},
		{"offset of the repartition topic ahead", func(p *place) []planted {
			p.commitOf(p.sent(), 0, 99)
			return []planted{{OffsetMoved, p.sent(), 0, 99, "the position record"}}
		}},
		{"offsets missing", func(p *place) []planted {
			_, err := p.adm.DeleteGroup(p.ctx(), p.app)
			p.must(err)
			return []planted{{OffsetMissing, p.in, 0, 2, p.app}, {OffsetMissing, p.sent(), 1, p.secondAt(1).Input, p.app}}
		}},
		{"dead letter lost", func(p *place) []planted {
			p.without(p.app+".dead", "bad")
			return []planted{{DeadLost, p.in, 1, 0, "no dead letter"}}
		}},
		{"processed", func(p *place) []planted {
			p.rewrite(p.app+".changelog", func(all []*kgo.Record) []*kgo.Record {
				for _, r := range all {
					if r.Partition == 0 && r.Key[1] == kindPosition && r.Key[2] == 0 {
						r.Value = bytes.Replace(r.Value, []byte(`"processed":2`), []byte(`"processed":1`), 1)
					}
				}
				return all
			})
			return []planted{{EventsProcessed, p.app + ".changelog", 0, p.last(p.app+".changelog", `"stage":0,"partition":0`).Offset, "1, the recount says 2"}}
		}},
		{"store wrong", func(p *place) []planted {
			p.answering(func(g, v string) []string { return []string{g, strings.Replace(v, "3", "4", 1)} })
			return []planted{{StoreWrong, p.in, 1, 1, `["one"]`}}
		}},
		{"store missing", func(p *place) []planted {
			p.answering(func(g, v string) []string {
				if g == `["two"]` {
					return nil
				}
				return []string{g, v}
			})
			return []planted{{StoreMissing, p.in, 0, 0, `["two"]`}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := onFake(t)
			p.smallTwo()
			p.exact(p.audit(), 4)
			found := c.plant(p)
			r := p.audit()
			for _, d := range found {
				p.finds(r, d.kind, d.topic, d.partition, d.offset, d.says)
			}
		})
	}
}
