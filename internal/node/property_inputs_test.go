package node

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

// inputs sends events, some of them in transactions of another producer, and remembers those that
// are there to be counted.
type inputs struct {
	p      *place
	byItem bool // without the key
	plain  *kgo.Client
	txn    *kgo.Client
	mu     sync.Mutex // held while events are sent, so that whoever has it knows of all that are there
	rng    *rand.Rand

	sent  map[int32][]*kgo.Record // by partition, in order of offset
	items map[int32][][]string    // the groups that each of them counts for
	marks map[int32][]map[string]int
	asked int
	most  int64        // that are sent; 0: no limit
	bulk  int          // how many times the usual number of events are sent at once
	known atomic.Int32 // partitions, asked for without mu too
}

func newInputs(p *place, seed uint64, partitions int32, byItem bool) *inputs {
	in := &inputs{p: p, byItem: byItem, rng: rand.New(rand.NewPCG(seed, 4)), bulk: 1,
		sent: map[int32][]*kgo.Record{}, items: map[int32][][]string{}, marks: map[int32][]map[string]int{}}
	in.grow(partitions)
	return in
}

// grow makes clients that know so many partitions. The caller holds mu, if others know of in.
func (in *inputs) grow(partitions int32) {
	in.plain, in.txn = in.client(), in.client(kgo.TransactionalID(in.p.app+".producer"))
	for part := range partitions {
		in.sent[part] = in.sent[part][:len(in.sent[part]):len(in.sent[part])]
	}
	in.known.Store(partitions)
}

func (in *inputs) client(opts ...kgo.Opt) *kgo.Client {
	cfg := kafka.Config{Brokers: in.p.addrs, Seam: seam.World()}
	cl, err := cfg.Client(append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	in.p.must(err)
	in.p.t.Cleanup(cl.Close)
	return cl
}

func (in *inputs) partitions() int32 { return in.known.Load() }

// one sends an event of a word that no other has: what other partitions have cannot stand in for
// it.
func (in *inputs) one() *kgo.Record {
	in.mu.Lock()
	defer in.mu.Unlock()
	e := in.event(in.rng.Int32N(in.partitions()))
	in.asked++
	e.Value = fmt.Appendf(nil, "a b asked%d", in.asked)
	in.p.must(in.plain.ProduceSync(in.p.ctx(), e).FirstErr())
	in.remember([]*kgo.Record{e})
	return e
}

func (in *inputs) send() {
	in.more()
	in.mu.Lock()
	wait := time.Duration(in.rng.IntN(15)) * time.Millisecond
	in.mu.Unlock()
	pause(wait)
}

func (in *inputs) more() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.most == 0 || in.total() < in.most {
		in.moreHeld()
	}
}

// moreHeld is more for who holds mu.
func (in *inputs) moreHeld() {
	var events []*kgo.Record
	for range 1 + in.rng.IntN(12*in.bulk) {
		events = append(events, in.event(in.rng.Int32N(in.partitions())))
	}
	switch in.rng.IntN(10) {
	case 0:
		in.produce(kgo.TryAbort, events)
	case 1:
		in.produce(kgo.TryCommit, events)
		in.remember(events)
	default:
		in.p.must(in.plain.ProduceSync(in.p.ctx(), events...).FirstErr())
		in.remember(events)
	}
}

// toAll sends an event to each partition. The caller holds mu.
func (in *inputs) toAll() {
	var events []*kgo.Record
	for part := range in.partitions() {
		events = append(events, in.event(part))
	}
	in.p.must(in.plain.ProduceSync(in.p.ctx(), events...).FirstErr())
	in.remember(events)
}

func (in *inputs) event(part int32) *kgo.Record {
	words := []string{"a", "b", "c", "d e", "a a b", "", "E", "bad \xff"}
	r := &kgo.Record{Topic: in.p.in, Partition: part, Value: []byte(words[in.rng.IntN(len(words))])}
	if k := in.rng.IntN(6); k > 0 {
		r.Key = []byte{'k', byte('0' + k)}
	}
	return r
}

func (in *inputs) produce(end kgo.TransactionEndTry, events []*kgo.Record) {
	in.p.must(in.txn.BeginTransaction())
	in.p.must(in.txn.ProduceSync(in.p.ctx(), events...).FirstErr())
	in.p.must(in.txn.EndTransaction(in.p.ctx(), end))
}

func (in *inputs) remember(events []*kgo.Record) {
	for _, e := range events {
		p := e.Partition
		in.sent[p] = append(in.sent[p], e)
		in.items[p] = append(in.items[p], in.groupsOf(e))
		if len(in.sent[p])%markEvery == 0 {
			in.marks[p] = append(in.marks[p], in.countsOf(p, len(in.sent[p])))
		}
	}
}

// markEvery is how many events lie between two marks of a partition: what is counted up to there,
// so that a recount need not begin with the first event.
const markEvery = 512

// What follows is the recount; the caller holds mu.

func readable(e *kgo.Record) bool { return utf8.Valid(e.Value) }

func (in *inputs) groupOf(key []byte, item string) string {
	if in.byItem {
		return fmt.Sprintf("[%q]", item)
	}
	if key == nil {
		return fmt.Sprintf("[null,%q]", item)
	}
	return fmt.Sprintf("[%q,%q]", key, item)
}

// groupsOf is what an event counts for, each as often as it counts.
func (in *inputs) groupsOf(e *kgo.Record) (groups []string) {
	if readable(e) {
		for _, word := range strings.Fields(strings.ToLower(string(e.Value))) {
			groups = append(groups, in.groupOf(e.Key, word))
		}
	}
	return groups
}

// below is how many of a partition's events lie below an offset.
func (in *inputs) below(part int32, offset int64) int {
	sent := in.sent[part]
	return sort.Search(len(sent), func(i int) bool { return sent[i].Offset >= offset })
}

// countsOf are the counts of a partition's first n events.
func (in *inputs) countsOf(part int32, n int) map[string]int {
	counts, from := map[string]int{}, 0
	if m := min(n/markEvery, len(in.marks[part])); m > 0 {
		counts, from = maps.Clone(in.marks[part][m-1]), m*markEvery
	}
	for _, groups := range in.items[part][from:n] {
		for _, g := range groups {
			counts[g]++
		}
	}
	return counts
}

// recount is what the counts must be at these positions; nil is the end.
func (in *inputs) recount(at map[int32]int64) map[string]string {
	n := map[string]int{}
	for part := range in.sent {
		below, ok := at[part]
		if !ok {
			below = 1 << 62
		}
		for group, c := range in.countsOf(part, in.below(part, below)) {
			n[group] += c
		}
	}
	counts := map[string]string{}
	for group, c := range n {
		counts[group] = fmt.Sprintf(`{"count":%d}`, c)
	}
	return counts
}

// between is how many events of a partition lie from one offset up to another.
func (in *inputs) between(part int32, from, to int64) int {
	return max(in.below(part, to)-in.below(part, from), 0)
}

func (in *inputs) total() (n int64) {
	for _, events := range in.sent {
		n += int64(len(events))
	}
	return n
}

func (in *inputs) unreadable() (n int64) {
	for part := range in.sent {
		n += in.unreadableIn(part)
	}
	return n
}

func (in *inputs) unreadableIn(part int32) (n int64) {
	for _, e := range in.sent[part] {
		if !readable(e) {
			n++
		}
	}
	return n
}
