package node

import (
	"context"
	"fmt"
	"net/http"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/replication/ownership"
)

// An app that no node can open, since its input was made again or its changelog is spoilt, is what
// a reset is the way out of. It is planned and written down like that of an app that runs, by who
// tries to open the app, so that none of these tries is beside it; what the next try finds is a
// reset that was begun, and it ends it.

// orderedApp finds the app to be reset: as it is open here, or, while it cannot be opened, what the
// cluster knows of it.
func (n *Node) orderedApp(name string) (*host, *app, error) {
	var h *host
	var a *app
	n.guarded(func() {
		if h = n.hosts[name]; h != nil {
			a = h.app
		}
	})
	rec := n.cluster.State().Apps[name]
	switch {
	case a != nil:
		return h, a, nil
	case rec == nil:
		return nil, nil, &api.Error{Status: http.StatusNotFound, Code: api.CodeUnknownApp, Message: fmt.Sprintf("this node has no app %q", name)}
	case rec.Halted != "":
		return nil, nil, conflict("app "+name+": "+rec.Halted, "see `tally status`")
	case h == nil:
		return nil, nil, beingOpened(name)
	}
	a, err := n.closedApp(rec)
	return h, a, err
}

// closedApp is an app that is not open here, as far as a reset needs it.
func (n *Node) closedApp(rec *ownership.App) (*app, error) {
	s, err := spec.Parse([]byte(rec.Spec), "the stored spec of app "+rec.Name)
	if err != nil {
		return nil, conflict("nothing was reset: "+err.Error(), "")
	}
	a := newApp(n, s, rec)
	a.closed, a.id, a.generation, a.lanesN = true, rec.ID, rec.Generation, len(rec.Lanes)
	return a, nil
}

// notTaken says why nobody has taken an order.
func (a *app) notTaken() error {
	if a.closed {
		return beingOpened(a.name())
	}
	return conflict("app "+a.name()+" is being reset already", "see `tally status`")
}

func beingOpened(name string) error {
	return &api.Error{Status: http.StatusServiceUnavailable, Code: api.CodeNotReady,
		Message: "nothing was reset: app " + name + " is just being opened at this node", Next: "try again"}
}

// refuseForeign refuses to reset an app that another cluster counts, which may be why it is not
// open here: its lanes, that would know, do not run.
func (a *app) refuseForeign(ctx context.Context) (err error) {
	if a.changelog, err = a.find(ctx, spec.ChangelogTopic(a.name())); err != nil {
		return err
	}
	heads, err := a.headsIfAny(ctx, a.changelog)
	if err != nil {
		return err
	}
	return a.watchForeign(ctx, heads)
}

// ordersOf are the orders that may be taken while the app cannot be opened: none while a reset is
// under way, or while it is being deleted.
func (h *host) ordersOf(rec *ownership.App) <-chan *order {
	if rec.Halted != "" {
		return nil
	}
	return h.orders
}

// beginClosed takes an order while the app cannot be opened. It reports whether the reset has
// begun: then the cluster has another record of the app, and this node that one.
func (n *Node) beginClosed(ctx context.Context, h *host, rec *ownership.App, o *order) (taken bool) {
	a, err := n.closedApp(rec)
	if err != nil {
		o.refuse(err)
		return false
	}
	if n.takeOrder(ctx, a, o) == nil {
		return false
	}
	h.asked = o
	n.guarded(func() { h.why, h.fails = n.resetting(), false })
	n.cfg.Log.Info("reset: begun although the app cannot be opened", "app", h.name)
	n.whileState(ctx, func(st *ownership.State) bool { return sameLife(rec, st.Apps[h.name]) })
	return true
}

// answerAsked tells who asked for a reset, while the app could not be opened, of the generation
// that was opened; a is nil when none was.
func (n *Node) answerAsked(h *host, a *app) {
	o := h.asked
	h.asked = nil
	switch {
	case o == nil:
	case a == nil || a.reset == nil:
		o.refuse(n.unfinished(h.name))
	default:
		o.begun <- begun{app: a, intent: a.reset}
	}
}

func (o *order) refuse(err error) { o.begun <- begun{err: err} }
