// Package spec says what an app counts: it parses the spec, and turns one event into groups and
// increments. It is pure: bytes in, groups and values out, no clock, no I/O, no state.
//
// Invariants:
//   - Whether an event counts depends on the event and the spec alone. Every limit that can refuse
//     an event is therefore a constant of this package and no option.
//   - Values are exact: a number is bounded when it is read, so no sum of 2^64 of them is too wide.
//   - Fold is commutative and associative, so the order and the batches in which increments are
//     combined do not matter.
//   - Equal values have equal bytes (a digest hashes them), and the byte order of encoded groups is
//     the order of their tuples; the encoding of a tuple's first parts is a prefix of the whole.
//   - A Program never changes once compiled; all that Eval writes lies in the caller's Scratch.
//
// Files: spec.go (what a spec is), parse.go and yamlnode.go (YAML to Spec), render.go (Spec to
// YAML), fit.go, path.go, decimal.go, tuple.go, json.go (one pass that validates an event and takes
// out every asked path), words.go, program.go and eval.go (event to increments), values.go,
// output.go and group.go (JSON out and in), template.go.
//
// It may import the standard library and goccy/go-yaml, and nothing of tally.
package spec
