package processor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/step"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
	"github.com/tally-kafka/tally/txn"
)

// Session is what a lane needs of its fenced client; *txn.Session is the real one, and tests script
// another.
type Session interface {
	// Poll waits for up to max records of the sources, control records among them. waiting is how
	// many others were to be read behind them.
	Poll(ctx context.Context, max int) (recs []*kgo.Record, waiting int64, err error)
	// Begin, Produce and Commit are one transaction. After an error the session is dead.
	Begin() error
	Produce(rec *kgo.Record)
	Commit(ctx context.Context, offsets txn.Offsets) (txn.Outcome, error)
}

// Lane runs one lane. It lives as long as the node does; each Run is one stay as the owner.
type Lane struct {
	cfg      Config
	every    bool // emit: every
	canStray bool
	direct   bool // each event counts once, for its key; see foldDirect
	// directMax is the length of the longest group that is folded so.
	directMax int
	numbers   int // of a delta: one an aggregate, none when all are counts
	halving   halving
	size      size
	view      view
	views     map[state.Task]*taskView // the map itself never changes
	sent      []atomic.Int64           // by repartition partition; see Sent

	// The rest belongs to one Run, and only its loop touches it, except where commit.go says.
	session    Session
	store      *state.Store
	scratch    spec.Scratch
	stage      stage
	filling    *batch
	cursor     cursor // of the record before
	spare      []*deltas
	committing *batch        // nil: no commit in flight
	pending    []*kgo.Record // fetched, not yet folded
	more       bool          // the last poll did not reach the end of what there was
	records    map[state.Task]state.PositionRecord
	inboxes    map[state.Task]*inbox    // of the tasks of a second stage
	refreshed  map[state.Task]time.Time // when a task's group offset was last committed
	partial    []spec.Decimal           // of the partial being folded, to save an allocation each
	begun      time.Time                // of the last commit
	lastEnd    time.Time                // EndTxn's last answer
	lastTook   time.Duration            // from the one to the other
	draining   bool
	eager      bool // nothing was committed yet: what waits has waited for the whole acquire
	stop       *StopError
	out        builder
}

// New prepares a lane for these tasks.
func New(cfg Config, tasks []state.Task) *Lane {
	cfg.Limits = cfg.Limits.withDefaults()
	l := &Lane{cfg: cfg, views: map[state.Task]*taskView{}, sent: make([]atomic.Int64, cfg.Repartitions)}
	l.cfg.Pace = cfg.Pace.withDefaults(l.stages())
	l.every = cfg.Spec.Output != nil && cfg.Spec.Output.Emit == spec.EmitEvery
	if !cfg.Program.Counts() {
		l.numbers = len(cfg.Spec.Aggregates)
	}
	l.direct, l.directMax = cfg.Program.Direct() && !l.twoStages() && !l.every, cfg.directMax()
	l.canStray = !l.twoStages() && cfg.Partitions > 1 && cfg.Spec.KeyPart() >= 0 && !hasPartition(cfg.Spec)
	for _, t := range tasks {
		v := &taskView{}
		v.lastEvent.Store(-1)
		l.views[t] = v
	}
	return l
}

// Stamp sets the grant's fields of all further position records: called before a Run, by who
// acquired the lane.
func (l *Lane) Stamp(rec state.PositionRecord) { l.cfg.Stamp = rec }

// Run processes from the store's positions until ctx ends, drain is closed, or something fails. On
// a closed drain it commits what it has folded and returns nil. The caller closes the session,
// whatever Run returns, and acquires anew before the next Run.
func (l *Lane) Run(ctx context.Context, session Session, store *state.Store, drain <-chan struct{}) error {
	if err := l.begin(session, store); err != nil {
		return err
	}
	l.eager = true
	ctx, cancel := context.WithCancel(ctx)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel()

	fetched := make(chan fetch) // unbuffered: one batch in the fetcher's hand is the bound
	workers.Go(func() { l.fetch(ctx, fetched) })
	ended := make(chan ending, 1)

	for {
		if err := l.foldPending(); err != nil {
			return err
		}
		if b := l.takeDue(l.cfg.Seam.Now()); b != nil {
			workers.Go(func() { ended <- l.commit(ctx, b) })
		}
		if l.committing == nil && l.filling.empty() && (l.draining || l.stop != nil) {
			return l.stopped()
		}
		now := l.cfg.Seam.Now()
		rest := l.restsUntil()
		wake, stopTimer := l.timer(now, rest)
		var in <-chan fetch
		if len(l.pending) == 0 && !l.draining && l.stop == nil && !now.Before(rest) {
			in = fetched
		}
		var err error
		select {
		case f := <-in:
			err = l.onFetch(f)
		case e := <-ended:
			err = l.onEnding(e)
		case <-wake:
		case <-drain:
			l.draining, l.pending, drain = true, nil, nil
		case <-ctx.Done():
			err = ctx.Err()
		}
		stopTimer()
		if err != nil {
			return err
		}
	}
}

// begin drops whatever an earlier Run held and takes the positions of the store. It refuses a store
// that has counted for more tasks than the lane knows of.
func (l *Lane) begin(session Session, store *state.Store) error {
	l.session, l.store = session, store
	l.filling, l.committing, l.pending = l.newBatch(), nil, nil
	l.stage.reset()
	l.draining, l.stop, l.more = false, nil, false
	now := l.cfg.Seam.Now()
	l.lastEnd = now // the acquire has just ended a transaction: the barrier's
	l.records, l.refreshed = map[state.Task]state.PositionRecord{}, map[state.Task]time.Time{}
	l.inboxes = map[state.Task]*inbox{}
	for t, pos := range store.Positions() {
		l.records[t] = pos.Record
		if t.Stage == state.SecondStage {
			l.inboxes[t] = newInbox(pos.Record)
		}
		l.refreshed[t] = time.UnixMilli(pos.Record.AtMs)
		v := l.views[t]
		if v == nil {
			return fmt.Errorf("the state has counted partition %d of stage %d, which this process does not know: the topic has grown since; start it again",
				t.Partition, t.Stage+1)
		}
		v.begin(pos.Record.Input)
		v.passed(pos)
	}
	return nil
}

