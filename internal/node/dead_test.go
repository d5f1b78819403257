package node

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/dead"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

// What the processor writes as a dead letter is read and replayed, and one that dies again says
// which letter it was. A reset deletes the letters.
func TestDeadLettersReplayed(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	bad := &kgo.Record{Partition: 1, Key: []byte("k"), Value: []byte("no number"), Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("t")}}}
	p.send(placed(2, "a", "{\"n\":1}"), bad)
	n := p.start(running(p.spec("app: $APP\ninput: {topic: $IN, format: json}\ngroup: [key]\naggregates: {n: {sum: n}}\n")))
	if st := n.settled(2); st.Dead != 1 || st.Processed != 1 {
		t.Fatalf("%+v", st)
	}
	box, err := dead.Open(p.ctx(), kafka.Config{Brokers: p.addrs, Seam: seam.World()}, p.app)
	p.must(err)
	defer box.Close()
	list := func() (all []dead.Letter) {
		until(t, func() error { // readers see a transaction a little after its end
			all = nil
			if err := box.Each(p.ctx(), func(l dead.Letter) error { all = append(all, l); return nil }); err != nil {
				return err
			}
			if len(all) == 0 {
				return fmt.Errorf("no letter")
			}
			return nil
		})
		return all
	}
	l := list()[0]
	if l.Foreign || l.Topic != p.in || l.SourcePartition != 1 || l.SourceOffset != bad.Offset || l.EventMs != bad.Timestamp.UnixMilli() ||
		l.Generation != "1" || l.Error == "" || string(l.Value) != "no number" || len(l.Headers) != 1 {
		t.Errorf("%+v", l)
	}
	plan, err := box.Plan(p.ctx(), dead.Choice{})
	p.must(err)
	if sent, err := plan.Send(p.ctx()); sent != 1 || err != nil {
		t.Fatalf("%d, %v", sent, err)
	}
	if st := n.settled(3); st.Dead != 2 {
		t.Fatalf("%+v", st)
	}
	var again dead.Letter
	until(t, func() error {
		for _, l := range list() {
			if l.ReplayOf != "" {
				again = l
				return nil
			}
		}
		return fmt.Errorf("no letter of a replay")
	})
	if want := fmt.Sprintf("%s.dead/%d/%d", p.app, l.Partition, l.Offset); again.ReplayOf != want || again.EventMs != l.EventMs ||
		len(again.Headers) != 1 {
		t.Errorf("%+v", again)
	}
	if plan, err = box.Plan(p.ctx(), dead.Choice{Places: []dead.Place{l.Place}}); err != nil || plan.Len() != 0 || len(plan.Before) != 1 {
		t.Errorf("%+v, %v", plan, err)
	}
	n.reset(api.ResetRequest{})
	if st := n.settled(3); st.Dead != 2 || st.Generation != 2 {
		t.Errorf("%+v", st)
	}
	until(t, func() error {
		if all := list(); len(all) != 2 || all[0].Generation != "2" || all[1].Generation != "2" {
			return fmt.Errorf("the letters of the new generation: %+v", all)
		}
		return nil
	})
}
