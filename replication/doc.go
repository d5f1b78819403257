// Package replication keeps copies of a lane's state up to date from its changelog.
//
// Catching up (finite, a restore) and following (endless, a standby) are one playback: read
// committed records of the lane's changelog partitions from the store's own position, fold them
// into bounded chunks, apply each chunk with its position.
//
// Invariants:
//
//   - A catch-up ends at the lane's own barrier and nowhere before: a broker's answer about the end
//     of a partition can be old, the offset of one's own acknowledged write cannot.
//   - With two stages, values belong to the tasks of the second; the first has positions only. Both
//     come back from the same changelog partitions.
//   - Only committed records are read, and in the order of their offsets.
//   - The store's position never runs ahead of its values; chunks are applied and flushed as it
//     goes, so that a kill repeats one chunk and not the whole.
//   - A position record of another app, generation or topic is never taken: the store refuses it.
//
// The package may import state, internal/kafka, internal/seam, internal/step and franz-go. It never
// imports processor or txn: they meet in internal/node.
package replication
