package audit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/processor/spec"
)

// emitted is what the output says of a counter.
type emitted struct {
	records            int64
	first, last        int64 // offsets
	gap                int64 // 1 + the offset of the first output whose count does not follow the one before; 0: none
	firstText, curText []byte
}

func appendEmitted(dst []byte, e emitted) []byte {
	for _, n := range []int64{e.records, e.first, e.last, e.gap, int64(len(e.firstText))} {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	return append(append(dst, e.firstText...), e.curText...)
}

// parseEmitted gives texts that are parts of b.
func parseEmitted(b []byte) emitted {
	var n [5]int64
	for i := range n {
		v, size := binary.Uvarint(b)
		if size <= 0 {
			panic("audit: an entry of the output's table cannot be read")
		}
		n[i], b = int64(v), b[size:]
	}
	return emitted{records: n[0], first: n[1], last: n[2], gap: n[3], firstText: b[:n[4]], curText: b[n[4]:]}
}

// outputReader reads all partitions of the output.
type outputReader struct {
	a     *audit
	codec *outputCodec
	// distinct says that no two outputs of a counter, one after the other, are equal.
	distinct bool
	newest   bool // a record of the newest generation was seen in this partition
	key      []byte
	entry    []byte
}

func (a *audit) readOutput(ctx context.Context) error {
	a.outputs = a.table("output", nil)
	if a.output.Name == "" {
		return nil
	}
	starts, err := a.admin.StartOffsets(ctx, a.output.Name)
	if err != nil {
		return err
	}
	ends, err := a.outputEnds(ctx)
	if err != nil {
		return err
	}
	total := int64(0)
	for p, end := range ends {
		total += max(end-starts[p], 0)
	}
	a.meter.begin(a.output.Name, total)
	r := &outputReader{a: a, codec: a.codec}
	r.distinct = r.codec.counts() || a.history.always(spec.EmitLatest)
	a.outputs.combine = r.combine
	for p := range int32(len(ends)) {
		r.newest = false
		if starts[p] > 0 {
			a.cannot("the output %s/%d below offset %d is deleted", a.output.Name, p, starts[p])
			a.outputCut = append(a.outputCut, p)
		}
		if err := a.read(ctx, a.output.Name, p, starts[p], ends[p], r.record); err != nil {
			return err
		}
	}
	return a.outputs.filled()
}

// outputEnds are those of the cut, and for partitions of the output that no task writes to, what is
// there now.
func (a *audit) outputEnds(ctx context.Context) (map[int32]int64, error) {
	ends, err := a.admin.EndOffsets(ctx, a.output.Name, true)
	if err != nil {
		return nil, err
	}
	for _, t := range a.keepers() {
		ends[t.partition] = t.outputEnd
	}
	return ends, nil
}

func (r *outputReader) record(rec *kgo.Record) error {
	r.a.records["output"]++
	older, err := r.generation(rec)
	if older {
		return nil
	}
	var group, values []byte
	if err == nil {
		group, values, err = r.codec.decode(rec)
	}
	if err != nil {
		r.a.found.add(Difference{Kind: OutputForeign, Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Why: err.Error()})
		return nil
	}
	r.key = counterKey(r.key[:0], group, rec.Partition)
	r.entry = appendEmitted(r.entry[:0], emitted{records: 1, first: rec.Offset, last: rec.Offset, firstText: values})
	return r.a.outputs.put(r.key, r.entry)
}

// generation looks at the headers; older is true for a record that the newest generation does not
// answer for.
func (r *outputReader) generation(rec *kgo.Record) (older bool, err error) {
	partition, ok1 := header(rec, "tally.partition")
	text, ok2 := header(rec, "tally.generation")
	generation, err := strconv.Atoi(text)
	switch {
	case !ok1 || !ok2 || err != nil:
		return false, fmt.Errorf("a record without the headers tally.partition and tally.generation")
	case partition != strconv.Itoa(int(rec.Partition)):
		return false, fmt.Errorf("a record whose header tally.partition is %q", partition)
	case generation < r.a.generation && !r.newest:
		return true, nil
	case generation != r.a.generation:
		return false, fmt.Errorf("a record of generation %d behind or beside those of generation %d", generation, r.a.generation)
	case r.a.repartitions == 0 && slices.Contains(r.a.starting, rec.Partition):
		return true, nil // counted since
	case r.a.keeper(rec.Partition) == nil:
		return false, fmt.Errorf("a record in a partition that the app has not counted anything of")
	}
	r.newest = true
	return false, nil
}

// combine puts the outputs of a counter one behind the other, and looks at the step between them.
func (r *outputReader) combine(dst, key, older, newer []byte) ([]byte, error) {
	o, n := parseEmitted(older), parseEmitted(newer)
	before, after := o.lastText(), n.firstText
	if why := r.step(before, after); why != "" {
		kind := OutputFell
		if bytes.Equal(before, after) {
			kind = OutputDoubled
		}
		group, partition := splitCounter(key)
		r.a.found.add(Difference{Kind: kind, Topic: r.a.output.Name, Partition: partition, Offset: n.first,
			Group: r.a.program.AppendGroupJSON(nil, group), Why: fmt.Sprintf("%s; the output before it is at offset %d", why, o.last)})
	}
	gap := o.gap
	if gap == 0 && !r.codec.follows(before, after) {
		gap = n.first + 1
	}
	return appendEmitted(dst, emitted{records: o.records + n.records, first: o.first, last: n.last, gap: cmp.Or(gap, n.gap),
		firstText: o.firstText, curText: n.lastText()}), nil
}

// step says what is wrong with two outputs of a counter, one after the other.
func (r *outputReader) step(before, after []byte) string {
	switch {
	case !bytes.Equal(before, after):
		return r.codec.fell(before, after)
	case r.distinct:
		return "the output is there twice: " + string(after)
	}
	return ""
}

// lastText are the values of the last output; an entry of one record has one text.
func (e emitted) lastText() []byte {
	if e.records == 1 {
		return e.firstText
	}
	return e.curText
}
