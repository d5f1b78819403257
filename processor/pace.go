package processor

import (
	"sync"
	"time"
)

// Budget bounds the commits that a node starts in a second, over all its lanes: a commit costs the
// broker 3-4 ms of CPU however small it is. With many busy lanes their intervals stretch.
type Budget struct {
	mu      sync.Mutex
	spacing time.Duration
	next    time.Time
}

// NewBudget allows perSecond commits a second, evenly spaced.
func NewBudget(perSecond int) *Budget {
	return &Budget{spacing: time.Second / time.Duration(max(perSecond, 1))}
}

// Reserve takes the next free slot at or after now and returns when it is. The slot of a lane of
// two stages is a third shorter, since an event's way leads through two commits.
func (b *Budget) Reserve(now time.Time, stages int) time.Time {
	if b == nil {
		return now
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.next
	if at.Before(now) {
		at = now
	}
	b.next = at.Add(b.spacing * 2 / time.Duration(1+stages))
	return at
}

// due is the moment at which the filling batch should commit, were nothing in flight. A batch waits
// longer while the lane is behind: fewer and larger transactions cost less. Where the broker takes
// long to commit, half of the time is left to it for what is read: else a lane that it keeps from
// reading would write the same groups ever more often, and keep it from answering.
func (l *Lane) due() time.Time {
	b := l.filling
	wait := l.cfg.Pace.Interval
	switch {
	case l.eager:
		wait = 0
	case b.behind:
		wait = max(l.cfg.Pace.IntervalMax, 2*min(l.lastTook, l.cfg.Pace.IntervalMax))
	}
	at := latest(b.first.Add(wait), b.slot)
	if l.midway() { // the rest of what a transaction has sent is visible too, and comes at once
		at = latest(at, b.first.Add(2*l.cfg.Pace.IntervalMax))
	}
	if l.full() || l.draining || l.stop != nil {
		at = b.first
	}
	return latest(at, l.lastEnd.Add(l.cfg.Pace.Hold))
}

// restsUntil is until when nothing is taken of what is fetched, so that no more than a little of it
// is. A lane that has read all that there was would else fetch every event singly, which costs it
// and the broker more than all the rest; shortly before a commit is due what has come meanwhile
// comes with a few fetches. What is at hand half is not left so.
func (l *Lane) restsUntil() time.Time {
	b := l.filling
	if l.more || b.behind || b.empty() || l.midway() {
		return time.Time{}
	}
	due := l.due()
	return due.Add(-max(l.cfg.Pace.Lead, due.Sub(b.first)/leadPart))
}

// leadPart: of a long wait, as where many lanes share the commits, a larger lead costs little.
const leadPart = 8

// full reports whether the filling batch takes no further event.
func (l *Lane) full() bool { return l.filling.full(l.bounds()) }

// bounds are those of a batch: what halving and the time of the last commits leave of the limits.
// They change with the end of a commit, and not while the loop folds.
func (l *Lane) bounds() Limits {
	lim := l.cfg.Limits
	lim.TxnEvents, lim.TxnBytes = l.halving.limit(lim.TxnEvents), l.size.limit(lim.TxnBytes)
	return lim
}

func (b *batch) full(of Limits) bool {
	return b.events >= of.TxnEvents || b.groups >= of.TxnGroups || len(b.increments) >= of.TxnItems || b.bytes >= of.TxnBytes
}

// nextWake is when the loop has something to do without any message: a commit is due, a group
// offset grows old, or what is no event has moved a position. ok is false while a commit is in
// flight: its end wakes the loop.
func (l *Lane) nextWake() (at time.Time, ok bool) {
	if l.committing != nil {
		return time.Time{}, false
	}
	if !l.filling.empty() {
		return l.due(), true
	}
	at = l.refreshAt()
	if pass := l.passAt(); pass.Before(at) && l.passedOnly() {
		at = pass
	}
	return at, true
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
