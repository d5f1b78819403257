package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/processor"
	"github.com/tally-kafka/tally/replication"
	"github.com/tally-kafka/tally/state"
	"github.com/tally-kafka/tally/txn"
)

// tick is how often a running lane's store is asked whether a flush is due.
const tick = time.Second

func (l *lane) seam() seam.Seam { return l.app.node.cfg.Seam }

func (l *lane) log() *slog.Logger {
	return l.app.node.cfg.Log.With("app", l.app.name(), "lane", l.k)
}

func (l *lane) setState(name, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status.state, l.status.reason = name, reason
}

// run keeps the lane going until ctx ends or drain is closed: one stay as the owner after another,
// and between two of them whatever the error asks for.
func (l *lane) run(ctx context.Context, drain <-chan struct{}) {
	pause := retryPause
	for {
		began := l.seam().Now()
		err := l.stay(ctx, drain)
		if err == nil || ctx.Err() != nil || closed(drain) {
			return
		}
		if l.seam().Since(began) > 10*l.app.node.cfg.RetryMax {
			pause = retryPause // it ran well for a while: this is a new trouble, not the old one
		}
		ran := l.snapshot().state == api.LaneRunning
		if !l.after(ctx, err) {
			<-firstOf(ctx, drain)
			return
		}
		if ran && txn.Refused(err) && !faultless(err) {
			continue // with fewer events
		}
		wait, stop := l.seam().Timer(l.seam().Jitter(pause))
		select {
		case <-wait:
		case <-ctx.Done():
		case <-drain:
		}
		stop()
		pause = min(2*pause, l.app.node.cfg.RetryMax)
	}
}

// stay acquires the lane and runs it until something ends it. The session is closed whatever
// happens, and with it everything that it fetched.
func (l *lane) stay(ctx context.Context, drain <-chan struct{}) error {
	session, err := l.acquireUnless(ctx, drain)
	if err != nil {
		return err
	}
	defer session.Close()
	l.had = true
	l.setState(api.LaneRunning, l.snapshot().damage)
	l.log().Info("running", "epoch", l.epoch)
	l.app.node.cluster.Nudge()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l.setEndOfStay(cancel)
	defer l.setEndOfStay(nil)
	go l.tickStore(ctx, l.store, cancel)
	if err = l.proc.Run(ctx, watched{session, l}, l.store, drain); errors.Is(err, context.Canceled) {
		err = context.Cause(ctx)
	}
	return err
}

// acquireUnless acquires the lane, unless the node is asked to stop meanwhile: then there is
// nothing to commit that would be worth the wait.
func (l *lane) acquireUnless(ctx context.Context, drain <-chan struct{}) (*txn.Session, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		<-firstOf(ctx, drain)
		cancel()
	}()
	return l.acquire(ctx)
}

// tickStore lets the store flush by time while nothing is published, and ends the stay when the
// store has failed: with events or without, a lane does not run on a store that cannot be written.
func (l *lane) tickStore(ctx context.Context, store *state.Store, end context.CancelCauseFunc) {
	for l.seam().Sleep(ctx, l.seam().InStep(tick)) == nil {
		if err := store.Tick(); err != nil {
			end(err)
			return
		}
	}
}

