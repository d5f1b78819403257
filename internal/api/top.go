package api

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

// serveTop answers POST /v1/apps/{app}/top?n=10.
func (s *Server) serveTop(w http.ResponseWriter, r *http.Request) error {
	rd, err := s.beginRead(r)
	if err != nil {
		return err
	}
	n, err := parseCount("n", r.URL.Query().Get("n"), 10, s.opt.TopMax)
	if err != nil {
		return err
	}
	release, err := rd.acquire(r.Context(), s.scans, "scans and tops")
	if err != nil {
		return err
	}
	defer release()
	answer, err := rd.top(r.Context(), n)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// acquire takes one of the places in a bounded room, and waits for one up to the read's deadline.
func (rd *read) acquire(ctx context.Context, room chan struct{}, what string) (release func(), err error) {
	for {
		select {
		case room <- struct{}{}:
			return func() { <-room }, nil
		default:
		}
		busy := &Error{Status: http.StatusTooManyRequests, Code: CodeBusy,
			Message: "this node already serves as many " + what + " as it may at a time",
			Next:    "ask again later, or with a longer --wait"}
		if err := rd.pause(ctx, busy); err != nil {
			return nil, err
		}
	}
}

// top answers from the largest groups that the lanes keep at hand, and where that cannot be from
// all groups of a cut.
func (rd *read) top(ctx context.Context, n int) (*TopAnswer, error) {
	answer, err := rd.topKept(ctx, n)
	if errors.Is(err, state.ErrNotRanked) {
		return rd.topScanned(ctx, n)
	}
	return answer, err
}

// topKept merges what the lanes keep. It gives ErrNotRanked where one of them keeps none, or where
// a group may have counters in several partitions, which would have to be summed first.
func (rd *read) topKept(ctx context.Context, n int) (*TopAnswer, error) {
	for {
		views, err := rd.views(ctx)
		if err != nil {
			return nil, err
		}
		answer, err := rd.topOfViews(ctx, views, n)
		if err == nil || errors.Is(err, state.ErrNotRanked) || !retryable(err) {
			return answer, err
		}
		if err := rd.pause(ctx, err); err != nil {
			return nil, err
		}
	}
}

func (rd *read) topOfViews(ctx context.Context, views []LaneView, n int) (*TopAnswer, error) {
	p := rd.app.Program
	var entries []topEntry
	var hints state.Hints
	parts := []Part{}
	for _, v := range views {
		role, in := v.Role(), readInputs(v)
		largest, positions, err := v.Store.Largest(ctx, n)
		if err != nil {
			return nil, err
		}
		for _, c := range largest {
			entries = append(entries, topEntry{c.Group, mustDecode(p, c.Values, nil)})
		}
		in.raise(positions)
		for _, pos := range positions {
			hints.Murmur2 += pos.Record.Hints.Murmur2
			hints.CRC32 += pos.Record.Hints.CRC32
		}
		for _, t := range v.Tasks {
			parts = append(parts, rd.newPart(v, t, in[t], role))
		}
	}
	if min(hints.Murmur2, hints.CRC32) > 0 {
		return nil, state.ErrNotRanked
	}
	slices.SortFunc(entries, func(a, b topEntry) int { return compareTop(p, a, b) })
	return rd.topAnswer(entries[:min(n, len(entries))], finishParts(parts)), nil
}

func (rd *read) topAnswer(entries []topEntry, parts []Part) *TopAnswer {
	p := rd.app.Program
	answer := &TopAnswer{App: rd.app.Name, Counts: make([]Count, 0, len(entries)), Parts: parts}
	for _, e := range entries {
		answer.Counts = append(answer.Counts, Count{
			Group: p.AppendGroupJSON(nil, e.group), Values: p.AppendValuesJSON(nil, e.values)})
	}
	answer.Token = newToken(rd.app, answer.Parts)
	return answer
}

// topScanned reads every group of one cut and keeps the n largest.
func (rd *read) topScanned(ctx context.Context, n int) (*TopAnswer, error) {
	c, err := rd.openCut(ctx)
	if err != nil {
		return nil, err
	}
	defer c.close()
	p := rd.app.Program
	h := &topHeap{program: p}
	err = c.merge(ctx, nil, func(group []byte, values []spec.Decimal) error {
		h.offer(n, group, values)
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(h.entries, func(a, b topEntry) int { return compareTop(p, a, b) })
	return rd.topAnswer(h.entries, c.parts()), nil
}

type topEntry struct {
	group  []byte
	values []spec.Decimal
}

// compareTop orders by the values, and equal ones by the group, so that a top is the same each
// time.
func compareTop(p *spec.Program, a, b topEntry) int {
	if c := p.Compare(a.values, b.values); c != 0 {
		return c
	}
	return bytes.Compare(a.group, b.group)
}

// topHeap holds the largest groups so far, the one to be thrown out first at the root.
type topHeap struct {
	program *spec.Program
	entries []topEntry
}

// offer keeps the group if it is among the n largest. Groups come in group order, so an equal one
// that comes later is never larger.
func (h *topHeap) offer(n int, group []byte, values []spec.Decimal) {
	if len(h.entries) < n {
		heap.Push(h, topEntry{bytes.Clone(group), slices.Clone(values)})
		return
	}
	root := &h.entries[0]
	if h.program.Compare(values, root.values) >= 0 {
		return
	}
	root.group = append(root.group[:0], group...)
	root.values = append(root.values[:0], values...)
	heap.Fix(h, 0)
}

func (h *topHeap) Len() int           { return len(h.entries) }
func (h *topHeap) Less(i, j int) bool { return compareTop(h.program, h.entries[i], h.entries[j]) > 0 }
func (h *topHeap) Swap(i, j int)      { h.entries[i], h.entries[j] = h.entries[j], h.entries[i] }
func (h *topHeap) Push(x any)         { h.entries = append(h.entries, x.(topEntry)) }
func (h *topHeap) Pop() any {
	panic("api: a top only ever grows to n")
}
