package node

import (
	"context"
	"errors"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/replication"
	"github.com/tally-kafka/tally/replication/ownership"
	"github.com/tally-kafka/tally/replication/session"
	"github.com/tally-kafka/tally/state"
)

// releaseWait is how long a new owner waits for the word of the old one that its last transaction
// has ended. Going on without it is safe, since the acquire fences; it only aborts what was open.
// By then the old one has heard of the grant, or the leader vouches for it no more, so that it
// answers no question as the owner.
const releaseWait = session.WordMost + 400*time.Millisecond

// serve does with the lane what its grants say, one after the other, until ctx ends or drain is
// closed. All of a lane's roles begin and end here:
//
//	none     the store is closed
//	awaits   an earlier process of this node was the owner: the store is open, nothing runs
//	standby  the store follows the changelog
//	owner    acquiring, restoring, running, and again after whatever ends a stay (run)
//
// A lane that is lost or stopped stays so until its grant changes.
func (l *lane) serve(ctx context.Context, drain <-chan struct{}) {
	for ctx.Err() == nil && !closed(drain) {
		g, _ := l.granted()
		l.takePart(ctx, drain, g)
	}
}

func (l *lane) takePart(ctx context.Context, drain <-chan struct{}, g grant) {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	over := l.whileGranted(ctx, inner.Done(), drain, g)
	l.phase("grant: " + string(g.part))
	l.had = l.had || l.anothers(g)
	switch g.part {
	case partOwner:
		l.own(ctx, over, g)
	case partStandby:
		l.standBy(ctx, over)
	case partAwaits:
		l.setState(api.LaneAcquiring, "waiting for the leader to hear that this node has started")
		<-over
	default:
		l.putDown()
		<-over
	}
}

// own runs the lane as its owner until the grant is over, and then tells the node that has it next.
func (l *lane) own(ctx context.Context, over <-chan struct{}, g grant) {
	began := l.seam().Now()
	if floor := l.app.epochOfOthers(l.k); floor >= g.epoch && l.raiseGrant(ctx, &epochError{floor, g.epoch}) == nil {
		<-over // there is a later grant
		return
	}
	if g.from != "" {
		l.awaitRelease(ctx, over, g)
	}
	if g.from == "" {
		l.freed(g.epoch)
	}
	l.mu.Lock()
	// A standby's copy is not the owner's: there may be more in the changelog than it has read.
	l.epoch, l.grantedAt, l.stays, l.loaded = g.epoch, began, 0, false
	l.status.state, l.status.reason = api.LaneAcquiring, "" // of this grant from here on
	l.mu.Unlock()
	dropped := make(chan struct{})
	go func() { // many files, maybe: the lane does not wait for that
		defer close(dropped)
		l.dropSeed()
	}()
	ended := make(chan struct{})
	go func() {
		select {
		case <-over:
			l.tellCutOff(ctx)
		case <-ended:
		}
	}()
	l.run(ctx, over)
	close(ended)
	<-dropped
	if ctx.Err() == nil {
		l.tellReleased(ctx)
	}
}

// putDown closes the store of a lane that others have.
func (l *lane) putDown() {
	l.setState(api.LaneIdle, "")
	l.follows = false // what is written to the changelog from now on is not followed
	had := l.store != nil
	if err := l.closeStore(); err != nil {
		l.log().Warn("close the store of a lane that this node no longer has", "error", err)
	}
	if had { // else this node has just started, and may be about to go on with it
		l.dropSeed()
	}
}

// freed notes that no node before the grant of an epoch has a part in the lane any more.
func (l *lane) freed(epoch uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = max(l.free, epoch)
}

// awaitRelease follows the changelog until the old owner has said that it is done with the lane, so
// that little is left to catch up with; at most for releaseWait, or until the leader has given the
// old owner up: who is dead calls itself the owner no more, and has nothing to say.
func (l *lane) awaitRelease(ctx context.Context, over <-chan struct{}, g grant) {
	following, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.standBy(following, over)
	}()
	defer func() { stop(); <-ended }()
	late, stopTimer := l.seam().Timer(releaseWait)
	defer stopTimer()
	for {
		changed := l.app.node.cluster.Changed() // before the state: a change between the two closes it
		if m := l.app.node.cluster.State().Members[g.from]; m == nil || !m.Alive {
			return
		}
		select {
		case <-changed:
		case epoch := <-l.released:
			if epoch >= g.epoch {
				return
			}
		case <-late:
			l.log().Warn("the node that hands the lane over has not said that it is done; fencing it", "from", g.from)
			return
		case <-over:
			return
		case <-ctx.Done():
			return
		}
	}
}

// tellCutOff tells the lane's new owner at once that this node is done with it, where this one does
// not reach Kafka: it answers as the owner no more since the grant is over, and could only wait to
// end a transaction that the new owner's fence ends.
func (l *lane) tellCutOff(ctx context.Context) {
	if l.app.node.kafkaAge() > cutOffAge {
		l.tellReleased(ctx)
	}
}

// cutOffAge is from when on a node's last contact with Kafka says that it is cut off: below what
// the leader moves its lanes for.
const cutOffAge = time.Second

// owed is the word that the lane's new owner waits for, and that owner; nil when there is none, or
// when it has the word. Whoever gets it has to give it.
func (l *lane) owed() (word releasedWord, to *ownership.Member) {
	st, id := l.app.node.cluster.State(), l.app.node.dir.id.ID
	now, ok := st.Lane(l.ref())
	to = st.Members[now.Owner]
	if !ok || to == nil || now.From != id || now.Owner == id || l.told.Swap(now.Epoch) == now.Epoch {
		return word, nil
	}
	return releasedWord{LaneRef: l.ref(), Epoch: now.Epoch}, to
}

