package peers

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

// TestProcess waits for its line, and takes its children with it.
func TestProcess(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	dir := t.TempDir()
	p, err := Start(exec.Command("sh", "-c", "sleep 100 & echo child $!; printf 'run'; printf 'ning\n'; trap '' TERM; wait"), dir, seam.World())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Running(ctx); err != nil {
		t.Fatal(err)
	}
	if err := p.Check(); err != nil {
		t.Errorf("it runs, and yet: %v", err)
	}
	var child int
	for line := range strings.Lines(p.Log()) {
		if rest, ok := strings.CutPrefix(line, "child "); ok {
			for _, d := range strings.TrimSpace(rest) {
				child = child*10 + int(d-'0')
			}
		}
	}
	p.Kill()
	if p.Check() == nil {
		t.Error("it was killed, and yet it runs")
	}
	for syscall.Kill(child, 0) == nil {
		if stat, err := os.ReadFile("/proc/" + itoa(child) + "/stat"); err != nil || strings.Contains(string(stat), ") Z ") {
			break // init will reap it
		}
		if ctx.Err() != nil {
			t.Fatalf("the child %d lives", child)
		}
		<-time.After(5 * time.Millisecond)
	}
	p, err = Start(exec.Command("sh", "-c", "echo no such option; exit 3"), dir, seam.World())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Running(ctx); err == nil || !strings.Contains(err.Error(), "no such option") {
		t.Errorf("a peer that ends at once: %v", err)
	}
}

func itoa(n int) string {
	s := ""
	for ; n > 0; n /= 10 {
		s = string(rune('0'+n%10)) + s
	}
	return s
}

func TestSparkOffsets(t *testing.T) {
	const text = "v1\n{\"batchWatermarkMs\":0}\n{\"in\":{\"0\":12,\"3\":7},\"other\":{\"0\":1}}\n"
	at, err := sparkOffsets([]byte(text), "in")
	if err != nil || len(at) != 2 || at[0] != 12 || at[3] != 7 {
		t.Errorf("%v, %v", at, err)
	}
	if _, err := sparkOffsets([]byte("v1\n{"), "in"); err == nil {
		t.Error("half a line is taken")
	}
}

// TestSparkPosition is the last committed batch, not the last planned one.
func TestSparkPosition(t *testing.T) {
	j := Job{Dir: t.TempDir(), In: "in"}
	s := Spark{}
	if at, err := s.Position(t.Context(), nil, j); at != nil || err != nil {
		t.Errorf("before the first batch: %v, %v", at, err)
	}
	for name, text := range map[string]string{
		"offsets/9": `{"in":{"0":90}}`, "offsets/10": `{"in":{"0":100}}`, "offsets/11": `{"in":{"0":110}}`,
		"commits/9": "v1", "commits/10": "v1", "commits/.10.crc": "x",
	} {
		file := s.checkpoint(j) + "/" + name
		if err := os.MkdirAll(file[:strings.LastIndexByte(file, '/')], 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if at, err := s.Position(t.Context(), nil, j); err != nil || at[0] != 100 {
		t.Errorf("%v, %v", at, err)
	}
}

// TestCommands: what is fair must not differ between the forms of a peer.
func TestCommands(t *testing.T) {
	j := Job{Kafka: kafka.Config{Brokers: []string{"a:1", "b:2"}}, Dir: t.TempDir(), App: "x", In: "in",
		Interval: 100 * time.Millisecond, Workload: bench.Workload{Words: 1, Partitions: 4}}
	for _, expert := range []bool{false, true} {
		cmd, err := (Streams{Cache: t.TempDir(), Expert: expert}).Command(j)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(cmd.String(), " -Djava.io.tmpdir="+j.Dir+"/tmp ") {
			t.Errorf("a killed JVM leaves its libraries in /tmp: %v", cmd)
		}
		text, err := os.ReadFile(j.Dir + "/streams.properties")
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"processing.guarantee=exactly_once_v2", "commit.interval.ms=100", "bootstrap.servers=a:1,b:2", "job.words=true"} {
			if !strings.Contains(string(text), want+"\n") {
				t.Errorf("expert %v: no %s in\n%s", expert, want, text)
			}
		}
	}
	testSparkTmpdir(t, j)
	cmd, err := Tally{Binary: "tally", Lanes: 1, Memory: "64MB"}.Command(j)
	if err != nil || !strings.Contains(cmd.String(), "--commit-max 100ms --memory 64MB") {
		t.Errorf("%v, %v", cmd, err)
	}
}

func testSparkTmpdir(t *testing.T, j Job) {
	t.Helper()
	s := Spark{Cache: t.TempDir()}
	if err := os.MkdirAll(s.jars(), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, jar := range []string{"spark-sql-kafka-0", "spark-token-provider-kafka-0", "kafka-clients-1", "commons-pool2-1"} {
		if err := os.WriteFile(s.jars()+"/"+jar+".jar", nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Command(j); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(j.Dir + "/job.json")
	if err != nil || !strings.Contains(string(text), `"spark.driver.extraJavaOptions":"-Djava.io.tmpdir=`+j.Dir+`/tmp"`) {
		t.Errorf("%s, %v", text, err)
	}
	if _, err := os.Stat(j.Dir + "/tmp"); err != nil {
		t.Error(err) // a JVM does not make it
	}
}
