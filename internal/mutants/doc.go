// Command mutants shows that the tests can fail: it runs the general checks against wrong variants
// of the program and says which check caught each, after how many faults of a trial or how many
// schedules.
//
// A mutant is a patch in testdata/mutants, whose first line says in a comment what it breaks. It is
// applied to copies of the files; go's -overlay compiles the checks with the copies in the place of
// the files, so the tree itself is never touched. A mutant that survives
// says that a check is too weak: a general one, but for what only a test of one part can arrange.
//
// A mutant meets the checks that its files can reach, the fast ones first, until one catches it;
// with -all it meets every one. The last and slowest is chaos: internal/chaos/cmd/chaos, 90 s of
// faults by the seed on a cluster and three real brokers. It gets the overlay by GOFLAGS, for the
// program that it builds, and is itself compiled of the tree as it is: no mutant changes its judge.
// It catches a mutant by finding something wrong, after all faults that came, since it judges
// behind the last. A run that has seen too little has caught nothing, and of one that could not be
// judged (a broker did not start, the nodes did not become healthy) the mutant's row has the error.
// Where there is no JDK and no Maven, chaos is left out, and the table says so.
//
// A check catches a mutant by a test that says so. Where none does, since the time was up, a port
// was taken or the process ended otherwise, it runs once more; a mutant whose time is up twice
// hangs, and is caught by the time-out, as the table says.
//
// Invariants:
//
//   - A patch that no longer applies without fuzz, or does not compile, fails the run.
//   - A mutant that survives every check, with any of the seeds, fails the run, and so does one
//     that a check could not judge.
//   - Before the first mutant the checks pass on the program as it is, with the same seeds.
//
// The package may import the standard library alone.
package main
