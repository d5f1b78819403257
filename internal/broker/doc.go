// Package broker is the embedded broker: a small Kafka in a process of its own, for trying tally
// out.
//
// It is franz-go's kfake with its data on disk, made stricter where its requests (zombie.go,
// compact.go, retention.go) or a SIGKILL (mend.go, undo.go, torn.go) would cost records. It is no
// replacement for Apache Kafka: one broker, no replication, and a commit that its own SIGKILL can
// tear.
//
// Invariants:
//   - The process that holds the lock on broker/lock is the data dir's only broker. Whether one
//     runs is asked of the kernel, never of a file's contents.
//   - A node registers before it looks for the broker, and the broker looks for nodes after it has
//     hidden its address; so a node never holds on to a broker that is about to leave.
//   - It listens on loopback only, and keeps its address and cluster id over restarts. It serves
//     nobody before its guards stand.
//   - A partition that has had a record has one: kfake would begin an empty one at offset 0 anew.
//   - Whatever was not ended in order is mended before kfake reads it: in the log each transaction
//     has its marker, and each batch its own index entry.
//
// It imports franz-go, internal/kafka, internal/seam and the standard library.
package broker
