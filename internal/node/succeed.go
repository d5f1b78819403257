package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tally-kafka/tally/internal/step"
	"github.com/tally-kafka/tally/replication/ownership"
)

// A reset is in the hands of one node, which the log names. What is left to be done is known to
// all, each step may be done twice, and topics are deleted by their ids; so when that node is dead,
// or when it only seems to be, or does not reach Kafka, another goes on where it was.

// keepIntent writes down what a reset is to do, here and in the log, and takes the app's lanes from
// their owners. From then on there is no way back.
func (n *Node) keepIntent(ctx context.Context, in *intent) error {
	if err := n.dir.storeIntent(in); err != nil {
		return err
	}
	// The halt itself ends ctx, where that is of an app that runs.
	if err := n.haltFor(context.WithoutCancel(ctx), in); err != nil {
		return err
	}
	return n.resetAt(ctx, step.ResetIntent)
}

// haltedError says that an app waits for what another node has in hand.
type haltedError struct{ why string }

func (e *haltedError) Error() string { return e.why }

// haltFor takes the lanes of an app from their owners while this node resets it.
func (n *Node) haltFor(ctx context.Context, in *intent) error {
	if rec := n.cluster.State().Apps[in.App]; rec != nil && rec.Halted == deleting {
		return &haltedError{deleting}
	}
	return n.decide(ctx, ownership.Command{HaltApp: &ownership.HaltApp{Name: in.App, Halted: n.resetting(), Intent: n.mine(in).log()}})
}

// mine is an intent that this node has in hand.
func (n *Node) mine(in *intent) *intent {
	mine := *in
	mine.Node, mine.Left = n.dir.id.ID, ""
	return &mine
}

// resetting is why an app is halted that this node resets.
func (n *Node) resetting() string {
	return fmt.Sprintf("the app is being reset by node %s", n.cfg.Name)
}

// resumed is the spec to open an app with, once this node has in hand what is left of a reset, if
// anything is. It fails while another node has it in hand.
func (n *Node) resumed(ctx context.Context, rec *ownership.App) (text string, err error) {
	here, err := n.dir.loadIntent(rec.Name)
	if err != nil {
		return "", err
	}
	log, err := resetOf(rec)
	if err != nil {
		return "", err
	}
	elsewhere := log != nil && log.Node != n.dir.id.ID
	switch {
	case rec.Halted == deleting:
		return "", &haltedError{rec.Halted}
	case rec.Halted == "" && here == nil:
		return rec.Spec, nil
	case rec.Halted == "" && here.planned() && log != nil && log.Generation >= here.Generation:
		if elsewhere || log.Generation > here.Generation { // another has ended it
			return rec.Spec, n.dir.dropIntent(rec.Name, here.Generation)
		}
		if here.updated(rec) {
			return rec.Spec, nil
		}
		return n.specOfReset(here, rec), nil // all but the first positions is done
	case rec.Halted == "" && here.planned() && (here.AppID != rec.ID || here.Generation != rec.Generation+1):
		// Of an app of this name that was deleted since: nothing of this one was begun.
		n.cfg.Log.Warn("a reset of a deleted app of this name is forgotten", "app", rec.Name, "generation", here.Generation)
		return rec.Spec, n.dir.dropIntent(rec.Name, here.Generation)
	case rec.Halted != "" && n.succeeds(n.cluster.State(), rec, log):
		n.cfg.Log.Info("reset: going on in the place of a node that is gone", "app", rec.Name, "generation", log.Generation)
		return or(log.Spec, rec.Spec), n.keepIntent(ctx, n.mine(log))
	case rec.Halted != "" && elsewhere:
		if here != nil && here.planned() { // it went on without this node
			err = n.dir.dropIntent(rec.Name, here.Generation)
		}
		return "", errors.Join(&haltedError{rec.Halted}, err)
	case rec.Halted == n.resetting() && here == nil: // a person has removed what it was to do
		return rec.Spec, n.decide(ctx, ownership.Command{HaltApp: &ownership.HaltApp{Name: rec.Name}})
	case here == nil:
		return "", &haltedError{rec.Halted}
	}
	return n.specOfReset(here, rec), n.haltFor(ctx, here)
}

