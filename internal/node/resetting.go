package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/step"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/replication/ownership"
)

// orderWait is how long an order waits to be taken: at once by an app that runs, between two tries
// (see inputTries) by one that cannot be opened, never by one that is being reset.
const orderWait = 4 * time.Second

// order is a reset that was asked for.
type order struct {
	spec  *spec.Spec
	from  string
	begun chan begun // has room for one
}

// begun is what became of an order: the app of the new generation, or why there is none.
type begun struct {
	app    *app
	intent *intent
	err    error
}

// Reset starts an app anew in a new generation. It returns when that has its first positions, or
// when ctx ends; a reset that was begun goes on.
func (n *Node) Reset(ctx context.Context, name string, req api.ResetRequest) (api.ResetAnswer, error) {
	h, a, o, err := n.order(name, req)
	if err != nil {
		return api.ResetAnswer{}, err
	}
	what, err := a.whatToDelete(ctx)
	if err != nil {
		return api.ResetAnswer{}, notDone("reset", err)
	}
	if req.DryRun {
		in, err := n.planOrder(ctx, a, o)
		if err != nil {
			return api.ResetAnswer{}, notDone("reset", err)
		}
		return what.with(a, in, o), nil
	}
	late, stop := n.cfg.Seam.Timer(orderWait)
	defer stop()
	select {
	case h.orders <- o:
	case <-late:
		return api.ResetAnswer{}, a.notTaken()
	case <-ctx.Done():
		return api.ResetAnswer{}, ctx.Err()
	}
	select {
	case b := <-o.begun:
		if b.err != nil {
			return api.ResetAnswer{}, notDone("reset", b.err)
		}
		answer := what.with(a, b.intent, o)
		return answer, b.app.awaitReady(ctx, &answer)
	case <-ctx.Done():
		return api.ResetAnswer{}, underWay(name)
	}
}

// order finds the app, open or not, and reads the request.
func (n *Node) order(name string, req api.ResetRequest) (*host, *app, *order, error) {
	h, a, err := n.orderedApp(name)
	if err != nil {
		return nil, nil, nil, err
	}
	o := &order{spec: a.spec, from: req.From, begun: make(chan begun, 1)}
	if req.Spec == "" {
		return h, a, o, nil
	}
	if o.spec, err = spec.Parse([]byte(req.Spec), "the new spec"); err != nil {
		return nil, nil, nil, &api.Error{Status: http.StatusBadRequest, Code: api.CodeBadRequest, Message: err.Error()}
	}
	if o.spec.App != name {
		return nil, nil, nil, &api.Error{Status: http.StatusBadRequest, Code: api.CodeBadRequest,
			Message: fmt.Sprintf("the new spec is of app %s, not of %s", o.spec.App, name), Next: "start that app with `tally run --spec`"}
	}
	if why := n.vet(n.cluster.State(), &ownership.App{Name: name, Spec: string(o.spec.YAML())}); why != "" {
		return nil, nil, nil, conflict(why, "")
	}
	return h, a, o, nil
}

// planOrder plans a reset of an app that runs here, and refuses one that runs elsewhere.
func (n *Node) planOrder(ctx context.Context, a *app, o *order) (*intent, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	for _, l := range a.lanes {
		if st := l.snapshot(); st.state == api.LaneLost {
			return nil, errors.New(st.reason)
		}
	}
	if a.closed {
		if err := a.refuseForeign(ctx); err != nil {
			return nil, err
		}
	}
	return n.planReset(ctx, a, o.spec, o.from, n.cfg.Seam.Now())
}

// runUntilReset runs an app until ctx ends or a reset of it is on disk; then the lanes have
// drained.
func (n *Node) runUntilReset(lanes, ctx context.Context, h *host, a *app) (*order, *intent) {
	lanes, kill := context.WithCancel(lanes)
	defer kill()
	running, drain := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() { a.run(lanes, running.Done()) })
	all.Go(func() { n.watchEnds(running, a) })
	all.Go(func() { a.watchTopics(running) })
	if a.reset != nil {
		all.Go(func() { a.awaitPositions(running) })
	}
	o, in := n.awaitReset(ctx, h, a)
	drain()
	if o != nil {
		n.cfg.Log.Info("reset: draining the lanes", "app", a.name(), "generation", in.Generation)
	}
	if n.lifeIsOver(a) {
		defer n.killLater(kill)()
	}
	all.Wait()
	return o, in
}

