// Package bench measures tally beside its limit on the same Kafka: a bare franz-go program that
// does what any such program must do (read, fold a batch, write one output and one changelog record
// for each changed group, commit all in a transaction), without state and without anything else of
// what makes a count exact.
//
// The results come in Go's benchmark format, so that benchstat compares commits. CPU time per event
// is the steadier figure: rates move with whatever else the machine does.
//
// Invariants:
//   - Both read the same topic, in a process of their own, and are measured from the start of the
//     process to the commit of the last event.
//   - A run whose counts do not add up is a failed run, not a fast one.
//
// This package imports franz-go, internal/api, internal/kafka and the seam.
package bench
