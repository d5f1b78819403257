// Package api is the only HTTP of tally: queries, status, metrics and health of a node, and the
// client that the commands use.
//
// Invariants:
//   - A query shows only committed values: it reads a lane's published state and nothing else.
//   - A position in an answer is one that the answer's values hold at least: it is read before
//     them.
//   - role is "owner" only if the lane said so before and after the read; else it is "unsure".
//   - A scan and a top are of one cut a lane, taken before the first line is written.
//   - Memory is bounded: bodies, waits, streams at a time, the groups that a watch has yet to send
//     are limited by Options.
//   - Nothing is served to a page of a foreign origin. Each route says who may use it; with tokens
//     nothing but /healthz answers without one, but to a node with a certificate.
//
// It may import state, processor/spec, internal/seam, internal/token and the Prometheus library;
// never a Kafka client, txn, processor or replication. What it needs of a node it takes as the
// interface Node.
package api
