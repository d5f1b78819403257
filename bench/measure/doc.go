// Package measure takes the figures of a run: what processes cost, by /proc; how long an event
// takes to its count; how many bytes Kafka keeps.
//
// Invariants:
//   - A latency runs from the moment at which an event was due, whether or not the sender was on
//     time, so that a stall of anybody is counted in full (open loop).
//   - An event without its count is an error, never a latency that is left out.
//   - The cost of a process holds that of its children.
//
// This package imports franz-go, the HdrHistogram and the seam. It needs Linux.
package measure
