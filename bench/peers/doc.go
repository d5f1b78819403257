// Package peers runs tally and the programs beside it: how each installs itself, starts with which
// settings, and says how far it has committed.
//
// The programs of Kafka Streams and PySpark are ours: one as a user of each writes it, and one as
// an expert would. They come from Maven Central and PyPI into .cache/peers. All write the same
// outputs with the same settings of Kafka; what differs is in Settings, which the report prints.
//
// Invariants:
//   - A peer runs in a process group of its own, which is gone after Stop and Kill.
//   - No process outlives the command that started it, however that command ends.
//
// This package imports bench, internal/api, internal/kafka and the seam.
package peers
