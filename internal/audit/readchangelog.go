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
	seen         map[string]string // the output topic of each spec, as it was stored
}

// always says that the app has had this emit since its beginning.
func (h *history) always(e spec.Emit) bool { return !h.cut && len(h.emits) == 1 && h.emits[e] }

// moved says that the app has written to another output topic before: what was counted then and has
// not changed since has no output in the one that it has now.
func (h *history) moved() bool { return len(h.outputTopics) > 1 }

// add takes a stored spec, and gives its output topic, "" for none.
func (h *history) add(text string) (outputTopic string) {
	if topic, seen := h.seen[text]; seen {
		return topic
	}
	if h.seen == nil {
		h.seen, h.emits, h.outputTopics = map[string]string{}, map[spec.Emit]bool{}, map[string]bool{}
	}
	if s, err := spec.Parse([]byte(text), "a stored spec"); err == nil && s.Output != nil {
		outputTopic = s.Output.Topic
		h.emits[s.Output.Emit], h.outputTopics[outputTopic] = true, true
	}
	h.seen[text] = outputTopic
	return outputTopic
}

// changelogReader reads one partition.
type changelogReader struct {
	a      *audit
	stages [secondStage + 1]stageReader
	values *task // the one that has counters; nil: none in this partition
	after  int64 // the first value behind its last position record, -1 for none
	key    []byte
	entry  []byte
}

// stageReader has the position records of one stage.
type stageReader struct {
	task *task     // nil: none in this partition
	prev *position // the last position record before
}

// readChangelog takes the last value of each counter, and the position records from A to B.
func (a *audit) readChangelog(ctx context.Context) error {
	a.changes = a.table("changelog", func(dst, _, _, newer []byte) ([]byte, error) { return append(dst, newer...), nil })
	starts, err := a.admin.StartOffsets(ctx, a.changelog.Name)
	if err != nil {
		return err
	}
	var readers []*changelogReader
	total := int64(0)
	for p := range int32(max(len(a.tasks), len(a.seconds))) {
		r := &changelogReader{a: a, values: a.keeper(p), after: -1}
		r.stages[0].task, r.stages[secondStage].task = a.task(p), of(a.seconds, p)
		if r.end() > 0 {
			readers = append(readers, r)
			total += r.end() - starts[p]
		}
	}
	a.meter.begin(a.changelog.Name, total)
	for _, r := range readers {
		if err := r.partition(ctx, starts); err != nil {
			return err
		}
	}
	return a.changes.filled()
}

// end is up to where the partition is read.
func (r *changelogReader) end() (end int64) {
	for _, s := range r.stages {
		if s.task != nil {
			end = max(end, s.task.changelogEnd)
		}
	}
	return end
}

func (r *changelogReader) partition(ctx context.Context, starts map[int32]int64) error {
	p := r.partitionNumber()
	if err := r.a.read(ctx, r.a.changelog.Name, p, starts[p], r.end(), r.record); err != nil {
		return err
	}
	if r.after >= 0 {
		r.foreign(r.after, "a value behind the last position record, so of no transaction of this app")
	}
	for _, s := range r.stages {
		if s.task == nil {
			continue
		}
		if s.task.decidable() {
			r.a.compared["positions"]++
		}
		if s.task.second != nil {
			s.task.endAtB()
		} else {
			s.task.makeCuts()
		}
	}
	return nil
}

func (r *changelogReader) record(rec *kgo.Record) error {
	r.a.records["changelog"]++
	key, err := parseKey(rec.Key)
	if err == nil && key.kind != kindBarrier {
		err = r.a.wrongGeneration(rec)
	}
	if err == nil {
		switch key.kind {
		case kindPosition:
			return r.position(rec, key.stage)
		case kindValue:
			return r.value(rec, key)
		}
	}
	if err != nil {
		r.foreign(rec.Offset, err.Error())
	}
	return nil
}