// specOfReset is the spec of the generation that a reset begins: the one that this process was
// given, the one that the reset was asked for with, or the one that the app has.
func (n *Node) specOfReset(in *intent, rec *ownership.App) string {
	for _, s := range n.cfg.Specs {
		if s.App == rec.Name {
			return string(s.YAML())
		}
	}
	return or(in.Spec, rec.Spec)
}

// succeeds reports whether a reset is left to this node: the one that has it in hand is dead or was
// forgotten, or has left it, and of those that are alive this one is the next.
func (n *Node) succeeds(st *ownership.State, rec *ownership.App, in *intent) bool {
	if rec.Halted == "" || in == nil || in.Node == n.dir.id.ID {
		return false
	}
	if m := st.Members[in.Node]; m != nil && m.Alive {
		return false
	}
	return n.dir.id.ID == successor(st, in.Left) && n.cluster.Registered()
}

// successor is the id of the member that takes up what a dead one has left: the same on each node
// that knows the same state. Those that are drained only when there are no others. After one that
// lives, and has left it, it is the next by id, so that each has its turn; that one itself when it
// is alone.
func successor(st *ownership.State, left string) (id string) {
	ids := slices.Sorted(maps.Keys(st.Members))
	at, found := slices.BinarySearch(ids, left)
	if found {
		at++
	}
	for _, m := range slices.Concat(ids[at:], ids[:at]) {
		switch now := st.Members[m]; {
		case !now.Alive:
		case !now.Draining:
			return m
		case id == "":
			id = m
		}
	}
	return id
}

// passResetsOn leaves the resets that this node has in hand to others while it does not reach
// Kafka. Whether these do it cannot know: who takes one up may pass it on in its turn. held says
// since when it has had each in hand; the one that it returns is of now.
func (n *Node) passResetsOn(ctx context.Context, held map[string]time.Time) map[string]time.Time {
	held, passed := n.heldTooLong(n.cluster.State(), held)
	for _, halt := range passed {
		if err := n.decide(ctx, ownership.Command{HaltApp: &halt}); err != nil {
			n.cfg.Log.Warn("a reset cannot be left to another node", "app", halt.Name, "error", err)
			continue
		}
		n.cfg.Log.Warn("this node does not reach Kafka: a reset is left to another node", "app", halt.Name)
	}
	return held
}

// heldTooLong are the resets to be left to others.
func (n *Node) heldTooLong(st *ownership.State, before map[string]time.Time) (held map[string]time.Time, passed []ownership.HaltApp) {
	now, id := n.cfg.Seam.Now(), n.dir.id.ID
	held = map[string]time.Time{}
	for _, rec := range st.SortedApps() {
		in, err := resetOf(rec)
		if err != nil || in == nil || in.Node != id || rec.Halted == "" || rec.Halted == deleting {
			continue
		}
		since, known := before[rec.Name]
		if !known {
			since = now
		}
		held[rec.Name] = since
		if min(now.Sub(since), n.kafkaAge()) < n.cfg.PassResetAfter || successor(st, id) == id {
			continue
		}
		left := *in
		left.Node, left.Left = "", id
		passed = append(passed, ownership.HaltApp{Name: rec.Name, Intent: left.log(), Halted: fmt.Sprintf(
			"the app is being reset, and node %s, which does not reach Kafka, has left that to another node", n.cfg.Name)})
	}
	return held, passed
}

// relieved reports whether another node has a reset in hand that this one had, which was given up
// for dead; or one is deleting the app.
func (n *Node) relieved(in *intent) bool {
	rec := n.cluster.State().Apps[in.App]
	if rec == nil {
		return false // its context ends
	}
	if rec.Halted == deleting {
		return true
	}
	log, err := resetOf(rec)
	return err == nil && log != nil && log.Node != n.dir.id.ID && log.Generation >= in.Generation
}