// tellReleased tells the lane's new owner, if one waits for it, that this node is done with it.
func (l *lane) tellReleased(ctx context.Context) {
	word, to := l.owed()
	if to == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, releaseWait)
	defer cancel()
	if err := l.app.node.call(ctx, to.Addr, callReleased, word, nil); err != nil {
		l.told.CompareAndSwap(word.Epoch, 0) // the next part tries again
		l.log().Warn("tell the new owner that the lane is free", "owner", to.Name, "error", err)
	}
}

// tellUntilHeard gives the word again and again while somebody may wait for it.
func (l *lane) tellUntilHeard(ctx context.Context, word releasedWord, to *ownership.Member) {
	ctx, cancel := context.WithTimeout(ctx, releaseWait)
	defer cancel()
	for l.app.node.call(ctx, to.Addr, callReleased, word, nil) != nil {
		if l.seam().Sleep(ctx, l.seam().Jitter(retryPause)) != nil {
			return
		}
	}
}

// standBy keeps the store up to date with the changelog until over is closed or ctx ends.
func (l *lane) standBy(ctx context.Context, over <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		<-firstOf(ctx, over)
		cancel()
	}()
	for pause := retryPause; ; pause = min(2*pause, l.app.node.cfg.RetryMax) {
		began := l.seam().Now()
		err := l.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if l.seam().Since(began) > 10*l.app.node.cfg.RetryMax {
			pause = retryPause
		}
		if !l.afterFollow(err) {
			<-ctx.Done()
			return
		}
		if l.seam().Sleep(ctx, l.seam().Jitter(pause)) != nil {
			return
		}
	}
}

// follow opens the store and follows the changelog until ctx ends or something fails.
func (l *lane) follow(ctx context.Context) error {
	l.setState(api.LaneStandby, "opening")
	if l.store == nil {
		if err := l.openStore(); err != nil {
			return err
		}
	}
	if err := l.checkTopicsOnce(ctx); err != nil {
		return err
	}
	ends, err := l.changelogEnds(ctx)
	if err != nil {
		return err
	}
	l.seed(ctx, ends)
	if l.copied { // it may be of a moment within a transaction, which has ended since
		if ends, err = l.changelogEnds(ctx); err != nil {
			return err
		}
	}
	if l.store == nil {
		if err := l.openStore(); err != nil {
			return err
		}
	}
	l.setState(api.LaneStandby, "restoring")
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go l.tickStore(ctx, l.store, cancel)
	go l.keepWarm(ctx, l.readyFence())
	playback := l.takePlayback()
	l.followsBy(playback)
	err = playback.Follow(ctx, ends, func() error { return l.followed(ctx) })
	l.followsBy(nil)
	l.keepPlayback(ctx, playback, err)
	if errors.Is(err, context.Canceled) {
		err = context.Cause(ctx)
	}
	return l.refuseStore(err)
}

func (l *lane) followsBy(p *replication.Playback) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.following = p
}

// hurry makes a standby look at once for what came since it looked last.
func (l *lane) hurry() {
	l.mu.Lock()
	p := l.following
	l.mu.Unlock()
	if p != nil {
		p.Hurry()
	}
}

// followed is called once the store has come up to the changelog's end: from then on its copy can
// be asked, and can take the lane over at once.
func (l *lane) followed(ctx context.Context) error {
	if err := l.verify(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	l.loaded, l.follows = true, true
	l.mu.Unlock()
	l.torn.Store(false) // of an earlier follow
	l.setState(api.LaneStandby, l.snapshot().damage)
	l.dropSeed() // of a copy that a later seed would have gone on with
	l.log().Info("standing by")
	l.app.node.cluster.Nudge()
	return nil
}

// changelogEnds are the ends of the lane's partitions of the changelog.
func (l *lane) changelogEnds(ctx context.Context) (map[int32]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, l.app.node.cfg.UnreachableAt)
	defer cancel()
	all, err := l.app.node.admin.EndOffsets(ctx, l.app.changelog.Name, true)
	if err != nil {
		return nil, err
	}
	ends := map[int32]int64{}
	for _, t := range l.tasks {
		ends[t.Partition] = all[t.Partition]
	}
	return ends, nil
}

// checkTopicsOnce refuses to follow a changelog that was made anew since the app was opened.
func (l *lane) checkTopicsOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.app.node.cfg.UnreachableAt)
	defer cancel()
	return l.app.checkTopics(ctx)
}

// afterFollow decides what the end of a follow asks for. It returns false when a person has to do
// something before this copy can go on.
func (l *lane) afterFollow(err error) (again bool) {
	switch {
	case diskFails(err):
		l.abandonStore()
		l.app.node.diskFailed(err)
	case errors.Is(err, state.ErrDamaged), l.rebuildable(err):
		if err = l.renewStore(err); err != nil && !diskFails(err) {
			return l.end(api.LaneStopped, err)
		}
	case needsPerson(err):
		return l.end(api.LaneStopped, l.explain(context.Background(), err))
	}
	l.log().Warn("following the changelog again", "error", l.reason(err))
	l.setState(api.LaneStandby, l.reason(err))
	return true
}

// releasedWord says that a node has no transaction of a lane open, and begins none.
type releasedWord struct {
	ownership.LaneRef
	Epoch uint64 `json:"epoch"` // of the new owner's grant
}
