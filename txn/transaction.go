package txn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/step"
)

// The waits between two tries of the offset commit, and between two looks of settle.
const (
	offsetsPause = 5 * time.Millisecond
	settlePause  = time.Millisecond
)

// Begin opens a transaction in the client; the broker hears of it with the first record.
func (s *Session) Begin() error {
	s.produced = 0
	s.refused.Store(nil)
	if err := s.cl.BeginTransaction(); err != nil {
		return fmt.Errorf("begin %s: %w", s.cfg.TransactionalID, err)
	}
	return nil
}

// Produce hands a record to the client. Its partition is set, and it must not be touched before
// Commit has returned. A refusal shows in Commit.
func (s *Session) Produce(rec *kgo.Record) {
	s.produced++
	s.noteTopic(rec)
	s.cl.Produce(context.Background(), rec, s.promise)
}

// noteTopic keeps a record's partition where it is the first of its topic. There are at most as
// many as an app has topics to write to, and this is asked of every record.
func (s *Session) noteTopic(rec *kgo.Record) {
	for i := range s.written {
		if s.written[i].Topic == rec.Topic {
			return
		}
	}
	s.written = append(s.written, TopicPartition{rec.Topic, rec.Partition})
}

// acknowledged keeps the first error of a transaction.
func (s *Session) acknowledged(rec *kgo.Record, err error) {
	if err != nil {
		s.refused.CompareAndSwap(nil, &ProduceError{Topic: rec.Topic, Partition: rec.Partition, Kind: kindOf(rec.Key), Err: err})
	}
}

// Commit flushes, adds the sources' offsets and ends the transaction. Only with a nil error is the
// outcome Committed; after any error the session is dead. It waits at most CommitTimeout: an outage
// in the middle ends as Unknown or Aborted, never as a wait without end.
func (s *Session) Commit(ctx context.Context, offsets Offsets) (Outcome, error) {
	if s.produced == 0 {
		return Aborted, ErrNoRecord
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CommitTimeout)
	defer cancel()
	if err := s.flush(ctx); err != nil {
		return Aborted, err
	}
	if len(offsets) > 0 {
		if err := s.commitOffsets(ctx, offsets); err != nil {
			return Aborted, err
		}
		s.cfg.Step.At(step.Offsets)
	}
	if out, err := s.end(ctx); out != Committed {
		return out, fmt.Errorf("end transaction of %s (%s): %w", s.cfg.TransactionalID, out, err)
	}
	s.cfg.Step.At(step.EndTxnAnswered)
	return Committed, nil
}

var (
	errTurned  = errors.New("the Kafka client has aborted what it was to commit")
	errNotSent = errors.New("the Kafka client has ended nothing")
)

// end commits. That EndTransaction returns nil is not enough: see listener.
func (s *Session) end(ctx context.Context) (Outcome, error) {
	sent := s.ends.Load()
	s.turned.Store(false)
	err := s.cl.EndTransaction(ctx, kgo.TryCommit)
	switch out := endOutcome(err); {
	case out != Committed:
		return out, err
	case s.turned.Load():
		return Aborted, errTurned
	case s.ends.Load() == sent:
		return Unknown, errNotSent
	}
	return Committed, nil
}

