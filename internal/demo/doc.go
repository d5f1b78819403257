// Package demo is `tally demo`: broker, node and producer as three processes, a SIGKILL of the node
// in the middle of an open transaction, and a comparison of every count and every output with what
// was sent.
//
// Invariants:
//   - Nothing is left behind: unless Options.Keep is set, every process that Run started has ended
//     and the directory that it made is gone when Run returns, also after an error or a cancelled
//     context.
//   - The expected counts come from the demo's own naive count of the lines that it sent; none of
//     tally's counting code is used for them.
//
// This package imports internal/kafka (to look at transactions and to read the output),
// internal/api (the wire types) and the seam; never state, txn, processor or replication.
package demo
