package check

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// app judges what one app has written.
type app struct {
	history.App
	spec *spec
	dump Dump
	rep  *Report

	answers map[string]*answer
	reads   *reads

	// Of committed transactions: the offsets of the app's consumer group; and of an app of two
	// stages the print of what each has to send, and of the sources that it has to name.
	offsets   map[txnID]map[Place]int64
	offsetsIn Place // the log that they are in
	sends     map[txnID]uint64
	moved     map[txnID]uint64
	books     *books
	lost      map[Place]*doubts // logs of which a part was gone before it was read
	// inputHoled: of the input a part was gone, too.
	inputHoled bool
	lanes      map[int64]int  // of the producers that write to the changelog
	vague      map[txnID]bool // which events these have counted is not known
	told       *told          // of an app of two stages

	last     map[string]lastOutput // of each counter
	stores   map[storeOf][]history.Store
	troubles *troubles
}

type lastOutput struct {
	partition int32
	values    []decimal
}

type answer struct {
	history.Answer
	totals []int64 // after each increment
}

func newApp(h history.App, d Dump, rep *Report, b *books) (*app, error) {
	s, err := parseSpec(h.Spec)
	if err != nil {
		return nil, fmt.Errorf("app %s: %w", h.Name, err)
	}
	return &app{App: h, spec: s, dump: d, rep: rep, books: b, answers: map[string]*answer{},
		offsets: map[txnID]map[Place]int64{}, sends: map[txnID]uint64{}, moved: map[txnID]uint64{},
		lost: map[Place]*doubts{}, lanes: map[int64]int{}, vague: map[txnID]bool{}, told: newTold(),
		last: map[string]lastOutput{}, stores: map[storeOf][]history.Store{}, troubles: &troubles{settlings: newSettlings()}}, nil
}

func (a *app) stages() int {
	if a.Repartition != "" {
		return 2
	}
	return 1
}

// lastStage is the one that has the values.
func (a *app) lastStage() uint8 { return uint8(a.stages() - 1) }

// source is the topic that a stage reads.
func (a *app) source(stage uint8) string {
	if stage == 1 {
		return a.Repartition
	}
	return a.Input
}

func (a *app) addAnswer(h history.Answer) error {
	group, err := groupFromJSON(h.Group)
	if err != nil {
		return err
	}
	w := &answer{Answer: h}
	total := int64(0)
	for _, add := range h.Increments {
		total += add
		w.totals = append(w.totals, total)
	}
	w.Increments = nil
	a.answers[group] = w
	return nil
}

// judge runs all that looks at topics.
func (a *app) judge() error {
	if a.stages() == 2 {
		if err := a.listTold(); err != nil {
			return fmt.Errorf("app %s: %w", a.Name, err)
		}
	}
	for p := range a.Partitions {
		for stage := range uint8(a.stages()) {
			if err := a.judgeColumn(stage, p); err != nil {
				return fmt.Errorf("app %s stage %d partition %d: %w", a.Name, stage, p, err)
			}
		}
	}
	if a.stages() == 2 {
		if err := a.judgeSends(); err != nil {
			return fmt.Errorf("app %s: %w", a.Name, err)
		}
	}
	a.judgeOffsetsLeft()
	a.judgeEnd()
	return nil
}

// judgeOffsetsLeft: every commit of offsets went with a position record; those were taken out.
func (a *app) judgeOffsetsLeft() {
	for id, of := range a.offsets {
		for place, at := range of {
			if a.lost[Place{a.Changelog, place.Partition}].about(id) {
				a.rep.Of(Whole).undecidedOf(1, "positions with their offsets",
					"app %s: %v commits offset %d of %s; its position record may be one that nobody has read", a.Name, id, at, place)
				continue
			}
			a.rep.Of(Whole).fail("app %s: %v commits offset %d of %s, and no position record of it is committed", a.Name, id, at, place)
		}
	}
}

// judgeEnd: the outputs end at the answer.
func (a *app) judgeEnd() {
	c := a.rep.Of(Rising)
	c.saw(int64(len(a.answers)), "counters with an answer")
	for _, group := range slices.Sorted(maps.Keys(a.answers)) {
		w, got := a.answers[group], a.last[group]
		if want := a.wanted(w); !slices.Equal(got.values, want) {
			c.differ(versusOf(group, want, got.values),
				"app %s: the outputs of %s end at %s, the answer is %s", a.Name, show(group), showValues(got.values), showValues(want))
		}
	}
	for group, got := range a.last {
		if a.answers[group] == nil {
			c.differ(versusOf(group, nil, got.values),
				"app %s: %s has outputs up to %s, and there is no such counter", a.Name, show(group), showValues(got.values))
		}
	}
}

