// Package check judges a chaos run by what it left: the topics, the history of what was seen from
// outside, and the answer that the workload's seed gives.
//
// There are ten checks, named by the constants Rising to Audit; each says how much it has looked
// at, and one that has looked at nothing has proved nothing. The heart is one walk a task, in the
// order of its changelog: each position record says which events of the source its transaction has
// counted, and so which values, outputs, dead letters, partials and offsets the transaction had to
// write, and what an answer at that position had to be.
//
// Invariants:
//
//   - Nothing of the product is imported: the records are parsed by their formats, the events are
//     counted anew.
//   - A compacted prefix is no history, and a trimmed one is none: the follower reads changelogs,
//     repartition topics and the consumer groups' offsets as they grow, from the run's beginning.
//   - What is lost all the same is said to be undecided; it is never taken for right.
//   - What a fault outside of the product may explain is excused: it is counted apart from what was
//     judged, and a run in which it is most of a kind has proved too little.
//   - Memory grows with the groups, the transactions, the answers and the time. Of the events only
//     those of an app whose increments have an order take some: 8 bytes each, the total that they
//     lead to.
//
// What it finds wrong a Report has as Differences: of which counter, what there had to be, what
// there is, and when. WriteTexts makes the topics readable for people, by the same formats that are
// judged.
//
// Transactions are told apart by the producer epoch, so the brokers have to speak transactions v2.
//
// It may import internal/chaos/history, franz-go, xxhash and porcupine.
package check
