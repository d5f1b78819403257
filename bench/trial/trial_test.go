package trial

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/bench/peers"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

// scripted is a peer whose process only waits, and which writes what it is told when it is asked
// for its position.
type scripted struct {
	t       *testing.T
	outputs func(key string, n int) string // a line each; "" for none
	hangs   bool                           // it never counts anything
	again   bool                           // it says that it may write an output again
	wrote   bool
}

func (s *scripted) Name() string                  { return "scripted" }
func (s *scripted) Install(context.Context) error { return nil }
func (s *scripted) SaysRunning() bool             { return true }
func (*scripted) Adds() bool                      { return false }
func (s *scripted) ExactlyOnce() bool             { return !s.again }
func (s *scripted) State(peers.Job) string        { return "" }
func (s *scripted) Settings() []string            { return nil }

func (s *scripted) Command(peers.Job) (*exec.Cmd, error) {
	return exec.Command("sh", "-c", "echo running; exec sleep 100"), nil
}

func (s *scripted) Position(ctx context.Context, admin *kafka.Admin, j peers.Job) (map[int32]int64, error) {
	if s.hangs {
		return nil, nil
	}
	if !s.wrote {
		s.write(ctx, j)
		s.wrote = true
	}
	return admin.EndOffsets(ctx, j.In, true)
}

func (s *scripted) write(ctx context.Context, j peers.Job) {
	cl, err := j.Kafka.Client(kgo.DefaultProduceTopic(j.Out()))
	if err != nil {
		s.t.Fatal(err)
	}
	defer cl.Close()
	counts, source := map[string]int{}, j.Workload.Source()
	for range j.Workload.Events {
		key, _ := source.Next()
		counts[string(key)]++
	}
	for key, n := range counts {
		for text := range strings.Lines(s.outputs(key, n)) {
			value := []byte(strings.TrimSpace(text))
			if err := cl.ProduceSync(ctx, &kgo.Record{Key: []byte(key), Value: value}).FirstErr(); err != nil {
				s.t.Fatal(err)
			}
		}
	}
}

// newLab is one with an input.
func newLab(ctx context.Context, t *testing.T) (*Lab, *Input) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	l := &Lab{Kafka: kafka.Config{Brokers: c.ListenAddrs(), Seam: seam.World()}, Dir: t.TempDir(), Seam: seam.World()}
	if err := l.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	in, err := l.Fill(ctx, bench.Workload{Name: "w", Events: 200, Keys: 20, Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	return l, in
}

// TestRestartsHaveAnEnd: a peer that hangs is a failed row, and its error has no hole.
func TestRestartsHaveAnEnd(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	l, in := newLab(ctx, t)
	_, err := l.Restarts(ctx, &scripted{t: t, hangs: true}, in, time.Second, Endings{Ways: []string{Killed}, StepMax: 300 * time.Millisecond})
	if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "it is at map[] of") ||
		strings.Contains(err.Error(), "%!") {
		t.Errorf("%v", err)
	}
}

