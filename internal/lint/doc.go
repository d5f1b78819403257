// Package lint keeps the project's own rules, which no general linter knows: who may import whom,
// that time, chance and the network come in through one seam, and the shape of files and comments.
//
// Invariants:
//   - A rule that finds nothing on a planted violation is itself a failed test (rules_test.go), so
//     that no rule can quietly stop looking.
//   - An exception is a line in a table with its reason, never a comment at the place it excuses.
//   - A package without a row in the import table is a finding: the arrows are drawn, not inferred.
//
// It runs as a test, `go test ./internal/lint`, and needs no build of what it reads: only parsing.
//
// This package imports only the standard library.
package lint
