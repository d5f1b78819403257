// Package lead is what the leader of a cluster does: it looks at the log and at its members, lets
// the assignor decide, proposes what was decided, and fences the lanes that belong to nobody.
//
// Invariants:
//
//   - A death and the new owners of its lanes are one entry of the log.
//   - A plan is for the version that it was made from. What a leader proposes that was deposed, or
//     that has not seen the last change, is refused by the log itself.
//   - A lane is fenced only while the log shows it without owner, and granted only after that call
//     has ended well, under an epoch above the one it had meanwhile: no fence hits a later owner.
//   - There is at most one fence under way for a lane, whoever began it and however long it takes.
//     One that never returns costs its own lane, and no other.
//   - A cluster at rest gets no entry.
//
// The package may import replication/assign, replication/ownership, replication/session and
// internal/seam.
package lead
