package api

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

// serveTop answers POST /v1/apps/{app}/top?n=10.
func (s *Server) serveTop(w http.ResponseWriter, r *http.Request) error {
	rd, err := s.beginRead(r, "n")
	if err != nil {
		return err
	}
	n, err := parseCount("n", r.URL.Query().Get("n"), 10, s.opt.TopMax)
	if err != nil {
		return err
	}
	if err := s.refuseBody(w, r, "n"); err != nil {
		return err
	}
	release, err := rd.scanPlace(r.Context())
	if err != nil {
		return err
	}
	defer release()
	if rd.local {
		part, err := rd.topHere(r.Context(), n)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, part)
		return nil
	}
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
			Message: fmt.Sprintf("this node already serves %d %s, as many as it may at a time", cap(room), what),
			Next:    "ask again later, or with a longer --wait"}
		if err := rd.pause(ctx, busy); err != nil {
			return nil, err
		}
	}
}

// topPart is what some lanes have of a top; nodes send it to each other.
type topPart struct {
	Counts []topCount `json:"counts"`
	Parts  []Part     `json:"parts"`
	// Hints are of all the lanes together. Where they span, Counts says nothing: a group's counters
	// have to be summed first.
	Hints laneHints `json:"hints"`
}

type topCount struct {
	Group  []byte `json:"group"`
	Values []byte `json:"values"`
}

// top answers from the largest groups that the lanes keep at hand, and where that cannot be from
// all groups of a cut.
func (rd *read) top(ctx context.Context, n int) (*TopAnswer, error) {
	var answer *TopAnswer
	var err error
	if rd.spread() {
		answer, err = rd.topSpread(ctx, n)
	} else {
		answer, err = rd.topKept(ctx, n)
	}
	if errors.Is(err, state.ErrNotRanked) {
		return rd.topScanned(ctx, n)
	}
	return answer, err
}

// topKept merges what the lanes keep. It gives ErrNotRanked where one of them keeps none, or where
// a group may have counters in several partitions, which would have to be summed first.
func (rd *read) topKept(ctx context.Context, n int) (*TopAnswer, error) {
	part, err := rd.topRanked(ctx, n)
	if err != nil {
		return nil, err
	}
	return rd.topMerged([]*topPart{part}, n)
}

func (rd *read) topRanked(ctx context.Context, n int) (*topPart, error) {
	for {
		views, err := rd.views(ctx)
		if err != nil {
			return nil, err
		}
		part, err := rd.topOfViews(ctx, views, n)
		if err == nil || errors.Is(err, state.ErrNotRanked) || !retryable(err) {
			return part, err
		}
		if err := rd.pause(ctx, err); err != nil {
			return nil, err
		}
	}
}

func (rd *read) topOfViews(ctx context.Context, views []LaneView, n int) (*topPart, error) {
	part := &topPart{Parts: []Part{}}
	size := int64(0)
	for _, v := range views {
		role, err := rd.roleOf(v)
		if err != nil {
			return nil, err
		}
		in := readInputs(v)
		largest, positions, err := v.Store.Largest(ctx, n)
		if err != nil {
			return nil, err
		}
		for _, c := range largest {
			part.Counts = append(part.Counts, topCount{c.Group, c.Values})
			size += int64(len(c.Group))
		}
		in.raise(positions)
		for _, pos := range positions {
			part.Hints.add(rd.app, pos)
		}
		for _, t := range v.Tasks {
			part.Parts = append(part.Parts, rd.newPart(v, t, in[t], role))
		}
	}
	if part.Hints.span() {
		part.Counts = nil
	} else if size > rd.s.opt.TopBytesMax { // perhaps n of each lane are, and n of all are not
		entries, err := rd.mergeTops([]*topPart{part}, n)
		if err != nil {
			return nil, err
		}
		part.Counts = rd.topCounts(entries)
	}
	return part, nil
}

func (rd *read) topCounts(entries []topEntry) (counts []topCount) {
	for _, e := range entries {
		counts = append(counts, topCount{e.group, rd.app.Program.AppendValues(nil, e.values)})
	}
	return counts
}

// topMerged is the top of all lanes' tops.
func (rd *read) topMerged(all []*topPart, n int) (*TopAnswer, error) {
	var hints []laneHints
	parts := []Part{}
	for _, part := range all {
		hints, parts = append(hints, part.Hints), append(parts, part.Parts...)
	}
	if sumHints(hints).span() {
		return nil, state.ErrNotRanked
	}
	entries, err := rd.mergeTops(all, n)
	if err != nil {
		return nil, err
	}
	return rd.topAnswer(entries, rd.withInput(finishParts(parts))), nil
}

