package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tally-kafka/tally/internal/step"
	"github.com/tally-kafka/tally/replication/ownership"
)

// A reset is in the hands of one node, which the log names. What is left to be done is known to
// all, each step may be done twice, and topics are deleted by their ids; so when that node is dead,
// or when it only seems to be, another goes on where it was.

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
	mine.Node = n.dir.id.ID
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
// forgotten, and of those that are alive this one is the first.
func (n *Node) succeeds(st *ownership.State, rec *ownership.App, in *intent) bool {
	if rec.Halted == "" || in == nil || in.Node == n.dir.id.ID {
		return false
	}
	if m := st.Members[in.Node]; m != nil && m.Alive {
		return false
	}
	return n.dir.id.ID == successor(st) && n.cluster.Registered()
}

// successor is the id of the member that takes up what a dead one has left: the same on each node
// that knows the same state. Those that are drained only when there are no others.
func successor(st *ownership.State) (id string) {
	for _, m := range slices.Sorted(maps.Keys(st.Members)) {
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
