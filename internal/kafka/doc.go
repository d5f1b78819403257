// Package kafka is the one place that makes a franz-go client, and what tally asks of a cluster
// besides transactions: topics, offsets, the end of a log, producing lines and consuming records.
//
// Invariants:
//   - Every client of the project comes from Config.Client, so that back-offs, TLS, SASL and the
//     seam hold everywhere.
//   - No answer is used before the error code of its every partition was looked at.
//   - No secret is in an error, a log line or a printed Config.
//
// It imports franz-go, internal/seam and the standard library.
package kafka
