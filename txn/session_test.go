package txn_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/step"
	"github.com/tally-kafka/tally/internal/testkafka"
	"github.com/tally-kafka/tally/txn"
)

// env is a Kafka with an input and an output topic of its own for each test.
type env struct {
	kafka     kafka.Config
	admin     *kafka.Admin
	input     string
	output    string
	cfg       txn.Config
	stepsSeen map[step.Name]int
}

func onEachKafka(t *testing.T, test func(t *testing.T, e *env)) {
	t.Run("kfake", func(t *testing.T) {
		c, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		test(t, newEnv(t, c.ListenAddrs()))
	})
	t.Run("kafka", func(t *testing.T) {
		if testing.Short() {
			t.Skip("left out of the short tests")
		}
		test(t, newEnv(t, testkafka.Shared(t).Addrs()))
	})
}

func newEnv(t *testing.T, addrs []string) *env {
	s := seam.World()
	e := &env{kafka: kafka.Config{Brokers: addrs, Seam: s}, stepsSeen: map[step.Name]int{}}
	var err error
	if e.admin, err = kafka.NewAdmin(e.kafka); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.admin.Close)
	id := s.NewID()
	e.input, e.output = "input-"+id, "output-"+id
	for _, topic := range []string{e.input, e.output} {
		spec := kafka.TopicSpec{Name: topic, Partitions: 2, Replication: 1, Configs: map[string]string{"max.message.bytes": "20000"}}
		if err := e.admin.Create(context.Background(), spec); err != nil {
			t.Fatal(err)
		}
	}
	topic, ok, err := e.admin.Topic(context.Background(), e.input)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(topic.ID)
	if err != nil {
		t.Fatal(err)
	}
	e.cfg = txn.Config{
		Kafka: e.kafka, TransactionalID: "lane-" + id, Group: "group-" + id, Sources: map[string][16]byte{e.input: [16]byte(raw)}, Seam: s,
		Step: func(n step.Name) { e.stepsSeen[n]++ },
	}
	return e
}

