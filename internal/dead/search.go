package dead

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tally-kafka/tally/internal/kafka"
)

// openMax is how long an open transaction of the input is waited for: what was written behind its
// beginning, such as a replay, cannot be read until it ends.
const openMax = 10 * time.Second

// source is a partition of an input, as it is searched.
type source struct {
	topic     string
	partition int32
	start     int64 // of what it still holds
	end       int64
	firstMs   int64 // the time of its first event that is no replay
	empty     bool  // there is none
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
		sums[marker(p.box.topic.Name, s.Place)] = s.sum
	}
	found := map[string]bool{}
	for _, all := range byTopic {
		for _, at := range all {
			if err := p.search(ctx, at, len(all), sums, found); err != nil {
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
	for _, at := range all {
		from, ok := s.from(at.partition, len(all))
		if ok && at.start > from && (at.empty || at.firstMs+lateMost.Milliseconds() >= s.writtenMs) {
			return true
		}
	}
	return false
}

// lateMost is how late an event may come, by its time.
const lateMost = 24 * time.Hour

// from is the first offset of a partition at which a replay of the letter can be, of an input that
// has so many now; not ok: none can. When the event was read, it had at least those up to its own.
func (s send) from(partition int32, partitions int) (offset int64, ok bool) {
	can := partition == s.source && s.keyless
	for n := int(s.source) + 1; n <= partitions && !s.keyless; n++ {
		can = can || int32(int(s.hash)%n) == partition
	}
	if partition == s.source {
		return s.after, can
	}
	return 0, can
}

// lowest is the first offset of a partition at which a replay of one of the plan's letters can be.
func (p *Plan) lowest(at source, partitions int) int64 {
	lowest := at.end
	for _, s := range p.sends {
		if from, ok := s.from(at.partition, partitions); ok && s.topic == at.topic {
			lowest = min(lowest, from)
		}
	}
	return max(lowest, at.start)
}

func (p *Plan) search(ctx context.Context, at source, partitions int, sums map[string]uint64, found map[string]bool) error {
	return p.box.admin.Records(ctx, at.topic, at.partition, p.lowest(at, partitions), at.end, func(r kafka.Record) error {
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
	ends, err := b.stableEnds(ctx, topic)
	if err != nil {
		return nil, err
	}
	starts, err := b.admin.StartOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	var all []source
	for partition, end := range ends {
		at := source{topic: topic, partition: partition, start: starts[partition], end: end, empty: true}
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
		all = append(all, at)
	}
	return all, nil
}

// stableEnds are the ends of an input's partitions once no transaction is open in them: what was
// replayed meanwhile lies behind its beginning, where nobody can read it.
func (b *Box) stableEnds(ctx context.Context, topic string) (map[int32]int64, error) {
	high, err := b.admin.EndOffsets(ctx, topic, false)
	if err != nil {
		return nil, err
	}
	for began := b.cfg.Seam.Now(); ; {
		stable, err := b.admin.EndOffsets(ctx, topic, true)
		if err != nil {
			return nil, err
		}
		behind := int32(-1)
		for partition, end := range high {
			if stable[partition] < end {
				behind = partition
			}
		}
		if behind < 0 {
			return stable, nil
		}
		if b.cfg.Seam.Since(began) >= openMax {
			return nil, fmt.Errorf("a transaction is open in %s/%d, so what was replayed before cannot be seen: wait until it ends", topic, behind)
		}
		if err := b.cfg.Seam.Sleep(ctx, 200*time.Millisecond); err != nil {
			return nil, err
		}
	}
}