// lifeIsOver reports whether nothing that an app has counted here is wanted any more: it was
// deleted or is being reset, maybe by another node.
func (n *Node) lifeIsOver(a *app) bool {
	now := n.cluster.State().Apps[a.name()]
	return now == nil || now.Halted != "" || now.ID != a.record.ID || now.Generation != a.record.Generation
}

// lastDrain is how long the lanes of a life that is over may take for their last transactions.
// Where the topics are deleted already, they would wait for a minute.
const lastDrain = time.Second

// killLater ends lanes that do not drain, as those that Kafka does not answer: what they hold is of
// the old generation and not worth a wait. stop forgets it.
func (n *Node) killLater(kill func()) (stop func()) {
	wait, stopTimer := n.cfg.Seam.Timer(lastDrain)
	drained := make(chan struct{})
	go func() {
		defer stopTimer()
		select {
		case <-wait:
			kill()
		case <-drained:
		}
	}()
	return func() { close(drained) }
}

// awaitReset returns when ctx ends (nil), or when a reset was asked for, is possible, and is on
// disk and in the log: from then on there is no way back.
func (n *Node) awaitReset(ctx context.Context, h *host, a *app) (*order, *intent) {
	for {
		select {
		case <-ctx.Done():
			return nil, nil
		case o := <-h.orders:
			if in := n.takeOrder(ctx, a, o); in != nil {
				return o, in
			}
		}
	}
}

// takeOrder plans a reset and writes it down. It gives nil, and tells who asked, when that failed
// and nothing is left of it.
func (n *Node) takeOrder(ctx context.Context, a *app, o *order) *intent {
	in, err := n.planOrder(ctx, a, o)
	if err == nil {
		if err = n.keepIntent(ctx, in); err == nil || ctx.Err() != nil {
			return in
		}
		err = errors.Join(err, n.dir.dropIntent(in.App, in.Generation))
	}
	o.refuse(err)
	return nil
}

// beginAnew carries out a reset and gives the app of the new generation, in the old one's place;
// nil when ctx ended before, or another node carries it on. Whatever is in the way is said and
// tried again: there is no way back.
func (n *Node) beginAnew(ctx context.Context, h *host, in *intent) *app {
	old := h.app
	old.saysReset("the app is being reset")
	if err := old.closeStores(); err != nil {
		n.cfg.Log.Warn("reset: close the old state", "app", old.name(), "error", err)
	}
	if n.resetAt(ctx, step.ResetStopped) != nil {
		return nil
	}
	var said time.Time
	for pause := retryPause; ; pause = min(2*pause, n.cfg.RetryMax) {
		a, err := n.openAnew(ctx, in)
		if err == nil {
			n.guarded(func() { h.app = a })
			return a
		}
		if ctx.Err() != nil || n.relieved(in) {
			return nil
		}
		old.saysReset("the app is being reset; trying on: " + err.Error())
		if n.cfg.Seam.Since(said) >= n.cfg.UnreachableAt {
			said = n.cfg.Seam.Now()
			n.cfg.Log.Warn("the reset cannot go on; trying again", "app", old.name(), "error", err)
		}
		if n.cfg.Seam.Sleep(ctx, n.cfg.Seam.Jitter(pause)) != nil {
			return nil
		}
	}
}

func (n *Node) openAnew(ctx context.Context, in *intent) (*app, error) {
	rec := n.cluster.State().Apps[in.App]
	if rec == nil || n.relieved(in) {
		return nil, errRecord
	}
	if here, err := n.dir.loadIntent(in.App); err != nil || here == nil {
		if err = errors.Join(err, n.dir.storeIntent(in)); err != nil { // without it the old generation would be opened
			return nil, err
		}
	}
	s, err := spec.Parse([]byte(in.Spec), n.dir.intentFile(in.App))
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	return n.openLife(bounded, s, rec)
}

