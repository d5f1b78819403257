package api

import (
	"bytes"
	"container/heap"
	"context"
	"net/http"
	"slices"

	"github.com/tally-kafka/tally/processor/spec"
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

// top reads every group of one cut and keeps the n largest.
func (rd *read) top(ctx context.Context, n int) (*TopAnswer, error) {
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
	answer := &TopAnswer{App: rd.app.Name, Counts: make([]Count, 0, len(h.entries)), Parts: c.parts()}
	for _, e := range h.entries {
		answer.Counts = append(answer.Counts, Count{
			Group: p.AppendGroupJSON(nil, e.group), Values: p.AppendValuesJSON(nil, e.values)})
	}
	answer.Token = newToken(rd.app, answer.Parts)
	return answer, nil
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
