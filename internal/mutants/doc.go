// Command mutants shows that the tests can fail: it runs the general checks against wrong variants
// of the program and says which check caught each, after how many faults of a trial or how many
// schedules.
//
// A mutant is a patch in testdata/mutants, whose first line says in a comment what it breaks. It is
// applied to copies of the files; go's -overlay compiles the checks with the copies in the place of
// the files, so the tree itself is never touched. No test exists for a mutant alone: one that
// survives says that a general check is too weak.
//
// Invariants:
//
//   - A patch that no longer applies without fuzz, or does not compile, fails the run.
//   - A mutant that survives every check, with any of the seeds, fails the run.
//   - Before the first mutant the checks pass on the program as it is, with the same seeds.
//
// The package may import the standard library alone.
package main
