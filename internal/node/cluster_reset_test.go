package node

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/step"
)

// countedAnew waits until a generation has counted the events, at every node and in the output.
func (b *band) countedAnew(generation int, events []*kgo.Record) {
	b.t.Helper()
	b.until("the generation runs", func(st api.Status) error {
		if a := st.Apps[0]; a.Generation != generation || !allRun(a) {
			return fmt.Errorf("generation %d: %+v", a.Generation, a.Lanes)
		}
		return nil
	})
	b.counted(events)
	until(b.t, func() error {
		if got, want := b.outputsOf(generation), count(events); !maps.Equal(got, want) {
			return fmt.Errorf("the output of generation %d\n got %v\nwant %v", generation, got, want)
		}
		for _, n := range b.alive() {
			if _, err := os.Stat(filepath.Join(n.dir, "apps", b.app+".reset.json")); !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("the intent is left in %s (%v)", n.dir, err)
			}
		}
		return nil
	})
}

// Any node may be asked for a reset. All nodes stop; the new generation is owned again, followed
// again, and counts exactly; and so is the one after it.
func TestBandResets(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(3, standbys(1))
	load := p.stream(4)
	b.nodes[0].until("it counts", func(st api.Status) bool { return len(st.Apps) == 1 && st.Apps[0].Processed > 20 })
	answer := b.nodes[2].reset(api.ResetRequest{})
	if answer.Generation != 2 || !answer.Done {
		t.Errorf("the answer: %+v", answer)
	}
	b.whole()
	sent := load()
	b.countedAnew(2, sent)
	b.nodes[1].reset(api.ResetRequest{})
	b.whole()
	b.countedAnew(3, sent)
}

// A node that dies while it carries out a reset leaves the app halted, and the status says which
// node has it in hand; that node ends it when it is back.
func TestBandResetCutOff(t *testing.T) {
	for _, at := range []step.Name{step.ResetIntent, step.ResetFenced, step.ResetTopics} {
		t.Run(string(at), func(t *testing.T) {
			p := onFake(t)
			p.topic(p.in, 4)
			var nodes [3]*tally
			b := p.band(3, standbys(1), func(c *Config) {
				name := c.Name
				c.Step = func(s step.Name) {
					if s == at && name == "node-b" {
						nodes[1].cancel()
					}
				}
			})
			copy(nodes[:], b.nodes)
			sent := b.events(100, 0)
			b.send(sent...)
			b.counted(sent)
			_, _ = b.nodes[1].client.Reset(p.ctx(), p.app, api.ResetRequest{}) // whatever it is told
			p.must(b.nodes[1].end())
			b.nodes[1] = b.launch(1, inDir(b.nodes[1].dir), standbys(1))
			b.whole()
			b.countedAnew(2, sent)
		})
	}
}
