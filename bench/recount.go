package bench

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/kafka"
)

// A Recount is what the counts must be, from the events themselves. Groups are kept by a 64-bit
// hash under a random seed: 10 M of them meet by chance once in 400,000 runs.
type Recount struct {
	seed   maphash.Seed
	counts map[uint64]uint32
	total  uint64
}

// NewRecount is one of no events.
func NewRecount() *Recount {
	return &Recount{seed: maphash.MakeSeed(), counts: map[uint64]uint32{}}
}

// Recount counts all events of a workload.
func (w Workload) Recount() *Recount {
	r := NewRecount()
	r.AddAll(w)
	return r
}

// AddAll counts all events of a workload.
func (r *Recount) AddAll(w Workload) {
	source := w.Source()
	for range w.Events {
		key, value := source.Next()
		r.Add(w, key, value)
	}
}

// Clone is a recount that goes on from here.
func (r *Recount) Clone() *Recount {
	return &Recount{seed: r.seed, counts: maps.Clone(r.counts), total: r.total}
}

// Add counts one event.
func (r *Recount) Add(w Workload, key, value []byte) {
	w.Items(key, value, func(group string) {
		r.counts[maphash.String(r.seed, group)]++
		r.total++
	})
}

// Of is how often a group was counted.
func (r *Recount) Of(group string) int64 { return int64(r.counts[maphash.String(r.seed, group)]) }

// Largest are the n highest counts, the highest first.
func (r *Recount) Largest(n int) []int64 {
	var all []int64
	for _, count := range r.counts {
		if at, _ := slices.BinarySearchFunc(all, int64(count), func(a, b int64) int { return cmp.Compare(b, a) }); at < n {
			all = slices.Insert(all, at, int64(count))[:min(len(all)+1, n)]
		}
	}
	return all
}

// Groups is how many there are.
func (r *Recount) Groups() int { return len(r.counts) }

// A Verdict says what a recount makes of a topic of outputs.
type Verdict struct {
	Outputs  int64 // records
	Repeated int64 // those that did not raise their group's count: what at-least-once repeats
	Missing  int   // groups without an output
	Wrong    int   // groups whose last count is not the recount's
	Example  string
	Again    string // the first of the repeated
}

// String is what is wrong of a program that may write an output again, "" when nothing is.
func (v Verdict) String() string {
	if v.Missing == 0 && v.Wrong == 0 {
		return ""
	}
	return fmt.Sprintf("%d groups wrong, %d missing; %s", v.Wrong, v.Missing, v.Example)
}

// OfExactlyOnce is String of a program that claims to write each output once: its counts rise.
func (v Verdict) OfExactlyOnce() string {
	if wrong := v.String(); wrong != "" || v.Repeated == 0 {
		return wrong
	}
	return fmt.Sprintf("%d outputs do not raise their count; %s", v.Repeated, v.Again)
}

// A Judge compares outputs with a recount.
type Judge struct {
	recount *Recount
	sums    bool // an output says what was added to its group, not what the group is now
	seen    map[uint64]uint32
	strange map[uint64]bool // groups that the recount does not know
	verdict Verdict
}

// NewJudge has seen nothing yet. The recount must be complete before Verdict.
func NewJudge(r *Recount) *Judge {
	return &Judge{recount: r, seen: make(map[uint64]uint32, len(r.counts)), strange: map[uint64]bool{}}
}

// See takes one output record.
func (j *Judge) See(key, value []byte) error {
	group, count, err := ParseOutput(key, value)
	if err != nil {
		return err
	}
	j.verdict.Outputs++
	h := maphash.String(j.recount.seed, group)
	if _, known := j.recount.counts[h]; !known {
		j.strange[h] = true
		j.verdict.Example = fmt.Sprintf("%q was never sent", group)
		return nil
	}
	before, was := j.seen[h]
	if j.sums {
		count += int64(before)
	} else if was && uint32(count) <= before {
		if j.verdict.Repeated++; j.verdict.Again == "" {
			j.verdict.Again = fmt.Sprintf("%q is %d after %d", group, count, before)
		}
	}
	// The last record holds, as it does for a reader of the topic.
	j.seen[h] = uint32(count)
	if want := j.recount.counts[h]; uint32(count) > want {
		j.verdict.Example = fmt.Sprintf("%q is %d, not %d", group, count, want)
	}
	return nil
}

