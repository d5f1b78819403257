package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/seam"
)

// screen is an Out that may be looked at while the demo writes.
type screen struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

var builtIn string // where build has put the binary, "" for nowhere

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(builtIn)
	os.Exit(code)
}

// build makes the binary, once for all tests.
var build = sync.OnceValues(func() (binary string, err error) {
	if builtIn, err = os.MkdirTemp("", "tally-demo-test-"); err != nil {
		return "", err
	}
	binary = filepath.Join(builtIn, "tally")
	out, err := exec.Command("go", "build", "-pgo=off", "-o", binary, "../../cmd/tally").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return binary, nil
})

func buildTally(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("left out: it builds the binary and runs it")
	}
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// TestDemo runs the demo with the real binary, and looks for what it leaves behind.
func TestDemo(t *testing.T) {
	binary := buildTally(t)
	t.Run("to its end", func(t *testing.T) { runToItsEnd(t, binary) })
	t.Run("interrupted", func(t *testing.T) { runInterrupted(t, binary) })
	t.Run("a full directory", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		err := Run(t.Context(), Options{Binary: binary, Dir: dir, Out: &screen{}, Err: &screen{}, Seam: seam.World()})
		var code interface{ ExitCode() int }
		if err == nil || !strings.Contains(err.Error(), "is not empty") || !errors.As(err, &code) || code.ExitCode() != 2 {
			t.Errorf("the demo ended with %v", err)
		}
	})
}

// What a demo has started ends with it, also where it cannot do anything for that any more.
func TestChildrenEndWithTheDemo(t *testing.T) {
	s := &show{opt: Options{Binary: buildTally(t), Seam: seam.World()}, dir: t.TempDir(), view: newView(&screen{}, false)}
	if err := s.startBroker(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.broker.kill()
	if err := s.ownEnd.Close(); err != nil { // as the end of a process does
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := s.broker.wait(time.Minute); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("the broker of a demo that was killed: %v\n%s", err, s.broker.tail())
	}
}

// What --kafka-config names and is not there, or is no such file, is a mistake of the command line.
func TestKafkaConfigThatIsNotThere(t *testing.T) {
	dir := t.TempDir()
	err := Run(t.Context(), Options{
		Binary: "true", Dir: filepath.Join(dir, "data"), KafkaConfig: filepath.Join(dir, "none"), Out: &screen{}, Err: &screen{}, Seam: seam.World(),
	})
	var code interface{ ExitCode() int }
	if !errors.Is(err, os.ErrNotExist) || !errors.As(err, &code) || code.ExitCode() != 2 {
		t.Errorf("the demo ended with %v", err)
	}
}

// runToItsEnd runs a short demo as a user sees it.
func runToItsEnd(t *testing.T, binary string) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	out := &screen{}
	err := Run(t.Context(), Options{
		Binary: binary, Out: out, Err: out, Seam: seam.World(), Listen: "127.0.0.1:0", Events: 4000, PerSecond: 1000,
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		`three nodes of one cluster, \d+ ms after their start: a, b and c at http://127\.0\.0\.1:\d+, `,
		`node [abc]  pid \d+ +owns lanes? \d(, \d)*, follows lanes? \d(, \d)*  \(leads the cluster\)\n`,
		`kill -9 of node [abc], pid \d+, which owns lanes? \d(, \d)*: .* open, with [1-9]\d* records uncommitted\n`,
		`takeover: \d+ ms from the kill to the next output of lanes? \d(, \d)* \(lane \d at node [abc], fenced in \d+ ms`,
		`node [abc] is back, pid \d+: after \d+ ms it owns .* again and follows .*; lane \d took \d+ changelog records to restore`,
		`tally audit, which recounts the input: exact`,
		`exact: 4000 events, \d+ groups, 0 differences\n$`,
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("no line like %q in\n%s", want, out)
		}
	}
	checkNothingLeft(t, temp, out.String())
}

// runInterrupted cancels a demo in the middle, as Ctrl-C does.
func runInterrupted(t *testing.T, binary string) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &screen{}
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, Options{Binary: binary, Out: out, Err: out, Seam: seam.World(), Listen: "127.0.0.1:0"})
	}()
	for limit := time.After(time.Minute); !strings.Contains(out.String(), "counted"); {
		select {
		case err := <-ended:
			t.Fatalf("ended before it was interrupted: %v\n%s", err, out)
		case <-limit:
			t.Fatalf("nothing counted within a minute\n%s", out)
		case <-time.After(20 * time.Millisecond):
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v, want the context's end", err)
	}
	checkNothingLeft(t, temp, out.String())
}

