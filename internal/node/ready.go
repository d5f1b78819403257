package node

import (
	"context"
	"errors"
	"time"

	"github.com/tally-kafka/tally/replication"
	"github.com/tally-kafka/tally/txn"
)

// warmEvery is how often a standby uses its connection to the coordinator, so that it stays.
const warmEvery = 4 * time.Minute

// ready is what a lane has prepared for the moment in which it is granted: connections, and records
// that were read ahead. Nothing of it has fenced anybody, and any of it may be dropped. It belongs
// to the goroutine that runs the lane, and before that to who opens the app.
type ready struct {
	fence    *txn.Ready
	playback *replication.Playback // open on the lane's store, and closed before that is
}

// prepareFence connects to the lane's coordinator, and does not wait until that is done. What fails
// is tried again, and said, by who needs it.
func (l *lane) prepareFence() {
	f := l.readyFence()
	if f == nil {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), fenceTimeout)
		defer cancel()
		f.Warm(ctx) // ends with f, too
	}()
}

// readAhead begins to read what the changelog has beyond the store.
func (l *lane) readAhead() {
	if p := l.playback(); p.Open() == nil {
		l.ready.playback = p
	}
}

// readyFence is the client that will fence the lane; nil when it cannot be made now.
func (l *lane) readyFence() *txn.Ready {
	if l.ready.fence == nil {
		f, err := txn.Prepare(l.sessionConfig(l.transactionalID()))
		if err != nil {
			return nil
		}
		l.ready.fence = f
	}
	return l.ready.fence
}

// keepWarm keeps the connection to the coordinator until ctx ends.
func (l *lane) keepWarm(ctx context.Context, f *txn.Ready) {
	for f != nil && ctx.Err() == nil {
		bounded, cancel := context.WithTimeout(ctx, fenceTimeout)
		f.Warm(bounded)
		cancel()
		_ = l.seam().Sleep(ctx, warmEvery)
	}
}

// takeFence gives the prepared client away; nil for none.
func (l *lane) takeFence() *txn.Ready {
	f := l.ready.fence
	l.ready.fence = nil
	return f
}

// takePlayback gives the open playback away, or a new one.
func (l *lane) takePlayback() *replication.Playback {
	p := l.ready.playback
	l.ready.playback = nil
	if p == nil {
		p = l.playback()
	}
	return p
}

// keepPlayback keeps a playback that ended because it was told to, for who goes on where it has
// come to.
func (l *lane) keepPlayback(ctx context.Context, p *replication.Playback, err error) {
	if errors.Is(err, context.Canceled) && errors.Is(context.Cause(ctx), context.Canceled) {
		l.ready.playback = p
		return
	}
	p.Close()
}

// dropReady drops all of it: the lane is another's, or its store is closed.
func (l *lane) dropReady() {
	if l.ready.playback != nil {
		l.ready.playback.Close()
	}
	if l.ready.fence != nil {
		l.ready.fence.Close()
	}
	l.ready = ready{}
}
