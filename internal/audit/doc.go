// Package audit recounts an app's input by itself and compares the result with everything that the
// app has written: the output, the changelog, the store of a running node, the consumer group's
// offsets, the position records and the dead letters.
//
// It shares nothing with what counts but processor/spec, which says what an event means. It has its
// own reader of the changelog (changelog.go), written from the documented format; golden bytes in a
// test keep both in step.
//
// # The cut
//
// An app that runs under load never stands still, and its topics have no common instant. So the
// audit fixes, before it reads anything, an end offset for each partition of each topic, in an
// order that makes what lies below them comparable. For each partition:
//
//  1. The store is scanned, if a node answers. Its answer says at which input position S it was
//     cut.
//  2. A is the newest position record in the changelog.
//  3. The consumer group's offset is read, again and again until it is not behind A.
//  4. The output's high watermark is read, and then the last stable offset until it has passed
//     that: this is the output's end. Below it lies every record of A's transaction, whose records
//     were all written before A became visible; and no transaction lies on both sides of it, since
//     one producer at a time writes to a partition.
//  5. The same for the changelog, and then for the dead letters. The last position record below the
//     changelog's end is B: every transaction that shows below the output's end was decided before
//     the changelog's end was looked at.
//
// So output and offsets stand at some transaction X with A <= X <= B. The position records from A
// to B are all transactions that X can be, and each says how far the input was counted then. The
// recount notes each counter's values at every one of these positions and at S, in one pass. Then:
//
//   - the changelog's last values must be the recount's at B, and so must groups and digest;
//   - the store's values must be the recount's at S;
//   - the consumer group's offset must be one of these positions;
//   - each counter's last output must be its value at one of these positions, and in each partition
//     there must be one position at which this is true for all counters. While the app stands still
//     there is one position, and all are compared with that.
//
// Dead letters name their events, so that those of later transactions are simply passed over.
//
// # What is compared
//
// A counter is a group in a source partition. In the output, a count rises strictly, a max never
// falls, a min never rises, a sum has no order; only the newest generation counts. With `emit:
// every` a counter has as many output records as items. In each position record processed, filtered
// and skipped + dead are those of the recount, and each event that cannot be read has its dead
// letter, unaltered, unless it was skipped. What the broker refused, or what was larger than the
// topics took at the time, only its dead letter can say.
//
// Wrong values between the first and the last of a counter are found where they break the order.
//
// # What it cannot decide
//
// Input that retention has deleted, or compaction has thinned out, cannot be recounted; of an
// output that is compacted or whose beginning is deleted, only what is there can be compared. The
// report lists such things; they are no differences, but the result is not "exact" either.
//
// # Memory
//
// All streams go through tables of bounded size that spill sorted runs to files in a temporary
// directory, and the comparison merges these. What is in memory at once is about twice
// Config.RunBytes, plus one group with all its counters.
//
// The package may import processor/spec, internal/kafka, internal/seam, franz-go's records and
// errors, xxhash (the digest's hash) and mpb (the bar); never state, txn, processor or replication.
package audit
