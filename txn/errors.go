package txn

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/state"
)

// Outcome is what is known of a transaction when Commit returns.
type Outcome uint8

const (
	// Aborted: EndTxn was never sent, or was refused. The transaction can no longer commit once the
	// lane is fenced again.
	Aborted Outcome = iota
	// Committed: every part of the transaction is visible, or will be without anyone's further
	// doing.
	Committed
	// Unknown: EndTxn may have been carried out. Only a fence and the position records tell.
	Unknown
)

// String names the outcome in logs.
func (o Outcome) String() string {
	return [...]string{"aborted", "committed", "unknown"}[o]
}

// ErrNoRecord is returned by Commit for a transaction into which nothing was produced.
var ErrNoRecord = errors.New("txn: a transaction without a record cannot be committed")

// ProduceError is the first refused record of a transaction.
type ProduceError struct {
	Topic     string
	Partition int32
	// Kind is the second byte of the record's key, 0 of a shorter key: in a topic that tally owns
	// it says what the record was.
	Kind state.Kind
	Err  error
}

func (e *ProduceError) Error() string {
	return fmt.Sprintf("produce to %s/%d: %v", e.Topic, e.Partition, e.Err)
}

// Unwrap gives the broker's or the client's own error.
func (e *ProduceError) Unwrap() error { return e.Err }

// kindOf is the kind that a key of tally's says.
func kindOf(key []byte) state.Kind {
	if len(key) < 2 {
		return 0
	}
	return state.Kind(key[1])
}

// Refused reports whether err says that a record itself cannot be written, however often it is
// tried: it is too large, its timestamp is out of bounds, or the broker calls it invalid. Such a
// record is found by halving the batch. A missing permission or topic is not such an error: it
// concerns every record, and waits for the operator.
func Refused(err error) bool {
	var pe *ProduceError
	if !errors.As(err, &pe) {
		return false
	}
	for _, e := range []error{
		kerr.MessageTooLarge, kerr.InvalidTimestamp, kerr.InvalidRecord, kerr.RecordListTooLarge,
	} {
		if errors.Is(pe.Err, e) {
			return true
		}
	}
	return false
}

// Fenced reports whether err is what a producer gets whose epoch is no longer the newest: another
// has fenced it, or the broker aborted a transaction that took too long (kafka.md: only
// DescribeTransactions tells these two apart).
func Fenced(err error) bool {
	for _, e := range []error{
		kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.InvalidProducerIDMapping,
		kerr.InvalidTxnState, kerr.OperationNotAttempted, kerr.UnknownProducerID,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// endOutcome tells what an answer to EndTxn says of the transaction. That of a fence says nothing:
// the client sends EndTxn again by itself when a connection breaks, and the first one may have been
// carried out, with its answer lost, before the lane was fenced.
func endOutcome(err error) Outcome {
	switch {
	case err == nil:
		return Committed
	case errors.Is(err, kerr.OperationNotAttempted), // the client did not send it
		errors.Is(err, kerr.TransactionAbortable), errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		return Aborted
	default:
		return Unknown
	}
}

// GapError says that the input no longer holds the offset that the lane has to read next.
type GapError struct {
	Topic     string
	Partition int32
	Position  int64 // next offset to read, -1 when not known here
	Err       error
}

func (e *GapError) Error() string {
	return fmt.Sprintf("%s/%d: offset %d, the next to read, is outside the log: %v",
		e.Topic, e.Partition, e.Position, e.Err)
}

// Unwrap gives Kafka's error.
func (e *GapError) Unwrap() error { return e.Err }

// fetchError turns a fetch error of one partition into the session's error; nil for those that the
// client retries by itself.
func fetchError(topic string, partition int32, position int64, err error) error {
	switch {
	case errors.Is(err, kerr.OffsetOutOfRange):
		return &GapError{Topic: topic, Partition: partition, Position: position, Err: err}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return nil
	case errors.Is(err, kgo.ErrClientClosed):
		return err
	default:
		return fmt.Errorf("read %s/%d: %w", topic, partition, err)
	}
}
