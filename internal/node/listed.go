package node

import (
	"sync"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/replication/ownership"
)

// listing keeps what was made of the log's apps for who asks a node at which they are not open.
type listing struct {
	mu   sync.Mutex
	made map[string]listedApp // by name; of no more apps than the log has had since this node began
}

type listedApp struct {
	of  *ownership.App // which does not change
	app *api.App
}

// Listed is an app of the log that is not open here. What the log says is worth nothing before this
// process has heard what became of it meanwhile, and while the app is being reset.
func (v view) Listed(name string) *api.App {
	n := v.n
	rec := n.cluster.State().Apps[name]
	if rec == nil || rec.Halted != "" || len(rec.Lanes) == 0 || !n.cluster.WasIn() {
		return nil
	}
	n.listed.mu.Lock()
	defer n.listed.mu.Unlock()
	if was := n.listed.made[name]; was.of == rec {
		return was.app
	}
	s, err := spec.Parse([]byte(rec.Spec), "the stored spec of app "+name)
	if err != nil {
		return nil // of a release that is not this one
	}
	n.listed.made[name] = listedApp{rec, n.makeListed(rec, s)}
	return n.listed.made[name].app
}

func (n *Node) makeListed(rec *ownership.App, s *spec.Spec) *api.App {
	a := &api.App{
		Name: rec.Name, ID: rec.ID, Generation: rec.Generation, Spec: s, Program: spec.Compile(s),
		Input: s.Input.Topic, Source: s.Input.Topic, Repartitions: rec.Repartitions, LaneCount: len(rec.Lanes),
		Partitions: rec.Partitions, Standbys: rec.Standbys, Partitioners: partitioners(), Listed: true,
	}
	if rec.Repartitions > 0 {
		a.Source = spec.RepartitionTopic(rec.Name)
	}
	open := func() *api.App {
		for _, now := range n.Apps() {
			if now.Name == a.Name && now.ID == a.ID && now.Generation == a.Generation {
				return now
			}
		}
		return nil
	}
	a.Lanes = func() []api.LaneView {
		if now := open(); now != nil {
			return now.Lanes()
		}
		return nil
	}
	a.Look = func() {
		if now := open(); now != nil {
			now.Look()
		}
	}
	return a
}
