package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

func threeGroups() *Recount {
	r, w := NewRecount(), Workload{}
	for _, key := range []string{"a", "a", "a", "b", "c"} {
		r.Add(w, []byte(key), nil)
	}
	return r
}

// TestJudgeFindsWrongOutputs: each kind of wrong output is seen, and right ones are not.
func TestJudgeFindsWrongOutputs(t *testing.T) {
	right := []string{"a1", "b1", "a3", "c1"}
	for _, c := range []struct {
		name                     string
		outputs                  []string
		wrong, missing, repeated int
	}{
		{"right", right, 0, 0, 0},
		{"too low", []string{"a2", "b1", "c1"}, 1, 0, 0},
		{"too high", []string{"a3", "b2", "c1"}, 1, 0, 0},
		{"missing", []string{"a3", "c1"}, 0, 1, 0},
		{"never sent", append([]string{"d1"}, right...), 1, 0, 0},
		{"repeated", append([]string{"a1"}, right...), 0, 0, 1},
		{"falls", []string{"a3", "b1", "a2", "c1"}, 1, 0, 1},
	} {
		j := NewJudge(threeGroups())
		for _, o := range c.outputs {
			if err := j.See([]byte(o[:1]), fmt.Appendf(nil, `{"count":%s}`, o[1:])); err != nil {
				t.Fatal(err)
			}
		}
		v := j.Verdict()
		if v.Wrong != c.wrong || v.Missing != c.missing || v.Repeated != int64(c.repeated) {
			t.Errorf("%s: %+v", c.name, v)
		}
		if bad := c.wrong+c.missing > 0; bad != (v.String() != "") {
			t.Errorf("%s: it says %q", c.name, v)
		}
		if bad := c.wrong+c.missing+c.repeated > 0; bad != (v.OfExactlyOnce() != "") {
			t.Errorf("%s: of exactly once it says %q", c.name, v.OfExactlyOnce())
		}
	}
}

func TestLargest(t *testing.T) {
	for n, want := range map[int][]int64{1: {3}, 2: {3, 1}, 5: {3, 1, 1}} {
		if got := threeGroups().Largest(n); !slices.Equal(got, want) {
			t.Errorf("the %d largest are %v, not %v", n, got, want)
		}
	}
}

// TestJudgeSums: outputs that say what was added are right when they add up, in any order.
func TestJudgeSums(t *testing.T) {
	for text, wrong := range map[string]int{"a1 b1 a2 c1": 0, "a3 b1 c1": 0, "a1 b1 a3 c1": 1, "a1 b1 c1": 1} {
		j := NewJudge(threeGroups())
		j.sums = true
		for o := range strings.FieldsSeq(text) {
			if err := j.See([]byte(o[:1]), fmt.Appendf(nil, `{"count":%s}`, o[1:])); err != nil {
				t.Fatal(err)
			}
		}
		if v := j.Verdict(); v.Wrong != wrong || v.Repeated != 0 {
			t.Errorf("%s: %+v", text, v)
		}
	}
}

func TestParseOutput(t *testing.T) {
	for value, want := range map[string]string{
		`{"count":12}`:                   "k=12",
		`{"item":"w1","count":3}`:        "k\x00w1=3",
		`{ "count": 3, "item": "w1" }`:   "k\x00w1=3",
		`{"item":"a\"b","count":3}`:      "k\x00a\"b=3",
		`{"item":"w1","cnt":3}`:          "",
		`{"count":"3"}`:                  "",
		``:                               "",
		`{"count":99999999999999999999}`: "",
	} {
		group, n, err := ParseOutput([]byte("k"), []byte(value))
		got := fmt.Sprintf("%s=%d", group, n)
		if err != nil {
			got = ""
		}
		if got != want {
			t.Errorf("%s: %q, not %q", value, got, want)
		}
	}
}

// TestJudgeReadsCommitted: what an aborted transaction wrote is no output, and a log that ends in
// its marker is read to the end.
func TestJudgeReadsCommitted(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "out", "more"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cfg := kafka.Config{Brokers: c.ListenAddrs(), Seam: seam.World()}
	cl, err := cfg.Client(kgo.DefaultProduceTopic("out"), kgo.TransactionalID("t"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	topic := "out"
	write := func(end kgo.TransactionEndTry, outputs ...string) {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for _, o := range outputs {
			r := &kgo.Record{Topic: topic, Key: []byte(o[:1]), Value: fmt.Appendf(nil, `{"count":%s}`, o[1:])}
			if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := cl.EndTransaction(ctx, end); err != nil {
			t.Fatal(err)
		}
	}
	write(kgo.TryCommit, "a3", "b1", "c1")
	write(kgo.TryAbort, "a9", "b9", "c9")
	v, err := threeGroups().Judge(ctx, cfg, "out")
	if err != nil || v.String() != "" || v.Outputs != 3 {
		t.Errorf("%+v, %v", v, err)
	}
	// An app of several topics: each group has its outputs in one of them.
	topic = "more"
	write(kgo.TryCommit, "d2")
	r := threeGroups()
	r.Add(Workload{}, []byte("d"), nil)
	if v, err := r.Judge(ctx, cfg, "out", "more"); err != nil || v.Wrong != 1 || v.Missing != 0 || v.Outputs != 4 {
		t.Errorf("two topics: %+v, %v", v, err)
	}
	topic = "out"
	write(kgo.TryCommit, "a9")
	if v, err := threeGroups().Judge(ctx, cfg, "out"); err != nil || v.Wrong != 1 {
		t.Errorf("a wrong count is not seen: %+v, %v", v, err)
	}
}
