package audit

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/processor/spec"
)

// history is what the position records that are still there say of the time before the cut.
type history struct {
	cut          bool // compaction has taken older ones away: nothing is known of the beginning
	emits        map[spec.Emit]bool
	outputTopics map[string]bool
	seen         map[string]bool // specs, as they were stored
}

// always says that the app has had this emit since its beginning.
func (h *history) always(e spec.Emit) bool { return !h.cut && len(h.emits) == 1 && h.emits[e] }

func (h *history) add(text string) {
	if h.seen[text] {
		return
	}
	if h.seen == nil {
		h.seen, h.emits, h.outputTopics = map[string]bool{}, map[spec.Emit]bool{}, map[string]bool{}
	}
	h.seen[text] = true
	if s, err := spec.Parse([]byte(text), "a stored spec"); err == nil && s.Output != nil {
		h.emits[s.Output.Emit], h.outputTopics[s.Output.Topic] = true, true
	}
}

// changelogReader reads one partition.
type changelogReader struct {
	a     *audit
	task  *task
	prev  *position // the last position record before
	after int64     // the first value behind the last position record, -1 for none
	key   []byte
	entry []byte
}

// readChangelog takes the last value of each counter, and the position records from A to B.
func (a *audit) readChangelog(ctx context.Context) error {
	a.changes = a.table("changelog", func(dst, _, _, newer []byte) ([]byte, error) { return append(dst, newer...), nil })
	starts, err := a.admin.StartOffsets(ctx, a.changelog.Name)
	if err != nil {
		return err
	}
	total := int64(0)
	for _, t := range a.running() {
		total += t.changelogEnd - starts[t.partition]
	}
	a.meter.begin(a.changelog.Name, total)
	for _, t := range a.running() {
		r := changelogReader{a: a, task: t, after: -1}
		if err := a.read(ctx, a.changelog.Name, t.partition, starts[t.partition], t.changelogEnd, r.record); err != nil {
			return err
		}
		r.end()
		if t.decidable() {
			a.compared["positions"]++
		}
		t.makeCuts()
	}
	return nil
}

func (r *changelogReader) record(rec *kgo.Record) error {
	r.a.records["changelog"]++
	kind, group, err := parseKey(rec.Key)
	if err == nil && kind != kindBarrier {
		err = r.a.wrongGeneration(rec)
	}
	if err == nil {
		switch kind {
		case kindPosition:
			err = r.position(rec)
		case kindValue:
			return r.value(rec, group)
		}
	}
	if err != nil {
		r.foreign(rec.Offset, err.Error())
	}
	if len(r.task.positions) > r.a.cfg.PositionsMax {
		return fmt.Errorf("more than %d position records of partition %d lie in the time that a cut takes: try again when the app has less to do",
			r.a.cfg.PositionsMax, r.task.partition)
	}
	return nil
}

// value puts a counter's value into the table. A record that is none is a finding.
func (r *changelogReader) value(rec *kgo.Record, group []byte) error {
	values, err := parseBody(rec.Value, kindValue)
	if err == nil {
		err = r.a.program.CheckGroup(group)
	}
	if err == nil {
		_, err = r.a.program.DecodeValues(values, nil)
	}
	if err != nil {
		r.foreign(rec.Offset, err.Error())
		return nil
	}
	if r.after < 0 {
		r.after = rec.Offset
	}
	r.key = counterKey(r.key[:0], group, rec.Partition)
	r.entry = append(binary.AppendUvarint(r.entry[:0], uint64(rec.Offset)), values...)
	return r.a.changes.put(r.key, r.entry)
}

func (r *changelogReader) position(rec *kgo.Record) error {
	p, err := parsePosition(rec.Value, rec.Partition)
	if err != nil {
		return err
	}
	if p.AppID != r.a.appID || p.Generation != r.a.generation {
		return fmt.Errorf("a position record of app id %s, generation %d", p.AppID, p.Generation)
	}
	pos := position{p, rec.Offset}
	r.after = -1
	r.a.history.add(p.Spec)
	r.order(pos)
	if rec.Offset > r.task.at(0).offset {
		r.task.positions = append(r.task.positions, pos)
	}
	r.prev = &pos
	return nil
}

// order compares a position record with the one before it.
func (r *changelogReader) order(pos position) {
	within := pos.offset > r.task.at(0).offset
	switch {
	case r.prev == nil:
		r.a.history.cut = r.a.history.cut || pos.Txn != 1
	case pos.Txn <= r.prev.Txn || pos.Input < r.prev.Input:
		r.a.found.add(Difference{Kind: PositionOrder, Topic: r.a.changelog.Name, Partition: r.task.partition, Offset: pos.offset,
			Got:  fmt.Sprintf("transaction %d at input offset %d", pos.Txn, pos.Input),
			Want: fmt.Sprintf("more than transaction %d at %d, as offset %d has it", r.prev.Txn, r.prev.Input, r.prev.offset),
			Why:  "the position record goes back"})
	case pos.Txn > r.prev.Txn+1 && within:
		r.a.cannot("%s/%d: the position records of transactions %d to %d are missing, and the output may stand at one of them",
			r.a.changelog.Name, r.task.partition, r.prev.Txn+1, pos.Txn-1)
	case pos.Txn > r.prev.Txn+1:
		r.a.history.cut = true
	}
}

// end looks at what has come behind the last position record: a transaction writes that last.
func (r *changelogReader) end() {
	if r.after >= 0 {
		r.foreign(r.after, "a value behind the last position record, so of no transaction of this app")
	}
}

func (r *changelogReader) foreign(offset int64, why string) {
	r.a.found.add(Difference{Kind: ChangelogForeign, Topic: r.a.changelog.Name, Partition: r.task.partition, Offset: offset, Why: why})
}

// wrongGeneration is an error unless the record says that it is of the newest generation.
func (a *audit) wrongGeneration(rec *kgo.Record) error {
	if g, ok := header(rec, "tally.generation"); !ok || g != strconv.Itoa(a.generation) {
		return fmt.Errorf("a record whose header tally.generation is %q, not %d", g, a.generation)
	}
	return nil
}

// header is the last header of a name.
func header(rec *kgo.Record, name string) (string, bool) {
	for i := len(rec.Headers) - 1; i >= 0; i-- {
		if rec.Headers[i].Key == name {
			return string(rec.Headers[i].Value), true
		}
	}
	return "", false
}

// counterKey is the key of a counter in a table: no encoded group is the beginning of another, so
// the keys have the order of the groups, then of the partitions.
func counterKey(dst, group []byte, partition int32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, group...), uint32(partition))
}

// splitCounter is what counterKey has put together.
func splitCounter(key []byte) (group []byte, partition int32) {
	n := len(key) - 4
	return key[:n], int32(binary.BigEndian.Uint32(key[n:]))
}

// change is a counter's last changelog record.
type change struct {
	offset int64
	values []byte
}

func parseChange(b []byte) change {
	offset, n := binary.Uvarint(b)
	if n <= 0 {
		panic("audit: an entry of the changelog's table cannot be read")
	}
	return change{int64(offset), bytes.Clone(b[n:])}
}
