package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// small counts four events and stops: partition 0 has `ann: one two` and, in a later transaction,
// `ann: one`; partition 1 has at offset 0 an event that cannot be read, and `bob: three`. What the
// node said before its end is what p.node says from now on.
func (p *place) small() {
	p.t.Helper()
	p.topic(p.in, 2)
	n := p.start()
	p.send(p.in, event(0, "ann", "one two"), event(1, "bob", "bad \xff"), event(1, "bob", "three"))
	n.settled(3)
	p.send(p.in, event(0, "ann", "one"))
	n.settled(4)
	p.keepAnswer()
	n.stop()
}

// keepAnswer lets the node say what it says now, from now on.
func (p *place) keepAnswer() {
	p.t.Helper()
	var said []string
	at, err := p.node.Scan(p.ctx(), func(group, values json.RawMessage) error {
		said = append(said, string(group), string(values))
		return nil
	})
	p.must(err)
	p.node.Scan = func(_ context.Context, fn func(group, values json.RawMessage) error) (map[int32]int64, error) {
		for pair := range slices.Chunk(said, 2) {
			if err := fn([]byte(pair[0]), []byte(pair[1])); err != nil {
				return nil, err
			}
		}
		return at, nil
	}
}

// answering lets the node say something else.
func (p *place) answering(change func(group, values string) []string) {
	scan := p.node.Scan
	p.node.Scan = func(ctx context.Context, fn func(group, values json.RawMessage) error) (map[int32]int64, error) {
		return scan(ctx, func(group, values json.RawMessage) error {
			for pair := range slices.Chunk(change(string(group), string(values)), 2) {
				if err := fn([]byte(pair[0]), []byte(pair[1])); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// last is the last record of a topic that holds the text in its key or value.
func (p *place) last(topic, text string) *kgo.Record {
	p.t.Helper()
	var last *kgo.Record
	for _, r := range p.read(topic) {
		if bytes.Contains(r.Value, []byte(text)) || bytes.Contains(r.Key, []byte(text)) {
			last = r
		}
	}
	if last == nil {
		p.t.Fatalf("%s has no record with %q", topic, text)
	}
	return last
}

// replaced makes a topic anew with other values; it fails when nothing was to be replaced.
func (p *place) replaced(topic, old, new string) {
	p.t.Helper()
	done := 0
	p.rewrite(topic, func(all []*kgo.Record) []*kgo.Record {
		for _, r := range all {
			done += bytes.Count(r.Value, []byte(old)) + bytes.Count(r.Key, []byte(old))
			r.Value = bytes.ReplaceAll(r.Value, []byte(old), []byte(new))
			r.Key = bytes.ReplaceAll(r.Key, []byte(old), []byte(new))
		}
		return all
	})
	if done == 0 {
		p.t.Fatalf("%s has no %q", topic, old)
	}
}

// without makes a topic anew without the records that hold the text.
func (p *place) without(topic, text string) {
	p.t.Helper()
	before := len(p.read(topic))
	p.rewrite(topic, func(all []*kgo.Record) []*kgo.Record {
		return slices.DeleteFunc(all, func(r *kgo.Record) bool {
			return bytes.Contains(r.Value, []byte(text)) || bytes.Contains(r.Key, []byte(text))
		})
	})
	if len(p.read(topic)) == before {
		p.t.Fatalf("%s has no %q", topic, text)
	}
}

// like sends a record like the last one that holds the text, changed, and gives its offset.
func (p *place) like(topic, text string, change func(*kgo.Record)) int64 {
	p.t.Helper()
	r := p.last(topic, text)
	copied := &kgo.Record{Partition: r.Partition, Key: bytes.Clone(r.Key), Value: bytes.Clone(r.Value), Headers: slices.Clone(r.Headers), Timestamp: r.Timestamp}
	change(copied)
	p.send(topic, copied)
	return copied.Offset
}

func same(*kgo.Record) {}

func value(text string) func(*kgo.Record) {
	return func(r *kgo.Record) { r.Value = []byte(text) }
}

func withHeader(name, value string) func(*kgo.Record) {
	return func(r *kgo.Record) {
		for i := range r.Headers {
			if r.Headers[i].Key == name {
				r.Headers[i].Value = []byte(value)
			}
		}
	}
}

// lastPosition changes the last position record of the first stage in a partition.
func (p *place) lastPosition(partition int32, old, new string) int64 {
	p.t.Helper()
	return p.lastOfStage(0, partition, old, new)
}

func (p *place) lastOfStage(stage byte, partition int32, old, new string) int64 {
	p.t.Helper()
	mine := func(r *kgo.Record) bool {
		return r.Partition == partition && r.Key[1] == kindPosition && r.Key[2] == stage
	}
	done := false
	p.rewrite(p.app+".changelog", func(all []*kgo.Record) []*kgo.Record {
		for _, r := range slices.Backward(all) {
			if mine(r) {
				done = bytes.Contains(r.Value, []byte(old))
				r.Value = bytes.Replace(r.Value, []byte(old), []byte(new), 1)
				break
			}
		}
		return all
	})
	if !done {
		p.t.Fatalf("the position record has no %q", old)
	}
	at := int64(-1)
	for _, r := range p.read(p.app + ".changelog") {
		if mine(r) {
			at = r.Offset
		}
	}
	return at
}

func (p *place) commit(partition int32, offset int64) {
	p.t.Helper()
	os := kadm.Offsets{}
	os.AddOffset(p.in, partition, offset, -1)
	p.must(p.adm.CommitAllOffsets(p.ctx(), p.app, os))
}

// planted is where a difference has to be named.
type planted struct {
	kind      Kind
	topic     string
	partition int32
	offset    int64
	says      string
}

// Each kind of difference is planted, and has to be named with partition and offset.
func TestPlanted(t *testing.T) {
	for _, c := range []struct {
		name  string
		plant func(p *place) []planted
	}{
		{"output wrong", func(p *place) []planted {
			p.replaced(p.out, `{"item":"one","count":2}`, `{"item":"one","count":5}`)
			return []planted{{OutputWrong, p.out, 0, p.last(p.out, `"count":5`).Offset, `["ann","one"] the last output: {"count":5}, the recount says {"count":2}`}}
		}},
		{"output missing", func(p *place) []planted {
			p.without(p.out, `"two"`)
			return []planted{{OutputMissing, p.in, 0, 0, `["ann","two"]`}}
		}},
		{"output's last missing", func(p *place) []planted {
			p.without(p.out, `{"item":"one","count":2}`)
			return []planted{{OutputWrong, p.out, 0, p.last(p.out, `"one"`).Offset, `{"count":1}, the recount says {"count":2}`}}
		}},
		{"output extra", func(p *place) []planted {
			at := p.like(p.out, `"one"`, value(`{"item":"nine","count":1}`))
			return []planted{{OutputExtra, p.out, 0, at, `["ann","nine"] what the input does not have: {"count":1}, the recount says nothing`}}
		}},
		{"output doubled", func(p *place) []planted {
			return []planted{{OutputDoubled, p.out, 0, p.like(p.out, `"two"`, same), `["ann","two"]`}}
		}},
		{"output fell", func(p *place) []planted {
			at := p.like(p.out, `"one"`, value(`{"item":"one","count":1}`))
			return []planted{{OutputFell, p.out, 0, at, "the count count goes from 2 to 1"}, {OutputWrong, p.out, 0, at, `["ann","one"]`}}
		}},
		{"output without headers", func(p *place) []planted {
			at := p.like(p.out, `"one"`, func(r *kgo.Record) { r.Headers, r.Value = nil, []byte("hello") })
			return []planted{{OutputForeign, p.out, 0, at, "without the headers"}}
		}},
		{"output of another partition", func(p *place) []planted {
			return []planted{{OutputForeign, p.out, 0, p.like(p.out, `"one"`, withHeader("tally.partition", "1")), `tally.partition is "1"`}}
		}},
		{"output of a later generation", func(p *place) []planted {
			return []planted{{OutputForeign, p.out, 0, p.like(p.out, `"one"`, withHeader("tally.generation", "2")), "generation 2"}}
		}},
		{"output of an earlier generation behind", func(p *place) []planted {
			return []planted{{OutputForeign, p.out, 0, p.like(p.out, `"one"`, withHeader("tally.generation", "0")), "generation 0"}}
		}},
		{"output that is no JSON", func(p *place) []planted {
			return []planted{{OutputForeign, p.out, 1, p.like(p.out, `"three"`, value("3")), "object"}}
		}},
		{"output with blanks", func(p *place) []planted {
			return []planted{{OutputForeign, p.out, 1, p.like(p.out, `"three"`, value(`{"item":"three", "count":2}`)), `have no "count"`}}
		}},
		{"output with a fraction", func(p *place) []planted {
			return []planted{{OutputWrong, p.out, 1, p.like(p.out, `"three"`, value(`{"item":"three","count":2.0}`)), "2.0"}}
		}},
		{"changelog wrong", func(p *place) []planted {
			at := p.like(p.app+".changelog", "three", func(r *kgo.Record) { r.Value[len(r.Value)-1] += 2 })
			return []planted{{ChangelogWrong, p.app + ".changelog", 1, at, `{"count":2}, the recount says {"count":1}`},
				{ChangelogForeign, p.app + ".changelog", 1, at, "behind the last position record"}}
		}},
		{"changelog wrong within a transaction", func(p *place) []planted {
			p.rewrite(p.app+".changelog", func(all []*kgo.Record) []*kgo.Record {
				for _, r := range all {
					if bytes.Contains(r.Key, []byte("three")) {
						r.Value[len(r.Value)-1] += 2
					}
				}
				return all
			})
			return []planted{{ChangelogWrong, p.app + ".changelog", 1, p.last(p.app+".changelog", "three").Offset, `["bob","three"]`}}
		}},
		{"changelog missing", func(p *place) []planted {
			p.without(p.app+".changelog", "two")
			return []planted{{ChangelogMissing, p.in, 0, 0, `["ann","two"]`}}
		}},
		{"changelog extra", func(p *place) []planted {
			p.replaced(p.app+".changelog", "two", "six")
			return []planted{{ChangelogMissing, p.in, 0, 0, `["ann","two"]`},
				{ChangelogExtra, p.app + ".changelog", 0, p.last(p.app+".changelog", "six").Offset, `["ann","six"]`}}
		}},
		{"changelog foreign", func(p *place) []planted {
			r := event(1, "x", "y")
			p.send(p.app+".changelog", r)
			return []planted{{ChangelogForeign, p.app + ".changelog", 1, r.Offset, "the key 78"}}
		}},
		{"changelog of another generation", func(p *place) []planted {
			at := p.like(p.app+".changelog", "three", withHeader("tally.generation", "7"))
			return []planted{{ChangelogForeign, p.app + ".changelog", 1, at, "7"}}
		}},
		{"position of other groups", func(p *place) []planted {
			at := p.lastPosition(0, `"groups":2`, `"groups":3`)
			return []planted{{PositionGroups, p.app + ".changelog", 0, at, "3 groups"}}
		}},
		{"position of another digest", func(p *place) []planted {
			at := p.lastPosition(1, `"digest":"`, `"digest":"1`)
			return []planted{{PositionGroups, p.app + ".changelog", 1, at, "digest"}}
		}},
		{"position twice", func(p *place) []planted {
			at := p.like(p.app+".changelog", `"partition":1`, same)
			return []planted{{PositionOrder, p.app + ".changelog", 1, at, "goes back"}}
		}},
		{"processed", func(p *place) []planted {
			at := p.lastPosition(0, `"processed":2`, `"processed":1`)
			return []planted{{EventsProcessed, p.app + ".changelog", 0, at, "1, the recount says 2"}}
		}},
		{"filtered", func(p *place) []planted {
			at := p.lastPosition(0, `"filtered":0`, `"filtered":1`)
			return []planted{{EventsFiltered, p.app + ".changelog", 0, at, "1, the recount says 0"}}
		}},
		{"dead counter", func(p *place) []planted {
			at := p.lastPosition(1, `"dead":1`, `"dead":0`)
			return []planted{{EventsUnreadable, p.app + ".changelog", 1, at, "0, the recount says 1"}, {DeadExtra, p.app + ".dead", 1, 2, "1 dead letters"}}
		}},
		{"offset ahead", func(p *place) []planted {
			p.commit(0, 9)
			return []planted{{OffsetMoved, p.in, 0, 9, "has 2"}}
		}},
		{"offset behind", func(p *place) []planted {
			p.commit(1, 1)
			return []planted{{OffsetMoved, p.in, 1, 1, "has 2"}}
		}},
		{"offsets missing", func(p *place) []planted {
			_, err := p.adm.DeleteGroup(p.ctx(), p.app)
			p.must(err)
			return []planted{{OffsetMissing, p.in, 0, 2, p.app}, {OffsetMissing, p.in, 1, 2, p.app}}
		}},
		{"dead letter lost", func(p *place) []planted {
			p.without(p.app+".dead", "bad")
			return []planted{{DeadLost, p.in, 1, 0, "no dead letter"}}
		}},
		{"dead letter twice", func(p *place) []planted {
			return []planted{{DeadDoubled, p.app + ".dead", 1, p.like(p.app+".dead", "bad", same), p.in + "/1 offset 0"}}
		}},
		{"dead letter changed", func(p *place) []planted {
			p.replaced(p.app+".dead", "bad", "sad")
			return []planted{{DeadChanged, p.app + ".dead", 1, p.last(p.app+".dead", "sad").Offset, p.in + "/1 offset 0"}}
		}},
		{"dead letter of a readable event", func(p *place) []planted {
			at := p.like(p.app+".dead", "bad", withHeader("offset", "1"))
			return []planted{{DeadExtra, p.app + ".dead", 1, at, "can be read"}}
		}},
		{"dead letter of no event", func(p *place) []planted {
			at := p.like(p.app+".dead", "bad", func(r *kgo.Record) { r.Partition = 0; withHeader("partition", "0")(r); withHeader("offset", "1")(r) })
			return []planted{{DeadExtra, p.app + ".dead", 0, at, "can be read"}}
		}},
		{"dead letter of elsewhere", func(p *place) []planted {
			return []planted{{DeadForeign, p.app + ".dead", 1, p.like(p.app+".dead", "bad", withHeader("topic", "else")), "else/1"}}
		}},
		{"store wrong", func(p *place) []planted {
			p.answering(func(g, v string) []string { return []string{g, strings.Replace(v, "2", "3", 1)} })
			return []planted{{StoreWrong, p.in, 0, 1, `["ann","one"]`}}
		}},
		{"store missing", func(p *place) []planted {
			p.answering(func(g, v string) []string {
				if g == `["ann","two"]` {
					return nil
				}
				return []string{g, v}
			})
			return []planted{{StoreMissing, p.in, 0, 0, `["ann","two"]`}}
		}},
		{"store extra", func(p *place) []planted {
			p.answering(func(g, v string) []string { return []string{g, v, strings.Replace(g, "two", "six", 1), v} })
			return []planted{{StoreExtra, p.in, 0, -1, `["ann","six"]`}}
		}},
		{"store doubled", func(p *place) []planted {
			p.answering(func(g, v string) []string { return []string{g, v, g, v} })
			return []planted{{StoreDoubled, p.in, 0, -1, "twice"}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := onFake(t)
			p.small()
			p.exact(p.audit(), 4)
			for _, d := range c.plant(p) {
				r := p.audit()
				p.finds(r, d.kind, d.topic, d.partition, d.offset, d.says)
				if strings.HasPrefix(c.name, "store") {
					p.node = nil
				}
			}
		})
	}
}

// Of each kind the first differences are kept, and all are counted.
func TestDifferencesAreBounded(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 1)
	var events []*kgo.Record
	for i := range 50 {
		events = append(events, event(0, fmt.Sprint(i), "x"))
	}
	p.counted(events...)
	p.without(p.out, `"count":1`)
	r := p.audit()
	if len(r.Differences) != 10 || r.Found != 50 || r.Verdict != Differences {
		t.Errorf("%d of %d", len(r.Differences), r.Found)
	}
}
