// Package audit recounts an app's input by itself and compares the result with everything that the
// app has written: the output, the changelog, the store of a running node, the consumer group's
// offsets, the position records and the dead letters.
//
// It shares nothing with what counts but processor/spec, which says what an event means, and
// internal/keysort, which orders bytes. It has its own reader of the changelog (changelog.go),
// written from the documented format; golden bytes in a test keep both in step.
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
// # Two stages
//
// In an app of two stages, tasks of the first read the input and send partials to the repartition
// topic, and tasks of the second read that and have the counters. A counter of repartition
// partition q has no one input position: it stands at a mark, the next offset of each input
// partition, which the position records of the second stage say. So the recount of a group notes
// its values at the marks of its q, which form a chain, and all else is as for one stage, with q
// instead of the partition. The cut has two steps more:
//
//   - After A of the first stage is known, the end E of the repartition topic is read: what was
//     sent of the events below A lies below it. The second stage is awaited until it has read all
//     of that; where it stands still, since the app is down, the partials from its position to E
//     are read instead, which nobody trims. Either way an event below A that is in no mark is lost
//     between the stages.
//   - B of the second stage is the first position record at or behind the changelog's end that is
//     not midway, that is, in the middle of what one transaction has sent. Where the app died
//     midway, it is the last one before, and the outputs behind it are compared with what lies
//     before and after.
//
// What the repartition topic still has is compared too: for each counter, the partials from the
// oldest position record whose partials are there must add up to the events between the marks, and
// their number to what the records say. What is trimmed is in the counters: nothing is undecided
// for the want of it. A counter whose value is wrong while the values of its q agree with the
// digest of the position record has been told something else than the events: that is called lost,
// or counted twice, between the stages.
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
// output that is compacted or whose beginning is deleted, only what is there can be compared. A
// counter of a second stage has events of all input partitions: where one cannot be recounted, no
// counter can; and with `emit: every` nobody knows how many outputs it must have. Where
// output.topic was another one before, or the position records that would say so are compacted
// away, a counter without an output is missing one only if an event is known to have changed it
// since. Of a partition that has no position record yet nothing is compared. The report lists such
// things; they are no differences, but the result is not "exact" either.
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