func (s *Session) flush(ctx context.Context) error {
	err := s.cl.Flush(ctx)
	if refused := s.refused.Load(); refused != nil {
		return refused
	}
	if err != nil {
		return fmt.Errorf("flush %s: %w", s.cfg.TransactionalID, err)
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	s.cfg.Step.At(step.Flush)
	return nil
}

// settle waits until the client has loaded each topic that the session has written to. At the first
// record of a topic, franz-go v1.22 asks for its partitions, sends what waits for them, and only
// then stores them (storePartitionsUpdate): a transaction that ends in between has no record, as
// far as the client can see, and what was to be committed is aborted or left open. On a busy
// machine that met one first transaction in 170.
func (s *Session) settle(ctx context.Context) error {
	for ; s.settled < len(s.written); s.settled++ {
		p := s.written[s.settled]
		for !s.loaded(p) {
			if err := s.cfg.Seam.Sleep(ctx, settlePause); err != nil {
				return fmt.Errorf("wait until the client has loaded %s: %w", p.Topic, err)
			}
		}
	}
	return nil
}

// loaded says whether the client has stored a partition. One that has acknowledged a record has a
// leader, or had one, which is kept.
func (s *Session) loaded(p TopicPartition) bool {
	leader, _, _ := s.cl.PartitionLeader(p.Topic, p.Partition)
	return leader >= 0
}

// commitOffsets makes the offsets part of the open transaction, without being a member of the
// consumer group: generation -1 and no member id (KIP-98; v5 of the request needs no
// AddOffsetsToTxn, KIP-890).
func (s *Session) commitOffsets(ctx context.Context, offsets Offsets) error {
	if s.cfg.AddOffsets {
		if err := s.retry(ctx, s.addOffsets); err != nil {
			return fmt.Errorf("add offsets of group %s to %s: %w", s.cfg.Group, s.cfg.TransactionalID, err)
		}
	}
	err := s.retry(ctx, func(ctx context.Context) error { return s.txnOffsetCommit(ctx, offsets) })
	if err != nil {
		return fmt.Errorf("commit offsets of group %s in %s: %w", s.cfg.Group, s.cfg.TransactionalID, err)
	}
	return nil
}

func (s *Session) txnOffsetCommit(ctx context.Context, offsets Offsets) error {
	id, epoch, err := s.cl.ProducerID(ctx) // each EndTxn bumps the epoch under transactions v2
	if err != nil {
		return err
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group = s.cfg.TransactionalID, s.cfg.Group
	req.ProducerID, req.ProducerEpoch = id, epoch
	req.Topics = s.offsetTopics(offsets)
	resp, err := req.RequestWith(ctx, s.cl)
	if err != nil {
		return err
	}
	accepted := 0
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
			accepted++
		}
	}
	if accepted != len(offsets) {
		return fmt.Errorf("the broker answered for %d of %d partitions", accepted, len(offsets))
	}
	return nil
}

func (s *Session) offsetTopics(offsets Offsets) (topics []kmsg.TxnOffsetCommitRequestTopic) {
	for name, id := range s.cfg.Sources {
		topic := kmsg.NewTxnOffsetCommitRequestTopic()
		topic.Topic, topic.TopicID = name, id // by name up to v5, by id above
		for p, o := range offsets.Of(name) {
			part := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			part.Partition, part.Offset = p, o
			part.LeaderEpoch = s.epochAt(TopicPartition{name, p}, o)
			topic.Partitions = append(topic.Partitions, part)
		}
		if len(topic.Partitions) > 0 {
			topics = append(topics, topic)
		}
	}
	return topics
}

func (s *Session) addOffsets(ctx context.Context) error {
	id, epoch, err := s.cl.ProducerID(ctx)
	if err != nil {
		return err
	}
	req := kmsg.NewPtrAddOffsetsToTxnRequest()
	req.TransactionalID, req.Group = s.cfg.TransactionalID, s.cfg.Group
	req.ProducerID, req.ProducerEpoch = id, epoch
	resp, err := req.RequestWith(ctx, s.cl)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.ErrorCode)
}

// retry repeats a raw request, which the client does not, while its coordinator moves or loads. The
// deadline of ctx bounds it.
func (s *Session) retry(ctx context.Context, try func(context.Context) error) error {
	for {
		err := try(ctx)
		if !coordinatorMoves(err) {
			return err
		}
		if s.cfg.Seam.Sleep(ctx, offsetsPause) != nil {
			return err
		}
	}
}

func coordinatorMoves(err error) bool {
	for _, e := range []error{
		kerr.ConcurrentTransactions, kerr.NotCoordinator, kerr.CoordinatorLoadInProgress,
		kerr.CoordinatorNotAvailable, kerr.UnknownTopicOrPartition,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
