package audit

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/processor/spec"
)

// readPartials adds up what the first stage has sent and is still there: by group, from a position
// record on. What is trimmed is in the counters, and is not needed. Where the second stage has not
// read all that was sent, the rest is always there.
func (a *audit) readPartials(ctx context.Context) error {
	older, newer := make([]spec.Decimal, 0, 8), make([]spec.Decimal, 0, 8)
	a.partials = a.table("partials", func(dst, _, o, n []byte) ([]byte, error) {
		sum := a.parseRecounted(o, older[:0])
		sum.fold(a.program, a.parseRecounted(n, newer[:0]))
		return a.appendRecounted(dst, sum), nil
	})
	if a.repartition.Name != "" {
		starts, err := a.admin.StartOffsets(ctx, a.repartition.Name)
		if err != nil {
			return err
		}
		ends, err := a.admin.EndOffsets(ctx, a.repartition.Name, true)
		if err != nil {
			return err
		}
		total := int64(0)
		for _, t := range a.seconds {
			t.chooseBase(starts[t.partition])
			if t.second.to > ends[t.partition] {
				a.cannot("%s/%d ends at offset %d, and the second stage has read it up to offset %d: it was perhaps restored from an older copy",
					t.source, t.partition, ends[t.partition], t.second.to)
				t.second.base, t.second.from, t.second.to = nil, 0, 0
			}
			total += t.second.to - t.second.from
		}
		a.meter.begin(a.repartition.Name, total)
	}
	for _, t := range there(a.seconds) {
		if a.repartition.Name == "" {
			t.second.base = nil
		}
		if err := a.readSent(ctx, t); err != nil {
			return err
		}
		t.makeMarks()
		if t.store >= 0 && (t.second.storeAt == nil || t.second.storeLost) {
			a.noStore = "its position is not known"
			a.cannot("the store: the position record of %s/%d that the node's answer stands at is compacted away", t.source, t.partition)
		}
	}
	return nil
}

// chooseBase chooses which partials are read: those behind the oldest position record behind which
// nothing is trimmed.
func (t *task) chooseBase(start int64) {
	s, b := t.second, t.at(t.last())
	candidates := append([]position{}, t.positions[:t.last()+1]...)
	if s.base != nil {
		candidates = slices.Insert(candidates, 0, *s.base)
	}
	s.base = nil
	for _, p := range candidates {
		if p.Input >= start && len(p.Midway) == 0 && p.offset <= b.offset {
			s.base = &p
			break
		}
	}
	if s.base == nil {
		return
	}
	s.from, s.to = s.base.Input, b.Input
	if !s.caughtUp {
		s.to = max(s.to, s.sentEnd)
	}
}

// readSent reads the partials of one partition, from its base on.
func (a *audit) readSent(ctx context.Context, t *task) error {
	s := t.second
	if s.base != nil {
		r := &sentReader{a: a, task: t, b: t.at(t.last()).Input, mark: merged(s.base.Sources, nil)}
		err := a.read(ctx, t.source, t.partition, s.from, s.to, r.record)
		switch {
		case deleted(err): // it was trimmed meanwhile, up to a position behind the base
			s.base = nil
		case err != nil:
			return err
		default:
			r.end()
		}
	}
	if s.base == nil && !s.caughtUp && a.repartition.Name != "" {
		a.cannot("%s/%d: what was on its way between the stages has been counted and trimmed while it was read; try again", t.source, t.partition)
	}
	return nil
}

// sentReader reads one partition of the repartition topic.
type sentReader struct {
	a     *audit
	task  *task
	b     int64 // the position of B
	mark  map[int32]int64
	atB   map[int32]int64 // the mark when b was reached
	key   []byte
	entry []byte
}

func (r *sentReader) record(rec *kgo.Record) error {
	r.a.records["partials"]++
	if rec.Offset >= r.b && r.atB == nil {
		r.atB = maps.Clone(r.mark)
	}
	kind, group, err := parseSentKey(rec.Key)
	if err == nil {
		switch kind {
		case kindPartial:
			err = r.partial(rec, group)
		case kindSources:
			err = r.sources(rec)
		}
	}
	if err != nil {
		r.a.found.add(Difference{Kind: PartialForeign, Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Why: err.Error()})
	}
	return nil
}

func (r *sentReader) partial(rec *kgo.Record, group []byte) error {
	generation, values, err := parsePartial(rec.Value)
	if err == nil {
		err = r.ofThisGeneration(generation)
	}
	if err == nil {
		err = r.a.program.CheckGroup(group)
	}
	if err != nil {
		return err
	}
	inc, err := r.a.program.DecodeValues(values, nil)
	if err != nil {
		return err
	}
	if q := spec.Partition(group, r.a.repartitions); q != rec.Partition {
		return fmt.Errorf("a partial of %s, which belongs to partition %d", r.a.program.AppendGroupJSON(nil, group), q)
	}
	if rec.Offset < r.b {
		r.task.second.folded++
	}
	r.key = counterKey(r.key[:0], group, rec.Partition)
	r.entry = r.a.appendRecounted(r.entry[:0], recounted{items: 1, from: rec.Partition, last: rec.Offset, values: inc})
	return r.a.partials.put(r.key, r.entry)
}

func (r *sentReader) sources(rec *kgo.Record) error {
	generation, next, err := parseSources(rec.Value)
	if err == nil {
		err = r.ofThisGeneration(generation)
	}
	if err != nil {
		return err
	}
	for p, at := range next {
		if before, ok := r.mark[p]; ok && at <= before {
			return fmt.Errorf("it ends what was sent of %s/%d up to offset %d, and that was sent before, up to %d: the same events are there twice",
				r.a.input.Name, p, at, before)
		}
	}
	maps.Copy(r.mark, next)
	return nil
}

func (r *sentReader) ofThisGeneration(g int64) error {
	if g != int64(r.a.generation) {
		return fmt.Errorf("a record of generation %d, not %d", g, r.a.generation)
	}
	return nil
}

// end compares the position record B with what lies below it.
func (r *sentReader) end() {
	t, b := r.task, r.task.at(r.task.last())
	if !t.second.caughtUp {
		t.second.end = r.mark
	}
	d := Difference{Kind: PartialFolded, Topic: r.a.changelog.Name, Partition: t.partition, Offset: b.offset}
	if got := b.Processed - t.second.base.Processed; got != t.second.folded {
		d.Got, d.Want = fmt.Sprintf("%d partials folded", got), fmt.Sprint(t.second.folded)
		d.Why = fmt.Sprintf("between the stages, %s/%d from offset %d to %d, by the position records", t.source, t.partition, t.second.from, b.Input)
		r.a.found.add(d)
	}
	if r.atB == nil {
		r.atB = r.mark
	}
	if !maps.Equal(r.atB, b.Sources) {
		d.Got, d.Want = fmt.Sprint(b.Sources), fmt.Sprint(r.atB)
		d.Why = fmt.Sprintf("the events that the position record has in it, by input partition, beside what %s/%d says up to offset %d", t.source, t.partition, b.Input)
		r.a.found.add(d)
	}
}
