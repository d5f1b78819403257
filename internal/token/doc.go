// Package token keeps people's tokens: who may ask a node, and who may change something.
//
// A token is 256 random bits, so nobody guesses one, and a fast hash (SHA-256 with a salt) keeps it
// as safe as a slow one would: slow hashes are for passwords, which people choose. The file holds
// hashes alone, and each node has a copy of it.
//
// Invariants:
//
//   - A token is in the output of Create and nowhere else: in no file, no log and no error.
//   - What has not the length and the beginning of a token is refused unread. Checking what has
//     them takes the same time whatever is wrong with it: every entry is compared, and each in
//     constant time.
//   - A changed file counts within a second, without a restart; while it is broken the one before
//     stays.
//
// It imports internal/livefile, internal/seam and the standard library.
package token
