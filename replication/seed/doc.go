// Package seed carries a checkpoint of a lane's store from one node to another, so that a new
// standby of a big lane need not read the whole changelog.
//
// A Keeper makes checkpoints on the node that has the lane, keeps them for a while and gives out
// their files in pieces; Fetch takes them on the other node.
//
// Invariants:
//
//   - What was received is complete and checks out against the offer's checksums before it is
//     called received: Fetch returns without an error only then.
//   - A cut costs what was on its way: what is there and checks out is not asked for again.
//   - Nothing is unbounded: a lane has one checkpoint at a time, for a bounded time; all that a
//     node sends, and all that it receives, shares one rate; of a piece, a buffer is in memory.
//   - No name that another node says reaches outside of the directory that it is meant for.
//
// What the files mean is the store's: state.Checkpoint writes them, state.Adopt checks and takes
// them.
//
// It may import internal/seam and xxhash.
package seed
