package audit

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

// Verdict is the result in a word.
type Verdict string

// The verdicts.
const (
	Exact       Verdict = "exact"
	Differences Verdict = "differences"
	Undecided   Verdict = "undecided" // no difference was found, but not everything could be compared
)

// Report is what an audit found.
type Report struct {
	App        string  `json:"app"`
	AppID      string  `json:"app_id"`
	Generation int     `json:"generation"`
	Verdict    Verdict `json:"verdict"`

	Events   int64 `json:"events"`   // of the input that the app has counted
	Groups   int64 `json:"groups"`   // of the recount
	Counters int64 `json:"counters"` // groups in partitions
	Spanning int64 `json:"spanning"` // groups with counters in several partitions

	Partitions   []Partition   `json:"partitions"`
	Repartitions []Repartition `json:"repartitions,omitempty"` // of two stages
	Checks       []Check       `json:"checks"`
	Differences  []*Difference `json:"differences"`       // the first of each kind
	Found        int64         `json:"differences_total"` // all of them
	Undecided    []string      `json:"undecided"`         // what could not be compared, and why
}

// Partition is one partition of the input, counted up to the last position record below the cut.
type Partition struct {
	Partition   int32 `json:"partition"`
	Start       int64 `json:"start"`
	Input       int64 `json:"input"` // next input offset
	Events      int64 `json:"events"`
	Processed   int64 `json:"processed"`
	Filtered    int64 `json:"filtered"`
	Skipped     int64 `json:"skipped"`
	Dead        int64 `json:"dead"`
	Counters    int64 `json:"counters"`
	GroupOffset int64 `json:"group_offset"` // of the consumer group; -1: none
	Store       int64 `json:"store"`        // the input position of the scan; -1: not asked
	Output      int64 `json:"output"`       // the output was read up to this offset
	Changelog   int64 `json:"changelog"`    // the changelog was read up to this offset
	Positions   int   `json:"positions"`    // position records at which output and offset can stand: 1 without load
}

// Repartition is one partition of the repartition topic, read by the second stage, which has the
// counters.
type Repartition struct {
	Partition   int32 `json:"partition"`
	Input       int64 `json:"input"`    // next offset of the repartition topic
	Partials    int64 `json:"partials"` // folded
	Counters    int64 `json:"counters"`
	Trimmed     int64 `json:"trimmed"`      // the topic is trimmed up to this offset
	GroupOffset int64 `json:"group_offset"` // of the consumer group; -1: none
	Store       int64 `json:"store"`        // the position of the scan; -1: not asked
	Output      int64 `json:"output"`       // the output was read up to this offset
	Changelog   int64 `json:"changelog"`    // the changelog was read up to this offset
	Positions   int   `json:"positions"`    // position records at which output and offset can stand: 1 without load
}

// Check is one of the things that were compared with the recount.
type Check struct {
	Name        string `json:"name"`
	Compared    int64  `json:"compared"` // counters, groups, partitions or events, as Of says
	Of          string `json:"of"`
	Records     int64  `json:"records"` // read for it; 0 where none are
	Differences int64  `json:"differences"`
	Skipped     string `json:"skipped,omitempty"` // why it was not made
}

// Kind is what is different. The part before the point is the check's name.
type Kind string

// The kinds of differences.
const (
	OutputWrong   Kind = "output.wrong"   // a counter's last output is not its value
	OutputMissing Kind = "output.missing" // a counter has no output, or too few with `emit: every`
	OutputExtra   Kind = "output.extra"   // an output of what the input does not have
	OutputDoubled Kind = "output.doubled" // the same output twice
	OutputFell    Kind = "output.fell"    // a count that does not rise, a max that falls, a min that rises
	OutputForeign Kind = "output.foreign" // a record that this app did not write

	ChangelogWrong   Kind = "changelog.wrong"
	ChangelogMissing Kind = "changelog.missing"
	ChangelogExtra   Kind = "changelog.extra"
	ChangelogForeign Kind = "changelog.foreign"

	PartialLost    Kind = "partials.lost"    // events that were dealt with and are in no counter
	PartialDoubled Kind = "partials.doubled" // more in a counter, or sent to it, than the events have
	PartialWrong   Kind = "partials.wrong"   // other values, of which no count says more or less
	PartialFolded  Kind = "partials.folded"  // the second stage has folded another number of partials than there were
	PartialForeign Kind = "partials.foreign" // a record of the repartition topic that this app did not write there

	PositionGroups Kind = "positions.groups" // number of groups or digest
	PositionOrder  Kind = "positions.order"  // a transaction number that does not go up by one

	StoreWrong   Kind = "store.wrong"
	StoreMissing Kind = "store.missing"
	StoreExtra   Kind = "store.extra"
	StoreDoubled Kind = "store.doubled"

	OffsetMoved   Kind = "offsets.moved"   // the consumer group's offset is at no position record
	OffsetMissing Kind = "offsets.missing" // the consumer group has no offset

	EventsProcessed  Kind = "events.processed"
	EventsFiltered   Kind = "events.filtered"
	EventsUnreadable Kind = "events.unreadable" // skipped + dead

	DeadLost    Kind = "dead.lost"    // an event that cannot be read has no dead letter
	DeadExtra   Kind = "dead.extra"   // a dead letter of an event that counts, or that is not there
	DeadDoubled Kind = "dead.doubled" // two of one event
	DeadChanged Kind = "dead.changed" // key or value is not the event's
	DeadForeign Kind = "dead.foreign" // a record that is no dead letter of this app
)

// Difference is one thing that is not as the recount says.
type Difference struct {
	Kind      Kind            `json:"kind"`
	Topic     string          `json:"topic"` // where to look
	Partition int32           `json:"partition"`
	Offset    int64           `json:"offset"` // -1: at no offset, and the partition says nothing
	Group     json.RawMessage `json:"group,omitempty"`
	Got       string          `json:"got,omitempty"`
	Want      string          `json:"want,omitempty"`
	Why       string          `json:"why"`
}

// String is one line.
func (d Difference) String() string {
	text := fmt.Sprintf("%s: ", d.Kind)
	if d.Offset >= 0 {
		text = fmt.Sprintf("%s: %s/%d offset %d: ", d.Kind, d.Topic, d.Partition, d.Offset)
	}
	if len(d.Group) > 0 {
		text += string(d.Group) + " "
	}
	text += d.Why
	if d.Got != "" || d.Want != "" {
		text += fmt.Sprintf(": %s, the recount says %s", orNothing(d.Got), orNothing(d.Want))
	}
	return text
}

func orNothing(s string) string { return cmp.Or(s, "nothing") }

// findings collects differences: all are counted, the first of each kind are kept.
type findings struct {
	max    int
	kept   []*Difference
	totals map[Kind]int64
}

func (f *findings) add(d Difference) {
	if f.totals == nil {
		f.totals = map[Kind]int64{}
	}
	if f.totals[d.Kind]++; f.totals[d.Kind] <= int64(f.max) {
		f.kept = append(f.kept, &d)
	}
}

// of is the number of differences of a check.
func (f *findings) of(check string) (n int64) {
	for k, m := range f.totals {
		if len(k) > len(check) && string(k[:len(check)+1]) == check+"." {
			n += m
		}
	}
	return n
}

// sorted are the kept ones, kind by kind, by place.
func (f *findings) sorted() []*Difference {
	slices.SortStableFunc(f.kept, func(a, b *Difference) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return append([]*Difference{}, f.kept...)
}

func (f *findings) total() (n int64) {
	for _, m := range f.totals {
		n += m
	}
	return n
}