// keepSpec stores the spec of an app that was opened, so that a later start without --spec runs it.
func (n *Node) keepSpec(ctx context.Context, a *app) error {
	if err := n.dir.storeSpec(a.spec); err != nil || a.reset == nil {
		return err
	}
	return n.resetAt(ctx, step.ResetSpec)
}

// saysReset shows in the status why no lane runs.
func (a *app) saysReset(why string) {
	for _, l := range a.lanes {
		l.setState(api.LaneAcquiring, why)
	}
}

// awaitReady waits until every lane of the new generation has its positions.
func (a *app) awaitReady(ctx context.Context, answer *api.ResetAnswer) error {
	select {
	case <-a.allReady:
		answer.Done = true
		return nil
	case <-ctx.Done():
		return underWay(a.name())
	}
}

func underWay(name string) error {
	return &api.Error{Status: http.StatusGatewayTimeout, Code: api.CodeTimeout,
		Message: "the reset of app " + name + " is not at its end yet, and goes on", Next: "see `tally status`"}
}

// unfinished says why a reset of the app is not in hand here: the app was deleted, another node
// carries it on, or this one is stopping.
func (n *Node) unfinished(name string) error {
	if n.cluster.State().Apps[name] == nil {
		return conflict("app "+name+" was deleted while it was being reset", "")
	}
	return underWay(name)
}

func conflict(what, next string) error {
	return &api.Error{Status: http.StatusConflict, Code: api.CodeConflict, Message: what, Next: next}
}

// notDone says why nothing was reset, or submitted: Kafka does not answer, or something does not
// fit.
func notDone(what string, err error) error {
	var e *api.Error
	switch {
	case errors.As(err, &e), errors.Is(err, context.Canceled):
		return err
	case undecided(err):
		return &api.Error{Status: http.StatusServiceUnavailable, Code: api.CodeNotReady,
			Message: err.Error(), Next: "try again: twice does no harm"}
	case unanswered(err):
		return &api.Error{Status: http.StatusServiceUnavailable, Code: api.CodeNotReady,
			Message: "nothing was " + what + ", Kafka does not answer: " + err.Error(), Next: "try again when it does"}
	}
	return conflict("nothing was "+what+": "+err.Error(), "")
}

// doomed is what a reset deletes.
type doomed api.ResetAnswer

func (a *app) whatToDelete(ctx context.Context) (doomed, error) {
	d := doomed{App: a.name(), Group: a.name(), StateDirs: []string{a.node.dir.stateDir(a.name())}}
	for _, name := range spec.OwnTopics(a.name()) {
		t, err := a.find(ctx, name)
		if err != nil {
			return d, err
		}
		if missing(t) {
			continue
		}
		records, err := a.records(ctx, name)
		if err != nil {
			return d, err
		}
		d.Topics = append(d.Topics, api.ResetTopic{Topic: name, Records: records})
	}
	return d, nil
}

func (a *app) records(ctx context.Context, topic string) (n int64, err error) {
	starts, err := a.node.admin.StartOffsets(ctx, topic)
	if err != nil {
		return 0, err
	}
	ends, err := a.node.admin.EndOffsets(ctx, topic, true)
	for p, end := range ends {
		n += end - starts[p]
	}
	return n, err
}

func (d doomed) with(a *app, in *intent, o *order) api.ResetAnswer {
	answer := api.ResetAnswer(d)
	answer.Generation, answer.From = in.Generation, or(in.From, string(o.spec.Input.Start))
	answer.Start = map[string]int64{}
	for p, at := range in.Start {
		answer.Start[fmt.Sprintf("%s/%d", o.spec.Input.Topic, p)] = at
	}
	if out := o.spec.Output; out != nil {
		answer.Output = out.Topic
	}
	return answer
}
