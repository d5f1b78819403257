// Package processor is the loop that runs a lane: it folds fetched events into deltas, and at a
// commit point turns the deltas into one transaction and into published values.
//
// Invariants:
//
//   - Only after a known commit do values become visible, in the store and so to queries.
//   - There is one way out of a failed or unknown transaction: Run returns, and everything that it
//     held goes: fetched records, the deltas of the committing and of the filling batch, and their
//     counters. The node acquires the lane again and runs it from the position records.
//   - Whether an event counts depends on the event and the spec alone, never on the batch it is in.
//   - processed + filtered + skipped + dead = input records, in each position record.
//   - A position record is written for every task whose input position moved, and only for those
//     (and once a day for the others, so that their group offsets do not expire).
//   - Batches are bounded by events, groups, increments and bytes; see Limits.
//   - With two stages a lane has tasks of both: those of stage 0 read the input and send partials,
//     one a group and transaction, with their sources behind them; those of stage 1 fold them. One
//     transaction has what both did. Sources rise strictly, or the lane stops: partials that are
//     read twice are noticed.
//
// The package may import processor/spec, txn, state, internal/seam, internal/step and franz-go. It
// never imports replication: the two meet in internal/node.
package processor
