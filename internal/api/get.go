package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

// serveGet answers POST /v1/apps/{app}/get; the body is the group as a JSON array.
func (s *Server) serveGet(w http.ResponseWriter, r *http.Request) error {
	rd, err := s.beginRead(r)
	if err != nil {
		return err
	}
	body, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	if rd.local {
		got, err := rd.getProved(r.Context(), body)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, got)
		return nil
	}
	group, err := rd.app.Program.ParseGroupJSON(body)
	if err != nil {
		return badRequest("the body is not a group of app %s: %v", rd.app.Name, err)
	}
	got, err := rd.getProved(r.Context(), group)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, rd.getAnswer(group, got))
	return nil
}

// getParts is what some lanes have of a group; nodes send it to each other.
type getParts struct {
	Parts []getPart   `json:"parts"`
	Hints []laneHints `json:"hints"`
	// silent are lanes that are left out; what a node says to another is of all that it was asked.
	silent []int
}

// getPart is a part with what the nodes need of it beside what people see.
type getPart struct {
	Part
	Encoded []byte `json:"encoded,omitempty"` // the values, to be folded
	Proved  bool   `json:"proved,omitempty"`  // it has all that there was at the question
	// End is an offset at or behind the end of the source after the question, 0 when it is not
	// known: a later answer that has come there is proved, too.
	End int64 `json:"end,omitempty"`
}

func (g *getParts) found() bool {
	return slices.ContainsFunc(g.Parts, func(p getPart) bool { return p.Encoded != nil })
}

// plain are the parts without the group's values.
func (g *getParts) plain() (parts []Part) {
	for _, p := range g.Parts {
		p.Part.Values = nil
		parts = append(parts, p.Part)
	}
	return finishParts(parts)
}

// fold are the group's values in all parts together; nil when it has none.
func (g *getParts) fold(p *spec.Program) (folded []spec.Decimal) {
	for _, part := range g.Parts {
		if part.Encoded != nil {
			folded = foldInto(p, folded, mustDecode(p, part.Encoded, nil))
		}
	}
	return folded
}

func (g *getParts) proved() bool {
	return !slices.ContainsFunc(g.Parts, func(p getPart) bool { return !p.Proved })
}

// getProved reads the group's part in every partition that may have one. In an app of one stage any
// may, since clients hash keys differently (but see keyLane); in an app of two stages the group
// decides.
//
// That a group has no values is only said once all is counted that the input was seen to hold after
// the question, or when the wait is over. So who has just produced the group's first event finds
// it, and no one else waits.
func (rd *read) getProved(ctx context.Context, group []byte) (*getParts, error) {
	for {
		got, err := rd.getOnce(ctx, group)
		if err == nil && (!rd.prove || got.found() || got.proved() && rd.askedAll(got)) || err != nil && !retryable(err) {
			return got, err
		}
		if rd.left() <= 0 {
			return got, err
		}
		rd.look()
		rd.proving = rd.spread()
		if err := rd.pause(ctx, err); err != nil {
			return nil, err
		}
	}
}

func (rd *read) getOnce(ctx context.Context, group []byte) (*getParts, error) {
	if rd.spread() {
		return rd.getSpread(ctx, group)
	}
	views, err := rd.views(ctx)
	if err != nil {
		return nil, err
	}
	return rd.getHere(views, group)
}

func (rd *read) getHere(views []LaneView, group []byte) (*getParts, error) {
	got := &getParts{Parts: []getPart{}, Hints: []laneHints{}}
	for _, v := range views {
		role, err := rd.roleOf(v)
		if err != nil {
			return nil, err
		}
		all, hints, err := readLane(rd.app, v, group)
		if err != nil {
			return nil, err
		}
		got.Hints = append(got.Hints, hints)
		for _, h := range all {
			part := getPart{Part: rd.newPart(v, h.task, h.input, role)}
			rd.noteEnd(v, h.task)
			part.End = rd.ends[h.task.Partition]
			part.Proved = rd.ends.passed(h.task.Partition, h.input) && rd.softReached(views)
			if h.values != nil {
				part.Values = rd.app.Program.AppendValuesJSON(nil, h.values)
				part.Encoded = rd.app.Program.AppendValues(nil, h.values)
			}
			got.Parts = append(got.Parts, part)
		}
	}
	return got, nil
}

// getSpread asks the nodes that have the group's lanes. Silent lanes may be left out of values.
func (rd *read) getSpread(ctx context.Context, group []byte) (*getParts, error) {
	return rd.getOf(ctx, group, rd.getLanes(group), missed{})
}

