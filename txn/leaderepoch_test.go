package txn_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/txn"
)

// read polls a session until it has read n records more.
func (e *env) read(t *testing.T, s *txn.Session, n int) (recs []*kgo.Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for len(recs) < n {
		more, _, err := s.Poll(ctx, 10)
		if err != nil || ctx.Err() != nil {
			t.Fatal(err, ctx.Err())
		}
		recs = append(recs, more...)
	}
	return recs
}

// commit commits an offset of the input's first partition.
func (e *env) commit(t *testing.T, s *txn.Session, at int64) {
	t.Helper()
	e.begin(t, s, "x")
	if out, err := s.Commit(t.Context(), e.at(map[int32]int64{0: at})); out != txn.Committed {
		t.Fatal(out, err)
	}
}

// committed is what the group has for the input's first partition.
func (e *env) committed(t *testing.T) kafka.Committed {
	t.Helper()
	all, err := e.admin.GroupCommits(t.Context(), e.cfg.Group, e.input, 0)
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

// What is committed with an offset is the leader epoch of the record before it.
func TestCommitsTheLeaderEpoch(t *testing.T) {
	c, e := onFake(t, 2)
	e.write(t, 0, 3)
	if err := c.MoveTopicPartition(e.input, 0, 1-c.LeaderFor(e.input, 0)); err != nil {
		t.Fatal(err)
	}
	e.write(t, 0, 2)
	s := e.fence(t)
	e.commit(t, s, 0) // the start, of which nothing is known
	want := []kafka.Committed{{Offset: 0, Epoch: -1}}
	got := []kafka.Committed{e.committed(t)}
	s.Assign(e.at(map[int32]int64{0: 0}), nil)
	recs := e.read(t, s, 5)
	for _, at := range []int64{2, 3, 4, 5, 5} {
		e.commit(t, s, at)
		want = append(want, kafka.Committed{Offset: at, Epoch: recs[at-1].LeaderEpoch})
		got = append(got, e.committed(t))
	}
	if first, last := recs[0].LeaderEpoch, recs[4].LeaderEpoch; first < 0 || last <= first {
		t.Fatalf("the epochs are %d and %d: this test tests nothing", first, last)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("committed %v, want %v", got[i], want[i])
		}
	}
}

// A session that reads nothing keeps the epoch that it was told.
func TestKeepsTheLeaderEpoch(t *testing.T) {
	onEachKafka(t, func(t *testing.T, e *env) {
		e.write(t, 0, 3)
		s := e.fence(t)
		s.Assign(e.at(map[int32]int64{0: 0}), nil)
		e.read(t, s, 3)
		e.commit(t, s, 3)
		before := e.committed(t)
		if before.Offset != 3 || before.Epoch < 0 {
			t.Fatalf("committed %v", before)
		}
		s.Close()
		s = e.fence(t)
		s.Assign(e.at(map[int32]int64{0: 3}), txn.Epochs{{Topic: e.input}: before.Epoch})
		e.commit(t, s, 3)
		if after := e.committed(t); after != before {
			t.Errorf("committed %v, then %v", before, after)
		}
		e.write(t, 0, 1)
		if recs := e.read(t, s, 1); recs[0].Offset != 3 {
			t.Errorf("read offset %d", recs[0].Offset)
		}
	})
}

// Kafka loses events that were read, and others take their offsets, all while nobody runs: who
// begins at the position says so, where its epoch is known.
func TestTruncatedBetweenSessions(t *testing.T) {
	c, e := onFake(t, 2)
	e.write(t, 0, 5)
	s := e.fence(t)
	s.Assign(e.at(map[int32]int64{0: 0}), nil)
	e.read(t, s, 5)
	e.commit(t, s, 5)
	s.Close()
	kfakeLoses(c, 3)
	if err := c.MoveTopicPartition(e.input, 0, 1-c.LeaderFor(e.input, 0)); err != nil {
		t.Fatal(err)
	}
	e.write(t, 0, 5)

	s = e.fence(t)
	s.Assign(e.at(map[int32]int64{0: 5}), txn.Epochs{{Topic: e.input}: e.committed(t).Epoch})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	err := pollsUntil(ctx, s)
	var cut *txn.TruncatedError
	if !errors.As(err, &cut) || cut.Topic != e.input || cut.Read != 5 || cut.End != 3 {
		t.Errorf("it says %v", err)
	}
}
