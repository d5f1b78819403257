package node

import (
	"context"
	"time"
)

// restTimes is how many times longer than usual a node waits between two questions to Kafka while
// it is the only one of its cluster and nothing arrives. It stays below contactTTL.
const restTimes = 4

// alone reports whether there is no other node that could take a lane, or wait for a word.
func (n *Node) alone() bool { return len(n.cluster.State().Members) == 1 }

// pause waits for d; while the node may rest, longer, but then a change of the cluster ends it, as
// nudge always does.
func (n *Node) pause(ctx context.Context, d time.Duration, idle bool, nudge <-chan struct{}) error {
	var changed <-chan struct{}
	if idle {
		changed = n.cluster.Changed() // before the state is looked at
		usual := d
		if d = n.restFor(d); d == usual {
			changed = nil
		}
	}
	wait, stop := n.cfg.Seam.Timer(d)
	defer stop()
	select {
	case <-wait:
	case <-changed:
	case <-nudge:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// restFor is a pause's length while nothing arrives.
func (n *Node) restFor(d time.Duration) time.Duration {
	alone := n.alone()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !alone || n.trouble != nil {
		return d
	}
	n.resting = (restTimes - 1) * d
	return n.cfg.Seam.InStep(restTimes * d)
}

// kafkaAge is what the leader is told: for how long Kafka has not answered, since the node's start
// where it never has. What a rest has added to it is nobody's silence; it is taken off until the
// next question after the rest has come back.
func (n *Node) kafkaAge() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	last := n.contactAt
	if last.IsZero() {
		last = n.started
	}
	return max(n.cfg.Seam.Since(last)-n.resting, 0)
}

// standsStill reports whether nothing has arrived since the last look: all is read, up to the ends
// that the last look has found too.
func (a *app) standsStill() bool {
	still := true
	for _, l := range a.lanes {
		for _, t := range l.tasks {
			at := l.position(t)
			lag, _ := a.lag(t, at)
			still = still && lag == 0 && a.stood[t] == at
			a.stood[t] = at
		}
	}
	return still
}

// arrived ends a rest: something has come to be counted, so that the lag is looked at as often as
// it is while there is one.
func (a *app) arrived() {
	if a.rests.CompareAndSwap(true, false) {
		a.look()
	}
}
