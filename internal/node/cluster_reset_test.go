package node

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/seam"
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

// resetCutOffAt is a band of which node-b was asked for a reset and ended at a step of it, and the
// events that were sent.
func (p *place) resetCutOffAt(at step.Name, req api.ResetRequest) (*band, []*kgo.Record) {
	var nodes [3]atomic.Pointer[tally]
	b := p.band(3, standbys(1), func(c *Config) {
		name := c.Name
		c.Step = func(s step.Name) {
			if s == at && name == nodeName(1) {
				nodes[1].Load().cancel()
			}
		}
	})
	nodes[1].Store(b.nodes[1])
	sent := b.events(100, 0)
	b.send(sent...)
	b.counted(sent)
	_, _ = b.nodes[1].client.Reset(p.ctx(), p.app, req) // whatever it is told
	p.must(b.nodes[1].end())
	return b, sent
}

// A node that dies at any step of a reset, and does not come back, leaves it to another, which ends
// it under the same generation and with the same first offsets. When the node comes back after all,
// it does nothing of the kind again.
func TestBandResetOfADeadNode(t *testing.T) {
	for _, at := range step.Resets {
		t.Run(string(at), func(t *testing.T) {
			keptByShort(t, at == step.ResetIntent || at == step.ResetOffsets || at == step.ResetChangelog)
			p := onFake(t)
			p.topic(p.in, 4)
			b, sent := p.resetCutOffAt(at, api.ResetRequest{From: "latest"})
			more := b.events(40, len(sent))
			b.send(more...)
			b.until("the generation runs without the node", func(st api.Status) error {
				if a := st.Apps[0]; a.Generation != 2 || !allRun(a) {
					return fmt.Errorf("generation %d: %+v", a.Generation, a.Lanes)
				}
				return nil
			})
			b.nodes[1] = b.launch(1, inDir(b.nodes[1].dir), standbys(1))
			b.whole()
			b.countedAnew(2, more)
		})
	}
}

// A node that loses Kafka in the middle of a reset leaves it to another, which ends it under the
// same generation; when Kafka is back, the first one does nothing of the kind again.
func TestBandResetOfANodeWithoutKafka(t *testing.T) {
	for _, at := range []step.Name{step.ResetIntent, step.ResetOffsets, step.ResetChangelog} {
		t.Run(string(at), func(t *testing.T) {
			keptByShort(t, at == step.ResetOffsets)
			p := onFake(t)
			p.topic(p.in, 4)
			line := &kafkaLine{}
			b := p.band(3, standbys(1), func(c *Config) {
				c.PassResetAfter = 2 * time.Second
				if c.Name != nodeName(1) {
					return
				}
				line.through(c)
				c.Step = func(s step.Name) {
					if s == at {
						line.set(true)
					}
				}
			})
			sent := b.events(100, 0)
			b.send(sent...)
			b.counted(sent)
			b.nodes[1].resetting(api.ResetRequest{}) // whatever it is told
			b.until("the generation runs without the node", func(st api.Status) error {
				if a := st.Apps[0]; a.Generation != 2 || !allRun(a) {
					return fmt.Errorf("generation %d: %+v", a.Generation, a.Lanes)
				}
				return nil
			})
			if b.nodes[1].log.count("a reset is left to another node") == 0 {
				t.Error("node-b has not left the reset to another node")
			}
			line.set(false)
			b.whole()
			b.countedAnew(2, sent)
		})
	}
}

// A node that ends at a step of a reset and is back at once ends it itself, or finds it ended.
func TestBandResetCutOff(t *testing.T) {
	for _, at := range []step.Name{step.ResetIntent, step.ResetFenced, step.ResetTopics} {
		t.Run(string(at), func(t *testing.T) {
			keptByShort(t, at == step.ResetTopics)
			p := onFake(t)
			p.topic(p.in, 4)
			b, sent := p.resetCutOffAt(at, api.ResetRequest{})
			b.nodes[1] = b.launch(1, inDir(b.nodes[1].dir), standbys(1))
			b.whole()
			b.countedAnew(2, sent)
		})
	}
}

// Every node begins the new generation where the reset says, not only the one that was asked.
func TestBandResetsFrom(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(3, standbys(1))
	old := b.events(40, 0)
	b.send(old...)
	b.counted(old)
	b.nodes[0].reset(api.ResetRequest{From: "latest"})
	b.whole()
	more := b.events(40, len(old))
	b.send(more...)
	b.countedAnew(2, more)
}

// A reset deletes the topics that its intent names by id, and none that was made since.
func TestResetSparesWhatIsNew(t *testing.T) {
	p := onFake(t)
	n := &Node{admin: p.admin, cfg: Config{Seam: seam.World()}}
	p.topic("x.dead", 1)
	old, _, err := p.admin.Topic(p.ctx(), "x.dead")
	p.must(err)
	in := &intent{App: "x", Doomed: map[string]string{"x.dead": old.ID}}
	there := func() bool {
		_, ok, err := p.admin.Topic(p.ctx(), "x.dead")
		p.must(err)
		return ok
	}
	p.must(n.deleteOld(p.ctx(), in, "x.dead"))
	if there() {
		t.Fatal("it was not deleted")
	}
	p.topic("x.dead", 1)
	p.must(n.deleteOld(p.ctx(), in, "x.dead"))
	p.must(n.deleteTopic(p.ctx(), old)) // as one does that has looked before the new one was made
	if !there() {
		t.Fatal("a topic that was made since was deleted")
	}
}
