// Package node is the composition root: it puts a processor, a session, a store and a playback
// together for each lane, in the one order in which a lane may start, and holds all role
// transitions of a lane.
//
// Invariants:
//
//   - The acquire order: fence, barrier, catch up to the barrier, the position is the last position
//     record below it, compare with the consumer group, run. Nothing else starts processing.
//   - A node acquires a lane only under an epoch above every epoch in the lane's position records.
//   - The position record decides. The consumer group's offset is its mirror: when it is ahead, or
//     stays behind, the lane stops and says both numbers.
//   - A stranger's fence ends the lane in this cluster: the node goes on answering, with its age,
//     and does not fence back; nor does a node that is granted the lane afterwards.
//   - A reset is on disk and in the cluster's log before its first deletion; whatever step it is
//     cut off at, the next start ends it, or another node once the one that had it in hand is dead,
//     or has lost Kafka for a while.
//     The changelog is deleted last: one that is not the old one means that all else is gone.
//     Topics are deleted by their ids, so that who goes on too long deletes nothing of the new
//     generation.
//   - The number of stages is decided at an app's first start and stands in its position records.
//     Input partition p and repartition partition p belong to one lane, so that one lane alone
//     writes changelog partition p. The repartition topic is trimmed up to committed positions and
//     never ahead of them.
//   - What a node refuses at its start it refuses before it has written anything.
//
// The package may import every other package but cmd.
package node
