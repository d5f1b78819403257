package api

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"

	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

// serveWatch answers POST /v1/apps/{app}/watch; the body is as for scan.
func (s *Server) serveWatch(w http.ResponseWriter, r *http.Request) error {
	rd, prefix, err := s.beginStream(w, r)
	if err != nil {
		return err
	}
	release, err := rd.acquire(r.Context(), s.watches, "watches")
	if err != nil {
		return err
	}
	defer release()
	wt := &watch{rd: rd, prefix: prefix, out: newLineWriter(w, rd.app.Program)}
	return wt.run(r.Context())
}

// watch sends the present values of the groups that begin with prefix, and then their changes. It
// has no memory of its own: the subscriptions keep the groups that wait to be sent, the latest
// value of each, up to a limit; beyond it they say "lost", and all present values are sent again.
type watch struct {
	rd     *read
	prefix []byte
	out    *lineWriter
}

// errResync says that changes were missed, so that the present values must be sent again.
var errResync = errors.New("resync")

func (wt *watch) run(ctx context.Context) error {
	for {
		err := wt.round(ctx)
		if !errors.Is(err, errResync) {
			return err
		}
		// The lanes may be on their way to another node or be restored: be patient.
		wt.rd.deadline = wt.rd.s.opt.Seam.Now().Add(wt.rd.s.opt.WaitMax)
		if err := wt.rd.s.opt.Seam.Sleep(ctx, wt.rd.s.opt.WatchInterval); err != nil {
			return err
		}
	}
}

// batch is what one subscription had.
type batch struct {
	changes []state.Change
	err     error // errResync
}

// round subscribes first and then sends the present values, so that no change falls between.
func (wt *watch) round(ctx context.Context) error {
	views, err := wt.rd.views(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var followers sync.WaitGroup
	defer followers.Wait()
	defer cancel()
	batches := make(chan batch)
	for _, v := range views {
		sub := v.Store.Subscribe(wt.match, max(1, wt.rd.s.opt.WatchGroupsMax/len(views)))
		followers.Go(func() { follow(ctx, sub, batches) })
	}
	if err := wt.present(ctx); err != nil {
		return err
	}
	return wt.changes(ctx, views, batches)
}

func (wt *watch) match(_ state.Task, group []byte) bool { return bytes.HasPrefix(group, wt.prefix) }

// follow hands on what one subscription has; while nobody takes it, the subscription keeps the
// latest value of each group.
func follow(ctx context.Context, sub *state.Subscription, batches chan<- batch) {
	defer sub.Close()
	for {
		changes, lost, err := sub.Next(ctx)
		b := batch{changes: changes}
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
	release, err := wt.rd.acquire(ctx, wt.rd.s.scans, "scans and tops")
	if err != nil {
		return err
	}
	defer release()
	c, err := wt.rd.openCut(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.merge(ctx, wt.prefix, wt.out.count); err != nil {
		return err
	}
	return wt.out.flush()
}

// changes sends what changes until something is lost.
func (wt *watch) changes(ctx context.Context, views []LaneView, batches <-chan batch) error {
	for {
		look, stop := wt.rd.s.opt.Seam.Timer(wt.rd.s.opt.WatchLook)
		select {
		case b := <-batches:
			stop()
			if b.err != nil {
				return b.err
			}
			if err := wt.send(views, b.changes); err != nil {
				return err
			}
			if err := wt.rd.s.opt.Seam.Sleep(ctx, wt.rd.s.opt.WatchInterval); err != nil {
				return err
			}
		case <-look:
			if !sameStores(views, wt.rd.app.Lanes()) {
				return errResync
			}
		case <-ctx.Done():
			stop()
			return ctx.Err()
		}
	}
}

func sameStores(a, b []LaneView) bool {
	return slices.EqualFunc(a, b, func(x, y LaneView) bool { return x.Lane == y.Lane && x.Store == y.Store })
}

// send writes each changed group once, with the values of all its partitions folded.
func (wt *watch) send(views []LaneView, changes []state.Change) error {
	slices.SortFunc(changes, func(a, b state.Change) int { return bytes.Compare(a.Group, b.Group) })
	changes = slices.CompactFunc(changes, func(a, b state.Change) bool { return bytes.Equal(a.Group, b.Group) })
	for _, ch := range changes {
		folded, err := wt.fold(views, ch.Group)
		if err != nil {
			return errResync // the store was closed: the lane moved or began anew
		}
		if folded == nil {
			continue // it was of a lane that is no longer here
		}
		if err := wt.out.count(ch.Group, folded); err != nil {
			return err
		}
	}
	return wt.out.flush()
}

// fold reads a group's present values, which may be newer than the change.
func (wt *watch) fold(views []LaneView, group []byte) ([]spec.Decimal, error) {
	var folded []spec.Decimal
	for _, v := range views {
		all, err := readLane(wt.rd.app, v, group)
		if err != nil {
			return nil, err
		}
		for _, h := range all {
			if h.values != nil {
				folded = foldInto(wt.rd.app.Program, folded, h.values)
			}
		}
	}
	return folded, nil
}
