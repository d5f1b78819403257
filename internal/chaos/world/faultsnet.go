package world

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/link"
	"github.com/tally-kafka/tally/internal/chaos/plan"
	"github.com/tally-kafka/tally/internal/testkafka"
)

// others are the places that a fault of the network is about, beside its target.
func (f *fault) others(whom string) (places []string) {
	peers, brokers := []string{}, []string{}
	for name := range f.w.nodes {
		if name != f.hurt[0] {
			peers = append(peers, name)
		}
	}
	for id := 1; id <= Brokers; id++ {
		brokers = append(brokers, brokerName(id))
	}
	switch {
	case whom == "peers":
		return peers
	case whom == "kafka":
		return brokers
	case whom == "all":
		return append(append(peers, brokers...), placeReaders)
	case whom == "node "+f.hurt[0]:
		return peers
	}
	return []string{strings.TrimPrefix(whom, "node ")}
}

// rule is what a fault does to the network.
func (f *fault) rule() link.Rule {
	switch f.Kind {
	case plan.Cut:
		return link.Rule{Cut: true}
	case plan.Slow:
		return link.Rule{Delay: time.Duration(5+f.rand.IntN(150)) * time.Millisecond, BytesPerSecond: 20_000 + f.rand.IntN(300_000)}
	case plan.Lossy:
		return link.Rule{StallPerMille: 20 + f.rand.IntN(80), StallFor: time.Duration(50+f.rand.IntN(400)) * time.Millisecond,
			ResetPerMille: f.rand.IntN(30)}
	}
	return link.Rule{Frozen: true}
}

// heal ends what a rule does, and counts what it has hit.
func (f *fault) heal(end func() (hits int64)) { f.rec.Effects += end() }

// cut breaks the network between a node and others, in both directions, in one of many ways.
func (f *fault) cut(ctx context.Context) error {
	if err := f.choose(ctx); err != nil {
		return err
	}
	rule := f.rule()
	for _, other := range f.others(f.Param) {
		defer f.heal(f.w.links.BreakBoth(f.hurt[0], other, rule))
	}
	f.came(0)
	f.release()
	f.last(ctx)
	return nil
}

// oneWay loses what a node sends to others, or what they send to it.
func (f *fault) oneWay(ctx context.Context) error {
	if err := f.choose(ctx); err != nil {
		return err
	}
	direction, whom, _ := strings.Cut(f.Param, " ")
	for _, other := range f.others(whom) {
		from, to := f.hurt[0], other
		if direction == "from" {
			from, to = to, from
		}
		defer f.heal(f.w.links.Break(from, to, link.Rule{Frozen: true}))
	}
	f.came(0)
	f.release()
	f.last(ctx)
	return nil
}

// requests are the keys of the requests that the schedule names.
var requests = map[string]int16{
	"EndTxn": testkafka.KeyEndTxn, "Produce": testkafka.KeyProduce, "TxnOffsetCommit": testkafka.KeyTxnOffsetCommit,
	"InitProducerID": testkafka.KeyInitProducerID, "Fetch": testkafka.KeyFetch,
}

// drop loses the answers to some requests of a kind, at every broker; the brokers have done them.
func (f *fault) drop(ctx context.Context) error {
	key, ok := requests[f.Param]
	if !ok {
		return fmt.Errorf("there is no request %q", f.Param)
	}
	f.hurt = []string{"brokers"}
	f.came(0)
	var hits []*testkafka.Hits
	for id := 1; id <= Brokers; id++ {
		hits = append(hits, f.w.cluster.Proxy(id).Fail(testkafka.Fault{Key: key, Do: testkafka.DropAnswer, Skip: f.rand.IntN(20), Times: 2}))
	}
	if key == testkafka.KeyInitProducerID {
		f.moveHere(ctx, f.w.nodes[pick(f.rand, f.w.opt.Nodes...)])
	}
	f.last(ctx)
	for _, h := range hits {
		h.Remove()
		f.rec.Effects += int64(h.Count())
	}
	return nil
}
