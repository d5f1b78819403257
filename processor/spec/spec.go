package spec

import (
	"fmt"
	"strings"
)

// A Spec is one app's definition, checked and with its defaults filled in. Parse makes it; it is
// not changed afterwards.
type Spec struct {
	App        string
	Input      Input
	Where      []Condition // all must hold
	Split      Split
	Group      []Part      // 1 to MaxParts
	Aggregates []Aggregate // 1 to MaxAggregates, in the order of the file: `top` orders by the first
	Output     *Output     // nil: the counts are for queries only
	OnError    OnError
	Lanes      int // 0: not said

	Repartition Repartition
}

// Repartition says whether there is a second stage behind a topic of its own, whose partition is
// decided by the group alone.
type Repartition struct {
	Mode       RepartitionMode
	Partitions int // of that topic; 0: not said, as many as the input has
}

// RepartitionMode says when there is a second stage.
type RepartitionMode string

// The values of RepartitionMode.
const (
	RepartitionAuto   RepartitionMode = "auto"   // where the grouping is not local
	RepartitionAlways RepartitionMode = "always" // also where it is: the cure for strays
	RepartitionNever  RepartitionMode = "never"  // a grouping that is not local is refused
)

// Input is the topic that the app reads.
type Input struct {
	Topic  string
	Start  Start
	Format Format
}

// Start says where the very first start of an app begins.
type Start string

// The values of Start.
const (
	StartEarliest Start = "earliest"
	StartLatest   Start = "latest"
)

// Format says what an event's value is.
type Format string

// The values of Format.
const (
	FormatText Format = "text"
	FormatJSON Format = "json"
)

// A Condition holds when the value at Path is one of In, or, when In is empty, when there is a
// value at Path, null included. A missing value is not in any list. Not negates the result of that.
type Condition struct {
	Path Path
	In   []Scalar
	Not  bool
}

// SplitKind says into what an event is split.
type SplitKind string

// The values of SplitKind.
const (
	SplitNone  SplitKind = "none"  // the event is its one item
	SplitWords SplitKind = "words" // words.go says what a word is
	SplitLines SplitKind = "lines" // they end in \n; a \r before the end is dropped, empty lines count
	SplitEach  SplitKind = "each"  // the elements of a JSON array
)

// Split says how an event becomes items. Path is empty when the value itself is split.
type Split struct {
	Kind SplitKind
	Path Path
}

// PartKind says where a part of a group comes from.
type PartKind string

// The values of PartKind.
const (
	PartKey       PartKind = "key"
	PartItem      PartKind = "item"
	PartPartition PartKind = "partition" // of the input
	PartPath      PartKind = "path"
)

// A Part is one element of the tuple that is counted.
type Part struct {
	Kind PartKind
	Path Path   // of PartPath only
	As   string // of PartPath only
}

// Name is what the part is called in output records.
func (p Part) Name() string {
	if p.Kind == PartPath {
		return p.As
	}
	return string(p.Kind)
}

// AggregateKind says how increments are folded.
type AggregateKind string

// The values of AggregateKind.
const (
	Count AggregateKind = "count"
	Sum   AggregateKind = "sum"
	Min   AggregateKind = "min"
	Max   AggregateKind = "max"
)

// An Aggregate is one of a group's values. Path is empty for Count.
type Aggregate struct {
	Name string
	Kind AggregateKind
	Path Path
}

// Emit says which changes become output records.
type Emit string

// The values of Emit.
const (
	EmitLatest Emit = "latest" // a changed group once a transaction
	EmitEvery  Emit = "every"  // each increment
)

// OutputKey says what the key of an output record is.
type OutputKey string

// The values of OutputKey.
const (
	KeyEvent OutputKey = "event"
	KeyGroup OutputKey = "group" // the canonical JSON array of the group
)

// Output is the topic that the app writes.
type Output struct {
	Topic string
	Emit  Emit
	Key   OutputKey
}

// OnError says what an event that cannot be read gets.
type OnError string

// The values of OnError.
const (
	Dead OnError = "dead"
	Skip OnError = "skip"
	Stop OnError = "stop"
)

// KeyPart is the index of `key` in Group, or -1.
func (s *Spec) KeyPart() int { return s.part(PartKey) }

func (s *Spec) part(kind PartKind) int {
	for i, p := range s.Group {
		if p.Kind == kind {
			return i
		}
	}
	return -1
}

// Local reports whether the events of one group come from one input partition: the grouping
// contains `key` or `partition`, or there is only one partition.
func (s *Spec) Local(inputPartitions int) bool {
	return inputPartitions == 1 || s.part(PartKey) >= 0 || s.part(PartPartition) >= 0
}

// TwoStages reports whether the app has a second stage, given how many partitions its input has at
// its first start. It refuses a grouping that needs one where the spec forbids it.
func (s *Spec) TwoStages(inputPartitions int) (bool, error) {
	local := s.Local(inputPartitions)
	if s.Repartition.Mode == RepartitionNever && !local {
		return false, fmt.Errorf("app %s: group [%s] is not local: %s has %d partitions, and the events of one group "+
			"lie in several of them; counting those together needs the second stage, which `repartition: never` forbids; "+
			"remove that line, add key or partition to group, or read a topic with one partition",
			s.App, s.groupNames(), s.Input.Topic, inputPartitions)
	}
	return !local || s.Repartition.Mode == RepartitionAlways, nil
}

// Notes say what of the spec has no effect, for the user who wrote it. It is not refused: specs
// that are stored say it, too.
func (s *Spec) Notes() (notes []string) {
	if n := s.Repartition.Partitions; n > 0 && s.Repartition.Mode != RepartitionAlways && s.Local(2) {
		notes = append(notes, fmt.Sprintf("repartition.partitions: %d has no effect: the grouping is local, since it contains key or partition, "+
			"and there is no second stage without `mode: always`; remove it before the first start, later that takes a reset", n))
	}
	return notes
}

func (s *Spec) groupNames() string {
	names := make([]string, len(s.Group))
	for i, p := range s.Group {
		names[i] = p.Name()
	}
	return strings.Join(names, ", ")
}