// after decides what an error asks for, and says so. It returns false when the lane is over for
// this process: it needs a person, or another owns it.
func (l *lane) after(ctx context.Context, err error) (again bool) {
	l.mu.Lock()
	l.status.aborted++
	l.mu.Unlock()
	var lost *LostError
	var behind *epochError
	err = l.ofAnotherTopic(ctx, err)
	if txn.Fenced(err) {
		if by := l.fencedBy(ctx); by != nil {
			err = by
		}
	}
	switch {
	case errors.As(err, &lost) && l.mayInsist(lost):
		err = l.insist(ctx, lost)
	case errors.As(err, &lost):
		return l.lose(lost)
	case errors.As(err, &behind):
		err = l.raiseGrant(ctx, behind)
	case txn.Fenced(err):
		l.log().Warn("fenced, but no other node has written under a newer epoch: the transaction took too long, or the node that was replaced has tried once more; acquiring again", "error", err)
	case diskFails(err):
		l.abandonStore()
		l.app.node.diskFailed(err)
		l.log().Error("the disk of the state fails; the lane waits for it", "error", err)
	case errors.Is(err, state.ErrDamaged), l.rebuildable(err):
		if err = l.renewStore(err); err != nil && !diskFails(err) {
			return l.end(api.LaneStopped, err)
		}
	case l.skipsGap(ctx, err):
		l.log().Warn("events were lost before they were read; counting on behind them (--on-gap skip)", "error", err)
	case l.passesCut(err):
		l.log().Warn("events were lost after they were read; counting on behind them (--on-gap skip)", "error", err)
	case needsPerson(err), stopsLane(err):
		return l.end(api.LaneStopped, l.explain(ctx, err))
	case faultless(err):
		l.log().Warn("what the lane must write is refused, whatever the events are; trying on", "error", err)
	case txn.Refused(err):
		l.log().Warn("a record was refused; repeating the batch in halves", "error", err)
	default:
		l.log().Warn("acquiring the lane again", "error", l.reason(err))
	}
	l.setState(api.LaneAcquiring, l.reason(err))
	return true
}

// explain says what a person has to know of an error that the package which found it cannot know.
func (l *lane) explain(ctx context.Context, err error) error {
	var gap *txn.GapError
	var digest *state.DigestError
	var ahead *replication.AheadError
	var cut *txn.TruncatedError
	switch {
	case errors.Is(err, replication.ErrForeign):
		return &ForeignError{App: l.app.name(), Changelog: l.app.changelog.Name, Err: err}
	case errors.As(err, &ahead):
		return fmt.Errorf("%w %s and start again; or start the app anew: `tally reset %s`", err, l.app.node.dir.stateDir(l.app.name()), l.app.name())
	case errors.As(err, &gap):
		return l.lostEvents(ctx, gap)
	case errors.As(err, &cut) && cut.Topic == l.app.input.Name:
		return fmt.Errorf("%w; to count what is there, `tally reset %s`; a node that is started with --on-gap skip counts on from offset %d, without what comes below it",
			err, l.app.name(), cut.Read)
	case errors.As(err, &cut):
		return fmt.Errorf("%w; to count the input anew, `tally reset %s`", err, l.app.name())
	case errors.As(err, &digest):
		return &HoleError{App: l.app.name(), Changelog: l.app.changelog.Name, Digest: digest}
	}
	return err
}

// ofAnotherTopic gives the ReplacedError in place of an error of offsets that a topic does not
// have, where it is not the topic that the offsets are of.
func (l *lane) ofAnotherTopic(ctx context.Context, err error) error {
	var gap *txn.GapError
	var cut *txn.TruncatedError
	if !errors.As(err, &gap) && !errors.As(err, &cut) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	var replaced *ReplacedError
	if found := l.app.checkTopics(ctx); errors.As(found, &replaced) {
		return replaced
	}
	return err
}

// lostEvents says which part of the input is gone.
func (l *lane) lostEvents(ctx context.Context, gap *txn.GapError) error {
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	admin := l.app.node.admin
	starts, err := admin.StartOffsets(ctx, gap.Topic)
	if err != nil {
		return gap
	}
	ends, err := admin.EndOffsets(ctx, gap.Topic, false)
	if err != nil {
		return gap
	}
	return &LostEventsError{
		App: l.app.name(), Topic: gap.Topic, Partition: gap.Partition, Next: gap.Position,
		Start: starts[gap.Partition], End: ends[gap.Partition],
	}
}

func (l *lane) end(name string, err error) bool {
	l.log().Error("the lane has ended here", "state", name, "reason", err)
	l.setState(name, err.Error()) // last: whoever sees the state finds the reason in the log
	l.app.node.cluster.Nudge()    // the leader waits no more
	return false
}

