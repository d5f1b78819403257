package api

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

// serveWatch answers POST /v1/apps/{app}/watch; the body is as for scan.
func (s *Server) serveWatch(w http.ResponseWriter, r *http.Request) error {
	rd, prefix, err := s.beginStream(w, r)
	if err != nil {
		return err
	}
	release, err := rd.acquire(r.Context(), rd.watches(), "watches")
	if err != nil {
		return err
	}
	defer release()
	if rd.local {
		return rd.watchHere(r.Context(), w, prefix)
	}
	wt := &watch{rd: rd, prefix: prefix, out: newLineWriter(w, rd.app.Program)}
	if rd.spread() {
		wt.one, wt.wait = rd.app.Program.CheckGroup(prefix) == nil, rd.left()
	}
	return wt.run(r.Context())
}

// watch sends the present values of the groups that begin with prefix, and then their changes. It
// has no memory of its own: the subscriptions keep the groups that wait to be sent, the latest
// value of each, up to a limit; beyond it they say "lost", and all present values are sent again.
type watch struct {
	rd     *read
	prefix []byte
	out    *lineWriter
	// one: the prefix is a whole group, of which lanes may be missing after wait: see watchone.go.
	one  bool
	wait time.Duration
}

// errResync says that changes were missed, so that the present values must be sent again.
var errResync = errors.New("resync")

func (wt *watch) run(ctx context.Context) error {
	var patience time.Time // the end of it; zero before the first answer
	for {
		err := wt.round(ctx)
		now := wt.rd.s.opt.Seam.Now()
		switch {
		case errors.Is(err, errResync):
			// The lanes may be on their way to another node or be restored: be patient.
			patience = now.Add(wt.rd.s.opt.WaitMax)
		case !wt.one || !now.Before(patience) || !mayCome(err):
			return err
		}
		wt.waitUntil(now, patience)
		if err := wt.rd.s.opt.Seam.Sleep(ctx, wt.rd.s.opt.WatchInterval); err != nil {
			return err
		}
		if err := wt.rd.allowed(); err != nil {
			return err
		}
		if _, err := wt.rd.reopened(); err != nil { // there is nothing to wait for
			return err
		}
	}
}

// batch are groups that have changed, as one subscription or one other node says.
type batch struct {
	groups [][]byte
	err    error // errResync
}

// round subscribes first and then sends the present values, so that no change falls between.
func (wt *watch) round(ctx context.Context) error {
	feed, err := wt.subscribe(ctx)
	if err != nil {
		return err
	}
	defer feed.close()
	if wt.one {
		return wt.roundOfOne(ctx, feed)
	}
	if err := wt.present(ctx); err != nil {
		return err
	}
	return wt.changes(ctx, feed)
}

// follow hands on what one subscription has; while nobody takes it, the subscription keeps the
// latest value of each group.
func follow(ctx context.Context, sub *state.Subscription, batches chan<- batch) {
	defer sub.Close()
	for {
		changes, lost, err := sub.Next(ctx)
		b := batch{groups: make([][]byte, len(changes))}
		for i, ch := range changes {
			b.groups[i] = ch.Group
		}
		if lost || err != nil {
			b.err = errResync
		}
		select {
		case batches <- b:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// present sends the present values: a scan without an end.
func (wt *watch) present(ctx context.Context) error {
	release, err := wt.rd.scanPlace(ctx)
	if err != nil {
		return err
	}
	defer release()
	c, err := wt.rd.openAll(ctx, wt.prefix)
	if err != nil {
		return err
	}
	defer c.close()
	defer wt.rd.s.hurry(wt.out.w)()
	send := wt.out.count
	var last heldCount
	if wt.rd.stale {
		last.out = wt.out
		send = last.count
	}
	if err := c.merge(ctx, wt.prefix, send); err != nil {
		if wt.rd.spread() && askAgain(err) {
			return errResync // a node has gone: the rest of its values comes from the next
		}
		return err
	}
	if wt.rd.stale {
		wt.out.parts = c.parts()
		if err := last.release(); err != nil {
			return err
		}
	}
	return wt.out.flush()
}

// heldCount holds a count back until the next one comes, so that the last one can say from where
// they all are: that is known behind the last one only.
type heldCount struct {
	out    *lineWriter
	has    bool
	group  []byte
	values []spec.Decimal
}

// count is a groupFunc.
func (h *heldCount) count(group []byte, values []spec.Decimal) error {
	err := h.release()
	h.has, h.group, h.values = true, append(h.group[:0], group...), append(h.values[:0], values...)
	return err
}

func (h *heldCount) release() error {
	if !h.has {
		return nil
	}
	h.has = false
	return h.out.count(h.group, h.values)
}

// changes sends what changes until something is lost.
func (wt *watch) changes(ctx context.Context, feed *feed) error {
	looks := wt.rd.beginLooks()
	for {
		if err := wt.changesOnce(ctx, feed, looks); err != nil {
			return err
		}
		if err := looks.look(feed); err != nil {
			return err
		}
	}
}

func (wt *watch) changesOnce(ctx context.Context, feed *feed, looks *looks) error {
	due, stop := looks.timer()
	defer stop()
	select {
	case b := <-feed.batches:
		if b.err != nil {
			return b.err
		}
		if err := wt.send(ctx, feed, b.groups); err != nil {
			return err
		}
		return wt.rd.s.opt.Seam.Sleep(ctx, wt.rd.s.opt.WatchInterval)
	case <-due:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// send writes each changed group once, with the present values of all its partitions folded, which
// may be newer than the change.
func (wt *watch) send(ctx context.Context, feed *feed, groups [][]byte) error {
	if len(feed.missed.lanes) > 0 {
		return wt.sendOne(ctx, feed)
	}
	slices.SortFunc(groups, bytes.Compare)
	groups = slices.CompactFunc(groups, bytes.Equal)
	for chunk := range chunks(groups) {
		folded, err := feed.values(ctx, chunk)
		if err != nil {
			return errResync // a store was closed, or is a standby's: the lane moved or began anew
		}
		for _, group := range chunk {
			values, ok := folded[string(group)]
			if !ok {
				continue // it was of a lane that has moved
			}
			if err := wt.out.count(group, values); err != nil {
				return err
			}
		}
	}
	return wt.out.flush()
}

func sameStores(a, b []LaneView) bool {
	return slices.EqualFunc(a, b, func(x, y LaneView) bool { return x.Lane == y.Lane && x.Store == y.Store })
}
