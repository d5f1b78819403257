// Package cluster makes a node a member of a cluster: it forms one or joins one, keeps the node
// registered, takes what is to be changed to the leader, and, at the leader, keeps enough voters.
//
// Invariants:
//
//   - A cluster is formed once. Only nodes of one and the same list of seeds form one, only when
//     every seed has answered that it is empty, and only the one with the lowest id does it, after
//     it has said so and has asked all once more: of two that both think they are the lowest, at
//     least one hears of the other and gives way. (Waiting for a number of nodes that find each
//     other was measured to form two clusters in one of ten tries.)
//   - The id of a cluster is the id of the node that formed it. A node alone is a cluster of one.
//   - A node that has once been in a cluster never begins anew under its id: with its log it has
//     lost its votes.
//   - A registration goes through the leader, which refuses a name or an id that another process
//     has.
//   - Who stops cleanly leaves a majority of voters, however many stop at once, as long as there is
//     a leader to be asked: votes change at the leader, one at a time (Depart).
//   - What a node proposes is made again by itself only where a second time changes nothing.
//
// The package may import replication/assign, consensus, lead, ownership and session, and
// internal/seam. It is given its connections and calls, and knows neither TLS nor HTTP.
package cluster
