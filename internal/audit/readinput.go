package audit

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/processor/spec"
)

// recordRoom is what the app keeps free in a record besides the largest that a group may need.
const recordRoom = 512

// recounted is what the items of a segment make of a counter.
type recounted struct {
	items  int64
	from   int32 // the input partition of the last event
	last   int64 // the offset of the last event
	values []spec.Decimal
}

func (a *audit) appendRecounted(dst []byte, r recounted) []byte {
	for _, n := range []int64{r.items, int64(r.from), r.last} {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	return a.program.AppendValues(dst, r.values)
}

// parseRecounted appends the values to numbers.
func (a *audit) parseRecounted(b []byte, numbers []spec.Decimal) recounted {
	var n [3]int64
	for i := range n {
		var ok bool
		if n[i], b, ok = uvarint(b); !ok {
			panic("audit: an entry of the recount cannot be read")
		}
	}
	values, err := a.program.DecodeValues(b, numbers)
	if err != nil {
		panic("audit: values of the recount cannot be read: " + err.Error())
	}
	return recounted{n[0], int32(n[1]), n[2], values}
}

// fold adds newer to r.
func (r *recounted) fold(p *spec.Program, newer recounted) {
	r.items += newer.items
	r.from, r.last = newer.from, newer.last
	p.Fold(r.values, newer.values)
}

// inputReader counts the input.
type inputReader struct {
	a       *audit
	letters letterCursor
	scratch spec.Scratch

	task     *task
	segment  int
	later    tally   // of events behind the task's positions, which second stages have
	unlisted []int64 // the first unreadable events without a dead letter
	sized    int64   // events without a letter that are taken for skipped for their size alone

	key, entry []byte
}

func (a *audit) readInput(ctx context.Context) error {
	older, newer := make([]spec.Decimal, 0, 8), make([]spec.Decimal, 0, 8)
	a.recounts = a.table("recount", func(dst, _, o, n []byte) ([]byte, error) {
		sum := a.parseRecounted(o, older[:0])
		sum.fold(a.program, a.parseRecounted(n, newer[:0]))
		return a.appendRecounted(dst, sum), nil
	})
	starts, err := a.admin.StartOffsets(ctx, a.input.Name)
	if err != nil {
		return err
	}
	ends, err := a.admin.EndOffsets(ctx, a.input.Name, true)
	if err != nil {
		return err
	}
	letters, err := a.letters.sorted()
	if err != nil {
		return err
	}
	defer letters.close()
	r := &inputReader{a: a, letters: letterCursor{a, letters}}
	a.meter.begin(a.input.Name, a.inputOffsets())
	for _, t := range a.running() {
		r.task, r.segment, r.unlisted, r.sized = t, 0, nil, 0
		for _, q := range there(a.seconds) {
			q.second.cursor = 0
		}
		if err := r.partition(ctx, starts[t.partition], ends[t.partition]); err != nil {
			return err
		}
	}
	a.whyNotSecond()
	_, _, err = r.letters.next(1<<31-1, 1<<63-1) // those behind the last event
	return err
}

// whyNotSecond: a counter of the second stage has events of all input partitions.
func (a *audit) whyNotSecond() {
	for _, t := range a.running() {
		for _, q := range there(a.seconds) {
			if !t.decidable() && q.decidable() {
				q.why = t.why
			}
		}
	}
}

func (a *audit) inputOffsets() (n int64) {
	for _, t := range a.running() {
		n += a.readTo(t) - t.at(0).Start
	}
	return n
}

// partition recounts one partition, as far as it is there.
func (r *inputReader) partition(ctx context.Context, logStart, logEnd int64) error {
	t, topic := r.task, r.a.input
	from, to := t.at(0).Start, r.a.readTo(t)
	switch {
	case !t.decidable() || from == to:
	case from < logStart:
		t.why = fmt.Sprintf("the input %s/%d is deleted below offset %d, and the app counted from offset %d on", topic.Name, t.partition, logStart, from)
	case to > logEnd:
		t.why = fmt.Sprintf("the input %s/%d ends at offset %d, and the app counted up to offset %d: it was perhaps restored from an older copy", topic.Name, t.partition, logEnd, to)
	}
	if t.decidable() {
		err := r.a.read(ctx, topic.Name, t.partition, from, to, r.event)
		switch {
		case deleted(err):
			t.why = fmt.Sprintf("the input %s/%d was deleted while it was read", topic.Name, t.partition)
		case err != nil:
			return err
		}
	}
	if t.decidable() && strings.Contains(topic.Configs["cleanup.policy"], "compact") && t.tallyAt(t.last()).events < t.at(t.last()).events() {
		t.why = fmt.Sprintf("the input %s/%d is compacted: %d events are left of the %d that were counted",
			topic.Name, t.partition, t.tallyAt(t.last()).events, t.at(t.last()).events())
	}
	// Of those that are too large for the topics as they are now, some were counted when these took
	// more.
	if b := t.at(t.last()); t.decidable() && r.sized > 0 && t.tallyAt(t.last()).unreadable > b.Skipped+b.Dead {
		t.why = fmt.Sprintf("of %d events of the input %s/%d that need larger records than the app's topics take now not all were skipped: "+
			"the limits were others before, and which events were skipped for them is written nowhere", r.sized, topic.Name, t.partition)
	}
	if !t.decidable() {
		r.a.cannot("%s", t.why)
		return nil
	}
	r.lost()
	return nil
}

// event deals with one event as the app should have.
func (r *inputReader) event(rec *kgo.Record) error {
	t := r.task
	for r.segment < len(t.cuts) && rec.Offset >= t.cuts[r.segment] {
		r.segment++
	}
	n := &r.later
	if r.segment < len(t.segments) {
		n = &t.segments[r.segment]
	}
	n.events++
	letter, lettered, err := r.letters.next(rec.Partition, rec.Offset)
	if err != nil {
		return err
	}
	items, verdict, why := r.a.program.Eval(spec.Event{Key: rec.Key, Value: rec.Value, Partition: rec.Partition}, &r.scratch)
	switch {
	case why != nil:
	case lettered && letter.told:
		verdict = spec.Unreadable
	case !lettered && r.skips() && r.tooLarge(items):
		verdict = spec.Unreadable
		if n != &r.later {
			r.sized++
		}
	}
	if lettered {
		r.letter(rec, letter, verdict)
	}
	switch verdict {
	case spec.Filtered:
		n.filtered++
	case spec.Unreadable:
		n.unreadable++
		if lettered {
			n.letters++
		} else if n != &r.later && len(r.unlisted) <= r.a.cfg.DifferencesMax {
			r.unlisted = append(r.unlisted, rec.Offset)
		}
	default:
		n.processed++
		return r.items(rec, items)
	}
	return nil
}

// skips reports whether the app has skipped events. Only then may one that is too large have no
// dead letter; in an app that has skipped none, it was not too large when it was counted.
func (r *inputReader) skips() bool { return r.task.at(r.task.last()).Skipped > 0 }

// letter compares a dead letter with its event.
func (r *inputReader) letter(rec *kgo.Record, l letter, verdict spec.Verdict) {
	d := Difference{Topic: r.a.dead.Name, Partition: rec.Partition, Offset: l.offset}
	switch {
	case verdict != spec.Unreadable:
		d.Kind, d.Why = DeadExtra, fmt.Sprintf("a dead letter of %s/%d offset %d, which can be read", rec.Topic, rec.Partition, rec.Offset)
	case l.sum != eventSum(rec.Key, rec.Value):
		d.Kind, d.Why = DeadChanged, fmt.Sprintf("key or value is not that of %s/%d offset %d", rec.Topic, rec.Partition, rec.Offset)
	default:
		return
	}
	r.a.found.add(d)
}

// tooLarge says whether one of the groups may need a larger record than the app's topics take.
func (r *inputReader) tooLarge(items []spec.Item) bool {
	for i := range items {
		if r.a.program.MaxRecordSize(len(items[i].Group))+recordRoom > r.a.recordBytes {
			return true
		}
	}
	return false
}

func (r *inputReader) items(rec *kgo.Record, items []spec.Item) error {
	for i := range items {
		keeper, segment, counts := r.place(rec, items[i].Group)
		if !counts {
			continue
		}
		r.key = counterKey(r.key[:0], items[i].Group, keeper)
		r.key = binary.BigEndian.AppendUint32(r.key, uint32(segment))
		r.entry = r.a.appendRecounted(r.entry[:0], recounted{1, rec.Partition, rec.Offset, items[i].Inc})
		if err := r.a.recounts.put(r.key, r.entry); err != nil {
			return err
		}
	}
	return nil
}

// place is where an item is counted: the partition, and the segment. Of an event that the first
// stage has not dealt with for sure, nothing is expected yet.
func (r *inputReader) place(rec *kgo.Record, group []byte) (keeper int32, segment int, counts bool) {
	if r.a.repartitions == 0 {
		return rec.Partition, r.segment, true
	}
	q := spec.Partition(group, r.a.repartitions)
	s := r.a.seconds[q].second
	segment = s.segment(rec.Partition, rec.Offset)
	return q, segment, !s.isLost(segment) || s.sound() && rec.Offset < r.task.at(0).Input
}

// lost compares the number of dead letters with the position record's. Where nothing was skipped,
// each event without a letter has lost it; else only the number can be told.
func (r *inputReader) lost() {
	t, b := r.task, r.task.at(r.task.last())
	n := t.tallyAt(t.last())
	r.a.compared["dead"] += n.unreadable
	if n.letters >= b.Dead || len(r.unlisted) == 0 || slices.Contains(r.a.deadCut, t.partition) {
		return
	}
	if b.Skipped > 0 {
		r.unlisted = r.unlisted[:1]
	}
	for _, offset := range r.unlisted {
		d := Difference{Kind: DeadLost, Topic: r.a.input.Name, Partition: t.partition, Offset: offset,
			Why: fmt.Sprintf("this event cannot be read and has no dead letter up to offset %d of %s/%d", t.deadEnd, r.a.dead.Name, t.partition)}
		if b.Skipped > 0 {
			d.Why = fmt.Sprintf("%d dead letters are there, %d were written; %d events were skipped, and this is the first event that cannot be read and has no letter",
				n.letters, b.Dead, b.Skipped)
		}
		r.a.found.add(d)
	}
}

// tallyAt is what was counted up to a position.
func (t *task) tallyAt(i int) tally {
	var sum tally
	for _, s := range t.segments[:t.cut(t.at(i).Input)+1] {
		sum.add(s)
	}
	return sum
}
