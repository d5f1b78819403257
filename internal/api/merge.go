package api

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

// groupFunc gets a group and its folded values; both are valid during the call.
type groupFunc func(group []byte, values []spec.Decimal) error

// source is one task's groups, pulled one at a time.
type source struct {
	group, values []byte // the present one; valid until next
	pull          func() (group, values []byte, ok bool)
	stop          func()
	err           error // of the scan; valid when pull has said that there is no more
}

var errStopped = errors.New("stopped")

func newSource(ctx context.Context, lc laneCut, t state.Task, prefix []byte) *source {
	src := &source{}
	src.pull, src.stop = iter.Pull2(func(yield func(group, values []byte) bool) {
		err := lc.cut.Scan(ctx, t, prefix, func(group, values []byte) error {
			if !yield(group, values) {
				return errStopped
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStopped) {
			src.err = fmt.Errorf("scan lane %d: %w", lc.view.Lane, err)
		}
	})
	return src
}

// next moves on; false at the end or at an error.
func (src *source) next() (bool, error) {
	var ok bool
	src.group, src.values, ok = src.pull()
	if !ok {
		return false, src.err
	}
	return true, nil
}

// mergeHeap has the source with the smallest group first.
type mergeHeap []*source

func (h mergeHeap) Len() int           { return len(h) }
func (h mergeHeap) Less(i, j int) bool { return bytes.Compare(h[i].group, h[j].group) < 0 }
func (h mergeHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *mergeHeap) Push(x any)        { *h = append(*h, x.(*source)) }
func (h *mergeHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// mergeSources gives every group of the sources once, folded, in order.
func mergeSources(p *spec.Program, sources []*source, fn groupFunc) error {
	h := mergeHeap(sources[:0])
	for _, src := range sources {
		ok, err := src.next()
		if err != nil {
			return err
		}
		if ok {
			h = append(h, src)
		}
	}
	heap.Init(&h)
	var group []byte
	var acc, values []spec.Decimal
	for len(h) > 0 {
		group = append(group[:0], h[0].group...)
		acc = acc[:0]
		for len(h) > 0 && bytes.Equal(h[0].group, group) {
			values = mustDecode(p, h[0].values, values[:0])
			if len(acc) == 0 {
				acc = append(acc, values...)
			} else {
				p.Fold(acc, values)
			}
			if err := mergeAdvance(&h); err != nil {
				return err
			}
		}
		if err := fn(group, acc); err != nil {
			return err
		}
	}
	return nil
}

// mergeAdvance moves the first source on and restores the order.
func mergeAdvance(h *mergeHeap) error {
	ok, err := (*h)[0].next()
	switch {
	case err != nil:
		return err
	case ok:
		heap.Fix(h, 0)
	default:
		heap.Pop(h)
	}
	return nil
}
