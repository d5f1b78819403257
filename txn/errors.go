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

// BatchError says that a batch of the input is larger, once it is decompressed, than this node may
// hold. The lane cannot go on before it may.
type BatchError struct {
	Topic     string
	Partition int32
	Position  int64 // next offset to read
	Most      int   // bytes
	Err       error
}

func (e *BatchError) Error() string {
	return fmt.Sprintf("read %s/%d at offset %d: %v, which are %d bytes here, or a quarter of --memory where that is more: start the node with a larger --memory",
		e.Topic, e.Partition, e.Position, e.Err, e.Most)
}

// Unwrap gives the client's error.
func (e *BatchError) Unwrap() error { return e.Err }

// TruncatedError says that Kafka has lost events of a source that were read before: the log of the
// partition's new leader ends before them, and what is written there from now on has their offsets.
// Those that were counted stay counted, and a session that goes on at Read would pass over what has
// come since between End and Read.
type TruncatedError struct {
	Topic     string
	Partition int32
	Read      int64 // offset up to which the lane had read
	End       int64 // offset up to which that is still there
	Err       error
}

func (e *TruncatedError) Error() string {
	return fmt.Sprintf("%s/%d was read up to offset %d, and of that only what is below offset %d is left: Kafka lost events that it had acknowledged (an unclean election, or a broker's disk)",
		e.Topic, e.Partition, e.Read, e.End)
}

// Unwrap gives the client's error.
func (e *TruncatedError) Unwrap() error { return e.Err }

// fetchError turns a fetch error of one partition into the session's error; nil for those that the
// client retries by itself.
func (s *Session) fetchError(topic string, partition int32, position int64, err error) error {
	var lost *kgo.ErrDataLoss
	switch {
	case errors.As(err, &lost):
		return &TruncatedError{Topic: topic, Partition: partition, Read: lost.ConsumedTo, End: lost.ResetTo, Err: err}
	case errors.Is(err, kgo.ErrMaxDecompress):
		return &BatchError{Topic: topic, Partition: partition, Position: position, Most: s.cfg.DecompressBytes, Err: err}
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
