// Package session is how the leader knows which members live, and how members know that they are
// counted: each member, the leader too, holds one connection to the leader and pings over it.
//
// A Member is a node's half: it finds the leader, reports what the node has of each lane, and knows
// until when the answers vouch for it. A Table is the leader's half: every node has one and serves
// it, but it judges only while the node leads.
//
// Invariants:
//
//   - A member counts itself as renewed from the moment at which it sent the ping that was
//     answered, never from the answer's: its time is over before the leader's is.
//   - Who was found dead is not vouched for again before the log has its answer. A ping of another
//     incarnation than the registered one keeps nobody alive.
//   - A member is dead after a TTL without a ping, or at once when its connection has ended and its
//     address refuses a new one: then there is no process. A connection's end alone says nothing.
//   - The leader's own standstill is nobody's death: what it slept is added to everyone's time. A
//     new leader gives all a fresh TTL, and less to the one for whose silence it was elected: that
//     one's word to itself has ended with its leadership. When more than half are gone at once it
//     suspects itself first.
//   - A report is taken as a whole: between its lines the one before it holds.
//
// Nothing here is needed for a count to be exact: a wrong judgement costs time.
//
// The package may import replication/ownership and internal/seam.
package session
