// Package chaos is the crash suite: the real binary, as real processes, against a real Apache
// Kafka, ended and cut off by real signals and a real broken network.
//
// There is no code here but tests; the packages below are the run of faults that `make chaos`
// starts: link is a network that can be broken, plan the schedule of a seed, world all that runs
// under it, history what it writes down, check what judges that, opened what reads the copies of
// dead nodes' stores for it, and cmd/chaos the command. The tests start `tally run`, kill it (or
// freeze it, or its broker, or one answer) under load, and then compare everything that can be seen
// from outside with a recount of the input that shares nothing with tally.
//
// Invariants:
//
//   - The recount reads the input topic, and shares no code with what counts.
//   - Each fault that a test arranges is proved to have happened: a kill that was not reached, an
//     answer that was not cut, is a failure.
//   - What is random follows from one printed seed; CHAOS_SEED=N repeats it as far as a real
//     machine can.
//
// TestCrashProof has one broker and takes about a minute; TALLY_PROOF=1 makes it longer and harder,
// -short leaves it out. TestBrokersProof has three, is part of the long run alone, and takes a
// quarter of an hour: brokers frozen for half a minute and let go, killed, restarted in turn, and
// too few of them. TestFleetProof is a cluster of three nodes, whose nodes are killed, frozen,
// drained, joined and rolled under load; it prints the longest time that any event took to come out
// around each fault. CHAOS_PHASES=1 also prints when each step of a takeover came, and
// CHAOS_FAULTS="owner killed,all killed" and CHAOS_TRIES=5 choose among its faults.
//
// Its tests may import internal/testkafka, internal/kafka, the client of internal/api, state (to
// open the copy of a dead node's store) and txn (to hold two sessions against each other).
package chaos
