package node

import (
	"bytes"
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/replication/ownership"
)

// host is an app of the cluster on this node: opened, run, and closed again when the cluster has it
// no more or has another generation or spec of it.
type host struct {
	name    string
	app     *app           // nil while it is not open
	why     string         // it is not
	fails   bool           // the last try to open it was refused
	refused *ownership.App // the record with which it was
	stop    context.CancelFunc
	gone    bool            // the cluster has deleted the app
	heard   map[int]hearing // by lane: the grants to this node, while the app is not open

	orders chan *order // resets that are asked for: taken while the lanes run, or while it cannot be opened
	asked  *order      // of the goroutine that hosts it: what was taken while it could not be opened
}

// keepApps hosts every app that the cluster has, until ctx ends; it returns when all have ended.
// lanes outlives ctx: what runs under it drains first. opened gets the outcome of the first try to
// open each of the apps of the start; it has room for them.
func (n *Node) keepApps(lanes, ctx context.Context, atStart []string, opened chan<- outcome) {
	var running sync.WaitGroup
	defer running.Wait()
	first := map[string]chan<- outcome{}
	for _, name := range atStart {
		first[name] = opened
	}
	ended := make(chan struct{}, 1) // a host has: its app may be there again
	for {
		changed := n.cluster.Changed()
		st := n.cluster.State()
		n.endHosts(st)
		n.shareMemory()
		for _, rec := range st.SortedApps() {
			if h := n.newHost(ctx, rec.Name); h != nil {
				tell := first[rec.Name]
				delete(first, rec.Name)
				running.Go(func() {
					n.host(lanes, h.ctx, h.host, tell)
					wake(ended)
				})
			}
		}
		for name, tell := range first { // deleted since the start
			tell <- outcome{name, errRecord}
			delete(first, name)
		}
		select {
		case <-changed:
		case <-ended:
		case <-ctx.Done():
			return
		}
	}
}

// wake tells whoever listens to a channel with room for one.
func wake(listener chan<- struct{}) {
	select {
	case listener <- struct{}{}:
	default: // it has been told, and has not looked yet
	}
}

// hosting is a host to be started.
type hosting struct {
	*host
	ctx context.Context
}

// newHost adds a host for the app; nil when there is one.
func (n *Node) newHost(ctx context.Context, name string) *hosting {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts[name] != nil {
		return nil
	}
	h := &host{name: name, orders: make(chan *order)}
	ctx, h.stop = context.WithCancel(ctx)
	n.hosts[name] = h
	return &hosting{h, ctx}
}

// endHosts stops the hosts of apps that the cluster no longer has.
func (n *Node) endHosts(st *ownership.State) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, h := range n.hosts {
		if st.Apps[name] == nil {
			h.gone = true
			h.stop()
		}
	}
}

// host hosts one app, one life of it after the other, until ctx ends. first hears once of the first
// try to open it.
func (n *Node) host(lanes, ctx context.Context, h *host, first chan<- outcome) {
	defer n.guarded(func() { delete(n.hosts, h.name) })
	defer n.answerAsked(h, nil)
	defer h.stop()
	for ctx.Err() == nil {
		rec := n.cluster.State().Apps[h.name]
		if rec == nil {
			break
		}
		a, err := n.openHosted(ctx, h, rec, first)
		first = nil
		if err != nil {
			continue // ctx has ended, or the record is another one now
		}
		n.guarded(func() { h.app, h.why, h.fails, h.heard = a, "", false, nil })
		n.answerAsked(h, a)
		n.runHosted(lanes, ctx, h)
		a = h.app // a reset has put another in its place
		n.guarded(func() { h.app = nil })
		if err := a.closeStores(); err != nil {
			n.cfg.Log.Warn("close the app's stores", "app", h.name, "error", err)
		}
	}
	if first != nil {
		first <- outcome{h.name, errRecord}
	}
	var gone bool
	n.guarded(func() { gone = h.gone })
	if gone || n.cluster.State().Apps[h.name] == nil {
		n.dropHosted(h.name)
	}
}