func (l *Lane) stopped() error {
	if l.stop != nil {
		return l.stop
	}
	return nil
}

// fetch is one poll's result.
type fetch struct {
	recs    []*kgo.Record
	waiting int64
	err     error
}

// fetch polls until ctx ends or a poll fails, one batch ahead of the loop.
func (l *Lane) fetch(ctx context.Context, out chan<- fetch) {
	for ctx.Err() == nil {
		recs, waiting, err := l.session.Poll(ctx, l.cfg.Limits.PollRecords)
		if len(recs) == 0 && err == nil {
			continue
		}
		l.cfg.Step.At(step.Poll)
		select {
		case out <- fetch{recs, waiting, err}:
		case <-ctx.Done():
		}
		if err != nil {
			return
		}
	}
}

func (l *Lane) onFetch(f fetch) error {
	l.pending, l.more = f.recs, f.waiting > 0
	if int64(len(f.recs))+f.waiting >= int64(l.cfg.Limits.PollRecords) {
		l.filling.behind = true
	}
	return f.err
}

// ending is a commit's result.
type ending struct {
	batch     *batch
	positions []state.Position
	err       error
}

func (l *Lane) onEnding(e ending) error {
	now := l.cfg.Seam.Now()
	l.lastTook, l.lastEnd, l.committing = now.Sub(l.begun), now, nil
	l.size.ended(e.batch.bytes, l.lastTook, e.err)
	if e.err != nil {
		if err := l.Faultless(e.err); err != nil {
			l.halving.faultless()
			return err
		}
		if txn.Refused(e.err) {
			return l.halving.failed(e.batch, e.err)
		}
		return e.err
	}
	l.halving.succeeded(e.batch, l.cfg.Limits.TxnEvents)
	for _, pos := range e.positions {
		l.records[pos.Record.Task] = pos.Record
		l.refreshed[pos.Record.Task] = now
	}
	l.view.txns.Add(1)
	l.view.events.Add(int64(e.batch.events))
	l.recycle(e.batch)
	return nil
}

// takeDue takes the filling batch for a commit when it is time and none is in flight.
func (l *Lane) takeDue(now time.Time) *batch {
	if l.committing != nil {
		return nil
	}
	if l.filling.empty() && (!now.Before(l.refreshAt()) || l.passedOnly() && !now.Before(l.passAt())) {
		l.filling.first, l.filling.force = now, true
	}
	if l.filling.empty() || now.Before(l.due()) {
		return nil
	}
	b := l.filling
	if !now.Before(l.refreshAt()) {
		l.addStale(b, now)
	}
	l.noteMidway(b)
	l.committing, l.begun, l.filling, l.eager = b, now, l.newBatch(), false
	return b
}

// passAfter is how long a lane without events leaves it at positions before what it has passed
// over.
const passAfter = time.Minute

// passedOnly reports whether the filling batch has moved a position by what is no event, such as
// the marker of a transaction. That is committed before long, or when the lane drains: else the
// input would seem to have lost events where a marker is all that its retention has deleted behind
// the position.
func (l *Lane) passedOnly() bool {
	for task, t := range l.filling.tasks {
		if t.next > l.records[task].Input {
			return true
		}
	}
	return false
}

// passAt is when a batch that has passed something, and has no event, is committed.
func (l *Lane) passAt() time.Time {
	if l.draining {
		return l.lastEnd
	}
	return l.lastEnd.Add(passAfter)
}

// refreshAt is when the oldest group offset has to be committed again.
func (l *Lane) refreshAt() time.Time {
	var oldest time.Time
	for _, at := range l.refreshed {
		if oldest.IsZero() || at.Before(oldest) {
			oldest = at
		}
	}
	return oldest.Add(l.cfg.Pace.Refresh)
}

// addStale adds the tasks whose group offset is old to the batch, with the position they have.
func (l *Lane) addStale(b *batch, now time.Time) {
	for task, at := range l.refreshed {
		if now.Sub(at) >= l.cfg.Pace.Refresh {
			t := b.task(task)
			t.next, t.refresh = max(t.next, l.records[task].Input), true
		}
	}
}

// timer returns the loop's next wake-up, which is at the end of a rest at the latest; a nil channel
// when a message will wake it.
func (l *Lane) timer(now, rest time.Time) (<-chan time.Time, func()) {
	at, ok := l.nextWake()
	if now.Before(rest) && (!ok || rest.Before(at)) {
		at, ok = rest, true
	}
	if !ok {
		return nil, func() {}
	}
	return l.cfg.Seam.Timer(at.Sub(now))
}

// ordered lists the tasks of a batch in order, so that its records have a defined one.
func (b *batch) ordered() []state.Task {
	return slices.SortedFunc(maps.Keys(b.tasks), func(a, b state.Task) int {
		return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Partition, b.Partition))
	})
}

// errNoTask is impossible: a session reads only the partitions that it was assigned.
var errNoTask = errors.New("processor: a record of a partition that the lane does not own")

func hasPartition(s *spec.Spec) bool {
	return slices.ContainsFunc(s.Group, func(p spec.Part) bool { return p.Kind == spec.PartPartition })
}
