package node

import (
	"fmt"
	"strings"
	"time"

	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
	"github.com/tally-kafka/tally/txn"
)

// RunningElsewhereError refuses an app that another cluster's node is running right now.
type RunningElsewhereError struct {
	App, Node string
	Age       time.Duration // of its last commit
}

func (e *RunningElsewhereError) Error() string {
	return fmt.Sprintf("app %s is being run by node %s (last commit %d ms ago); use another app name, or --takeover",
		e.App, e.Node, e.Age.Milliseconds())
}

// ExitCode is the process's exit code: fenced by, or rather not fencing, another.
func (e *RunningElsewhereError) ExitCode() int { return 5 }

// OldBrokerError refuses a broker that lacks a request without which nothing is exactly once.
type OldBrokerError struct {
	Brokers string
	Request string
	Offered int16 // the newest version that it takes, -1 for none
	Needed  int16
}

func (e *OldBrokerError) Error() string {
	has := "does not offer " + e.Request
	if e.Offered >= 0 {
		has = fmt.Sprintf("offers %s only up to version %d, and %d is needed", e.Request, e.Offered, e.Needed)
	}
	return fmt.Sprintf("the Kafka at %s %s: tally needs transactions as Apache Kafka has them since 2.5; use a newer Kafka, or a service that offers transactions", e.Brokers, has)
}

// MisfitError refuses a spec that does not fit what the app has counted so far.
type MisfitError struct {
	App  string
	Diff []spec.Difference
}

func (e *MisfitError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the spec of app %s does not fit what it has counted so far:", e.App)
	for _, d := range e.Diff {
		fmt.Fprintf(&b, "\n  %s: counted with %s, now %s", d.Field, d.Stored, d.Now)
	}
	b.WriteString("\ngive the new spec another `app:` name, or start the app anew with it: `tally reset " + e.App + " --spec FILE`" +
		" (of an app that was deleted, submit the spec that it had before)")
	return b.String()
}

// ReplacedError refuses a topic that has the name of the one that the app counted, and another id.
type ReplacedError struct {
	App, Topic  string // Topic with what it is to the app
	Stored, Now string // ids
}

func (e *ReplacedError) Error() string {
	if e.Now == "" {
		return fmt.Sprintf("the %s was deleted: the app counted the topic with id %s; start the app anew with another `app:` name, or `tally reset %s`",
			e.Topic, e.Stored, e.App)
	}
	return fmt.Sprintf("the %s was deleted and made again: the app counted the topic with id %s, now it has id %s; start the app anew with another `app:` name, or `tally reset %s`",
		e.Topic, e.Stored, e.Now, e.App)
}

// RetentionError refuses a changelog whose old records Kafka deletes by age or size.
type RetentionError struct{ Changelog, Policy, Broker string }

func (e *RetentionError) Error() string {
	return fmt.Sprintf("the changelog %s has cleanup.policy=%s: it must be `compact`, or Kafka deletes counts; run\n  kafka-configs --bootstrap-server %s --alter --topic %s --add-config cleanup.policy=compact",
		e.Changelog, e.Policy, e.Broker, e.Changelog)
}

// OffsetsError stops a lane whose consumer group and position record disagree.
type OffsetsError struct {
	Group, Topic string
	Partition    int32
	Offset       int64 // the consumer group's offset
	Record       int64 // the position record's, -1 for none
	Broker       string
}

func (e *OffsetsError) Error() string {
	if e.Record < 0 {
		return fmt.Sprintf("consumer group %s has offset %d for %s/%d, but the changelog has no position record for it: the changelog was deleted, or the group is another program's; restore the changelog, or delete the group's offsets to count anew: run\n  %s",
			e.Group, e.Offset, e.Topic, e.Partition, e.drop())
	}
	return fmt.Sprintf("consumer group %s has offset %d for %s/%d, but the last position record says %d: someone moved the group's offsets, Kafka was restored from an older copy, or a broker was back within its session (docs/disasters.md); if the position record is right, delete the group's offsets and restart: run\n  %s",
		e.Group, e.Offset, e.Topic, e.Partition, e.Record, e.drop())
}

