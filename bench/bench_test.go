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
	"sync"
	"testing"
	"time"

	"github.com/tally-kafka/tally/bench/measure"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/testkafka"
)

// warmed is done when the brokers have had a run that does not count: their code is compiled in the
// first one, which would pay for it alone.
var warmed sync.Once

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

func runPeer(text string) error {
	var job LimitJob
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		return err
	}
	sum, err := job.Run(context.Background(), seam.World())
	if err != nil {
		return err
	}
	u, err := measure.Of(os.Getpid()) // as tally's is taken: the system counts the parent's memory in, from before the exec
	if err == nil {
		fmt.Println(sum, u.PeakRSS/1_000_000)
	}
	return err
}

func BenchmarkCountPerKey(b *testing.B) {
	compare(b, Workload{Name: "keys", Events: scaled(2_000_000), Keys: 50_000, Partitions: 4})
}

func BenchmarkWordsPerKey(b *testing.B) {
	compare(b, Workload{Name: "words", Events: scaled(200_000), Keys: 10_000, Words: 10, Partitions: 4})
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
	warmed.Do(func() {
		if _, _, err := peer(ctx, cfg, w, topic, topic+"-warm"); err != nil {
			b.Fatal(err)
		}
	})
	run := 0
	turn := func(b *testing.B, f func(name string) (int64, Usage, error)) {
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
		turn(b, func(name string) (int64, Usage, error) { return peer(ctx, cfg, w, topic, name) })
	})
	b.Run("tally", func(b *testing.B) {
		turn(b, func(name string) (int64, Usage, error) {
			return Tally(ctx, cfg, w, binary, dir, topic, name, freeAddr(b))
		})
	})
}

// peer runs the limit in a process of its own.
func peer(ctx context.Context, cfg kafka.Config, w Workload, topic, name string) (sum int64, u Usage, err error) {
	job, err := json.Marshal(LimitJob{cfg.Brokers, w, topic, name, 250 * time.Millisecond})
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
	u.Took, u.CPU = time.Since(began), cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()
	_, err = fmt.Sscan(string(out), &sum, &u.RSSMB)
	return sum, u, err
}

func freeAddr(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
