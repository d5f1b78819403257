package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/testkafka"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// limit bounds what a test waits for.
func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// sharedAdmin is an Admin of the shared real broker, and a topic of the test's own.
func sharedAdmin(t *testing.T, partitions int) (Config, *Admin, string) {
	t.Helper()
	cfg := Config{Brokers: testkafka.Shared(t).Addrs(), Seam: seam.World()}
	a, err := NewAdmin(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	topic := strings.ToLower(t.Name()) + "-" + seam.World().NewID()
	spec := TopicSpec{Name: topic, Partitions: partitions, Replication: -1, Configs: map[string]string{"retention.ms": "-1"}}
	if err := a.Create(limit(t), spec); err != nil {
		t.Fatal(err)
	}
	return cfg, a, topic
}

func TestTopics(t *testing.T) {
	_, a, topic := sharedAdmin(t, 3)
	ctx := limit(t)
	got, ok, err := a.Topic(ctx, topic)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if got.Partitions != 3 || got.Replication != 1 || len(got.ID) != 22 || got.Configs["retention.ms"] != "-1" || got.Configs["cleanup.policy"] != "delete" {
		t.Errorf("got %+v", got)
	}
	if err := a.Create(ctx, TopicSpec{Name: topic, Partitions: 1, Replication: 1}); !errors.Is(err, ErrTopicExists) {
		t.Errorf("a second Create: %v", err)
	}
	err = a.Create(ctx, TopicSpec{Name: topic + "-r3", Partitions: 1, Replication: 3})
	if err == nil || !strings.Contains(err.Error(), "too few brokers") {
		t.Errorf("three replicas on one broker: %v", err)
	}
	if err := a.AddPartitions(ctx, topic, 5); err != nil {
		t.Fatal(err)
	}
	if got, _, err := a.Topic(ctx, topic); err != nil || got.Partitions != 5 {
		t.Errorf("after AddPartitions: %+v, %v", got, err)
	}
	if err := a.DeleteTopics(ctx, topic, "never-was"); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := a.Topic(ctx, "never-was"); ok || err != nil {
		t.Errorf("a missing topic: %v, %v", ok, err)
	}
	if _, err := a.EndOffsets(ctx, "never-was", true); err == nil || !strings.Contains(err.Error(), `no topic "never-was"`) {
		t.Errorf("offsets of a missing topic: %v", err)
	}
}

func TestClusterAndFeatures(t *testing.T) {
	_, a, _ := sharedAdmin(t, 1)
	ctx := limit(t)
	if id, err := a.ClusterID(ctx); err != nil || id != testkafka.Shared(t).ID() {
		t.Errorf("cluster id %q, %v; formatted with %q", id, err, testkafka.Shared(t).ID())
	}
	if n, err := a.Brokers(ctx); n != 1 || err != nil {
		t.Errorf("%d brokers, %v", n, err)
	}
	if v, err := a.TransactionVersion(ctx); v != 2 || err != nil {
		t.Errorf("transaction.version %d, %v", v, err)
	}
}

// transactional is a client with an open transaction that has written one record.
func transactional(t *testing.T, cfg Config, id, topic string, values ...string) *kgo.Client {
	t.Helper()
	cl, err := cfg.Client(kgo.TransactionalID(id), kgo.TransactionTimeout(20*time.Second), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.CloseAllowingRebalance)
	inTransaction(t, cl, topic, values...)
	return cl
}

// inTransaction begins one and writes to partition 0.
func inTransaction(t *testing.T, cl *kgo.Client, topic string, values ...string) {
	t.Helper()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		cl.Produce(t.Context(), &kgo.Record{Topic: topic, Value: []byte(v)}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := cl.Flush(limit(t)); err != nil {
		t.Fatal(err)
	}
}

func end(t *testing.T, cl *kgo.Client, how kgo.TransactionEndTry) {
	t.Helper()
	if err := cl.EndTransaction(limit(t), how); err != nil {
		t.Fatal(err)
	}
}

// TestTransactionsAndOffsets follows one transactional id, and what the topic's and the group's
// offsets say while its transaction is open and after.
func TestTransactionsAndOffsets(t *testing.T) {
	cfg, a, topic := sharedAdmin(t, 2)
	ctx := limit(t)
	id := topic + ".lane-0"
	if _, ok, err := a.DescribeTransaction(ctx, id); ok || err != nil {
		t.Fatalf("an unknown id: %v, %v", ok, err)
	}
	cl := transactional(t, cfg, id, topic, "a", "b")
	commitOffset(t, cl, id, topic, 0, 7)
	tx, ok, err := a.DescribeTransaction(ctx, id)
	if err != nil || !ok || !tx.Open() || tx.StartMs <= 0 || len(tx.Topics[topic]) != 1 {
		t.Errorf("while open: %+v, %v, %v", tx, ok, err)
	}
	wantEnds(t, a, topic, true, 0)
	wantEnds(t, a, topic, false, 2)

	// The open transaction holds up a question about its partition, and about no other.
	if got, err := a.GroupOffsets(ctx, id, topic, 1); err != nil || len(got) != 0 {
		t.Errorf("offsets of partition 1 while 0 is pending: %v, %v", got, err)
	}
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if got, err := a.GroupOffsets(short, id, topic, 0); err == nil {
		t.Errorf("a pending offset was answered: %v", got)
	} else if !strings.Contains(err.Error(), "UNSTABLE_OFFSET_COMMIT") {
		t.Errorf("the error hides why: %v", err)
	}

	end(t, cl, kgo.TryCommit)
	if got, err := a.GroupOffsets(ctx, id, topic); err != nil || len(got) != 1 || got[0] != 7 {
		t.Errorf("offsets after the commit: %v, %v", got, err)
	}
	wantEnds(t, a, topic, true, 3) // two records and the marker
	if tx, _, err := a.DescribeTransaction(ctx, id); err != nil || tx.Open() {
		t.Errorf("after the commit: %+v, %v", tx, err)
	}
	if starts, err := a.StartOffsets(ctx, topic); err != nil || len(starts) != 2 || starts[0] != 0 {
		t.Errorf("start offsets %v, %v", starts, err)
	}
}

// wantEnds waits for an end offset of partition 0: markers come a little after EndTxn's answer.
func wantEnds(t *testing.T, a *Admin, topic string, committed bool, want int64) {
	t.Helper()
	ctx := limit(t)
	for {
		got, err := a.EndOffsets(ctx, topic, committed)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 2 && got[0] == want {
			return
		}
		if err := seam.World().Sleep(ctx, 5*time.Millisecond); err != nil {
			t.Fatalf("the end offsets (committed %v) stay at %v, want %d", committed, got, want)
		}
	}
}

func commitOffset(t *testing.T, cl *kgo.Client, group, topic string, partition int32, offset int64) {
	t.Helper()
	id, epoch, err := cl.ProducerID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch = group, group, id, epoch
	rt := kmsg.NewTxnOffsetCommitRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	rp.Partition, rp.Offset = partition, offset
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(limit(t), cl)
	if err != nil {
		t.Fatal(err)
	}
	if code := resp.Topics[0].Partitions[0].ErrorCode; code != 0 {
		t.Fatalf("commit the offset: error %d", code)
	}
}

// TestReadReachesTheEnd reads a partition whose last offsets are no records: commit and abort
// markers, and aborted records. A consumer would wait there for ever.
func TestReadReachesTheEnd(t *testing.T) {
	cfg, a, topic := sharedAdmin(t, 2)
	ctx := limit(t)
	cl := transactional(t, cfg, topic+".lane-0", topic, "a", "b")
	end(t, cl, kgo.TryCommit)
	inTransaction(t, cl, topic, "x", "y")
	end(t, cl, kgo.TryAbort)
	wantEnds(t, a, topic, true, 6)
	read := func(from, to int64) string {
		var got []string
		if err := a.Read(ctx, topic, 0, from, to, func(r *kgo.Record) error {
			got = append(got, fmt.Sprintf("%d=%s", r.Offset, r.Value))
			return nil
		}); err != nil {
			t.Error(err)
		}
		return strings.Join(got, " ")
	}
	for _, tt := range []struct {
		from, to int64
		want     string
	}{{0, 6, "0=a 1=b"}, {0, 1, "0=a"}, {1, 6, "1=b"}, {2, 6, ""}, {3, 5, ""}, {6, 6, ""}} {
		if got := read(tt.from, tt.to); got != tt.want {
			t.Errorf("[%d, %d): got %q, want %q", tt.from, tt.to, got, tt.want)
		}
	}
	stop := errors.New("stop")
	if err := a.Read(ctx, topic, 0, 0, 6, func(*kgo.Record) error { return stop }); err != stop {
		t.Errorf("the callback's error came back as %v", err)
	}
	// An open transaction ends what can be read: the wait for more ends with the context, and says
	// why.
	inTransaction(t, cl, topic, "z")
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	if err := a.Read(short, topic, 0, 0, 7, func(*kgo.Record) error { return nil }); err == nil {
		t.Error("an open transaction was read")
	}
	end(t, cl, kgo.TryAbort)
}

func TestTail(t *testing.T) {
	cfg, a, topic := sharedAdmin(t, 2)
	ctx := limit(t)
	if err := a.Tail(ctx, topic, 0, func(*kgo.Record) bool { t.Error("an empty partition has a record"); return true }); err != nil {
		t.Fatal(err)
	}
	const n = 2500 // more than the first window
	var values []string
	for i := range n {
		values = append(values, fmt.Sprint(i))
	}
	cl := transactional(t, cfg, topic+".lane-0", topic, values...)
	end(t, cl, kgo.TryCommit)
	inTransaction(t, cl, topic, "aborted")
	end(t, cl, kgo.TryAbort)
	wantEnds(t, a, topic, true, n+3)
	next := n - 1
	err := a.Tail(ctx, topic, 0, func(r *kgo.Record) bool {
		if string(r.Value) != fmt.Sprint(next) {
			t.Fatalf("got %q, want %d: newest first, each once", r.Value, next)
		}
		next--
		return false
	})
	if err != nil || next != -1 {
		t.Errorf("it ended before %d: %v", next, err)
	}
	calls := 0
	if err := a.Tail(ctx, topic, 0, func(*kgo.Record) bool { calls++; return true }); err != nil || calls != 1 {
		t.Errorf("accept was called %d times, %v", calls, err)
	}
	if err := a.Tail(ctx, topic, 9, func(*kgo.Record) bool { return true }); err == nil {
		t.Error("a partition that does not exist has a tail")
	}
}

func TestGroupMembers(t *testing.T) {
	cfg, a, topic := sharedAdmin(t, 1)
	ctx := limit(t)
	if n, state, err := a.GroupMembers(ctx, topic+"-none"); n != 0 || state != "Dead" || err != nil {
		t.Errorf("a group that is not there: %d, %q, %v", n, state, err)
	}
	for name, opts := range map[string][]kgo.Opt{
		"classic": {kgo.ConsumerGroup(topic + "-classic")},
		"new":     {kgo.ConsumerGroup(topic + "-new"), kgo.ServerSideBalancer()},
	} {
		cl, err := cfg.Client(append(opts, kgo.ConsumeTopics(topic))...)
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		go cl.PollFetches(ctx)
		for {
			n, state, err := a.GroupMembers(ctx, topic+"-"+name)
			if err != nil {
				t.Fatal(err)
			}
			if n == 1 && state == "Stable" {
				break
			}
			if seam.World().Sleep(ctx, 20*time.Millisecond) != nil {
				t.Fatalf("%s: %d members, %s", name, n, state)
			}
		}
	}
}

func TestProduceAndConsume(t *testing.T) {
	cfg, _, topic := sharedAdmin(t, 4)
	ctx := limit(t)
	var lines strings.Builder
	const n = 3000
	for i := range n {
		fmt.Fprintf(&lines, "k%d:v%d\n", i%50, i)
	}
	var last int
	acked, err := ProduceLines(ctx, cfg, ProduceOptions{Topic: topic, Key: KeyByDelimiter(":")}, strings.NewReader(lines.String()), func(a int) { last = a })
	if acked != n || last != n || err != nil {
		t.Fatalf("%d acknowledged, %d told, %v", acked, last, err)
	}
	newest := map[string]int{}
	got := 0
	err = Consume(ctx, cfg, ConsumeOptions{Topic: topic, FromStart: true, Limit: n}, func(r Record) error {
		got++
		if want := PartitionMurmur2(r.Key, 4); r.Partition != want {
			t.Errorf("key %s lies in partition %d, want %d", r.Key, r.Partition, want)
		}
		var i int
		if _, err := fmt.Sscanf(string(r.Value), "v%d", &i); err != nil || r.TimestampMs == 0 {
			t.Errorf("got %+v", r)
		}
		if prev, ok := newest[string(r.Key)]; ok && i <= prev {
			t.Errorf("key %s: %d after %d", r.Key, i, prev)
		}
		newest[string(r.Key)] = i
		return nil
	})
	if got != n || err != nil {
		t.Errorf("consumed %d, %v", got, err)
	}
	// From the end there is nothing: the timeout ends it.
	if err := Consume(ctx, cfg, ConsumeOptions{Topic: topic, Timeout: time.Second}, func(r Record) error {
		return fmt.Errorf("a record at the end: %+v", r)
	}); err != nil {
		t.Error(err)
	}
	acked, err = ProduceLines(ctx, cfg, ProduceOptions{Topic: topic, Key: KeyByDelimiter(":")}, strings.NewReader("a:1\nb\nc:3\n"), nil)
	if acked != 1 || err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a line without a key: %d acknowledged, %v", acked, err)
	}
	silent, nobody := io.Pipe() // a terminal at which nobody types
	ending, end := context.WithCancel(ctx)
	_, err = ProduceLines(ending, cfg, ProduceOptions{Topic: topic}, readSignal{silent, end}, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted while it reads: %v", err)
	}
	_ = nobody.Close()
	if _, err := ProduceLines(ctx, cfg, ProduceOptions{Topic: "never-was"}, strings.NewReader("x"), nil); err == nil || !strings.Contains(err.Error(), "kafka-topics") {
		t.Errorf("a missing topic: %v", err)
	}
	if _, err := ProduceLines(ctx, cfg, ProduceOptions{Topic: topic, LineBytesMax: 10}, strings.NewReader(strings.Repeat("x", 100)), nil); err == nil {
		t.Error("a line beyond the limit was taken")
	}
}

// TestUnreachable gives up with the context, and the error names the address and why.
func TestUnreachable(t *testing.T) {
	var mu sync.Mutex
	dials := 0
	s := seam.World()
	dial := s.Dial
	s.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		mu.Lock()
		dials++
		mu.Unlock()
		return dial(ctx, network, addr)
	}
	a, err := NewAdmin(Config{Brokers: []string{"127.0.0.1:1"}, Seam: s})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	err = a.Reachable(ctx)
	if err == nil || !strings.Contains(err.Error(), "no Kafka listens there") || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("got %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if dials < 3 {
		t.Errorf("%d dials through the seam; it should have tried again", dials)
	}
}

