package txn

import "github.com/twmb/franz-go/pkg/kgo"

// Epochs are leader epochs by partition, each that of the record before a position there. One that
// is not known is absent.
//
// They are committed with the positions, in the field that Kafka has for them (KIP-320). An offset
// alone cannot tell the events that were read from others that have taken their offsets, after an
// election that lost the former: the epoch can, also when nobody ran meanwhile.
type Epochs map[TopicPartition]int32

// epochSpan is a run of records of one leader epoch.
type epochSpan struct {
	from, to int64 // the positions behind the first and the last of them
	epoch    int32
}

// unknownEpoch is what Kafka has for an epoch that nobody said.
const unknownEpoch = -1

// noteEpochs keeps the leader epochs of what was read, under the lock. The last record tells
// whether there is a new one to note: between two that differ the leader has changed.
func (s *Session) noteEpochs(p TopicPartition, recs []*kgo.Record) {
	spans, last := s.epochs[p], recs[len(recs)-1]
	if n := len(spans); n > 0 && spans[n-1].epoch == last.LeaderEpoch {
		spans[n-1].to = last.Offset + 1
		return
	}
	for _, r := range recs {
		next := r.Offset + 1
		if n := len(spans); n > 0 && spans[n-1].epoch == r.LeaderEpoch {
			spans[n-1].to = next
		} else {
			spans = append(spans, epochSpan{next, next, r.LeaderEpoch})
		}
	}
	s.epochs[p] = spans
}

// epochAt is the leader epoch of the record before a position that is to be committed. None is
// known of one that lies behind the last record of its epoch: what was passed there, and is no
// record any more, may be of a later one, whose beginning would be taken for a cut. The epochs of
// the positions before it are forgotten, since what is committed next is no lower.
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
	if at > spans[n-1].to {
		return unknownEpoch
	}
	return spans[n-1].epoch
}
