package broker

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// compacting is a kfake with the guards of this package and a compacted topic t.
func compacting(t *testing.T) (*tidier, kafka.Config, *kafka.Admin) {
	t.Helper()
	d := dir(t.TempDir())
	faults := &brokerLog{to: discard()}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DataDir(d.data()), kfake.WithLogger(faults))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cfg := kafka.Config{Brokers: c.ListenAddrs(), Seam: seam.World()}
	tidy := &tidier{
		cluster: c, dir: d, addr: cfg.Brokers[0], seam: seam.World(), log: discard(), faults: faults, wait: 2 * time.Second,
	}
	all := guards{cluster: c, each: []guard{keepCompacted, tidy.gate.guard(c)}}
	all.stand()
	a, err := kafka.NewAdmin(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	spec := kafka.TopicSpec{Name: "t", Partitions: 1, Replication: 1, Configs: map[string]string{"cleanup.policy": "compact"}}
	if err := a.Create(limit(t), spec); err != nil {
		t.Fatal(err)
	}
	return tidy, cfg, a
}

func compacts(t *testing.T, tidy *tidier) bool {
	t.Helper()
	done, err := tidy.compact()
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func TestCompactedTopicsKeepAll(t *testing.T) {
	_, _, a := compacting(t)
	topic, _, err := a.Topic(limit(t), "t")
	if err != nil || topic.Configs["retention.ms"] != "-1" || topic.Configs["retention.bytes"] != "-1" {
		t.Errorf("got %+v, %v", topic, err)
	}
}

// write produces one record to topic t and waits for it.
func write(t *testing.T, cl *kgo.Client, key, value string) {
	t.Helper()
	if err := cl.ProduceSync(limit(t), &kgo.Record{Topic: "t", Key: []byte(key), Value: []byte(value)}).FirstErr(); err != nil {
		t.Error(err)
	}
}

// TestCompactionWaitsForTheEnd has an open transaction write over a committed key. Compacting now
// would drop the committed value, and the abort then the other.
func TestCompactionWaitsForTheEnd(t *testing.T) {
	tidy, cfg, a := compacting(t)
	lane, err := cfg.Client(kgo.TransactionalID("lane-0"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer lane.Close()
	plain, err := cfg.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	write(t, plain, "z", "0") // keeps the start of the log where it is
	for _, v := range []string{"1", "2"} {
		if err := lane.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		write(t, lane, "k", v)
		if v == "1" {
			if err := lane.EndTransaction(limit(t), kgo.TryCommit); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(t, plain, "pad", "1")
	write(t, plain, "pad", "2") // kfake spares the last batch of all
	tidy.wait = 50 * time.Millisecond
	if compacts(t, tidy) {
		t.Error("it compacted under an open transaction")
	}
	if err := lane.EndTransaction(limit(t), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	if !compacts(t, tidy) {
		t.Error("it did not compact when none was open")
	}
	var got []string
	if err := a.Read(limit(t), "t", 0, 0, 7, func(r *kgo.Record) error {
		got = append(got, fmt.Sprintf("%s=%s", r.Key, r.Value))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if s := fmt.Sprint(got); s != "[z=0 k=1 pad=2]" {
		t.Errorf("left are %s, want [z=0 k=1 pad=2]", s)
	}
}

// TestReadFromBelowTheStart reads a compacted log from offset 0, whose record is gone: with Kafka
// that is a gap.
func TestReadFromBelowTheStart(t *testing.T) {
	tidy, cfg, a := compacting(t)
	cl, err := cfg.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for n := range 5 {
		write(t, cl, "k", fmt.Sprint(n))
	}
	if !compacts(t, tidy) {
		t.Fatal("it did not compact")
	}
	if starts, err := a.StartOffsets(limit(t), "t"); err != nil || starts[0] == 0 {
		t.Fatalf("the log starts at %v, %v; the test wants it above 0", starts, err)
	}
	consumer, err := cfg.Client(kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"t": {0: kgo.NewOffset().At(0)}}))
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	fetches := consumer.PollFetches(limit(t))
	if err := fetches.Err(); err != nil {
		t.Fatal(err)
	}
	if last := fetches.Records()[len(fetches.Records())-1]; string(last.Value) != "4" || last.Offset != 4 {
		t.Errorf("the last record is %s at %d", last.Value, last.Offset)
	}
}

// TestGate lets a begun transaction go on and end while the gate is shut, and holds back a new one.
func TestGate(t *testing.T) {
	var g gate
	ask := func(id int64, ends bool) bool {
		var req kmsg.Request = &kmsg.TxnOffsetCommitRequest{ProducerID: id}
		if ends {
			req = &kmsg.EndTxnRequest{ProducerID: id}
		}
		return g.enter(req) == nil
	}
	if !ask(1, false) {
		t.Fatal("an open gate held a request back")
	}
	g.shut()
	if !ask(1, false) || ask(2, false) || !ask(1, true) || ask(1, false) {
		t.Error("a shut gate lets pass what goes on and what ends, and nothing that begins")
	}
	wait := g.enter(&kmsg.TxnOffsetCommitRequest{ProducerID: 2})
	g.open()
	<-wait
	if !ask(2, false) {
		t.Error("it holds back after it was opened")
	}
	if !ask(-1, false) || g.enter(&kmsg.FetchRequest{}) != nil {
		t.Error("it held back what is no transaction")
	}
	g.shut()
	g.seal(true)
	if g.enter(&kmsg.FetchRequest{}) == nil || g.enter(&kmsg.ProduceRequest{}) == nil || ask(2, true) {
		t.Error("a sealed gate let through what reads or writes")
	}
	if g.enter(&kmsg.MetadataRequest{}) != nil {
		t.Error("a sealed gate held back what touches no records")
	}
}

// TestCompactionSparesOpenTransactions compacts while lanes commit and abort. Each key's last
// committed value must be there in the end.
func TestCompactionSparesOpenTransactions(t *testing.T) {
	tidy, cfg, a := compacting(t)
	const lanes, transactions = 3, 60
	var wg sync.WaitGroup
	for lane := range lanes {
		wg.Go(func() { commitAndAbort(t, cfg, lane, transactions) })
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	compactions, vain := 0, 0
	for running := true; running; {
		if compacts(t, tidy) {
			compactions++
		} else {
			vain++
		}
		pause, stop := seam.World().Timer(10 * time.Millisecond) // else it would starve the lanes
		select {
		case <-done:
			running = false
		case <-pause:
		}
		stop()
	}
	if compactions < 3 || vain > 0 {
		t.Errorf("%d compactions and %d tries in vain: the gate finds no quiet moment", compactions, vain)
	}
	starts, err := a.StartOffsets(limit(t), "t")
	if err != nil {
		t.Fatal(err)
	}
	ends, err := a.EndOffsets(limit(t), "t", true)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	if err := a.Read(limit(t), "t", 0, starts[0], ends[0], func(r *kgo.Record) error {
		got[string(r.Key)] = string(r.Value)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for lane := range lanes {
		for k := range 2 {
			key := fmt.Sprintf("%d-%d", lane, k)
			if want := fmt.Sprint(lastCommitted(transactions)); got[key] != want {
				t.Errorf("key %s: %q, want %s", key, got[key], want)
			}
		}
	}
}

// commits says which transactions commit: every second one, and the last never.
func commits(n, of int) bool { return n%2 == 0 && n != of-1 }

func lastCommitted(of int) int {
	for n := of - 1; ; n-- {
		if commits(n, of) {
			return n
		}
	}
}

func commitAndAbort(t *testing.T, cfg kafka.Config, lane, transactions int) {
	cl, err := cfg.Client(kgo.TransactionalID(fmt.Sprint("lane-", lane)), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Error(err)
		return
	}
	defer cl.Close()
	for n := range transactions {
		if err := cl.BeginTransaction(); err != nil {
			t.Error(err)
			return
		}
		for k := range 2 { // two requests, so that there is a moment in the middle
			rec := &kgo.Record{Topic: "t", Key: fmt.Appendf(nil, "%d-%d", lane, k), Value: fmt.Append(nil, n)}
			if err := cl.ProduceSync(limit(t), rec).FirstErr(); err != nil {
				t.Error(err)
				return
			}
		}
		if err := cl.EndTransaction(limit(t), kgo.TransactionEndTry(commits(n, transactions))); err != nil {
			t.Error(err)
			return
		}
	}
}
