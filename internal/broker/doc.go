// Package broker is the embedded broker: a small Kafka in a process of its own, for trying tally
// out.
//
// It is franz-go's kfake with its data on disk, made stricter in three places (zombie.go,
// torn.go, compact.go). It is no replacement for Apache Kafka: one broker, no replication, and a
// commit that its own SIGKILL can tear.
//
// Invariants:
//   - The process that holds the lock on broker/lock is the data dir's only broker. Whether one
//     runs is asked of the kernel, never of a file's contents.
//   - A node registers before it looks for the broker, and the broker looks for nodes after it has
//     hidden its address; so a node never holds on to a broker that is about to leave.
//   - It listens on loopback only, and keeps its address and cluster id over restarts.
//
// It imports franz-go, internal/kafka, internal/seam and the standard library.
package broker
