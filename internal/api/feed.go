package api

import (
	"bytes"
	"context"
	"iter"
	"net/http"
	"slices"
	"sync"

	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

// feed is where a watch hears what changes: from the lanes that are here and from the other nodes
// that have some. It holds for one placement of the lanes; once that is another, a watch begins
// anew with another feed.
type feed struct {
	rd        *read
	placed    []Placement // nil without a cluster
	views     []LaneView  // that are here
	own       *read       // of which views are
	others    []shard
	missed    missed // of which nothing is heard
	batches   chan batch
	cancel    context.CancelFunc
	followers sync.WaitGroup
}

// subscribe opens a feed of the groups that begin with the watch's prefix. Every change after it
// returns is heard of, or the feed says that some were lost.
func (wt *watch) subscribe(ctx context.Context) (*feed, error) {
	rd := wt.rd
	f := &feed{rd: rd, own: rd, batches: make(chan batch)}
	following, cancel := context.WithCancel(ctx)
	f.cancel = cancel
	if !rd.spread() {
		if err := f.subscribeHere(ctx, following, rd, wt.prefix); err != nil {
			f.close()
			return nil, err
		}
		return f, nil
	}
	f.placed = rd.s.opt.Cluster.Place(rd.app.Name)
	var mu sync.Mutex
	silent, err := rd.scatterSome(ctx, wt.lanes(), func(asking context.Context, sh shard) error {
		sub := rd.sub(sh.lanes)
		sub.bounds = nil // they are waited for by the present values
		if sh.member.Self {
			f.own = sub
			return f.subscribeHere(asking, following, sub, wt.prefix)
		}
		asking, done := wt.asking(asking)
		defer done()
		stream, err := sub.openFrames(following, asking, sh, "watch", "", wt.prefix)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		f.others = append(f.others, sh)
		f.followers.Go(func() { f.followStream(following, stream) })
		return nil
	})
	if wt.one && len(silent) > 0 && len(f.views)+len(f.others) > 0 {
		f.missed, err = missed{silent, err}, nil // whether a group may miss them its values say
	}
	if err == nil && !f.same() {
		err = errResync // found on a second try, perhaps: not all of it is of one placement
	}
	if err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *feed) subscribeHere(ctx, following context.Context, rd *read, prefix []byte) error {
	views, err := rd.views(ctx)
	if err != nil {
		return err
	}
	match := func(_ state.Task, group []byte) bool { return bytes.HasPrefix(group, prefix) }
	for _, v := range views {
		n := len(views)
		sub := v.Store.Subscribe(match, rd.s.opt.WatchGroupsMax/n, rd.s.opt.WatchBytesMax/int64(n))
		f.followers.Go(func() { follow(following, sub, f.batches) })
	}
	f.views = append(f.views, views...)
	return nil
}

// followStream hands on what another node says. While nobody takes it nothing more is read, and the
// other's subscriptions keep the rest.
func (f *feed) followStream(ctx context.Context, stream *frameReader) {
	defer stream.close()
	for {
		b, more := readBatch(stream, f.rd.s.opt.WatchGroupsMax, f.rd.s.opt.WatchBytesMax)
		if len(b.groups) > 0 || b.err != nil {
			select {
			case f.batches <- b:
			case <-ctx.Done():
				return
			}
		}
		if !more {
			return
		}
	}
}

// readBatch reads groups until the other node has no more for now, or there are so many groups, or
// so many bytes of them.
func readBatch(stream *frameReader, groupsMax int, bytesMax int64) (b batch, more bool) {
	size := int64(0)
	for len(b.groups) < groupsMax && size < bytesMax {
		switch kind, err := stream.next(); {
		case err != nil || kind == frameEnd:
			b.err = errResync
			return b, false
		case kind == frameFlush:
			return b, true
		default:
			b.groups = append(b.groups, bytes.Clone(stream.group))
			size += int64(len(stream.group))
		}
	}
	return b, true
}

// same reports whether the lanes are still where they were.
func (f *feed) same() bool {
	if len(f.views) > 0 || f.placed == nil {
		views, err := f.own.pickNow()
		if err != nil || !sameStores(f.views, views) {
			return false
		}
	}
	if f.placed == nil {
		return true
	}
	now := f.rd.s.opt.Cluster.Place(f.rd.app.Name)
	return slices.EqualFunc(f.placed, now, func(a, b Placement) bool {
		return a.Lane == b.Lane && a.Owner == b.Owner && a.Epoch == b.Epoch
	})
}

// values are the present values of groups, folded over all nodes, of those that have any.
func (f *feed) values(ctx context.Context, groups [][]byte) (map[string][]spec.Decimal, error) {
	folded := map[string][]spec.Decimal{}
	add := func(group []byte, values []spec.Decimal) error {
		folded[string(group)] = foldInto(f.rd.app.Program, folded[string(group)], values)
		return nil
	}
	for _, group := range groups {
		if err := f.rd.valuesOf(f.views, group, add); err != nil {
			return nil, err
		}
	}
	for _, sh := range f.others {
		if err := f.remoteValues(ctx, sh, groups, add); err != nil {
			return nil, err
		}
	}
	return folded, nil
}

func (f *feed) remoteValues(ctx context.Context, sh shard, groups [][]byte, add groupFunc) error {
	sub := f.rd.sub(sh.lanes)
	sub.bounds, sub.fresh = nil, false
	var body []byte
	for _, group := range groups {
		body = appendFrame(body, frameGroup, group, nil)
	}
	body = appendFrame(body, frameEnd, []byte("{}"))
	return f.rd.askOne(ctx, sh, func(ctx context.Context, sh shard) error {
		stream, err := sub.openFrames(ctx, ctx, sh, "values", "", body)
		if err != nil {
			return err
		}
		defer stream.close()
		for {
			kind, err := stream.next()
			if err != nil || kind == frameEnd {
				return err
			}
			if err := add(stream.group, mustDecode(f.rd.app.Program, stream.values, nil)); err != nil {
				return err
			}
		}
	})
}

// close ends the feed. The watch waits for nothing of it any more.
func (f *feed) close() {
	f.cancel()
	f.followers.Wait()
}

// valuesOf calls fn with the folded values that a group has in the views, if it has any. It fails
// where one of them is a standby's by now: what that had would be said to be the present.
func (rd *read) valuesOf(views []LaneView, group []byte, fn groupFunc) error {
	var folded []spec.Decimal
	for _, v := range views {
		if _, err := rd.roleOf(v); err != nil {
			return err
		}
		all, _, err := readLane(rd.app, v, group)
		if err != nil {
			return err
		}
		for _, h := range all {
			if h.values != nil {
				folded = foldInto(rd.app.Program, folded, h.values)
			}
		}
	}
	if folded == nil {
		return nil
	}
	return fn(group, folded)
}

// valuesMax and valuesBytes bound the groups whose values are asked for at a time: they are a body
// that a node still takes.
const (
	valuesMax   = 1024
	valuesBytes = 256 << 10
)

// chunks divides groups accordingly.
func chunks(groups [][]byte) iter.Seq[[][]byte] {
	return func(yield func([][]byte) bool) {
		for len(groups) > 0 {
			n, size := 0, 0
			for n < len(groups) && n < valuesMax && size < valuesBytes {
				size += len(groups[n])
				n++
			}
			if !yield(groups[:n]) {
				return
			}
			groups = groups[n:]
		}
	}
}

// serveValues answers POST /v1/apps/{app}/values, which only nodes ask: the values of the groups in
// the body's frames.
func (s *Server) serveValues(w http.ResponseWriter, r *http.Request) error {
	rd, err := s.beginNodeRead(r)
	if err != nil {
		return err
	}
	body, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	views, err := rd.views(r.Context())
	if err != nil {
		return err
	}
	in := newFrameReader(body)
	out := newFrameWriter(w, rd.app.Program)
	for {
		kind, err := in.next()
		if err != nil {
			return badRequest("the body is not frames of groups: %v", err)
		}
		if kind == frameEnd {
			return out.end(nil, nil)
		}
		if err := rd.valuesOf(views, in.group, out.count); err != nil {
			return out.end(nil, err)
		}
	}
}

// watchHere tells another node which groups of its lanes change.
func (rd *read) watchHere(ctx context.Context, w http.ResponseWriter, prefix []byte) error {
	rd.s.patient(w)
	wt := &watch{rd: rd, prefix: prefix}
	feed, err := wt.subscribe(ctx)
	if err != nil {
		return err
	}
	defer feed.close()
	out, looks := newFrameWriter(w, rd.app.Program), rd.beginLooks()
	// The other node waits for the answer's beginning: from then on it hears of every change.
	for err == nil {
		if err = out.flush(); err != nil {
			return err
		}
		if err = rd.watchOnce(ctx, feed, looks, out); err == nil {
			err = looks.look(feed)
		}
	}
	return out.end(nil, err)
}

func (rd *read) watchOnce(ctx context.Context, feed *feed, looks *looks, out *frameWriter) error {
	due, stop := looks.timer()
	defer stop()
	select {
	case b := <-feed.batches:
		for _, group := range b.groups {
			if err := out.frame(frameGroup, group, nil); err != nil {
				return err
			}
		}
		if b.err != nil {
			return b.err
		}
	case <-due: // a sign of life
	case <-ctx.Done():
		return ctx.Err()
	}
	return out.frame(frameFlush)
}
