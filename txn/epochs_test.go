package txn

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A position that was passed to, over what compaction or aborted transactions have left, is behind
// the last record that was read, and what lies between may be of a later epoch. With the epoch of
// that record it would look cut off at the next start, although nothing is lost.
func TestEpochOfWhatWasPassed(t *testing.T) {
	p := TopicPartition{"in", 0}
	s := &Session{epochs: map[TopicPartition][]epochSpan{}}
	note := func(epoch int32, offsets ...int64) {
		var recs []*kgo.Record
		for _, o := range offsets {
			recs = append(recs, &kgo.Record{Offset: o, LeaderEpoch: epoch})
		}
		s.noteEpochs(p, recs)
	}
	want := func(at int64, epoch int32) {
		t.Helper()
		if got := s.epochAt(p, at); got != epoch {
			t.Errorf("position %d is committed with epoch %d, want %d", at, got, epoch)
		}
	}
	want(0, -1)
	note(1, 0, 1)
	note(1, 4)
	want(1, 1)
	want(3, 1) // a gap between two records of one epoch is of that epoch
	want(5, 1)
	want(8, -1)
	note(3, 9)
	want(8, -1)
	want(10, 3)
	s.epochs[p] = nil
	s.noteEpochs(p, []*kgo.Record{{Offset: 20, LeaderEpoch: 3}, {Offset: 21, LeaderEpoch: 4}, {Offset: 25, LeaderEpoch: 4}, {Offset: 26, LeaderEpoch: 5}})
	want(21, 3)
	want(24, 4)
	want(26, 4)
	want(27, 5)
}
