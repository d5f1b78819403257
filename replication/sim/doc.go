// Package sim runs the whole protocol of ownership in one process, on a clock of its own and from a
// seed: nodes that see the log late, a leader that changes, lost and reordered reports, crashes,
// pauses and cuts, lanes that nobody gets to run, and Kafka's fence. It has tests alone.
//
// Invariants, checked at each step of each schedule:
//
//   - The committed transactions of a lane are one chain: each starts where the last one ended.
//   - The epochs of a lane's transactions never fall, and each belongs to one process.
//   - Every node has the same state at the same entry of the log.
//   - A lane goes only to who follows it, or is fenced first; no fence of the leader hits an owner.
//   - When the faults end, the cluster comes to rest: balanced, with standbys, its log still;
//     a lane that nobody gets to run is waited for by nobody.
//
// The package may import replication/assign and replication/ownership.
package sim
