package txn

import "context"

// FlushForTest sends what was produced without ending the transaction.
func (s *Session) FlushForTest(ctx context.Context) { _ = s.cl.Flush(ctx) }
