package txn

import "github.com/twmb/franz-go/pkg/kgo"

// Epochs are leader epochs by partition, each that of the record before a position there. One that
// is not known is absent.
//
// They are committed with the positions, in the field that Kafka has for them (KIP-320). An offset
// alone cannot tell the events that were read from others that have taken their offsets, after an
// election that lost the former: the epoch can, also when nobody ran meanwhile.
type Epochs map[TopicPartition]int32

// epochSpan is the leader epoch of the positions from one on.
type epochSpan struct {
	from  int64
	epoch int32
}

// unknownEpoch is what Kafka has for an epoch that nobody said.
const unknownEpoch = -1

// noteEpochs keeps the leader epochs of what was read, under the lock. The last record tells
// whether there is anything to note: between two that differ the leader has changed.
func (s *Session) noteEpochs(p TopicPartition, recs []*kgo.Record) {
	spans, epoch := s.epochs[p], int32(unknownEpoch)
	if n := len(spans); n > 0 {
		epoch = spans[n-1].epoch
	}
	if recs[len(recs)-1].LeaderEpoch == epoch {
		return
	}
	for _, r := range recs {
		if r.LeaderEpoch != epoch {
			epoch = r.LeaderEpoch
			spans = append(spans, epochSpan{r.Offset + 1, epoch})
		}
	}
	s.epochs[p] = spans
}

// epochAt is the leader epoch of the record before a position that is to be committed. Those of the
// positions before it are forgotten, since what is committed next is no lower.
func (s *Session) epochAt(p TopicPartition, at int64) int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	spans, n := s.epochs[p], 0
	for n < len(spans) && spans[n].from <= at {
		n++
	}
	if n == 0 {
		return unknownEpoch
	}
	s.epochs[p] = spans[n-1:]
	return spans[n-1].epoch
}
