// Package dead reads the dead letters of an app and sends their events to the input again.
//
// Invariants:
//
//   - A replayed event is the event as it was: key, value, time and headers, and one header more
//     that names its dead letter. The letter itself stays where it is.
//   - What a replay is about to send was looked for in the input: an event is sent a second time
//     only when that is asked for.
//   - Nothing is held in memory of a letter but where it lies, while a replay is planned.
//
// It imports internal/kafka and the standard library.
package dead
