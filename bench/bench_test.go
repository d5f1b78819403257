package bench

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/testkafka"
)

var scale = flag.Float64("scale", 1, "multiplies the number of events")

// peerEnv marks the process that runs the limit: a process of its own, as tally's is.
const peerEnv = "TALLY_BENCH_LIMIT"

func TestMain(m *testing.M) {
	if job := os.Getenv(peerEnv); job != "" {
		if err := runPeer(job); err != nil {
			fmt.Fprintln(os.Stderr, "limit:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	os.Exit(m.Run())
}

// peerJob is what the limit's process is told.
type peerJob struct {
	Brokers     []string
	Workload    Workload
	Topic, Name string
}

func runPeer(text string) error {
	var job peerJob
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		return err
	}
	cfg := kafka.Config{Brokers: job.Brokers, Seam: seam.World()}
	sum, err := Limit(context.Background(), cfg, job.Workload, job.Topic, job.Name)
	if err == nil {
		fmt.Println(sum)
	}
	return err
}

func BenchmarkCountPerKey(b *testing.B) {
	compare(b, Workload{Name: "keys", Events: scaled(2_000_000), Keys: 50_000})
}

func BenchmarkWordsPerKey(b *testing.B) {
	compare(b, Workload{Name: "words", Events: scaled(200_000), Keys: 10_000, Words: 10})
}

func scaled(events int) int { return max(1000, int(float64(events)**scale)) }

// compare measures tally and the limit in turn on the same events.
func compare(b *testing.B, w Workload) {
	cfg := kafka.Config{Brokers: testkafka.Shared(b).Addrs(), Seam: seam.World()}
	dir := b.TempDir()
	binary := filepath.Join(dir, "tally")
	if out, err := exec.Command("go", "build", "-o", binary, "../cmd/tally").CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	topic := fmt.Sprintf("%s-%d", w.Name, os.Getpid())
	if err := w.Fill(ctx, cfg, topic); err != nil {
		b.Fatal(err)
	}
	run := 0
	measure := func(b *testing.B, f func(name string) (int64, Usage, error)) {
		var all Usage
		for range b.N {
			run++
			sum, u, err := f(fmt.Sprintf("%s-%d", topic, run))
			if err != nil {
				b.Fatal(err)
			}
			if sum != int64(w.Counts()) {
				b.Fatalf("the counts add up to %d, not to %d", sum, w.Counts())
			}
			all.Took, all.CPU, all.RSSMB = all.Took+u.Took, all.CPU+u.CPU, max(all.RSSMB, u.RSSMB)
		}
		events := float64(w.Events) * float64(b.N)
		b.ReportMetric(events/all.Took.Seconds(), "events/s")
		b.ReportMetric(all.CPU.Seconds()/events*1e6, "cpu-s/Mevents")
		b.ReportMetric(float64(all.RSSMB), "MB-rss")
	}
	b.Run("limit", func(b *testing.B) {
		measure(b, func(name string) (int64, Usage, error) { return peer(ctx, cfg, w, topic, name) })
	})
	b.Run("tally", func(b *testing.B) {
		measure(b, func(name string) (int64, Usage, error) {
			return Tally(ctx, cfg, w, binary, dir, topic, name, freeAddr(b))
		})
	})
}

// peer runs the limit in a process of its own.
func peer(ctx context.Context, cfg kafka.Config, w Workload, topic, name string) (sum int64, u Usage, err error) {
	job, err := json.Marshal(peerJob{cfg.Brokers, w, topic, name})
	if err != nil {
		return 0, u, err
	}
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), peerEnv+"="+string(job))
	cmd.Stderr = os.Stderr
	began := time.Now()
	out, err := cmd.Output()
	if err != nil {
		return 0, u, err
	}
	took := time.Since(began)
	_, err = fmt.Sscan(string(out), &sum)
	return sum, UsageOf(cmd.ProcessState, took), err
}

func freeAddr(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestEventsAreTheSame keeps runs comparable, and the words within what a workload says.
func TestEventsAreTheSame(t *testing.T) {
	w := Workload{Events: 1000, Keys: 10, Words: 5}
	a, b := chance(1), chance(1)
	for range w.Events {
		key, value := w.event(&a)
		key2, value2 := w.event(&b)
		if string(key) != string(key2) || string(value) != string(value2) {
			t.Fatalf("%s %s and %s %s", key, value, key2, value2)
		}
		items := 0
		w.Items(key, value, func(string) { items++ })
		if items != w.Words {
			t.Fatalf("%q has %d items", value, items)
		}
	}
}
