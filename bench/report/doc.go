// Package report writes docs/performance.md: tables, plots, and all that one needs to get them
// again.
//
// Invariants:
//   - Every run that was made is in a table. A wrong one says so in its row, and its figures are
//     not given; a row in which a peer is better is printed like the others.
//   - What a person wrote below the marker is kept as it is.
//
// This package imports bench/trial and a library of charts.
package report
