package txn

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Only what was never carried out is called aborted: behind a fence an EndTxn that is repeated may
// have been carried out the first time.
func TestEndOutcome(t *testing.T) {
	for err, want := range map[error]Outcome{
		nil:                              Committed,
		kerr.OperationNotAttempted:       Aborted,
		kerr.TransactionAbortable:        Aborted,
		kerr.ProducerFenced:              Unknown,
		kerr.InvalidProducerEpoch:        Unknown,
		kerr.InvalidProducerIDMapping:    Unknown,
		kerr.InvalidTxnState:             Unknown,
		context.DeadlineExceeded:         Unknown,
		errors.New("connection is lost"): Unknown,

		kerr.TransactionalIDAuthorizationFailed: Aborted,
	} {
		if err != nil {
			err = fmt.Errorf("end: %w", err)
		}
		if got := endOutcome(err); got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
}
