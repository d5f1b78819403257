package api

import (
	"context"
	"net/http"
	"slices"
	"sync"
)

// spreadCut is one commit boundary a lane, over all lanes of an app, wherever they are: cuts of the
// lanes that are here, and streams of what the other nodes have cut.
type spreadCut struct {
	rd      *read
	mu      sync.Mutex // guards the two while they are opened
	cuts    []*cut
	streams []*frameReader
}

// openAll waits until the query can be answered and cuts every lane. The caller closes it.
func (rd *read) openAll(ctx context.Context, prefix []byte) (*spreadCut, error) {
	c := &spreadCut{rd: rd}
	if !rd.spread() {
		own, err := rd.openCut(ctx)
		if err != nil {
			return nil, err
		}
		c.cuts = []*cut{own}
		return c, nil
	}
	_, err := rd.throughInput(ctx)
	if err == nil {
		err = rd.scatter(ctx, rd.allLanes(), func(asking context.Context, sh shard) error {
			return c.open(ctx, asking, sh, prefix)
		})
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *spreadCut) open(ctx, asking context.Context, sh shard, prefix []byte) error {
	sub := c.rd.sub(sh.lanes)
	if sh.member.Self {
		own, err := sub.openCut(asking)
		if err == nil {
			c.cuts = append(c.cuts, own) // of this node there is one shard at a time
		}
		return err
	}
	stream, err := sub.openFrames(ctx, asking, sh, "scan", "", prefix)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams = append(c.streams, stream)
	return nil
}

// merge is cut.merge over all nodes.
func (c *spreadCut) merge(ctx context.Context, prefix []byte, fn groupFunc) error {
	var sources []*source
	for _, own := range c.cuts {
		sources = append(sources, own.sources(ctx, prefix)...)
	}
	for _, stream := range c.streams {
		sources = append(sources, streamSource(stream))
	}
	defer stopSources(sources)
	return mergeSources(c.rd.app.Program, slices.Clone(sources), fn)
}

// streamSource are the groups of the lanes of another node.
func streamSource(f *frameReader) *source {
	src := &source{stop: func() {}}
	src.pull = func() (group, values []byte, ok bool) {
		for {
			switch kind, err := f.next(); {
			case err != nil:
				src.err = err
				return nil, nil, false
			case kind == frameEnd:
				return nil, nil, false
			case kind == frameGroup:
				return f.group, f.values, true
			}
		}
	}
	return src
}

// parts describes the cut; call it after the last read.
func (c *spreadCut) parts() []Part {
	var parts []Part
	for _, own := range c.cuts {
		parts = append(parts, own.parts()...)
	}
	for _, stream := range c.streams {
		parts = append(parts, stream.tail.Parts...)
	}
	return c.rd.withInput(finishParts(orEmpty(parts)))
}

func (c *spreadCut) close() {
	for _, own := range c.cuts {
		own.close()
	}
	for _, stream := range c.streams {
		stream.close()
	}
}

// scanPlace waits until a scan or top can run, and takes a place for it: those that wait for what
// has not come yet would keep out others that could run.
func (rd *read) scanPlace(ctx context.Context) (release func(), err error) {
	if err := rd.await(ctx); err != nil {
		return nil, err
	}
	return rd.acquire(ctx, rd.scans(), "scans and tops")
}

// await waits for what the read asks for, and holds nothing.
func (rd *read) await(ctx context.Context) error {
	if !rd.spread() {
		_, err := rd.views(ctx)
		return err
	}
	asks := len(rd.bounds) > 0 || rd.fresh
	if asks {
		if _, err := rd.throughInput(ctx); err != nil {
			return err
		}
	}
	return rd.scatter(ctx, rd.allLanes(), func(asking context.Context, sh shard) error {
		sub := rd.sub(sh.lanes)
		switch {
		case sh.member.Self:
			_, err := sub.views(asking)
			return err
		case !asks: // it has an owner; what that one waits for is seldom long, and a round trip
			return nil
		}
		none, err := sub.openFrames(ctx, asking, sh, "values", "", appendFrame(nil, frameEnd, []byte("{}")))
		if err == nil {
			none.close()
		}
		return err
	})
}

// scans is the room for scans and tops that the read takes a place in. Those of other nodes have
// one of their own: a scan that waits for other nodes must not keep theirs from being answered.
func (rd *read) scans() chan struct{} {
	if rd.local {
		return rd.s.nodeScans
	}
	return rd.s.scans
}

func (rd *read) watches() chan struct{} {
	if rd.local {
		return rd.s.nodeWatches
	}
	return rd.s.watches
}

// patient lets another node read slowly: it merges streams, and of that with the last groups it
// reads nothing until the others are through.
func (s *Server) patient(w http.ResponseWriter) {
	if dw, ok := w.(*deadlineWriter); ok {
		dw.timeout = s.opt.NodeWriteTimeout
	}
}
