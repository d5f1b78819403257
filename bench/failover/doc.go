// Package failover measures how long a cluster's outputs stand still around a fault: the gap, which
// is the longest time from an event to its count, at a read-committed reader, of all events around
// the fault. Events come at a fixed rate that no stall slows down.
//
// A Band is what is measured: tally's nodes, or the instances of Kafka Streams with one standby.
//
// A Lab measures what else a cluster of tally does and costs: its start, a standby, a new one,
// reads beside a load and a fault, nodes at rest.
//
// The package may import bench, bench/measure, bench/peers, internal/api, internal/kafka,
// internal/seam, and for cutting nodes off internal/chaos/link and internal/testkafka.
package failover
