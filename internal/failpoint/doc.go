// Package failpoint is the memory that a node of a failpoint build shares with who tests it: at
// which step it is, at which steps it is to stand still, by how much its clock is off, whether its
// syncs hang, whether its disk is full, and whether its power is cut; and how often it met what is
// wrong. Beside that the disk that hangs, has no room, and loses what was not synced.
//
// The memory is a file that both map, so that it outlives a kill, and telling costs the node a few
// instructions. A node that was armed holds the goroutine that comes to the step, until it is
// released: whoever holds it can kill it, stop it, cut it off or break what it stands on exactly
// there.
//
// Invariants:
//
//   - A held goroutine goes on by itself after the longest time that it was armed with.
//   - An armed step fires once.
//   - Who arms a step, or takes that back, changes nothing of what others have armed or hold.
//
// No normal build contains it: cmd/tally imports it under the tag "failpoint" alone. It imports
// internal/step and Pebble's file system.
package failpoint