// mergeTops are the n largest groups of some tops, in order.
func (rd *read) mergeTops(all []*topPart, n int) ([]topEntry, error) {
	p := rd.app.Program
	var entries []topEntry
	for _, part := range all {
		for _, c := range part.Counts {
			entries = append(entries, topEntry{c.Group, mustDecode(p, c.Values, nil)})
		}
	}
	slices.SortFunc(entries, func(a, b topEntry) int { return compareTop(p, a, b) })
	entries = entries[:min(n, len(entries))]
	size := int64(0)
	for _, e := range entries {
		size += int64(len(e.group))
	}
	if size > rd.s.opt.TopBytesMax {
		return nil, rd.topTooLarge(n)
	}
	return entries, nil
}

func (rd *read) topTooLarge(n int) *Error {
	return tooLarge("the %d largest groups of app %s have more than %d bytes", n, rd.app.Name, rd.s.opt.TopBytesMax)
}

// tooLarge is no more so at another try.
func tooLarge(format string, args ...any) *Error {
	return &Error{Status: http.StatusRequestEntityTooLarge, Code: CodeTooLarge, Message: fmt.Sprintf(format, args...),
		Next: "ask for fewer"}
}

// topSpread merges the tops of all nodes. It gives ErrNotRanked where a group may have counters on
// several of them.
func (rd *read) topSpread(ctx context.Context, n int) (*TopAnswer, error) {
	if _, err := rd.throughInput(ctx); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var all []*topPart
	err := rd.scatter(ctx, rd.allLanes(), func(ctx context.Context, sh shard) error {
		part, err := rd.topShard(ctx, sh, n)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, part)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return rd.topMerged(all, n)
}

func (rd *read) topShard(ctx context.Context, sh shard, n int) (*topPart, error) {
	sub := rd.sub(sh.lanes)
	if sh.member.Self {
		return sub.topHere(ctx, n)
	}
	part := &topPart{}
	return part, sub.askJSON(ctx, sh, "top", "&n="+strconv.Itoa(n), nil, part)
}

// topHere is the top of the lanes that a node is asked for. Where they keep none at hand it reads
// all their groups here: that is less to send than the groups.
func (rd *read) topHere(ctx context.Context, n int) (*topPart, error) {
	part, err := rd.topRanked(ctx, n)
	if !errors.Is(err, state.ErrNotRanked) {
		return part, err
	}
	c, err := rd.openCut(ctx)
	if err != nil {
		return nil, err
	}
	defer c.close()
	part = &topPart{Hints: c.hints()}
	if part.Hints.span() {
		return part, nil
	}
	h, err := rd.largest(ctx, c.merge, n)
	if err != nil {
		return nil, err
	}
	part.Counts, part.Parts = rd.topCounts(h.entries), c.parts()
	return part, nil
}

func (rd *read) topAnswer(entries []topEntry, parts []Part) *TopAnswer {
	p := rd.app.Program
	answer := &TopAnswer{App: rd.app.Name, Counts: make([]Count, 0, len(entries)), Parts: parts}
	for _, e := range entries {
		answer.Counts = append(answer.Counts, Count{
			Group: p.AppendGroupJSON(nil, e.group), Values: p.AppendValuesJSON(nil, e.values)})
	}
	answer.Token = rd.token(answer.Parts)
	return answer
}

// topScanned reads every group of one cut and keeps the n largest.
func (rd *read) topScanned(ctx context.Context, n int) (*TopAnswer, error) {
	for {
		answer, err := rd.topScannedOnce(ctx, n)
		if err == nil || !rd.spread() || !askAgain(err) {
			return answer, err
		}
		if err := rd.pause(ctx, err); err != nil {
			return nil, err
		}
	}
}

func (rd *read) topScannedOnce(ctx context.Context, n int) (*TopAnswer, error) {
	c, err := rd.openAll(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer c.close()
	h, err := rd.largest(ctx, c.merge, n)
	if err != nil {
		return nil, err
	}
	return rd.topAnswer(h.entries, c.parts()), nil
}

type mergeFunc func(ctx context.Context, prefix []byte, fn groupFunc) error

// largest are the n largest groups of a cut, in order.
func (rd *read) largest(ctx context.Context, merge mergeFunc, n int) (*topHeap, error) {
	p := rd.app.Program
	h := &topHeap{program: p}
	err := merge(ctx, nil, func(group []byte, values []spec.Decimal) error {
		if h.offer(n, group, values); h.size > rd.s.opt.TopBytesMax {
			return rd.topTooLarge(n)
		}
		return nil
	})
	slices.SortFunc(h.entries, func(a, b topEntry) int { return compareTop(p, a, b) })
	return h, err
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
	size    int64 // in bytes, of the memory for their groups
}

// offer keeps the group if it is among the n largest. Groups come in group order, so an equal one
// that comes later is never larger.
func (h *topHeap) offer(n int, group []byte, values []spec.Decimal) {
	if len(h.entries) < n {
		e := topEntry{bytes.Clone(group), slices.Clone(values)}
		h.size += int64(cap(e.group))
		heap.Push(h, e)
		return
	}
	root := &h.entries[0]
	if h.program.Compare(values, root.values) >= 0 {
		return
	}
	h.size -= int64(cap(root.group))
	root.group = append(root.group[:0], group...)
	h.size += int64(cap(root.group))
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
