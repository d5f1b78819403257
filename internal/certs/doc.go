// Package certs makes and reads the certificates by which the nodes of a cluster know each other.
//
// A cluster has a certificate authority of its own. A certificate of it for clients makes its
// holder a node, who may do everything, so the authority signs for nothing else. Each node has a
// directory with ca.crt, node.crt and node.key; ca.key stays with whoever makes the certificates.
//
// Invariants:
//
//   - No file is ever overwritten but a node's own, and that only when its renewal is asked for.
//   - Keys are written with mode 0600, and never to a log.
//   - Connections are TLS 1.3; nothing is resumed, so that each handshake sees the newest files.
//   - What another node came with is good while an authority of the files of now vouches for it,
//     and not longer than it says itself.
//   - Files that do not fit together are refused at the start, and later leave what was before.
//
// It imports internal/livefile, internal/seam and the standard library.
package certs
