package node

import (
	"fmt"
	"maps"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

// secondTrial is what a trial of two stages has besides. Its input begins with fewer partitions
// than the counters are spread over, and grows to more.
type secondTrial struct {
	program *spec.Program
	grown   bool

	mu      sync.Mutex
	next    map[int32]int64 // of the changelog
	records map[int32][]state.PositionRecord
}

const (
	beforeGrowth = 2
	afterGrowth  = 5
)

// secondStage makes the trial one of two stages, and returns the input's partitions.
func (w *trial) secondStage(lanes int) int {
	w.text = replaced(w.text, "group: [key, item]", fmt.Sprintf("group: [item]\nrepartition: {mode: auto, partitions: %d}", trialPartitions))
	w.text = replaced(w.text, fmt.Sprint("lanes: ", lanes), fmt.Sprint("lanes: ", min(lanes, beforeGrowth)))
	w.two = &secondTrial{program: spec.Compile(w.spec(w.text)), next: map[int32]int64{}, records: map[int32][]state.PositionRecord{}}
	return beforeGrowth
}

// partition is where a group is counted.
func (s *secondTrial) partition(group string) int32 {
	enc, err := s.program.ParseGroupJSON([]byte(group))
	if err != nil {
		panic(err)
	}
	return spec.Partition(enc, trialPartitions)
}

// grow gives the input of a trial of two stages more partitions. The counts of an app of one stage
// would be spread anew.
func (w *trial) grow() {
	if w.two == nil || w.two.grown {
		return
	}
	m := w.newest()
	w.endAll()
	answers, err := w.adm.UpdatePartitions(w.ctx(), afterGrowth, w.in)
	w.must(err)
	w.must(answers.Error())
	w.input.mu.Lock()
	w.input.grow(afterGrowth)
	w.input.mu.Unlock()
	w.two.grown = true
	w.launch(m.dir)
}

// observeTwo holds what a node serves against the input up to the sources of the position records
// whose positions it names.
func (w *trial) observeTwo(m *member, got map[string]string, at map[int32]int64) {
	trimmed, err := w.admin.StartOffsets(w.ctx(), w.app+".repartition")
	if err != nil || w.two.follow(w) != nil {
		return
	}
	committed, err := w.groupOffsets()
	if err != nil {
		return
	}
	w.input.mu.Lock()
	defer w.input.mu.Unlock()
	for q, pos := range at {
		rec := w.two.at(q, pos)
		name := fmt.Sprintf("%s serves partition %d at %d", m.node.cfg.Name, q, pos)
		if last := w.two.at(q, 1<<62); last == nil || trimmed[q] > last.Input {
			w.t.Errorf("partition %d is trimmed to %d, the last position record is %+v", q, trimmed[q], last)
		}
		if rec == nil {
			w.t.Errorf("%s, and no position record is at or below", name)
			continue
		}
		if o, ok := committed.Of(w.app + ".repartition")[q]; ok && o < rec.Input {
			w.t.Errorf("%s, and %d is committed", name, o)
		}
		if len(rec.Midway) > 0 {
			continue
		}
		w.done.add(checkAnswers, 1)
		is, want := w.two.only(q, got), w.two.only(q, w.input.recount(w.below(rec)))
		if !maps.Equal(is, want) {
			w.t.Errorf("%s, of the events below %v:\n%s", name, rec.Sources, difference(is, want))
		}
	}
}

// below is what a record's sources say of every partition of the input.
func (w *trial) below(rec *state.PositionRecord) map[int32]int64 {
	at := map[int32]int64{}
	for p := range w.input.partitions() {
		at[p] = rec.Sources[p]
	}
	return at
}

// only keeps the groups that are counted in a partition.
func (s *secondTrial) only(q int32, counts map[string]string) map[string]string {
	here := map[string]string{}
	for group, values := range counts {
		if s.partition(group) == q {
			here[group] = values
		}
	}
	return here
}

// follow reads the position records of the second stage that have come.
func (s *secondTrial) follow(w *trial) error {
	topic := w.app + ".changelog"
	ends, err := w.admin.EndOffsets(w.ctx(), topic, true)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for q := range int32(trialPartitions) {
		err := w.admin.Read(w.ctx(), topic, q, s.next[q], ends[q], func(r *kgo.Record) error {
			s.next[q] = r.Offset + 1
			if kind, stage, _, err := state.DecodeKey(r.Key); err != nil || kind != state.KindPosition || stage != state.SecondStage {
				return err
			}
			rec, err := state.DecodePosition(r.Value)
			s.records[q] = append(s.records[q], rec)
			return err
		})
		if err != nil {
			return err
		}
		s.next[q] = max(s.next[q], ends[q])
	}
	return nil
}

// at is the last position record at or below a position.
func (s *secondTrial) at(q int32, pos int64) (last *state.PositionRecord) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.records[q] {
		if rec := &s.records[q][i]; rec.Input <= pos {
			last = rec
		}
	}
	return last
}

// notMidway: no partition of the second stage stays in the middle of what a transaction has sent.
// The last sources may be read, and no lag any more, before the record that has them is committed.
func (w *trial) notMidway() error {
	for at, rec := range w.lastRecords() {
		if len(rec.Midway) > 0 {
			return fmt.Errorf("%s/%d stays in the middle of what lanes %v have sent", at.Topic, at.Partition, rec.Midway)
		}
	}
	return nil
}

// checkSources holds the last record of a partition of the second stage against the input's end.
func (w *trial) checkSources(q int32, rec *state.PositionRecord) {
	w.t.Helper()
	is, want := w.two.only(q, w.input.recount(w.below(rec))), w.two.only(q, w.input.recount(nil))
	if !maps.Equal(is, want) {
		w.t.Fatalf("partition %d says that it has the events below %v:\n%s", q, rec.Sources, difference(is, want))
	}
}
