package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/seam/seamtest"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// As a child of a test this program is a broker (its argument is the data dir) or a node that waits
// to be killed.
const nodeEnv = "BROKER_TEST_NODE"

func TestMain(m *testing.M) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	switch {
	case os.Getenv(childEnv) != "":
		err := Main(ctx, MainOptions{DataDir: os.Args[1], IdleAfter: 2 * time.Second, Keep: true, Seam: seam.World(), Log: log})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case os.Getenv(nodeEnv) != "":
		if _, err := Ensure(ctx, options(os.Getenv(nodeEnv))); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("ready")
		select {}
	default:
		stop()
		os.Exit(m.Run())
	}
}

func options(dataDir string) Options {
	return Options{DataDir: dataDir, Command: []string{os.Args[0], dataDir}, Seam: seam.World()}
}

func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx := limit(t)
	for !ok() {
		if seam.World().Sleep(ctx, 20*time.Millisecond) != nil {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// ensure starts or finds a broker that the test ends.
func ensure(t *testing.T, dataDir string) *Running {
	t.Helper()
	r, err := Ensure(limit(t), options(dataDir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Release()
		if err := Stop(context.Background(), dataDir, seam.World()); err != nil {
			t.Error(err)
		}
	})
	return r
}

func config(r *Running) kafka.Config {
	return kafka.Config{Brokers: []string{r.Addr}, Seam: seam.World()}
}

func admin(t *testing.T, r *Running) *kafka.Admin {
	t.Helper()
	a, err := kafka.NewAdmin(config(r))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func running(dataDir string) bool {
	_, running, err := dir(filepath.Join(dataDir, "broker")).peek()
	return running || err != nil
}

// TestSameBrokerAgain ends the broker in every way, and finds address, id and records again.
func TestSameBrokerAgain(t *testing.T) {
	ctx := limit(t)
	data := t.TempDir()
	r := ensure(t, data)
	if !r.Started || len(r.Warnings) != 0 || !strings.HasPrefix(r.Addr, "127.0.0.1:") {
		t.Errorf("the first start: %+v", r)
	}
	again := ensure(t, data)
	if again.Started || again.PID != r.PID || again.Addr != r.Addr {
		t.Errorf("a second node found %+v, want that of %+v", again, r)
	}
	if err := admin(t, r).Create(ctx, kafka.TopicSpec{Name: "t", Partitions: -1, Replication: -1}); err != nil {
		t.Fatal(err)
	}
	produced := 0
	check := func(r *Running) {
		t.Helper()
		topic, ok, err := admin(t, r).Topic(ctx, "t")
		if err != nil || !ok || topic.Partitions != 4 {
			t.Fatalf("topic %+v, %v, %v", topic, ok, err)
		}
		n, err := kafka.ProduceLines(ctx, config(r), kafka.ProduceOptions{Topic: "t"}, strings.NewReader("a\nb\nc\n"), nil)
		if err != nil {
			t.Fatal(err)
		}
		produced += n
		got := 0
		err = kafka.Consume(ctx, config(r), kafka.ConsumeOptions{Topic: "t", FromStart: true, Limit: produced, Timeout: 10 * time.Second},
			func(kafka.Record) error { got++; return nil })
		if got != produced || err != nil {
			t.Errorf("consumed %d of %d: %v", got, produced, err)
		}
	}
	check(r)

	if err := Stop(ctx, data, seam.World()); err != nil || running(data) {
		t.Fatalf("Stop: %v, running %v", err, running(data))
	}
	second := ensure(t, data)
	if second.Addr != r.Addr || second.ClusterID != r.ClusterID || !second.Started || len(second.Warnings) != 0 {
		t.Errorf("after an orderly end: %+v, want the address and id of %+v", second, r)
	}
	check(second)

	if err := syscall.Kill(second.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	poll(t, "the end", func() bool { return !running(data) })
	third := ensure(t, data)
	if third.Addr != r.Addr || third.ClusterID != r.ClusterID || len(third.Warnings) != 1 || !strings.Contains(third.Warnings[0], "was killed") {
		t.Errorf("after SIGKILL: %+v", third)
	}
	check(third)
}

// TestNodesHoldTheBroker kills a node: the broker outlives it, and ends when no other comes.
func TestNodesHoldTheBroker(t *testing.T) {
	data := t.TempDir()
	node := exec.Command(os.Args[0])
	node.Env = append(os.Environ(), nodeEnv+"="+data)
	out, err := node.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	st, up, err := dir(filepath.Join(data, "broker")).peek()
	if err != nil || !up {
		t.Fatal(st, up, err)
	}
	if err := node.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = node.Wait()
	r, err := Ensure(limit(t), options(data)) // within IdleAfter
	if err != nil {
		t.Fatal(err)
	}
	if r.PID != st.PID || r.Started {
		t.Errorf("another broker runs: %+v, want process %d", r, st.PID)
	}
	second := ensure(t, data)
	if err := r.StopIfOurs(limit(t)); err != nil || !running(data) {
		t.Errorf("one of two nodes ended the broker (%v)", err)
	}
	second.Release()
	poll(t, "the broker to end by itself", func() bool { return !running(data) })
	if _, err := os.Stat(filepath.Join(data, "broker", "running")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it ended without an orderly end: %v", err)
	}
	last := ensure(t, data)
	if err := last.StopIfOurs(limit(t)); err != nil || running(data) {
		t.Errorf("the last node did not end the broker: %v", err)
	}
}

// TestStartFails tells why.
func TestStartFails(t *testing.T) {
	data := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := dir(filepath.Join(data, "broker"))
	if err := os.MkdirAll(string(d), 0o755); err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := d.saveIdentity(identity{ClusterID: "x", Port: port}); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("port %d of the embedded broker is used by another program", port)
	if _, err := Ensure(limit(t), options(data)); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	if unclean, err := d.unclean(); unclean || err != nil {
		t.Errorf("a start that came to nothing left the mark of an unclean end (%v)", err)
	}
	r := ensure(t, t.TempDir())
	hasty := seam.World()
	hasty.Now = seamtest.Fast(time.Now, 20)
	began := hasty.Now()
	err = Main(limit(t), MainOptions{DataDir: filepath.Dir(string(r.dir)), Seam: hasty})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("runs already (process %d at %s)", r.PID, r.Addr)) {
		t.Errorf("a second broker: %v", err)
	}
	if waited := hasty.Since(began); waited < lockWait {
		t.Errorf("a second broker has waited for %s", waited)
	}
}

func transactional(t *testing.T, r *Running, id string) *kgo.Client {
	t.Helper()
	cl, err := config(r).Client(kgo.TransactionalID(id), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// TestZombieIsRefused fences an owner, which then asks for its old id and epoch.
func TestZombieIsRefused(t *testing.T) {
	ctx := limit(t)
	r := ensure(t, t.TempDir())
	if v, err := admin(t, r).TransactionVersion(ctx); v != 2 || err != nil {
		t.Errorf("transaction.version %d, %v; want 2", v, err)
	}
	zombie, owner := transactional(t, r, "app.lane-0"), transactional(t, r, "app.lane-0")
	oldID, oldEpoch, err := zombie.ProducerID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	revive := func(id int64, epoch int16) (int16, error) {
		req := kmsg.NewPtrInitProducerIDRequest()
		txn := "app.lane-0"
		req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = &txn, 10_000, id, epoch
		resp, err := req.RequestWith(ctx, zombie)
		if err != nil {
			t.Fatal(err)
		}
		return resp.ProducerEpoch, kerr.ErrorForCode(resp.ErrorCode)
	}
	id, epoch, err := owner.ProducerID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := revive(oldID, oldEpoch); !errors.Is(err, kerr.ProducerFenced) {
		t.Errorf("the zombie got %v, want PRODUCER_FENCED", err)
	}
	if next, err := revive(id, epoch); err != nil || next != epoch+1 {
		t.Errorf("the owner itself got epoch %d, %v; want %d", next, err, epoch+1)
	}
}

// TestTransactions follows what lanes need of the embedded broker: an open transaction is
// described, holds up the last stable offset, and shows nothing when it is aborted.
func TestTransactions(t *testing.T) {
	ctx := limit(t)
	r := ensure(t, t.TempDir())
	a := admin(t, r)
	configs := map[string]string{"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.3", "min.compaction.lag.ms": "3600000"}
	if err := a.Create(ctx, kafka.TopicSpec{Name: "t", Partitions: 2, Replication: 1, Configs: configs}); err != nil {
		t.Fatal(err)
	}
	cl := transactional(t, r, "app.lane-0")
	write := func(value string) {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "t", Key: []byte("k"), Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	write("aborted")
	if err := cl.EndTransaction(ctx, kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	write("open")
	if tx, ok, err := a.DescribeTransaction(ctx, "app.lane-0"); err != nil || !ok || !tx.Open() {
		t.Errorf("described as %+v, %v, %v", tx, ok, err)
	}
	if ends, err := a.EndOffsets(ctx, "t", true); err != nil || ends[0] != 2 {
		t.Errorf("last stable offsets %v, %v; want 2", ends, err)
	}
	if err := cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := a.Read(ctx, "t", 0, 0, 4, func(r *kgo.Record) error { got = append(got, string(r.Value)); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0] != "open" {
		t.Errorf("read %q", got)
	}
}
