// Package port is the one port of a node: Raft, sessions and HTTP come in at the same address.
//
// With certificates everything is TLS 1.3, and the protocol that both sides agree on in the
// handshake (ALPN) says what a connection is for. Without them the port is on loopback only, and a
// connection that begins with the line "tally-raft/1" or "tally-session/1" is that; any other is
// HTTP. A connection between nodes is answered with one byte once it is taken, so that whoever
// dials knows it, and hears why not: in TLS 1.3 a client else learns of a refused certificate only
// at its first read.
//
// Invariants:
//
//   - Nothing that other machines can reach is served without TLS, and none of it to people without
//     a token file; nodes know each other by certificates of the cluster's own authority.
//   - A connection that came with a node's certificate ends within RecheckEvery once that is out of
//     date, or its authority is gone from the file.
//   - A connection that does not say what it is for holds nothing after HandshakeTimeout, and there
//     are at most PendingMax of them: one more ends the oldest. So nobody who only connects keeps
//     others out.
//   - The connections of people and those of nodes have limits of their own: no number of the first
//     stops Raft, sessions or, with certificates, node calls.
//   - What is refused or ended is in the log, by kinds and not too often (internal/seldom), but for
//     who just went away.
//   - Close ends the listener and every connection, and returns when nothing of the port runs.
//
// It imports internal/certs, internal/seam, internal/seldom and the standard library.
package port