// lose ends a stay for good. Where a node of the same cluster has the lane under a later grant,
// this node has been away, and hears of that grant at any moment. Another process under this node's
// id is one of two with one data dir: where both would stay, each would fence the other.
func (l *lane) lose(lost *LostError) bool {
	if n := l.app.node; lost.Copied {
		n.end(&copiedError{fmt.Sprintf("lane %d of app %s was taken by another process under this node's own id %s: "+
			"its data dir is a copy of %s, or this one is of its. Stop that process; the copy is a new node once node.json, cluster.json and raft are removed from it",
			lost.Lane, lost.App, n.dir.id.ID, n.cfg.DataDir)})
	}
	if !lost.Granted {
		return l.end(api.LaneLost, lost)
	}
	l.log().Info("the lane was taken over while this node was away", "by", lost.Node)
	l.setState(api.LaneAcquiring, fmt.Sprintf("node %s has taken the lane over; waiting to hear of it from the leader", lost.Node))
	return false
}

// blame says of a refused record if no event is at fault for it.
func (l *lane) blame(err error) error { return cmp.Or(l.proc.Faultless(err), err) }

// faultless reports whether a record was refused for which no event is at fault: fewer of them are
// no help.
func faultless(err error) bool {
	return errors.As(err, new(*processor.ClockError)) || errors.As(err, new(*processor.OwnRecordError))
}

func stopsLane(err error) bool {
	var stop *processor.StopError
	var dead *processor.DeadLetterError
	var partial *processor.PartialError
	var foreign *processor.ForeignError
	return errors.As(err, &stop) || errors.As(err, &dead) || errors.As(err, &partial) || errors.As(err, &foreign)
}

// fencedBy tells of the node whose record stands behind this node's last one, nil when there is
// none within two seconds: then nobody took the lane, and the broker only aborted a slow
// transaction. The broker tells the two apart sooner: after a timeout the transactional id stays in
// CompleteAbort, through which a fence passes only for a moment.
func (l *lane) fencedBy(ctx context.Context) *LostError {
	timedOut := 0
	for end := l.seam().Now().Add(2 * time.Second); l.seam().Now().Before(end); {
		if by, err := l.overtakenBy(ctx); err == nil && by != nil {
			return by
		}
		tx, ok, err := l.app.node.admin.DescribeTransaction(ctx, l.transactionalID())
		if err == nil && ok && tx.State == "CompleteAbort" {
			timedOut++
		} else {
			timedOut = 0
		}
		if timedOut == 6 {
			return nil
		}
		if l.seam().Sleep(ctx, 50*time.Millisecond) != nil {
			return nil
		}
	}
	return nil
}

// overtakenBy tells of the node that wrote the newest record of one of the lane's changelog
// partitions, if it is another one under an epoch that is not older; else nil.
func (l *lane) overtakenBy(ctx context.Context) (*LostError, error) {
	n := l.app.node
	for _, t := range l.tasks {
		h, err := readHead(ctx, n.admin, l.app.changelog.Name, t.Partition)
		if err != nil {
			return nil, err
		}
		if by := h.author; by.offset >= 0 && by.incarnation != n.incarnation && by.epoch >= l.epoch {
			return l.lostTo(by, t.Partition), nil
		}
	}
	return nil, nil
}

// reason says an error to a user, with what to do about it.
func (l *lane) reason(err error) string {
	if err == nil {
		return l.snapshot().damage
	}
	text := l.app.node.kafka.Explain(err).Error()
	if diskFails(err) {
		return text + "; then the lane goes on by itself, and nothing is lost meanwhile"
	}
	for _, e := range []error{
		kerr.TransactionalIDAuthorizationFailed, kerr.TopicAuthorizationFailed,
		kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed,
	} {
		if errors.Is(err, e) {
			return text + "; once it is granted the lane goes on by itself"
		}
	}
	return text
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// firstOf closes its channel when ctx ends or drain is closed.
func firstOf(ctx context.Context, drain <-chan struct{}) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-ctx.Done():
		case <-drain:
		}
	}()
	return done
}
