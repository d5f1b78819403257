// Package step names each step of a lane's life at which a process can die, so that a test can kill
// it exactly there.
//
// A Hook is called at each step with its name. In a normal build it is nil and costs a comparison;
// a binary built with the tag "failpoint" fills it from the environment (see cmd/tally). The list
// All is the truth: a test fails when a step in it has no call site or was never hit.
//
// This package imports nothing.
package step

// Name is one step. The names are those of DESIGN's transaction and of the acquire order.
type Name string

// The steps of a transaction, in order, and then those of an acquire.
const (
	Poll             Name = "poll"              // a batch was fetched
	Fold             Name = "fold"              // its events are folded into the deltas
	Read             Name = "read"              // the groups' committed values were read
	ProduceOutput    Name = "produce-output"    // an output record was handed to the client
	ProduceChangelog Name = "produce-changelog" // a changelog record was handed to the client
	ProduceDead      Name = "produce-dead"      // a dead letter was handed to the client
	ProducePosition  Name = "produce-position"  // a position record was handed to the client
	Flush            Name = "flush"             // every produce was acknowledged
	Offsets          Name = "offsets"           // the offsets are part of the transaction
	EndTxnSent       Name = "endtxn-sent"       // EndTxn is on the wire, its outcome unknown here
	EndTxnAnswered   Name = "endtxn-answered"   // the commit is known
	Publish          Name = "publish"           // the values are visible to queries
	Apply            Name = "apply"             // values and position are in Pebble's memtable
	MemtableFlush    Name = "memtable-flush"    // and durable
	Fence            Name = "fence"             // InitProducerID was answered
	Barrier          Name = "barrier"           // the barrier is committed
	CatchUp          Name = "catch-up"          // a chunk of the changelog was applied
	Ingest           Name = "ingest"            // a sorted chunk was ingested as a table
	CompareOffsets   Name = "compare-offsets"   // the consumer group was compared with the position
)

// All lists every step once.
var All = []Name{
	Poll, Fold, Read, ProduceOutput, ProduceChangelog, ProduceDead, ProducePosition, Flush, Offsets,
	EndTxnSent, EndTxnAnswered, Publish, Apply, MemtableFlush, Fence, Barrier, CatchUp, Ingest,
	CompareOffsets,
}

// The steps that only an app of two stages has. They are apart from All, since not every run has
// them.
const (
	ProducePartial Name = "produce-partial" // a partial was handed to the client
	Trim           Name = "trim"            // the repartition topic was trimmed behind the position
)

// TwoStages lists every step that only an app of two stages has once.
var TwoStages = []Name{ProducePartial, Trim}

// The steps of a reset, in order. They are apart from All, since a run need not meet them.
const (
	ResetIntent      Name = "reset-intent"      // what the reset is to do is on disk
	ResetStopped     Name = "reset-stopped"     // the app's lanes have drained
	ResetFenced      Name = "reset-fenced"      // nobody can commit under the old generation any more
	ResetOffsets     Name = "reset-offsets"     // the consumer group is deleted
	ResetDead        Name = "reset-dead"        // the dead letters are deleted
	ResetState       Name = "reset-state"       // the state dir is removed
	ResetRepartition Name = "reset-repartition" // the repartition topic is deleted
	ResetChangelog   Name = "reset-changelog"   // the changelog is deleted
	ResetTopics      Name = "reset-topics"      // the topics are made anew
	ResetSpec        Name = "reset-spec"        // the spec is stored
	ResetDone        Name = "reset-done"        // the new generation has its first position records
)

// Resets lists every step of a reset once.
var Resets = []Name{
	ResetIntent, ResetStopped, ResetFenced, ResetOffsets, ResetDead, ResetState, ResetRepartition, ResetChangelog, ResetTopics,
	ResetSpec, ResetDone,
}

// Hook is called at each step, from the goroutine that reached it. It may kill the process or
// block; it must not call back into the lane.
type Hook func(Name)

// At calls the hook when there is one.
func (h Hook) At(n Name) {
	if h != nil {
		h(n)
	}
}