// TestSecurity runs a client.properties of each kind against a real SASL_SSL listener.
func TestSecurity(t *testing.T) {
	c := testkafka.Start(t, testkafka.Options{SASLSSL: true})
	base := "bootstrap.servers=" + c.Secure()[0] + "\nssl.truststore.type=PEM\nssl.truststore.location=" + c.CA() + "\n"
	jaas := func(module, password string) string {
		return fmt.Sprintf("sasl.jaas.config=org.apache.kafka.common.security.%sLoginModule required username=%q password=%q;\n",
			module, testkafka.User, password)
	}
	ca, err := os.ReadFile(c.CA())
	if err != nil {
		t.Fatal(err)
	}
	inline := "bootstrap.servers=" + c.Secure()[0] + "\nssl.truststore.type=PEM\nssl.truststore.certificates=" +
		strings.ReplaceAll(strings.TrimSpace(string(ca)), "\n", "\\n\\\n ") + "\n"
	const sasl = "security.protocol=SASL_SSL\nsasl.mechanism="
	tests := []struct{ name, text, want string }{
		{"PLAIN", base + sasl + "PLAIN\n" + jaas("plain.Plain", testkafka.Password), ""},
		{"SCRAM-SHA-256", base + sasl + "SCRAM-SHA-256\n" + jaas("scram.Scram", testkafka.Password), ""},
		{"SCRAM-SHA-512 and a certificate", base + sasl + "SCRAM-SHA-512\nssl.keystore.type=PEM\nssl.keystore.location=" + c.ClientPEM() + "\n" +
			jaas("scram.Scram", testkafka.Password), ""},
		{"the authority inline, the password from the environment", inline + sasl + "PLAIN\nsasl.username=alice\nsasl.password=${env:PW}\n", ""},
		{"another host name", strings.Replace(base, "127.0.0.1", "localhost", 1) + sasl + "PLAIN\n" + jaas("plain.Plain", testkafka.Password), "certificate is not for this host name"},
		{"another host name, accepted", strings.Replace(base, "127.0.0.1", "localhost", 1) + sasl + "PLAIN\nssl.endpoint.identification.algorithm=\n" +
			jaas("plain.Plain", testkafka.Password), ""},
		{"no name asked for, an unknown authority", "bootstrap.servers=" + c.Secure()[0] + "\nssl.endpoint.identification.algorithm=\n" + sasl + "PLAIN\n" +
			jaas("plain.Plain", testkafka.Password), "unknown authority"},
		{"a wrong password", base + sasl + "PLAIN\n" + jaas("plain.Plain", "wrong"), `refused the user "alice"`},
		{"a wrong SCRAM password", base + sasl + "SCRAM-SHA-256\n" + jaas("scram.Scram", "wrong"), `refused the user "alice"`},
		{"an unknown authority", "bootstrap.servers=" + c.Secure()[0] + "\n" + sasl + "PLAIN\n" + jaas("plain.Plain", "x"), "unknown authority"},
		{"no TLS", "bootstrap.servers=" + c.Secure()[0] + "\nsecurity.protocol=PLAINTEXT\n", "wants another security.protocol than PLAINTEXT"},
		{"TLS to a plain listener", "bootstrap.servers=" + c.Addrs()[0] + "\nsecurity.protocol=SSL\n", "TLS"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg, err := load(t, tt.text, map[string]string{"PW": testkafka.Password})
			if err != nil {
				t.Fatal(err)
			}
			a, err := NewAdmin(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			wait := 20 * time.Second
			if tt.want != "" {
				wait = 3 * time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			id, err := a.ClusterID(ctx)
			if tt.want == "" && (err != nil || id != c.ID()) {
				t.Errorf("cluster id %q, %v", id, err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), testkafka.Password)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// readSignal calls begun at each read.
type readSignal struct {
	io.Reader
	begun func()
}

func (r readSignal) Read(p []byte) (int, error) {
	r.begun()
	return r.Reader.Read(p)
}
