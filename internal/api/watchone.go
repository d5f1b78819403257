package api

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"
)

// A watch of one group says what a get of it would say: where nobody answers for some lanes within
// the wait, the values are those of the others, and each line names the silent lanes. It asks these
// again and again, and once one of them answers it begins anew. Where a get would say nothing, the
// watch ends; one that has begun is patient before.

// lanes are those that the watch has to hear of.
func (wt *watch) lanes() []int {
	if lane, ok := wt.rd.secondLane(wt.prefix); wt.one && ok {
		return []int{lane}
	}
	return wt.rd.allLanes()
}

// waitUntil begins another wait of the read: to the end of the patience, but no longer than a get
// would wait where lanes may be missing after that.
func (wt *watch) waitUntil(now, patience time.Time) {
	wt.rd.begun, wt.rd.deadline = now, patience
	if late := now.Add(wt.wait); wt.one && late.Before(patience) {
		wt.rd.deadline = late
	}
}

// asking bounds the question to another node: one that hangs is silent as soon as it is to a get.
func (wt *watch) asking(ctx context.Context) (context.Context, context.CancelFunc) {
	if !wt.one {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, max(wt.rd.left(), 0)+wt.rd.s.opt.ForwardSlack)
}

// mayCome reports whether err is of what another try may have.
func mayCome(err error) bool {
	var e *Error
	return errors.As(err, &e) && askAgain(err)
}

func (wt *watch) roundOfOne(ctx context.Context, feed *feed) error {
	now := wt.rd.s.opt.Seam.Now()
	wt.waitUntil(now, now.Add(wt.wait)) // the silent lanes have had theirs
	got, err := wt.get(ctx, feed)
	if err != nil {
		return err
	}
	if wt.rd.stale {
		wt.out.parts = got.plain()
	}
	if err := wt.write(got); err != nil {
		return err
	}
	if len(got.silent) > 0 {
		probing, stop := context.WithCancel(ctx)
		defer stop() // before the feed is closed, which waits for it
		probe := *wt.rd
		feed.followers.Go(func() { probe.awaitSilent(probing, wt.prefix, got.silent, feed.batches) })
	}
	return wt.changes(ctx, feed)
}

// get is the get of the group, of the lanes that the feed is of.
func (wt *watch) get(ctx context.Context, feed *feed) (*getParts, error) {
	lanes := slices.DeleteFunc(wt.lanes(), func(k int) bool { return slices.Contains(feed.missed.lanes, k) })
	return wt.rd.getOf(ctx, wt.prefix, lanes, feed.missed)
}

// write sends the values, if there are any.
func (wt *watch) write(got *getParts) error {
	wt.out.silent = got.silent
	if folded := got.fold(wt.rd.app.Program); folded != nil {
		if err := wt.out.count(wt.prefix, folded); err != nil {
			return err
		}
	}
	return wt.out.flush()
}

// sendOne sends the group's present values, of which lanes are missing: whether they still may be
// is asked each time, since an event of the group may have come elsewhere than its key says.
func (wt *watch) sendOne(ctx context.Context, feed *feed) error {
	got, err := wt.get(ctx, feed)
	if err != nil {
		return errResync
	}
	return wt.write(got)
}

// awaitSilent says errResync once one of the silent lanes answers again. The read is its own.
func (rd *read) awaitSilent(ctx context.Context, group []byte, silent []int, batches chan<- batch) {
	rd.bounds, rd.fresh = nil, false
	for rd.s.opt.Seam.Sleep(ctx, rd.s.opt.WatchLook) == nil {
		var answers atomic.Bool
		rd.begun = rd.s.opt.Seam.Now()
		rd.deadline = rd.begun // one try
		_ = rd.scatter(ctx, silent, func(ctx context.Context, sh shard) error {
			_, err := rd.getShard(ctx, sh, group)
			answers.CompareAndSwap(false, err == nil)
			return err
		})
		if answers.Load() {
			select {
			case batches <- batch{err: errResync}:
			case <-ctx.Done():
			}
			return
		}
	}
}
