// Package demo is `tally demo`: a broker, three nodes and a producer as processes of their own, a
// SIGKILL of a node in the middle of an open transaction, its lanes that go on at the others, its
// return, and a comparison of every count and every output with what was sent.
//
// Invariants:
//   - Nothing is left behind: unless Options.Keep is set, every process that Run started has ended,
//     and the directory and the topics that it made are gone when Run returns, also after an error
//     or a cancelled context. Of a demo that is killed the processes end, too.
//   - On a Kafka that the user names, nothing is touched but an app and topics of a new name.
//   - The expected counts come from the demo's own naive count of the lines that it sent; none of
//     tally's counting code is used for them. `tally audit` then recounts once more.
//
// This package imports internal/kafka (to look at transactions and to read the output),
// internal/api (the wire types) and the seam; never state, txn, processor or replication.
package demo
