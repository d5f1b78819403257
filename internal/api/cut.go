package api

import (
	"context"
	"fmt"
	"slices"

	"github.com/tally-kafka/tally/state"
)

// cut is one commit boundary a lane, over all lanes of an app: a vector of positions, not one
// instant.
type cut struct {
	rd    *read
	lanes []laneCut
}

type laneCut struct {
	view   LaneView
	role   Role // before the cut
	inputs inputs
	cut    *state.Cut
}

// inputs are the offsets below which everything is in what a read of a lane's store has found.
type inputs map[state.Task]int64

// readInputs is called before the read; what the read finds may only raise them.
func readInputs(v LaneView) inputs {
	in := make(inputs, len(v.Tasks))
	for _, t := range v.Tasks {
		in[t] = v.Input(t.Partition)
	}
	return in
}

func (in inputs) raise(positions map[state.Task]state.Position) {
	for t, pos := range positions {
		in[t] = max(in[t], pos.Record.Input)
	}
}

// openCut waits until the query can be answered and cuts every lane. The caller closes it.
func (rd *read) openCut(ctx context.Context) (*cut, error) {
	for {
		views, err := rd.views(ctx)
		if err != nil {
			return nil, err
		}
		c, err := rd.cutViews(views)
		if err == nil {
			return c, nil
		}
		if err := rd.pause(ctx, err); err != nil {
			return nil, err
		}
	}
}

func (rd *read) cutViews(views []LaneView) (*cut, error) {
	c := &cut{rd: rd}
	for _, v := range views {
		role, err := rd.roleOf(v)
		if err != nil {
			c.close()
			return nil, err
		}
		lc := laneCut{view: v, role: role, inputs: readInputs(v)}
		if lc.cut, err = v.Store.Cut(); err != nil {
			c.close()
			return nil, fmt.Errorf("read lane %d: %w", v.Lane, err)
		}
		lc.inputs.raise(lc.cut.Positions())
		c.lanes = append(c.lanes, lc)
	}
	return c, nil
}

func (c *cut) close() {
	for _, lc := range c.lanes {
		lc.cut.Close()
	}
}

// parts describes the cut; call it after the last read.
func (c *cut) parts() []Part {
	parts := []Part{}
	for _, lc := range c.lanes {
		for _, t := range lc.view.Tasks {
			parts = append(parts, c.rd.newPart(lc.view, t, lc.inputs[t], lc.role))
		}
	}
	return finishParts(parts)
}

// hints are those of all the cut's lanes together.
func (c *cut) hints() (sum laneHints) {
	for _, lc := range c.lanes {
		for _, pos := range lc.cut.Positions() {
			sum.add(c.rd.app, pos)
		}
	}
	return sum
}

// merge calls fn for each group that begins with prefix, in group order, with the values of all its
// partitions folded. Each task's groups are sorted, so that a merge needs one group a task in
// memory. What fn gets is valid during the call.
func (c *cut) merge(ctx context.Context, prefix []byte, fn groupFunc) error {
	sources := c.sources(ctx, prefix)
	defer stopSources(sources)
	return mergeSources(c.rd.app.Program, slices.Clone(sources), fn)
}

func (c *cut) sources(ctx context.Context, prefix []byte) []*source {
	var sources []*source
	for _, lc := range c.lanes {
		for _, t := range lc.view.Tasks {
			sources = append(sources, newSource(ctx, lc, t, prefix))
		}
	}
	return sources
}

func stopSources(sources []*source) {
	for _, src := range sources {
		src.stop()
	}
}