// wanted are an answer's values, in the order of the spec's aggregates.
func (a *app) wanted(w *answer) (values []decimal) {
	for _, path := range a.spec.sums {
		n := w.Final.Count
		if path != "" {
			n = w.Final.Total
		}
		values = append(values, decimal{coef: n})
	}
	return values
}

// judgeOutput: a counter's outputs lie in one partition, rise strictly, and each is what the answer
// says of so many increments.
func (a *app) judgeOutput(p int32, rec *Record) {
	c := a.rep.Of(Rising)
	group, values, err := a.spec.output(rec)
	if err != nil {
		c.fail("%s/%d offset %d: %v", a.Output, p, rec.Offset, err)
		return
	}
	c.saw(1, "outputs")
	before := a.last[group]
	n := a.spec.countIndex()
	if before.values != nil && values[n].coef <= before.values[n].coef {
		c.differ(versus{show(group), "more than " + showValues(before.values), showValues(values)},
			"%s/%d offset %d: %s goes from %s to %s", a.Output, p, rec.Offset, show(group), showValues(before.values), showValues(values))
	}
	if before.values != nil && before.partition != p {
		c.differ(versus{show(group), fmt.Sprint("in partition ", before.partition), fmt.Sprint("in partition ", p)},
			"%s/%d offset %d: %s was counted in partition %d before", a.Output, p, rec.Offset, show(group), before.partition)
	}
	a.last[group] = lastOutput{p, values}
	if w := a.answers[group]; w != nil {
		a.judgeStep(w, p, rec, group, values)
	}
}

// judgeStep holds one output to the order of the increments.
func (a *app) judgeStep(w *answer, p int32, rec *Record, group string, values []decimal) {
	c := a.rep.Of(Rising)
	if a.Local && p != w.Partition {
		c.differ(versus{show(group), fmt.Sprint("in partition ", w.Partition), fmt.Sprint("in partition ", p)},
			"%s/%d offset %d: %s belongs to partition %d", a.Output, p, rec.Offset, show(group), w.Partition)
	}
	if w.totals == nil {
		return
	}
	count := values[a.spec.countIndex()].coef
	if count < 1 || count > int64(len(w.totals)) {
		c.differ(versus{show(group), fmt.Sprint("a count from 1 to ", len(w.totals)), fmt.Sprint(count)},
			"%s/%d offset %d: %s has the count %d of %d", a.Output, p, rec.Offset, show(group), count, len(w.totals))
		return
	}
	for i, path := range a.spec.sums {
		if want := (decimal{coef: w.totals[count-1]}); path != "" && values[i] != want {
			c.differ(versus{show(group), want.String(), values[i].String()}, "%s/%d offset %d: after %d increments %s is %s, the answer says %s",
				a.Output, p, rec.Offset, count, show(group), values[i], want)
		}
	}
}

// countIndex is where the first count is among the aggregates.
func (s *spec) countIndex() int { return max(slices.Index(s.sums, ""), 0) }

// print is a number that adds up as increments do: those of a transaction's input events together
// have the print of those of its partials.
func printOf(group string, adds []decimal) (sum uint64, err error) {
	h := xxhash.Sum64String(group)
	for i, d := range adds {
		n, err := d.at(max(d.scale, printScale))
		if d.scale > printScale || err != nil {
			return 0, fmt.Errorf("print of %s: %w", d, errWide)
		}
		sum += uint64(n) * (h + 2*uint64(i)*prime1 | 1)
	}
	return sum, nil
}

const printScale = 4

// Odd numbers with many bits.
const (
	prime1 uint64 = 0x9E3779B185EBCA87
	prime2 uint64 = 0xC2B2AE3D27D4EB4F
	prime3 uint64 = 0x165667B19E3779F9
	prime5 uint64 = 0x27D4EB2F165667C5
)

// sourcePrint is the same of a position in the input.
func sourcePrint(p int32, next int64) uint64 {
	return (uint64(p)+prime5)*prime2 ^ (uint64(next)+prime3)*prime1
}