// drop is the command that deletes the group's offsets.
func (e *OffsetsError) drop() string {
	return fmt.Sprintf("kafka-consumer-groups --bootstrap-server %s --delete-offsets --group %s --topic %s", e.Broker, e.Group, e.Topic)
}

// OutsideError is a gap that the brokers have confirmed. A session's GapError alone may be the
// answer of a deposed broker, whose log ends where it was deposed: then the lane acquires again and
// looks.
type OutsideError struct{ Gap *txn.GapError }

func (e *OutsideError) Error() string { return e.Gap.Error() }

// Unwrap gives the gap.
func (e *OutsideError) Unwrap() error { return e.Gap }

// LostEventsError stops a lane whose input no longer holds what the lane has to read next.
type LostEventsError struct {
	App, Topic string
	Partition  int32
	Next       int64 // offset to read
	Start, End int64 // of what the topic holds
}

func (e *LostEventsError) Error() string {
	what := fmt.Sprintf("the events of %s/%d from offset %d to %d were deleted before they were counted: raise the topic's retention, and start with --on-gap skip to count on behind them",
		e.Topic, e.Partition, e.Next, e.Start-1)
	if e.Next > e.End {
		what = fmt.Sprintf("%s/%d ends at offset %d, but the app has counted up to %d: the topic was truncated, or Kafka was restored from an older copy",
			e.Topic, e.Partition, e.End, e.Next)
	}
	return what + "; to count what is there, start the app anew with another `app:` name, or `tally reset " + e.App + "`"
}

// ForeignError refuses a changelog to which another program writes.
type ForeignError struct {
	App, Changelog string
	Err            error
}

func (e *ForeignError) Error() string {
	return fmt.Sprintf("%v; find that program and stop it (only tally may write to %s), then start the app anew with another `app:` name, or `tally reset %s`",
		e.Err, e.Changelog, e.App)
}

// Unwrap gives the record.
func (e *ForeignError) Unwrap() error { return e.Err }

// HoleError stops a lane whose changelog, read from its beginning, does not give what its position
// records say.
type HoleError struct {
	App, Changelog string
	Digest         *state.DigestError
}

func (e *HoleError) Error() string {
	d := e.Digest
	return fmt.Sprintf("the changelog %s/%d does not give the counts that its position record vouches for, even to a state that was made from it alone (%d groups with digest %016x, the record says %d with %016x): records of it are lost, or others wrote to it; start the app anew with another `app:` name, or `tally reset %s`",
		e.Changelog, d.Task.Partition, d.Groups, d.Digest, d.WantGroups, d.WantDigest, e.App)
}

// Unwrap gives the numbers that differ.
func (e *HoleError) Unwrap() error { return e.Digest }

// LostError ends a lane that another node has fenced, or took before this one could.
type LostError struct {
	App     string
	Lane    int
	Node    string // who wrote after the fence
	Epoch   uint64 // under which it did
	Granted bool   // it is of this cluster, and has a later grant; else a stranger

	Stranger bool // it is of another cluster, and has come since the app was opened here
	Copied   bool // it is another process under this node's own id
}

func (e *LostError) Error() string {
	if e.Stranger {
		return fmt.Sprintf("lane %d of app %s was taken by node %s of another cluster: this one does not count it and does not take it back; stop the app at one of the two, or start this node again with --takeover",
			e.Lane, e.App, e.Node)
	}
	return fmt.Sprintf("lane %d of app %s was fenced by node %s: this node no longer counts it and answers with what it had; stop one of the two, or start this one again with --takeover",
		e.Lane, e.App, e.Node)
}

// copiedError ends a node whose lane was taken by another process under its own id.
type copiedError struct{ text string }

func (e *copiedError) Error() string { return e.text }

// ExitCode is that of who was fenced by another.
func (e *copiedError) ExitCode() int { return 5 }
