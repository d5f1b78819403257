// Package txn is the commit protocol: the only place that opens, ends and fences a Kafka
// transaction.
//
// A Session is one fenced client of one lane, from Fence to Close. It commits a barrier, reads the
// lane's sources from the positions it is told, and commits transactions that hold everything one
// batch has to say: outputs, changelog, dead letters, position records and the sources' offsets.
// With two stages the sources are of two topics, and what the first sends to the second is among
// the rest; the input waits while too much of that is not read.
//
// Invariants:
//
//   - The fence (InitProducerID on the lane's stable transactional id) is the first thing a session
//     does; nothing that it reads is older.
//   - A session that has met one error is dead: its only use is Close. A client's in-place recovery
//     is never used; whoever owns the lane fences anew and reads the position.
//   - A transaction is Committed only when every produce was acknowledged without an error, every
//     partition's offset was accepted and EndTxn was answered without an error.
//   - A source that others wait for is not read ahead of them without bound (see HeldBack).
//   - A position is committed with the leader epoch of the record before it, so that whoever reads
//     on from there learns if Kafka has lost what lies below it (see Epochs).
//   - No transaction ends without a produced record: franz-go sends nothing for an empty one, and
//     its offsets would be published by the next commit.
//
// The package may import internal/kafka, internal/seam, internal/step and franz-go.
package txn
