// Package consensus keeps one ownership.State the same on all nodes: hashicorp/raft around it.
//
// It is the thin part: stores, transport, leadership, proposals and voters. What a command does is
// ownership's; who asks for one is cluster's.
//
// Invariants:
//
//   - An entry that this program cannot apply halts it: nothing is applied after it, and no
//     snapshot is taken that would hide it.
//   - Nobody acts as the leader before a barrier of its term: OnLead and Leading come after it.
//   - A connection names the node that it is for, and is dropped at any other: an address that has
//     passed to another node never mixes two logs. It also names the recovery of the sender's group
//     (see Recover), and is dropped by a node whose log is of another.
//   - Heartbeats go through the same queue as all else. Raft's fast path for them lets two logs
//     diverge (hashicorp/raft #695).
//   - A disk that keeps a write for seconds ends the process: the leader of such a disk would hold
//     on to its leadership and do nothing.
//
// One voter alone, and the node that has just formed a group, does not wait for a heartbeat that
// nobody sends: it is told to stand for election at once, and leads after a few writes. Shorter
// timeouts for it were tried and given up, since the leader's lease, which may not be longer than
// they are, cannot be changed while Raft runs.
//
// The voters that have a silent leader notice it one after the other when Timing.Heartbeat has
// passed, and not when Raft's own timers happen to look, which takes up to three times as long.
//
// After a proposal the leader writes an empty entry, which tells the others at once that the
// proposal is committed; without it they would hear of it with the next of Raft's own rounds, 50 to
// 100 ms later. A cluster at rest writes nothing.
//
// The package may import replication/ownership, internal/seam, hashicorp/raft and its bbolt store.
package consensus
