// Package history is what a chaos run writes down, for the checks to judge: the types of its files,
// how a line is written, and how it is read.
//
// A run's folder holds
//
//	run.json        one Run: where Kafka is, and the apps with their topics
//	answer.jsonl    one Answer a line: a counter's right values, known from the seed alone
//	history.jsonl   one Event a line, in the order of writing (At may be a little out of order)
//	stores.jsonl    one Store a line: what was in the nodes' stores, once they were all dead
//	schedule.txt    the faults that were to come (internal/chaos/plan reads it)
//	logs/           the nodes' and brokers' logs, by start
//	data/           the nodes' data dirs
//	topics/         what the topics held: TOPIC-PARTITION.log as the judge reads it
//	opened/         copies of the stores of nodes that have died in mid-run, by NODE-START
//	report.txt      what was found, as it is printed; report.json the same for programs
//
// and of a run that did not prove everything also
//
//	result.txt      the tables that were printed, and what came of them
//	difference.txt  what is not as it has to be: counter, expected, found, and when
//	topics/         TOPIC-PARTITION.txt, the same for people: a record a line
//	logs/all.log    the lines of all nodes by time
//	shortest.txt    the shortest schedule that failed again, with the command that repeats it
//	shortest/       the folder of its run
//
// Invariants:
//
//   - The types say what was seen from outside: nothing in them is computed by tally's own code.
//   - A file is complete up to its last line break, however the run ended.
//
// It imports the standard library alone.
package history