// TestThroughputIsJudged: a peer that counts wrongly has a wrong row, and nothing of a run stays.
func TestThroughputIsJudged(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
	defer cancel()
	l, in := newLab(ctx, t)
	twice := func(_ string, n int) string { return fmt.Sprintf("{\"count\":%d}\n{\"count\":%d}", n, n) }
	for _, tc := range []struct {
		name, wrong string
		outputs     func(key string, n int) string
	}{
		{"twice", "20 outputs do not raise their count", twice},
		{"twice, at least once", "", twice},
		{"right", "", func(_ string, n int) string { return fmt.Sprintf(`{"count":%d}`, n) }},
		{"one too many", "1 groups wrong, 0 missing", func(key string, n int) string {
			if key == "key-7" {
				n++
			}
			return fmt.Sprintf(`{"count":%d}`, n)
		}},
		{"one missing", "0 groups wrong, 1 missing", func(key string, n int) string {
			if key == "key-7" {
				return ""
			}
			return fmt.Sprintf(`{"count":%d}`, n)
		}},
	} {
		f, err := l.Throughput(ctx, &scripted{t: t, outputs: tc.outputs, again: strings.HasSuffix(tc.name, "at least once")}, in, time.Second, nil)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if tc.wrong == "" && f.Wrong != "" || !strings.Contains(f.Wrong, tc.wrong) {
			t.Errorf("%s: %q", tc.name, f.Wrong)
		}
		if f.EventsPerSec <= 0 || f.RSSMB <= 0 || f.OutputsPerEvent <= 0 || f.OutputsPerEvent > 0.2 {
			t.Errorf("%s: %+v", tc.name, f)
		}
	}
	if err := l.Drop(ctx, in); err != nil {
		t.Fatal(err)
	}
	m, err := l.admin.Fresh()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, topic := range []string{"w-input", "w-1-scripted-out", "w-3-scripted-out"} {
		if _, there, err := m.Topic(ctx, topic); err != nil || there {
			t.Errorf("%s stays: %v, %v", topic, there, err)
		}
	}
}

// TestGrownIsMeasuredStepByStep: each step has its own events and outputs, and all are judged
// together.
func TestGrownIsMeasuredStepByStep(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
	defer cancel()
	l, _ := newLab(ctx, t)
	fill := bench.Workload{Name: "g", Events: 50, Keys: 50, Each: true, Partitions: 2}
	more := []bench.Workload{
		{Name: "g", Events: 100, Keys: 50, Partitions: 2}, {Name: "g", Events: 200, Keys: 50, Skewed: true, Partitions: 2},
	}
	for _, tc := range []struct {
		wrong string
		skip  int // events of each step that the peer leaves out
	}{{"", 0}, {"groups wrong", 1}} {
		all, err := l.Grown(ctx, &echo{scripted: scripted{t: t}, skip: tc.skip}, fill, more, time.Second)
		if err != nil || len(all) != 3 {
			t.Fatalf("%v, %v", all, err)
		}
		for i, f := range all {
			if f.Groups != 50 || f.OutputsPerEvent < 0.98 || f.OutputsPerEvent > 1 || f.EventsPerSec <= 0 ||
				tc.wrong == "" && f.Wrong != "" || !strings.Contains(f.Wrong, tc.wrong) {
				t.Errorf("step %d without %d events: %+v", i, tc.skip, f)
			}
		}
	}
}

// echo is a peer that writes an output an event, and goes on where it was.
type echo struct {
	scripted
	skip   int
	at     map[int32]int64
	counts map[string]int
}

func (e *echo) Position(ctx context.Context, admin *kafka.Admin, j peers.Job) (map[int32]int64, error) {
	ends, err := admin.EndOffsets(ctx, j.In, true)
	if err != nil || reached(e.at, ends) {
		return e.at, err
	}
	if e.at == nil {
		e.at, e.counts = map[int32]int64{}, map[string]int{}
	}
	at := map[int32]kgo.Offset{}
	for p, end := range ends {
		if e.at[p] < end {
			at[p] = kgo.NewOffset().At(e.at[p])
		}
	}
	cl, err := j.Kafka.Client(kgo.DefaultProduceTopic(j.Out()), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{j.In: at}))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	skip := e.skip
	for !reached(e.at, ends) {
		fetches := cl.PollFetches(ctx)
		for r := range fetches.RecordsAll() {
			e.at[r.Partition] = r.Offset + 1
			if skip--; skip >= 0 {
				continue
			}
			e.counts[string(r.Key)]++
			value := fmt.Appendf(nil, `{"count":%d}`, e.counts[string(r.Key)])
			cl.Produce(ctx, &kgo.Record{Key: r.Key, Value: value}, nil)
		}
		if err := fetches.Err(); err != nil {
			return nil, err
		}
	}
	return e.at, cl.Flush(ctx)
}
