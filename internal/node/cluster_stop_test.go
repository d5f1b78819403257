package node

import (
	"fmt"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/testkafka"
	"github.com/tally-kafka/tally/processor/spec"
)

// Two of three nodes are told to stop at once, one of which has not got as far as being a member
// again: the third has all lanes and can still decide, and the two get their part back.
func TestBandStopsTogether(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(3, standbys(1))
	sent := b.events(100, 0)
	b.send(sent...)
	b.nodes[1].stop()
	b.whole()
	early := b.launch(1, inDir(b.nodes[1].dir), func(c *Config) {
		c.Brokers, c.UnreachableAt = []string{testkafka.FreeAddr(t)}, 200*time.Millisecond
	})
	until(t, func() error {
		if early.log.count("Kafka does not answer") == 0 {
			return fmt.Errorf("it has not begun")
		}
		return nil
	})
	early.cancel()
	b.nodes[2].cancel()
	for _, n := range []*tally{early, b.nodes[2]} {
		if err := n.end(); err != nil {
			t.Errorf("the stop of %s: %v", n.url, err)
		}
		if said := n.log.count("ends with its vote"); said > 0 {
			t.Errorf("%s has kept its vote", n.url)
		}
	}
	b.whole()
	_, err := b.nodes[0].client.Drain(b.ctx(), "node-b", api.DrainRequest{Undo: true})
	p.must(err)
	_, err = b.nodes[0].client.Drain(b.ctx(), "node-a", api.DrainRequest{Undo: true})
	p.must(err)
	more := b.events(100, 100)
	b.send(more...)
	sent = append(sent, more...)
	b.counted(sent)
	for _, i := range []int{1, 2} {
		b.nodes[i] = b.launch(i, inDir(b.nodes[i].dir), func(c *Config) { c.Specs = []*spec.Spec{} })
		b.until("it has a lane again", b.hasLane(nodeName(i)))
	}
	b.whole()
	b.counted(sent)
}

// A node that ends while nobody can decide says what remains.
func TestStopWithoutMajority(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	seeds := []string{testkafka.FreeAddr(t), testkafka.FreeAddr(t)}
	hasty := func(d time.Duration) option { return func(c *Config) { c.HandOverMax, c.DepartMax = d, d } }
	first := p.launch(listening(seeds[0]), joined(seeds), named("node-a"), hasty(1)) // as good as a kill
	second := p.launch(listening(seeds[1]), joined(seeds), named("node-b"), hasty(200*time.Millisecond))
	first.isReady()
	second.isReady()
	first.stop()
	second.stop()
	if second.log.count("run `tally node forget node-b`", "still votes") == 0 {
		t.Errorf("it does not say what remains:\n%s", second.log)
	}
}
