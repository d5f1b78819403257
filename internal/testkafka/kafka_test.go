package testkafka

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// childEnv makes this test program start a broker, print its process id and wait to be killed.
const childEnv = "TESTKAFKA_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	c, err := Launch(Options{})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("pid", c.PID(1))
	select {}
}

func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// poll waits for a condition.
func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx := limit(t)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}

func client(t *testing.T, addrs []string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addrs...), kgo.MetadataMinAge(50 * time.Millisecond), kgo.UnknownTopicRetries(-1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func createTopic(t *testing.T, cl *kgo.Client, topic string, replicas int16) {
	t.Helper()
	resp, err := kadm.NewClient(cl).CreateTopic(limit(t), 1, replicas, nil, topic)
	if err != nil || resp.Err != nil {
		t.Fatal(err, resp.Err)
	}
	poll(t, "the leader of "+topic, func() bool {
		meta, err := kadm.NewClient(cl).Metadata(limit(t), topic)
		return err == nil && len(meta.Topics[topic].Partitions) == 1 && meta.Topics[topic].Partitions[0].Leader > 0
	})
}

func produce(t *testing.T, cl *kgo.Client, topic, value string) {
	t.Helper()
	if err := cl.ProduceSync(limit(t), &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// ends are the end offset of partition 0 and its last stable offset.
func ends(t *testing.T, cl *kgo.Client, topic string) (end, stable int64) {
	t.Helper()
	all, err := kadm.NewClient(cl).ListEndOffsets(limit(t), topic)
	if err != nil {
		t.Fatal(err)
	}
	committed, err := kadm.NewClient(cl).ListCommittedOffsets(limit(t), topic)
	if err != nil {
		t.Fatal(err)
	}
	return all[topic][0].Offset, committed[topic][0].Offset
}

// TestNode kills, restarts, stops and continues one node, and cuts requests in front of it.
func TestNode(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it needs a real Kafka")
	}
	c := Start(t, Options{Proxy: true, Props: map[string]string{"num.partitions": "3"}})
	direct := client(t, c.Addrs())
	createTopic(t, direct, "t", 1)
	produce(t, direct, "t", "a")
	if maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", c.PID(1))); err != nil || !strings.Contains(string(maps), "/classes-") {
		t.Errorf("the JVM does not use the archive of classes, which makes its start short (%v)", err)
	}

	ended := c.Ended(1)
	select {
	case <-ended:
		t.Error("a node that runs has ended")
	default:
	}
	c.Kill(1)
	<-ended
	given, up := context.WithCancel(t.Context())
	up()
	if err := c.Restart(given, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("a start that nobody waits for any more: %v", err)
	}
	if err := c.Restart(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if end, _ := ends(t, direct, "t"); end != 1 {
		t.Errorf("after kill and restart the topic ends at %d, want 1", end)
	}

	c.Stop(1)
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := direct.Ping(short); err == nil {
		t.Error("a stopped node answered")
	}
	c.Cont(1)
	produce(t, direct, "t", "b")

	for _, version := range []int{1, 2} {
		if err := c.SetTransactionVersion(limit(t), version); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("the answer of EndTxn is lost", func(t *testing.T) { cutEndTxn(t, c, direct, DropAnswer, true) })
	t.Run("EndTxn is lost", func(t *testing.T) { cutEndTxn(t, c, direct, DropRequest, false) })
}

// cutEndTxn commits through the proxy, which cuts EndTxn and everything after it, and looks past
// the proxy at what became of the transaction.
func cutEndTxn(t *testing.T, c *Cluster, direct *kgo.Client, do Action, wantCommitted bool) {
	proxy := c.Proxy(1)
	defer proxy.Heal()
	topic := fmt.Sprintf("cut-%d", do)
	createTopic(t, direct, topic, 1)
	cl := client(t, c.ProxyAddrs(), kgo.TransactionalID(topic))
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, cl, topic, "a")
	hits := proxy.Fail(Fault{Key: KeyEndTxn, Do: do, OnHit: proxy.Cut})
	defer hits.Remove()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := cl.EndTransaction(ctx, kgo.TryCommit); err == nil {
		t.Error("the client learned of the commit")
	}
	if hits.Count() != 1 {
		t.Fatalf("%d requests were cut, want 1", hits.Count())
	}
	if wantCommitted {
		poll(t, "the commit", func() bool { end, stable := ends(t, direct, topic); return stable == end && end == 2 })
		return
	}
	if end, stable := ends(t, direct, topic); end != 1 || stable != 0 {
		t.Errorf("the topic ends at %d, stable at %d; the transaction should be open", end, stable)
	}
}

// TestThreeNodes kills the leader of a partition; the other two go on.
func TestThreeNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: three nodes take 10 to 20 s to start")
	}
	c := Start(t, Options{Nodes: 3})
	cl := client(t, c.Addrs())
	createTopic(t, cl, "t", 3)
	produce(t, cl, "t", "a")
	meta, err := kadm.NewClient(cl).Metadata(limit(t), "t")
	if err != nil {
		t.Fatal(err)
	}
	leader := int(meta.Topics["t"].Partitions[0].Leader)
	c.Kill(leader)
	produce(t, cl, "t", "b")
	if err := c.Restart(t.Context(), leader); err != nil {
		t.Fatal(err)
	}
	if end, _ := ends(t, cl, "t"); end != 2 {
		t.Errorf("the topic ends at %d, want 2", end)
	}
}

// TestDiesWithItsProcess kills a process that runs a broker, and sees the broker go too.
func TestDiesWithItsProcess(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it needs a real Kafka")
	}
	if _, err := jars(); err != nil {
		t.Skipf("left out, it needs a real Kafka: %v", err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(line), "pid "))
	if err != nil {
		t.Fatalf("the child said %q", line)
	}
	if !alive(pid) {
		t.Fatal("the broker does not run")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	poll(t, "the end of the broker", func() bool { return !running(pid) })
}

// running is alive, but not for a zombie, which a container without a reaping init keeps.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}