func (e *env) fence(t *testing.T) *txn.Session {
	t.Helper()
	s, err := txn.Fence(context.Background(), e.cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// at are offsets of the input.
func (e *env) at(partitions map[int32]int64) txn.Offsets {
	at := txn.Offsets{}
	for p, o := range partitions {
		at[txn.TopicPartition{Topic: e.input, Partition: p}] = o
	}
	return at
}

// A source is not read ahead of the other without bound, and is read again once that one is.
func TestHeldBack(t *testing.T) {
	onEachKafka(t, func(t *testing.T, e *env) {
		other := e.output
		write := func(topic string, n int) {
			cl, err := e.kafka.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			for range n {
				if err := cl.ProduceSync(context.Background(), &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
		}
		write(other, 60)
		e.cfg.Sources[other] = [16]byte{}
		e.cfg.HeldBack, e.cfg.HoldBackAt, e.cfg.FetchPartitionBytes = e.input, 20, 700 // many fetches
		s := e.fence(t)
		s.Assign(txn.Offsets{{Topic: e.input}: 0, {Topic: other}: 0}, nil)
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		read := map[string]int{}
		poll := func() {
			recs, _, err := s.Poll(ctx, 10)
			if err != nil || ctx.Err() != nil {
				t.Fatalf("read %v, then %v", read, err)
			}
			for _, r := range recs {
				read[r.Topic]++
			}
		}
		poll() // 50 wait
		write(e.input, 5)
		for read[other] < 50 {
			if poll(); read[e.input] > 0 {
				t.Fatalf("the source was read while %d records of the other waited", 60-read[other])
			}
		}
		for read[e.input] < 5 || read[other] < 60 {
			poll()
		}
	})
}

func (e *env) record(text string) *kgo.Record {
	return &kgo.Record{Topic: e.output, Partition: 1, Value: []byte(text)}
}

// begin opens a transaction with one record in it.
func (e *env) begin(t *testing.T, s *txn.Session, text string) {
	t.Helper()
	if err := s.Begin(); err != nil {
		t.Fatal(err)
	}
	s.Produce(e.record(text))
}

// visible are the values that a read-committed reader of the output sees.
func (e *env) visible(t *testing.T) string {
	t.Helper()
	var out []string
	end := e.settled(t)
	cl, err := e.kafka.Client(kgo.ConsumeTopics(e.output), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for at := int64(0); at < end[1]; {
		fs := cl.PollFetches(context.Background())
		fs.EachRecord(func(r *kgo.Record) {
			at = r.Offset + 1
			if !r.Attrs.IsControl() {
				out = append(out, string(r.Value))
			}
		})
	}
	return strings.Join(out, " ")
}

// settled are the ends of the output once no transaction is open in it: an answer to EndTxn comes
// before its markers are where readers look.
func (e *env) settled(t *testing.T) map[int32]int64 {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		stable, err := e.admin.EndOffsets(t.Context(), e.output, true)
		if err != nil {
			t.Fatal(err)
		}
		all, err := e.admin.EndOffsets(t.Context(), e.output, false)
		if err != nil {
			t.Fatal(err)
		}
		if maps.Equal(stable, all) {
			return stable
		}
		if time.Now().After(deadline) {
			t.Fatalf("a transaction is open: the stable ends are %v, the ends %v", stable, all)
		}
	}
}

func (e *env) offset(t *testing.T) int64 {
	t.Helper()
	at, err := e.admin.GroupOffsets(context.Background(), e.cfg.Group, e.input)
	if err != nil {
		t.Fatal(err)
	}
	return at[0]
}

func TestCommit(t *testing.T) {
	onEachKafka(t, func(t *testing.T, e *env) {
		s := e.fence(t)
		for i := range int64(3) { // each EndTxn bumps the producer epoch under transactions v2
			e.begin(t, s, fmt.Sprint(i))
			if out, err := s.Commit(context.Background(), e.at(map[int32]int64{0: 10 * i, 1: i})); out != txn.Committed || err != nil {
				t.Fatal(out, err)
			}
			if at := e.offset(t); at != 10*i {
				t.Fatalf("the group's offset is %d, want %d", at, 10*i)
			}
		}
		if got := e.visible(t); got != "0 1 2" {
			t.Fatalf("visible: %s", got)
		}
		for _, n := range []step.Name{step.Fence, step.Flush, step.Offsets, step.EndTxnSent, step.EndTxnAnswered} {
			if e.stepsSeen[n] == 0 {
				t.Errorf("step %s was never reached", n)
			}
		}
	})
}

// TestFencedOwner: what an owner with an open transaction can still do once another has fenced it,
// and that nothing of it is ever seen.
func TestFencedOwner(t *testing.T) {
	onEachKafka(t, func(t *testing.T, e *env) {
		for _, flushed := range []bool{false, true} {
			old := e.fence(t)
			e.begin(t, old, "never")
			if flushed {
				old.FlushForTest(context.Background())
			}
			e.fence(t).Close()
			out, err := old.Commit(context.Background(), e.at(map[int32]int64{0: 99}))
			if out == txn.Committed || !txn.Fenced(err) {
				t.Fatalf("flushed %v: %v, %v", flushed, out, err)
			}
		}
		s := e.fence(t)
		e.begin(t, s, "seen")
		if _, err := s.Commit(context.Background(), e.at(map[int32]int64{0: 1})); err != nil {
			t.Fatal(err)
		}
		if got := e.visible(t); got != "seen" {
			t.Fatalf("visible: %s", got)
		}
		if at := e.offset(t); at != 1 {
			t.Fatalf("the group's offset is %d", at)
		}
	})
}

func TestEmptyTransactionIsRefused(t *testing.T) {
	onEachKafka(t, func(t *testing.T, e *env) {
		s := e.fence(t)
		if err := s.Begin(); err != nil {
			t.Fatal(err)
		}
		if out, err := s.Commit(context.Background(), e.at(map[int32]int64{0: 5})); out != txn.Aborted || !errors.Is(err, txn.ErrNoRecord) {
			t.Fatal(out, err)
		}
	})
}

func TestRefusedRecord(t *testing.T) {
	onEachKafka(t, func(t *testing.T, e *env) {
		s := e.fence(t)
		e.begin(t, s, "fine")
		large := e.record(noise(40_000))
		large.Key, large.Partition = []byte("key"), 0 // in a batch of its own
		s.Produce(large)
		out, err := s.Commit(context.Background(), e.at(map[int32]int64{0: 5}))
		var refused *txn.ProduceError
		if out != txn.Aborted || !txn.Refused(err) || !errors.As(err, &refused) {
			t.Fatal(out, err)
		}
		if refused.Topic != e.output || refused.Partition != 0 || refused.Kind != 'e' {
			t.Errorf("it is said of a record of kind %q to %s/%d", refused.Kind, refused.Topic, refused.Partition)
		}
		s.Close()
		e.fence(t)
		if got := e.visible(t); got != "" {
			t.Fatalf("visible: %s", got)
		}
	})
}

// noise does not compress.
func noise(n int) string {
	b := make([]byte, n)
	seam.World().Rand(b)
	return string(b)
}

func TestPoll(t *testing.T) {
	onEachKafka(t, func(t *testing.T, e *env) {
		writer := e.fence(t)
		for i := range 3 {
			if err := writer.Begin(); err != nil {
				t.Fatal(err)
			}
			writer.Produce(&kgo.Record{Topic: e.input, Partition: 0, Value: []byte(fmt.Sprint(i))})
			if _, err := writer.Commit(context.Background(), nil); err != nil {
				t.Fatal(err)
			}
		}
		e.cfg.TransactionalID += "-reader"
		s := e.fence(t)
		s.Assign(e.at(map[int32]int64{0: 2, 1: 0}), nil)
		var got []string
		for len(got) < 4 { // offsets 2 to 5: a record and a marker, twice
			recs, _, err := s.Poll(context.Background(), 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range recs {
				got = append(got, fmt.Sprintf("%d %v", r.Offset, r.Attrs.IsControl()))
			}
		}
		if s := strings.Join(got, ", "); s != "2 false, 3 true, 4 false, 5 true" {
			t.Fatalf("polled %s", s)
		}
	})
}

// TestPollSaysHowManyWait: in the client's buffer, at the broker, and of another partition.
func TestPollSaysHowManyWait(t *testing.T) {
	onEachKafka(t, func(t *testing.T, e *env) {
		written := map[int32]int{0: 7, 1: 3}
		for p, n := range written {
			e.write(t, p, n)
		}
		s := e.fence(t)
		s.Assign(e.at(map[int32]int64{0: 0, 1: 0}), nil)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		read := map[int32]int{}
		for read[0]+read[1] < 10 {
			recs, waiting, err := s.Poll(ctx, 2)
			if err != nil || len(recs) == 0 {
				t.Fatalf("%d records, %v", len(recs), err)
			}
			for _, r := range recs {
				read[r.Partition]++
			}
			want := 0
			for p, n := range read { // of a partition that it has not seen it cannot know
				want += written[p] - n
			}
			if waiting != int64(want) {
				t.Errorf("after %v: %d wait, not %d", read, waiting, want)
			}
		}
	})
}

func TestPollOutsideTheLog(t *testing.T) {
	onEachKafka(t, func(t *testing.T, e *env) {
		s := e.fence(t)
		s.Assign(e.at(map[int32]int64{1: 77}), nil)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_, _, err := s.Poll(ctx, 10)
		var gap *txn.GapError
		if !errors.As(err, &gap) || gap.Position != 77 || gap.Partition != 1 {
			t.Fatalf("got %v", err)
		}
	})
}

func TestErrorsAreTold(t *testing.T) {
	for _, c := range []struct {
		err     error
		refused bool
		fenced  bool
	}{
		{&txn.ProduceError{Err: kerr.MessageTooLarge}, true, false},
		{&txn.ProduceError{Err: kerr.InvalidTimestamp}, true, false},
		{&txn.ProduceError{Err: kerr.TopicAuthorizationFailed}, false, false},
		{&txn.ProduceError{Err: kerr.InvalidProducerEpoch}, false, true},
		{kerr.MessageTooLarge, false, false}, // of another request: no record is at fault
		{fmt.Errorf("end: %w", kerr.ProducerFenced), false, true},
		{kerr.OperationNotAttempted, false, true},
		{context.DeadlineExceeded, false, false},
	} {
		if txn.Refused(c.err) != c.refused || txn.Fenced(c.err) != c.fenced {
			t.Errorf("%v: refused %v, fenced %v", c.err, txn.Refused(c.err), txn.Fenced(c.err))
		}
	}
}
