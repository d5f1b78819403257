// Package api is the only HTTP of tally: queries, status, metrics and health of a node, and the
// client that the commands use.
//
// Invariants:
//   - A query shows only committed values: it reads a lane's published state and nothing else.
//   - A position in an answer is one that the answer's values hold at least: it is read before
//     them.
//   - Any node answers any question: it asks the owners of the lanes, each once and all at a time.
//     A question makes one hop: who is asked by a node answers out of its own lanes or refuses.
//   - A scan or top that waits holds no place: the owners are asked for what it waits for first.
//   - A standby's copy answers only who says stale, and only once it has been at the end of the
//     changelog.
//   - An answer is never older than the token that its question brings, and its own token never
//     says less than that.
//   - role is "owner" only if the lane said so before and after the read; else it is "unsure". In
//     an app of two stages the lanes that read the input must have said so, too, and an answer is
//     as old as the oldest that any of them knows.
//   - A scan and a top are of one cut a lane, taken before the first line is written.
//   - Memory is bounded: bodies, waits, streams at a time, the groups of a top and those that a
//     watch has yet to send, in number and bytes, are limited by Options.
//   - No reader holds anything for ever: a body comes in time, each write ends in time, and a
//     scan's reader keeps up or loses its place.
//   - A request that says what its route does not know is refused, and nothing of it done.
//   - Nothing is served to a page of a foreign origin. Each route says who may use it; with tokens
//     nothing but /healthz answers without one, but to a node with a certificate. Both are asked
//     for as they are now: of a watch again and again.
//   - What is refused is in the log, by kinds and not too often, and nothing of what a sender has
//     written is: no path, query, header, token or body.
//
// It may import state, processor/spec, internal/seam, internal/seldom, internal/token and the
// Prometheus library; never a Kafka client, txn, processor or replication. What it needs of a node
// it takes as the interface Node, and of the others as the interface Cluster.
package api