func checkNothingLeft(t *testing.T, temp, said string) {
	t.Helper()
	left, err := os.ReadDir(temp)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		t.Errorf("left behind: %s", e.Name())
	}
	pids := regexp.MustCompile(`pid (\d+)`).FindAllStringSubmatch(said, -1)
	if len(pids) < 5 { // a broker, three nodes, a producer
		t.Errorf("only %d process ids in\n%s", len(pids), said)
	}
	for _, m := range pids {
		pid, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		if syscall.Kill(pid, 0) == nil {
			t.Errorf("process %d still runs", pid)
		}
	}
}

// TestSentence says that the words which the demo counts are those that a reader finds in the text.
func TestSentence(t *testing.T) {
	c := chance(1)
	for range 1000 {
		_, said, text := c.sentence()
		read := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" ,-.!?", r) })
		if strings.Join(read, " ") != strings.Join(said, " ") {
			t.Fatalf("%q is counted as %q", text, said)
		}
	}
}

func TestAgainst(t *testing.T) {
	want := map[group]int64{{"ada", "kafka"}: 3, {"ada", "spark"}: 1}
	got := map[group]int64{{"ada", "kafka"}: 2, {"alan", "raft"}: 1}
	differences := against("the answer", got, want)
	if all := strings.Join(differences, "; "); all != "the answer of ada kafka: 2, sent 3; "+
		"the answer of ada spark: 0, sent 1; the answer of alan raft: 1, never sent" {
		t.Error(all)
	}
	if d := against("the answer", want, want); d != nil {
		t.Errorf("equal counts differ: %v", d)
	}
}

func TestOutputsMustRise(t *testing.T) {
	o := &outputs{last: map[counter]int64{}}
	for i, r := range []struct {
		partition  int32
		key, value string
		faults     int
	}{
		{0, "ada", `{"item":"kafka","count":2}`, 0},
		{1, "ada", `{"item":"kafka","count":1}`, 0}, // another partition, another counter
		{0, "ada", `{"item":"kafka","count":5}`, 0},
		{0, "ada", `{"item":"kafka","count":5}`, 1},
		{0, "ada", `{"item":"kafka","count":4}`, 2},
		{0, "ada", `kafka`, 3},
	} {
		o.add(&kgo.Record{Partition: r.partition, Key: []byte(r.key), Value: []byte(r.value)})
		if len(o.faults) != r.faults {
			t.Errorf("after record %d: %d faults, want %d: %v", i, len(o.faults), r.faults, o.faults)
		}
	}
	if got := o.totals()[group{"ada", "kafka"}]; got != 5 {
		t.Errorf("the total is %d, want the last 4 and the other partition's 1", got)
	}
}

func TestDifferenceErrorIsShort(t *testing.T) {
	e := &DifferenceError{Differences: make([]string, 1000)}
	if text := e.Error(); !strings.HasPrefix(text, "1000 differences") || !strings.HasSuffix(text, "and 990 more") {
		t.Error(text)
	}
}

func TestView(t *testing.T) {
	f := frame{seconds: 1.5, sent: 10, counted: 9, nodes: []string{"node a  owns lane 0"}, top: []api.Count{
		{Group: []byte(`["ada","kafka"]`), Values: []byte(`{"count":4}`)},
	}}
	var lines, screen bytes.Buffer
	plain, drawn := newView(&lines, false), newView(&screen, true)
	for _, v := range []*view{plain, drawn} {
		v.draw(f)
		v.draw(f)
		v.say("a line that stays")
	}
	if got := lines.String(); strings.Count(got, "\n") != 3 || strings.Contains(got, "\x1b") ||
		!strings.Contains(got, "counted      9  ada kafka 4\n") {
		t.Errorf("plain: %q", got)
	}
	// The block of three lines is drawn, erased and drawn, and erased before the line that stays.
	if got := screen.String(); strings.Count(got, "\x1b[3A\x1b[J") != 2 ||
		!strings.HasSuffix(got, "\x1b[3A\x1b[Ja line that stays\n") {
		t.Errorf("terminal: %q", got)
	}
}