// dropHosted removes what this node has of an app that was deleted. A reset that was under way goes
// with it: it was of what is deleted, and must not befall a later app of that name.
func (n *Node) dropHosted(name string) {
	err := errors.Join(os.RemoveAll(n.dir.stateDir(name)), n.dir.dropSpec(name), n.dir.dropIntents(name))
	if err != nil {
		n.cfg.Log.Warn("remove what the node has of a deleted app", "app", name, "error", err)
		return
	}
	n.cfg.Log.Info("the app was deleted", "app", name)
}

// dropDeleted removes what this node has of apps that were deleted while it did not run: those that
// the cluster's log has had, and has no more.
func (n *Node) dropDeleted() error {
	if !n.dir.adopted(n.clusterID()) {
		return nil
	}
	apps, err := n.dir.leftovers()
	if err != nil {
		return err
	}
	st := n.cluster.State()
	for _, name := range apps {
		if st.Apps[name] == nil {
			n.dropHosted(name)
		}
	}
	return nil
}

// openHosted opens an app, trying until it succeeds, ctx ends, or the record is no longer rec. What
// the first try came to is told to first.
func (n *Node) openHosted(ctx context.Context, h *host, rec *ownership.App, first chan<- outcome) (*app, error) {
	for pause := time.Second; ; pause = min(2*pause, time.Minute) {
		a, err := n.openRecord(ctx, rec)
		if first != nil {
			first <- outcome{h.name, err}
			first = nil
		}
		if err == nil || ctx.Err() != nil || errors.Is(err, errRecord) {
			return a, err
		}
		if errors.As(err, new(*otherKafkaError)) {
			n.guarded(func() { h.why, h.fails = err.Error(), true })
			n.end(err)
			<-ctx.Done()
			return nil, err
		}
		if diskFails(err) {
			n.diskFailed(err)
		}
		n.guarded(func() { h.why, h.fails, h.refused = err.Error(), true, rec })
		n.cfg.Log.Error("the app cannot run on this node; trying again", "app", h.name, "in", pause, "error", err)
		if err := n.waitForRecord(ctx, h, rec, pause); err != nil {
			return nil, err
		}
	}
}

// errRecord says that the cluster has another record of an app than the one at hand.
var errRecord = errors.New("the cluster has another record of the app now")

