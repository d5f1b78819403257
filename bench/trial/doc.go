// Package trial runs one peer at one work and takes its figures: throughput of a topic that is
// there, latency of events that come at a fixed rate, the time from a start to the first output, a
// restore.
//
// Invariants:
//   - Each run is judged: its outputs, read by a read-committed reader, must say what the recount
//     says. One that does not is a wrong row, whatever its figures.
//   - Runs of one work read the same topic, and leave nothing of theirs on the brokers.
//   - Nothing but the peer, the brokers and a poll of offsets runs while a throughput is measured;
//     outputs are read afterwards.
//
// This package imports bench, bench/measure, bench/peers, franz-go, internal/api, internal/kafka
// and the seam.
package trial
