package processor

import (
	"log/slog"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/step"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

// Config is what a lane needs to run. It does not change while the lane exists.
type Config struct {
	Spec    *spec.Spec
	Program *spec.Program
	Lane    int

	// Partitions is the number of partitions of the input: the partitioners below spread over it.
	Partitions int
	// Repartition is the name of the repartition topic, "" for an app of one stage, and
	// Repartitions the number of its partitions.
	Repartition  string
	Repartitions int
	// Changelog and Dead are the names of the app's own topics.
	Changelog, Dead string
	// Stamp holds the fields of a position record that are the same in all of this lane's records
	// under this grant: ids, generation, fingerprint, spec, lanes, node, incarnation, epoch.
	Stamp state.PositionRecord
	// Partitioners are the ways in which known clients place a key; an event that one of them would
	// have put elsewhere is counted against it (strays).
	Partitioners [Partitioners]func(key []byte, partitions int) int32
	// RecordBytes bounds the largest possible output or changelog record of a group, its key
	// included; an event with a group above it cannot be counted. 0: no bound.
	RecordBytes int

	Limits Limits
	Pace   Pace
	Budget *Budget // shared by the node's lanes; nil: none

	Seam seam.Seam
	Step step.Hook
	Log  *slog.Logger
}

// Partitioners is the number of known ways to place a key: murmur2 (Java, kafka-python, franz-go)
// and CRC32 (librdkafka).
const Partitioners = 2

// Limits bound what a lane holds in memory. Zero means the default.
type Limits struct {
	PollRecords int   // records of one poll; default 5,000
	TxnEvents   int   // events of one transaction; default 1,000,000
	TxnGroups   int   // distinct groups of one transaction; default 200,000
	TxnItems    int   // increments kept singly (emit: every); default 200,000
	TxnBytes    int64 // bytes of groups, increments and dead letters; default 64 MB
}

func (l Limits) withDefaults() Limits {
	l.PollRecords = or(l.PollRecords, 5_000)
	l.TxnEvents = or(l.TxnEvents, 1_000_000)
	l.TxnGroups = or(l.TxnGroups, 200_000)
	l.TxnItems = or(l.TxnItems, 200_000)
	l.TxnBytes = or(l.TxnBytes, 64<<20)
	return l
}

// Pace says when a transaction commits. Zero means the default.
type Pace struct {
	Interval time.Duration // from the first waiting event at low traffic; default 25 ms, of two stages 15 ms
	// IntervalMax is the same while behind, or twice what the last commit took where that is more,
	// up to twice this. Default 250 ms.
	IntervalMax time.Duration
	// Hold is the least time between EndTxn's answer and the next produce: a real broker stalls
	// back-to-back transactions by 20 ms while it writes their markers. Default 5 ms.
	Hold time.Duration
	// Lead is how long before a commit is due a lane that has read all that there was looks for
	// what has come since. Default 8 ms.
	Lead    time.Duration
	Refresh time.Duration // age at which a group offset is committed again; default 24 h
}

// withDefaults has a shorter interval where an event's way leads through two commits, each of which
// it waits for.
func (p Pace) withDefaults(stages int) Pace {
	p.Interval = or(p.Interval, [...]time.Duration{1: 25 * time.Millisecond, 2: 15 * time.Millisecond}[stages])
	p.IntervalMax = or(p.IntervalMax, 250*time.Millisecond)
	p.Hold = or(p.Hold, 5*time.Millisecond)
	p.Lead = or(p.Lead, 8*time.Millisecond)
	p.Refresh = or(p.Refresh, 24*time.Hour)
	return p
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}