// waitForRecord waits for d, or until a reset is left to this node. It fails when ctx ends or the
// app's record is another one, as it is when a reset was asked for meanwhile and has begun.
func (n *Node) waitForRecord(ctx context.Context, h *host, rec *ownership.App, d time.Duration) error {
	late, stop := n.cfg.Seam.Timer(d)
	defer stop()
	for {
		changed := n.cluster.Changed()
		st := n.cluster.State()
		if !sameLife(rec, st.Apps[rec.Name]) {
			return errRecord
		}
		if in, err := resetOf(rec); err == nil && n.succeeds(st, rec, in) {
			return nil
		}
		select {
		case <-changed:
		case o := <-h.ordersOf(rec):
			if n.beginClosed(ctx, h, rec, o) {
				return errRecord
			}
		case <-late:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sameLife reports whether two records of an app ask for the same open app.
func sameLife(a, b *ownership.App) bool {
	return a != nil && b != nil && a.Generation == b.Generation && a.Spec == b.Spec && a.ID == b.ID && a.Halted == b.Halted
}

// openRecord opens the life of an app that the cluster has a record of. A reset that this node has
// in hand is carried on first, while no lane of the app has an owner.
func (n *Node) openRecord(ctx context.Context, rec *ownership.App) (*app, error) {
	if err := n.sameKafka(n.cluster.State(), rec); err != nil {
		return nil, err
	}
	text, err := n.resumed(ctx, rec)
	if err != nil {
		return nil, err
	}
	s, err := spec.Parse([]byte(text), "the stored spec of app "+rec.Name)
	if err != nil {
		return nil, err
	}
	var a *app
	err = n.patiently(ctx, openTimeout, func(ctx context.Context) (err error) {
		a, err = n.openLife(ctx, s, rec)
		return err
	})
	return a, err
}

// openLife opens an app; where that has ended a reset, the cluster gets the new generation.
func (n *Node) openLife(ctx context.Context, s *spec.Spec, rec *ownership.App) (*app, error) {
	a, err := n.open(ctx, s, rec)
	if err != nil {
		return nil, err
	}
	if err := n.keepSpec(ctx, a); err != nil {
		return nil, errors.Join(err, a.closeStores())
	}
	// Else its record is rec: where there is a newer one, this life ends again.
	if a.reset != nil && !a.begunBy(rec) {
		if a.record, err = n.putOpened(ctx, a, rec); err != nil {
			return nil, errors.Join(err, a.closeStores())
		}
	}
	return a, nil
}

// begunBy reports whether a record has all that the cluster is to know of the generation that a
// reset has begun. To put it once more would take back what was submitted meanwhile.
func (a *app) begunBy(rec *ownership.App) bool {
	return rec.Halted == "" && rec.Generation == a.generation && rec.Spec == string(a.spec.YAML()) &&
		bytes.Equal(rec.Intent, a.node.mine(a.reset).log())
}

// putOpened gives the cluster the generation that was opened here in the place of the record
// before, and returns what the cluster has of it now.
func (n *Node) putOpened(ctx context.Context, a *app, before *ownership.App) (*ownership.App, error) {
	if n.relieved(a.reset) {
		return nil, errRecord
	}
	record := a.newRecord(before)
	if err := n.put(ctx, record, before); err != nil {
		return nil, err
	}
	now := n.cluster.State().Apps[record.Name]
	if !sameLife(now, &record) {
		return nil, errRecord
	}
	return now, nil
}

// runHosted runs an app's lanes, and after a reset here those of the new generation, until ctx ends
// or the cluster has another life of the app. Then the lanes have drained.
func (n *Node) runHosted(lanes, ctx context.Context, h *host) {
	for a := h.app; ; {
		running, drain := n.whileRecorded(ctx, a)
		o, in := n.runUntilReset(lanes, running, h, a)
		drain()
		if o == nil {
			return
		}
		if a = n.beginAnew(ctx, h, in); a == nil {
			o.refuse(n.unfinished(h.name))
			return
		}
		o.begun <- begun{app: a, intent: in}
	}
}

// whileRecorded gives a context that ends when the cluster has another life of the app.
func (n *Node) whileRecorded(ctx context.Context, a *app) (context.Context, context.CancelFunc) {
	running, end := context.WithCancel(ctx)
	go func() {
		defer end()
		n.whileState(running, func(st *ownership.State) bool { return sameLife(a.record, st.Apps[a.name()]) })
	}()
	return running, end
}

// newRecord is what the cluster is to know of an app that was examined.
func (a *app) newRecord(before *ownership.App) ownership.App {
	rec := ownership.App{
		Name: a.name(), Spec: string(a.spec.YAML()), ID: a.id, Generation: a.generation,
		Partitions: a.partitions, Repartitions: a.repartitions, Standbys: a.node.cfg.Standbys,
		KafkaCluster: a.node.kafkaCluster,
		Lanes:        make([]ownership.Lane, a.lanesN),
	}
	if before != nil {
		rec.Standbys = before.Standbys
	}
	switch {
	case a.reset != nil:
		rec.Intent = a.node.mine(a.reset).log()
	case before != nil && before.Generation == rec.Generation:
		rec.Intent = before.Intent
	}
	for k := range rec.Lanes {
		rec.Lanes[k].Epoch = a.highestEpoch(k)
	}
	rec.KafkaCluster = kafkaOf(a.node.cluster.State(), rec, before)
	return rec
}

// shareMemory gives each open store its share of the node's memory, after an app has come or gone.
// What was opened with a larger share than it has now keeps within the smaller one, and may take
// its own again later.
func (n *Node) shareMemory() {
	for _, a := range n.running() {
		for _, l := range a.lanes {
			l.shareMemory()
		}
	}
}

// appCount is how many apps share this node's memory.
func (n *Node) appCount() int { return max(len(n.cluster.State().Apps), 1) }
