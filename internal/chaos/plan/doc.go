// Package plan draws the faults of a chaos run from a seed, writes them as text, and finds the
// fewest of them that still make a run fail.
//
// A fault names its target by a role, such as "owner" or "standby of chaos-local/2", which whoever
// carries it out resolves at that moment. Faults overlap. The text has the seed, the length and the
// load in its first line, and then one fault a line:
//
//	seed=7 length=10m0s rate=800 keys=1200
//	id=1 at=12.4s kind=kill target="owner" for=2s step=flush
//
// Invariants:
//
//   - The same seed, length and options give the same schedule, on any machine.
//   - The world can always heal: of the brokers at most one is away at a time, with time to come
//     back before the next; each fault ends before the quiet at the end begins.
//   - What String writes Parse reads back as it was.
//   - A shortened schedule has faults of the whole one alone, in their order and with their ids, by
//     which who carries them out draws the rest; those that overlapped still do, and it heals as
//     the whole one does.
//
// It is pure. It imports internal/step for the names of the steps, and the standard library.
package plan
