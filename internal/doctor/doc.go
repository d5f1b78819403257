// Package doctor looks at a Kafka, an app's topics, rights and transactions, and this machine, and
// says what would cost a count or a night's sleep, why, and the command that mends it.
//
// It first gathers facts and then judges them: the judging functions, one a check, are pure.
//
// Invariants:
//   - It changes nothing: no record, offset, setting or topic, and no transaction. Rights are read,
//     or tried by requests that must fail for another reason. (A Kafka that never had a consumer
//     group or a transaction makes its own internal topics when it is asked about one.)
//   - What could not be found out is skipped with the reason, never ok.
//   - No question holds it up for longer than Options.Patience.
//
// It imports internal/api, internal/kafka, internal/seam and the standard library.
package doctor