// getOf is getSpread of some lanes; unasked are the others that may have a part of the group, and
// are known to be silent.
func (rd *read) getOf(ctx context.Context, group []byte, lanes []int, unasked missed) (*getParts, error) {
	unread, unheard := rd.throughInput(ctx)
	if unheard != nil && (len(unread) == 0 || rd.asksInput()) {
		return nil, unheard
	}
	var mu sync.Mutex
	all := &getParts{Parts: []getPart{}}
	silent, err := rd.scatterSome(ctx, lanes, func(ctx context.Context, sh shard) error {
		got, err := rd.getShard(ctx, sh, group)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		all.Parts = append(all.Parts, got.Parts...)
		all.Hints = append(all.Hints, got.Hints...)
		return nil
	})
	if err == nil || len(silent) > 0 {
		rd.s.hints.learn(rd.app, rd.s.opt.Seam.Now(), all)
	}
	if err != nil && len(silent) == 0 {
		return nil, err
	}
	silent, err = append(silent, unasked.lanes...), cmp.Or(err, unasked.why)
	slices.Sort(silent)
	if err != nil && !rd.mayMiss(group, silent) {
		return nil, err
	}
	if missed := cmp.Or(err, unheard); missed != nil && !all.found() {
		return nil, missed
	}
	all.silent = append(silent, unread...)
	for i := range all.Parts {
		p := &all.Parts[i]
		rd.addInput(&p.Part)
		p.Proved = rd.proved(p)
		if p.Role == RoleOwner && len(all.silent) > 0 {
			p.Role = RoleUnsure
		}
	}
	return all, nil
}

func (rd *read) getShard(ctx context.Context, sh shard, group []byte) (*getParts, error) {
	sub := rd.sub(sh.lanes)
	if sh.member.Self {
		return sub.getProved(ctx, group)
	}
	got := &getParts{}
	return got, sub.askJSON(ctx, sh, "get", "", group, got)
}

// getLanes are the lanes that may have a part of the group, and those that the read waits for.
func (rd *read) getLanes(group []byte) []int {
	lane, one := rd.secondLane(group)
	if !one && !rd.fresh && !rd.proving {
		lane, one = rd.keyLane(group)
	}
	if !one {
		return rd.allLanes()
	}
	lanes := []int{lane}
	for _, b := range rd.bounds {
		if k := rd.laneOf(b.partition); !b.carried && !b.input && !slices.Contains(lanes, k) {
			lanes = append(lanes, k)
		}
	}
	return lanes
}

// secondLane is the lane that has the group in an app of two stages.
func (rd *read) secondLane(group []byte) (lane int, ok bool) {
	n := rd.app.Repartitions
	if n == 0 || rd.app.LaneCount == 0 {
		return 0, false
	}
	return rd.laneOf(spec.Partition(group, n)), true
}

// askedAll says whether no lane that may have values of the group was left out.
func (rd *read) askedAll(got *getParts) bool {
	return !rd.spread() || rd.app.Repartitions > 0 || len(got.Hints) >= rd.app.LaneCount
}

// getAnswer folds the parts.
func (rd *read) getAnswer(group []byte, got *getParts) *GetAnswer {
	p := rd.app.Program
	a := &GetAnswer{App: rd.app.Name, Group: p.AppendGroupJSON(nil, group), Parts: make([]Part, 0, len(got.Parts))}
	for _, part := range got.Parts {
		a.Parts = append(a.Parts, part.Part)
	}
	finishParts(a.Parts)
	if folded := got.fold(p); folded != nil {
		a.Found, a.Values = true, json.RawMessage(p.AppendValuesJSON(nil, folded))
	}
	a.Proved = !a.Found && len(a.Parts) > 0 && got.proved() && rd.askedAll(got)
	a.Silent, a.Token = got.silent, rd.token(a.Parts)
	return a
}

// held is what a task has of a group: nil values when it has none.
type held struct {
	task   state.Task
	input  int64 // everything below it is in values
	values []spec.Decimal
}

// readLane reads a group's values in the tasks of a lane that may have them, at one commit
// boundary, and the lane's hints at it.
func readLane(app *App, v LaneView, group []byte) ([]held, laneHints, error) {
	all := make([]held, 0, len(v.Tasks))
	for _, t := range v.Tasks {
		if n := app.Repartitions; n > 0 && t.Partition != spec.Partition(group, n) {
			continue
		}
		all = append(all, held{task: t, input: v.Input(t.Partition)})
	}
	hints := laneHints{Lane: v.Lane}
	err := v.Store.View(func(view state.View) error {
		for i := range all {
			h := &all[i]
			if pos, ok := view.Position(h.task); ok {
				h.input = max(h.input, pos.Record.Input)
				hints.add(app, pos)
			}
			raw, ok, err := view.Get(h.task, group, nil)
			if err != nil {
				return err
			}
			if ok {
				h.values = mustDecode(app.Program, raw, nil)
			}
		}
		return nil
	})
	if err != nil {
		return nil, hints, fmt.Errorf("read lane %d: %w", v.Lane, err)
	}
	return all, hints, nil
}

// mustDecode decodes values of a store that was opened for this spec.
func mustDecode(p *spec.Program, raw []byte, dst []spec.Decimal) []spec.Decimal {
	values, err := p.DecodeValues(raw, dst)
	if err != nil {
		panic(fmt.Sprintf("api: a store whose fingerprint is the spec's holds values %x that are not: %v", raw, err))
	}
	return values
}

// foldInto folds the values of one more part; acc is nil before the first.
func foldInto(p *spec.Program, acc, values []spec.Decimal) []spec.Decimal {
	if acc == nil {
		return append(make([]spec.Decimal, 0, len(values)), values...)
	}
	p.Fold(acc, values)
	return acc
}
