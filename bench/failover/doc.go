// Package failover measures how long a cluster's outputs stand still around a fault: the gap, which
// is the longest time from an event to its count, at a read-committed reader, of all events around
// the fault. Events come at a fixed rate that no stall slows down.
//
// A Band is what is measured: tally's nodes, or the instances of Kafka Streams with one standby.
//
// The package may import bench, bench/measure, bench/peers, internal/api, internal/kafka and
// internal/seam.
package failover
