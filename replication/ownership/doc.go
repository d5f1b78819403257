// Package ownership is what Raft keeps: who the members are, which apps run, and who owns each
// lane.
//
// It is the pure part: a state, the commands that change it, and their results. The same commands
// in the same order give the same state on every node, whatever its version of tally, its clock or
// its settings.
//
// Invariants:
//
//   - Apply reads no clock, draws no random number, iterates no map in an order that shows, and
//     reads no configuration.
//   - The epoch of a lane never falls, and every grant to another (node, incarnation) has an epoch
//     of its own.
//   - A lane is granted to an alive member under its present incarnation, or to nobody. A grant
//     whose incarnation has ended is void: State.OwnerOf is the one way to ask who may run a lane.
//   - An unknown command, field or format is an error, and the node halts: it never guesses.
//   - A state that was handed out never changes: Apply makes a new one.
//   - Offsets, lag, heartbeats and metrics are never in here: a cluster at rest adds no entry.
//
// The package imports the standard library alone.
package ownership
