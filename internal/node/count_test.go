package node

import (
	"testing"

	"github.com/tally-kafka/tally/internal/api"
)

// A node counts, stops, starts and goes on; its state can be removed at any stop.
func TestCountStopStartWipe(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		p.topic(p.in, 4)
		events := sentences(4, 300)
		p.send(events...)
		n := p.start()
		n.right(events)
		answer, err := n.client.Get(p.ctx(), p.app, []byte(`["user-1","raft"]`), api.ReadOptions{Wait: -1})
		p.must(err)
		if !answer.Found || answer.Parts[0].Role != api.RoleOwner || answer.Parts[0].Lag != 0 {
			t.Errorf("get: %+v", answer)
		}
		n.stop()

		n = p.start(dataDir_(n.dir))
		if got := restored(n.settled(300)); got != 0 {
			t.Errorf("after a clean stop %d records were replayed, not 0", got)
		}
		n.has(count(events))
		more := sentences(4, 100)
		p.send(more...)
		events = append(events, more...)
		n.right(events)
		n.stop()

		n.wipe()
		n = p.start(dataDir_(n.dir))
		if got, groups := restored(n.settled(400)), int64(len(count(events))); got < groups {
			t.Errorf("a full restore replayed %d records, of at least %d groups", got, groups)
		}
		n.right(events)
		n.stop()

		n = p.start(named("node-b")) // another data dir: another node
		n.right(events)
	})
}
