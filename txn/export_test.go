package txn

import "context"

// FlushForTest sends what was produced without ending the transaction.
func (s *Session) FlushForTest(ctx context.Context) { _ = s.cl.Flush(ctx) }

// UnbrokenForTest is what a session says of records that came for a position, of a log that begins
// at start.
func UnbrokenForTest(position, start int64) error {
	p := TopicPartition{Topic: "input"}
	return (&Session{position: Offsets{p: position}}).unbroken(p, start)
}