// Verdict compares what was seen.
func (j *Judge) Verdict() Verdict {
	v := j.verdict
	v.Wrong = len(j.strange)
	for h, want := range j.recount.counts {
		switch got, ok := j.seen[h]; {
		case !ok:
			v.Missing++
		case got != want:
			v.Wrong++
			if v.Example == "" {
				v.Example = fmt.Sprintf("a group is %d, not %d", got, want)
			}
		}
	}
	return v
}

var (
	countFirst = []byte(`{"count":`)
	itemFirst  = []byte(`{"item":"`)
	itemCount  = []byte(`","count":`)
)

// ParseOutput reads an output that tally and the peers write alike: the key is the event's, or the
// group as JSON, the value {"count":N} or {"item":"...","count":N}.
func ParseOutput(key, value []byte) (group string, count int64, err error) {
	if digits, ok := bytes.CutPrefix(value, countFirst); ok {
		if n, ok := number(digits); ok {
			return string(key), n, nil
		}
	}
	if rest, ok := bytes.CutPrefix(value, itemFirst); ok {
		if item, digits, ok := bytes.Cut(rest, itemCount); ok && !bytes.ContainsAny(item, `"\`) {
			if n, ok := number(digits); ok {
				return string(key) + "\x00" + string(item), n, nil
			}
		}
	}
	var all struct {
		Item  *string
		Count *int64
	}
	if err := json.Unmarshal(value, &all); err != nil || all.Count == nil {
		return "", 0, fmt.Errorf("the output %q is no count", value)
	}
	if all.Item != nil {
		return string(key) + "\x00" + *all.Item, *all.Count, nil
	}
	return string(key), *all.Count, nil
}

// number reads digits that end in a brace.
func number(digits []byte) (n int64, ok bool) {
	if len(digits) < 2 || len(digits) > 18 || digits[len(digits)-1] != '}' {
		return 0, false
	}
	for _, d := range digits[:len(digits)-1] {
		if d < '0' || d > '9' {
			return 0, false
		}
		n = n*10 + int64(d-'0')
	}
	return n, true
}

// Judge reads topics of outputs as their readers do, to their committed ends. A group has its
// outputs in one of them.
func (r *Recount) Judge(ctx context.Context, cfg kafka.Config, topics ...string) (Verdict, error) {
	return NewJudge(r).judge(ctx, cfg, topics)
}

// JudgeSums is Judge for outputs that say what was added to a group: their sums must agree.
func (r *Recount) JudgeSums(ctx context.Context, cfg kafka.Config, topics ...string) (Verdict, error) {
	j := NewJudge(r)
	j.sums = true
	return j.judge(ctx, cfg, topics)
}

func (j *Judge) judge(ctx context.Context, cfg kafka.Config, topics []string) (Verdict, error) {
	admin, err := kafka.NewAdmin(cfg)
	if err != nil {
		return Verdict{}, err
	}
	defer admin.Close()
	for _, topic := range topics {
		ends, err := admin.EndOffsets(ctx, topic, true)
		if err != nil {
			return Verdict{}, err
		}
		if err := j.read(ctx, cfg, topic, ends); err != nil {
			return Verdict{}, err
		}
	}
	return j.Verdict(), nil
}

func (j *Judge) read(ctx context.Context, cfg kafka.Config, topic string, ends map[int32]int64) error {
	at := map[int32]kgo.Offset{}
	for p, end := range ends {
		if end > 0 {
			at[p] = kgo.NewOffset().At(0)
		}
	}
	cl, err := cfg.Client(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: at}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // the log ends in them
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	for len(at) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		for r := range fetches.RecordsAll() {
			if r.Offset+1 >= ends[r.Partition] {
				delete(at, r.Partition)
			}
			if r.Attrs.IsControl() || r.Offset >= ends[r.Partition] {
				continue
			}
			if err := j.See(r.Key, r.Value); err != nil {
				return err
			}
		}
	}
	return nil
}
