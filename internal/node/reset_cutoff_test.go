package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/step"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/replication/ownership"
)

// resetCutOff asks for a reset in which the node ends at a step, and returns what was on disk then.
func resetCutOff(p *place, at step.Name, req api.ResetRequest) (n *tally, intent []byte) {
	p.t.Helper()
	var hit atomic.Bool
	var crash atomic.Value
	n = p.launch(inDir(p.t.TempDir()), func(c *Config) {
		file := filepath.Join(c.DataDir, "apps", p.app+".reset.json")
		c.Step = func(s step.Name) {
			if s == at && !hit.Swap(true) {
				intent, _ = os.ReadFile(file)
				crash.Load().(func())()
			}
		}
	})
	crash.Store(func() { n.cancel() })
	n.ready()
	n.settled(int64(len(p.read(p.in))))
	_, _ = n.client.Reset(p.ctx(), p.app, req) // whatever it is told
	n.p.must(n.end())
	if !hit.Load() || len(intent) == 0 {
		p.t.Fatalf("the node has not ended at %s", at)
	}
	return n, intent
}

// Whatever step a reset is cut off at, the next start ends it.
func TestResetCutOff(t *testing.T) {
	for _, at := range step.Resets {
		t.Run(string(at), func(t *testing.T) {
			p := onFake(t)
			p.topic(p.in, 3)
			events := sentences(3, 60)
			p.send(events...)
			n, intent := resetCutOff(p, at, api.ResetRequest{})
			if at == step.ResetDone { // killed before it was removed
				p.must(os.WriteFile(filepath.Join(n.dir, "apps", p.app+".reset.json"), intent, 0o644))
			}
			more := sentences(3, 12)
			p.send(more...)
			events = append(events, more...)
			n = p.start(inDir(n.dir), func(c *Config) { c.Specs = []*spec.Spec{} }) // the specs of the data dir
			n.rightIn(2, events, 0, 0, 0)
		})
	}
}

// The start offsets are those of the time of the reset, not of the start that ends it.
func TestResetCutOffKeepsOffsets(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 1)
	p.send(event(0, "a", "x"), event(0, "a", "y"))
	n, _ := resetCutOff(p, step.ResetOffsets, api.ResetRequest{From: "latest"})
	after := []*kgo.Record{event(0, "a", "z")}
	p.send(after...)
	n = p.start(inDir(n.dir))
	n.rightIn(2, after, 2)
}

// A reset that was cut off does not end the work of a node that has counted on since.
func TestResetOvertaken(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	p.send(event(0, "a", "x"), event(1, "b", "x"))
	n, _ := resetCutOff(p, step.ResetIntent, api.ResetRequest{})
	b := p.start(named("node-b"), takeover())
	p.send(event(0, "a", "y"))
	all := []*kgo.Record{event(0, "a", "x"), event(1, "b", "x"), event(0, "a", "y")}
	b.right(all)
	b.stop()
	says(t, p.refused(inDir(n.dir)), "node-b has counted", p.app+".reset.json")
	p.must(os.Remove(filepath.Join(n.dir, "apps", p.app+".reset.json")))
	p.start(inDir(n.dir)).right(all)
}

// An intent that outlived its reset, since a crash or a full disk kept it, deletes nothing of what
// the new generation has counted.
func TestResetIntentLeftBehind(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	var intent []byte
	n = p.start(inDir(n.dir), func(c *Config) {
		c.Step = func(s step.Name) {
			if s == step.ResetDone {
				intent, _ = os.ReadFile(filepath.Join(c.DataDir, "apps", p.app+".reset.json"))
			}
		}
	})
	n.reset(api.ResetRequest{})
	n.rightIn(2, events, 0, 0)
	n.stop()
	before, _, err := p.admin.Topic(p.ctx(), p.app+".changelog")
	p.must(err)
	p.must(os.WriteFile(filepath.Join(n.dir, "apps", p.app+".reset.json"), intent, 0o644))
	n = p.start(inDir(n.dir))
	n.rightIn(2, events, 0, 0)
	if after, _, err := p.admin.Topic(p.ctx(), p.app+".changelog"); err != nil || after.ID != before.ID {
		t.Errorf("the changelog was made again: %s, then %s, %v", before.ID, after.ID, err)
	}
	if got := restored(n.settled(3)); got != 0 {
		t.Errorf("the state was removed: %d records were replayed", got)
	}
}

// An intent that outlived its reset does not take back the spec that was submitted since.
func TestResetIntentBehindASubmit(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	file := filepath.Join(n.dir, "apps", p.app+".reset.json")
	var intent []byte
	n = p.start(inDir(n.dir), func(c *Config) {
		c.Step = func(s step.Name) {
			if s == step.ResetDone {
				intent, _ = os.ReadFile(file)
			}
		}
	})
	n.reset(api.ResetRequest{})
	n.rightIn(2, events, 0, 0)
	s := p.spec(wordcount + "on_error: skip\n")
	_, err := n.client.Submit(p.ctx(), p.app, s.YAML(), api.SubmitRequest{})
	p.must(err)
	n.stop()
	p.must(os.WriteFile(file, intent, 0o644))
	n = p.start(inDir(n.dir), noSpecs())
	n.rightIn(2, events, 0, 0)
	until(t, func() error {
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("the intent is left (%v)", err)
		}
		return nil
	})
	text, err := os.ReadFile(filepath.Join(n.dir, "apps", p.app+".yaml"))
	p.must(err)
	saysText(t, string(text), "on_error: skip")
}

// While a reset waits for its first positions, the app is opened with its own spec again, or the
// one that the process was given; with the cluster's, once another was submitted.
func TestSpecBehindAReset(t *testing.T) {
	t.Parallel()
	given := &spec.Spec{App: "x"}
	n := &Node{dir: &dataDir{path: t.TempDir()}}
	n.dir.id.ID = "me"
	in := &intent{App: "x", Node: "me", AppID: "id", Generation: 2, Spec: "of the reset", Start: []int64{0}}
	if err := n.dir.storeIntent(in); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, recorded string
		specs          []*spec.Spec
		want           string
	}{
		{"nothing was submitted", in.Spec, nil, in.Spec},
		{"a spec was given", in.Spec, []*spec.Spec{given}, string(given.YAML())},
		{"one was submitted", "submitted", nil, "submitted"},
		{"one was submitted behind that which was given", "submitted", []*spec.Spec{given}, "submitted"},
	} {
		n.cfg.Specs = c.specs
		rec := &ownership.App{Name: "x", ID: "id", Generation: 2, Spec: c.recorded, Intent: in.log()}
		if got, err := n.resumed(t.Context(), rec); err != nil || got != c.want {
			t.Errorf("%s: it opens %q, %v", c.what, got, err)
		}
	}
}

// The start of a spec that was changed after the cut-off is that of the new spec.
func TestResetCutOffThenOtherStart(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 1)
	p.send(event(0, "a", "x"))
	n, _ := resetCutOff(p, step.ResetState, api.ResetRequest{})
	n = p.start(inDir(n.dir), running(p.spec(strings.Replace(wordcount, "topic: $IN", "topic: $IN, start: latest", 1))))
	p.send(event(0, "a", "y"))
	n.rightIn(2, []*kgo.Record{event(0, "a", "y")}, 1)
}
