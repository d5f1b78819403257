// Package assign decides who shall own each lane and who shall stand by for it: a pure function of
// the replicated state and of what the leader knows of its members' health.
//
// It does as little as will do: a lane stays where it is unless its owner is gone, drained, cut off
// from Kafka, or has more than its share. What it decides is one plan, to be applied as a whole.
//
// Invariants:
//
//   - The same input gives the same decision: no clock, no chance, no order of a map.
//   - A state and a health that do not change come to rest: then there is no plan, each member that
//     can own lanes is less than one lane off its share by capacity, and lanes have their standbys.
//     But a lane that does not run stays where it is, unless its owner is to have none, and an
//     owner that runs none of several gets no more to make shares even.
//   - A lane whose owner is gone goes at once to a standby that follows it; one without such a
//     standby is left to nobody first, and granted only after the leader has fenced it.
//   - A lane moves only to a member that has caught up with it, and a bounded number at a time.
//     One whose new owner does not get to run it is on its way no more: it holds no other lane up.
//     Nor does one whose target cannot make its copy; it goes to another member that can.
//   - Nothing is granted to a member that has not reported to this leader.
//
// The package may import replication/ownership.
package assign
