package dead

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/tally-kafka/tally/internal/kafka"
)

// openMax is how long an open transaction of the input is waited for: what was written behind its
// beginning, such as a replay, cannot be read until it ends.
const openMax = 10 * time.Second

// source is a partition of an input, as it is searched.
type source struct {
	start, end int64 // of what it still holds
	lowest     int64 // the first offset at which a replay of one of the plan's letters can be
	firstMs    int64 // the time of its first event that is no replay
	empty      bool  // there is none
}

// from is the first offset at which a replay can be that cannot be before this one. An input that
// ends below it was made again since: all that it holds is of later.
func (s source) from(offset int64) int64 {
	if offset > s.end {
		return 0
	}
	return offset
}

// leaveOut takes those out of the plan whose replay is in the input, or may have been. A letter
// with a key is searched for in all partitions: since it was replayed the input may have grown, and
// its key's hash named another partition then.
func (p *Plan) leaveOut(ctx context.Context) error {
	byTopic := map[string][]source{}
	sums := map[string]uint64{}
	for _, s := range p.sends {
		if _, ok := byTopic[s.topic]; !ok {
			all, err := p.box.sources(ctx, s.topic)
			if err != nil {
				return err
			}
			byTopic[s.topic] = all
		}
		all := byTopic[s.topic]
		for partition, from := range s.places(len(all)) {
			at := &all[partition]
			at.lowest = min(at.lowest, at.from(from))
		}
		sums[marker(p.box.topic.Name, s.Place)] = s.sum
	}
	found := map[string]bool{}
	for topic, all := range byTopic {
		done := p.searched[topic]
		p.searched[topic] = make([]int64, len(all))
		for partition, at := range all {
			p.searched[topic][partition] = at.end
			if partition < len(done) && done[partition] <= at.end {
				at.lowest = max(at.lowest, done[partition])
			}
			if err := p.search(ctx, topic, int32(partition), at, sums, found); err != nil {
				return err
			}
		}
	}
	rest := p.sends[:0]
	for _, s := range p.sends {
		switch {
		case found[marker(p.box.topic.Name, s.Place)]:
			p.Before = append(p.Before, s.Place)
		case s.unsure(byTopic[s.topic]):
			p.Unsure = append(p.Unsure, s.Place)
		default:
			rest = append(rest, s)
		}
	}
	p.sends = rest
	return nil
}

// unsure reports whether a replay of the letter may have been in what the input no longer holds. A
// partition that still has an event from well before the letter was written has all from after it.
func (s send) unsure(all []source) bool {
	for partition, from := range s.places(len(all)) {
		at := all[partition]
		if at.start > at.from(from) && (at.empty || at.firstMs+lateMost.Milliseconds() >= s.writtenMs) {
			return true
		}
	}
	return false
}

// lateMost is how late an event may come, by its time.
const lateMost = 24 * time.Hour

// places are the partitions that a replay of the letter can be in, some of them more than once,
// with the first offset, of an input that has so many now. When the event was read, it had at least
// those up to its own.
func (s send) places(partitions int) iter.Seq2[int32, int64] {
	return func(yield func(int32, int64) bool) {
		if s.keyless {
			if int(s.source) < partitions {
				yield(s.source, s.after)
			}
			return
		}
		for n := int(s.source) + 1; n <= partitions; n++ {
			partition, from := int32(int(s.hash)%n), int64(0)
			if partition == s.source {
				from = s.after
			}
			if !yield(partition, from) {
				return
			}
		}
	}
}

func (p *Plan) search(ctx context.Context, topic string, partition int32, at source, sums map[string]uint64, found map[string]bool) error {
	return p.box.admin.Records(ctx, topic, partition, max(at.lowest, at.start), at.end, func(r kafka.Record) error {
		for _, h := range r.Headers {
			if h.Key != ReplayHeader {
				continue
			}
			if want, ok := sums[string(h.Value)]; ok && want == sum(r.Key, r.Value) {
				found[string(h.Value)] = true
			}
		}
		return nil
	})
}

// sources looks at all partitions of an input.
func (b *Box) sources(ctx context.Context, topic string) ([]source, error) {
	ends, open, err := b.admin.StableEnds(ctx, topic, openMax)
	if err == nil && len(open) > 0 {
		err = fmt.Errorf("a transaction is open in %s/%d, so what was replayed before cannot be seen: wait until it ends", topic, open[0])
	}
	if err != nil {
		return nil, err
	}
	starts, err := b.admin.StartOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	all := make([]source, len(ends))
	for partition, end := range ends {
		at := source{start: starts[partition], end: end, lowest: end, empty: true}
		if at.start > 0 {
			err := b.admin.Records(ctx, topic, partition, at.start, end, func(r kafka.Record) error {
				if slices.ContainsFunc(r.Headers, func(h kafka.Header) bool { return h.Key == ReplayHeader }) {
					return nil // it has the time of the event that it repeats
				}
				at.firstMs, at.empty = r.TimestampMs, false
				return ErrEnough
			})
			if err != nil && !errors.Is(err, ErrEnough) {
				return nil, err
			}
		}
		all[partition] = at
	}
	return all, nil
}