// value puts a counter's value into the table. A record that is none is a finding.
func (r *changelogReader) value(rec *kgo.Record, key changelogKey) error {
	values, err := parseBody(rec.Value, kindValue)
	if err == nil && (r.values == nil || r.values.stage != key.stage) {
		err = fmt.Errorf("a value of stage %d, which has none in this partition", key.stage)
	}
	if err == nil {
		err = r.a.program.CheckGroup(key.group)
	}
	if err == nil {
		_, err = r.a.program.DecodeValues(values, nil)
	}
	if err != nil {
		r.foreign(rec.Offset, err.Error())
		return nil
	}
	if rec.Offset >= r.values.endOfValues() {
		return nil // of a transaction after B
	}
	if r.after < 0 {
		r.after = rec.Offset
	}
	r.key = counterKey(r.key[:0], key.group, rec.Partition)
	r.entry = append(binary.AppendUvarint(r.entry[:0], uint64(rec.Offset)), values...)
	return r.a.changes.put(r.key, r.entry)
}

// position takes a position record. A record that is none is a finding.
func (r *changelogReader) position(rec *kgo.Record, stage byte) error {
	s := &r.stages[stage]
	p, err := parsePosition(rec.Value, stage, rec.Partition)
	switch {
	case err != nil:
	case s.task == nil:
		err = fmt.Errorf("a position record of stage %d, which has no task in this partition", stage)
	case p.AppID != r.a.appID || p.Generation != r.a.generation:
		err = fmt.Errorf("a position record of app id %s, generation %d", p.AppID, p.Generation)
	}
	if err != nil {
		r.foreign(rec.Offset, err.Error())
		return nil
	}
	if s.task == r.values {
		r.after = -1
	}
	if rec.Offset >= s.task.changelogEnd {
		return nil
	}
	pos := position{p, rec.Offset}
	s.noteSince(pos, r.a.history.add(p.Spec) == r.a.outputTopic())
	s.order(r.a, pos)
	if rec.Offset > s.task.at(0).offset {
		s.task.positions = append(s.task.positions, pos)
	}
	if s.task.second != nil {
		s.task.note(pos)
	}
	s.prev = &pos
	if len(s.task.positions) > r.a.cfg.PositionsMax {
		return fmt.Errorf("more than %d position records of partition %d lie in the time that a cut takes: try again when the app has less to do",
			r.a.cfg.PositionsMax, s.task.partition)
	}
	return nil
}

// noteSince keeps the task's since. What a transaction counted lies between its position record and
// that of the transaction before; where that is compacted away, nobody can say what lay behind it.
func (s *stageReader) noteSince(pos position, ofNow bool) {
	t := s.task
	switch {
	case !ofNow:
		t.since = nil
	case s.prev == nil || pos.Txn != s.prev.Txn+1:
		t.since = t.mark(pos)
	case t.since == nil:
		t.since = t.mark(*s.prev)
	}
}

// order compares a position record with the one before it.
func (s *stageReader) order(a *audit, pos position) {
	within := pos.offset > s.task.at(0).offset
	switch {
	case s.prev == nil:
		a.history.cut = a.history.cut || pos.Txn != 1
	case pos.Txn <= s.prev.Txn || pos.Input < s.prev.Input || goesBack(s.prev.Sources, pos.Sources):
		a.found.add(Difference{Kind: PositionOrder, Topic: a.changelog.Name, Partition: s.task.partition, Offset: pos.offset,
			Got:  fmt.Sprintf("transaction %d at %s offset %d", pos.Txn, s.task.what(), pos.Input),
			Want: fmt.Sprintf("more than transaction %d at %d, as offset %d has it", s.prev.Txn, s.prev.Input, s.prev.offset),
			Why:  "the position record goes back"})
	case pos.Txn > s.prev.Txn+1 && within:
		a.cannot("%s/%d: the position records of transactions %d to %d are missing, and the output may stand at one of them",
			a.changelog.Name, s.task.partition, s.prev.Txn+1, pos.Txn-1)
	case pos.Txn > s.prev.Txn+1:
		a.history.cut = true
	}
}

// goesBack says whether a mark has less of an input partition than the one before it.
func goesBack(before, after map[int32]int64) bool {
	for p, at := range before {
		if after[p] < at {
			return true
		}
	}
	return false
}

// what is the topic that a task reads, as people call it.
func (t *task) what() string {
	if t.stage == secondStage {
		return "repartition"
	}
	return "input"
}

func (r *changelogReader) partitionNumber() int32 {
	if t := r.stages[0].task; t != nil {
		return t.partition
	}
	return r.stages[secondStage].task.partition
}

func (r *changelogReader) foreign(offset int64, why string) {
	r.a.found.add(Difference{Kind: ChangelogForeign, Topic: r.a.changelog.Name, Partition: r.partitionNumber(), Offset: offset, Why: why})
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
