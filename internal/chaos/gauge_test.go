package chaos

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/kafka"
)

// gauge measures an app's latency from the event to the committed output, of every partition: each
// input partition has a key of its own, of which events with the same words come all the time. The
// n-th event with a word has come out when the word's count is n.
type gauge struct {
	j     *job
	keys  [][]byte
	words [][]string // of each key; of an app of two stages they lie in several partitions
	other func(i int) *kgo.Record

	mu    sync.Mutex
	sent  map[string][]time.Time // of each word's events
	seen  map[string]int
	slow  []sample
	total int
}

// sample is an event that took long.
type sample struct {
	sent time.Time
	took time.Duration
	word string
}

const slowFrom = 60 * time.Millisecond // samples below are not kept

func newGauge(j *job) *gauge {
	g := &gauge{j: j, other: wordEvents(j.rand), sent: map[string][]time.Time{}, seen: map[string]int{}}
	for p := range int32(partitions) {
		n := 0
		for kafka.PartitionMurmur2(fmt.Appendf(nil, "probe-%d", n), partitions) != p {
			n++
		}
		g.keys = append(g.keys, fmt.Appendf(nil, "probe-%d", n))
		words := 1
		if j.spec.byItem {
			words = 6
		}
		var all []string
		for w := range words {
			all = append(all, fmt.Sprintf("probe%dx%d", p, w))
		}
		g.words = append(g.words, all)
	}
	return g
}

// event is every second time one of the gauge's.
func (g *gauge) event(i int) *kgo.Record {
	if i%2 == 1 {
		return g.other(i)
	}
	p := i / 2 % partitions
	rec := &kgo.Record{Key: g.keys[p]}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	for _, w := range g.words[p] {
		rec.Value = append(append(rec.Value, w...), ' ')
		g.sent[w] = append(g.sent[w], now)
	}
	return rec
}

// watch reads the output until the test ends.
func (g *gauge) watch(t testing.TB) {
	t.Helper()
	cl, err := g.j.s.kafka.Client(kgo.ConsumeTopics(g.j.output()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
	must(t, err)
	ctx, cancel := context.WithCancel(g.j.ctx)
	var reading sync.WaitGroup
	reading.Go(func() {
		for ctx.Err() == nil {
			fetches := cl.PollFetches(ctx)
			g.take(fetches, time.Now())
		}
	})
	t.Cleanup(func() {
		cancel()
		reading.Wait()
		cl.Close()
	})
}

func (g *gauge) take(fetches kgo.Fetches, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	fetches.EachRecord(func(rec *kgo.Record) {
		word, v, err := parseValue(rec.Value)
		if err != nil || len(g.sent[word]) == 0 {
			return
		}
		if n := int(v.count); n > len(g.sent[word]) {
			g.j.t.Errorf("the count of %s is %d, and %d were sent", word, n, len(g.sent[word]))
			return
		} else if seen := g.seen[word]; n > seen {
			oldest := g.sent[word][seen]
			if took := now.Sub(oldest); took > slowFrom {
				g.slow = append(g.slow, sample{oldest, took, word})
			}
			g.seen[word] = n
			g.total++
		}
	})
}

// worst is the largest latency of the events that were sent after since, those that have not come
// out yet among them.
func (g *gauge) worst(since time.Time) (worst sample) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.slow {
		if s.sent.After(since) && s.took > worst.took {
			worst = s
		}
	}
	for word, sent := range g.sent {
		if g.seen[word] < len(sent) {
			oldest := sent[g.seen[word]]
			if took := time.Since(oldest); oldest.After(since) && took > worst.took {
				worst = sample{oldest, took, word + " (not out yet)"}
			}
		}
	}
	return worst
}

// median of gaps in ms, and the largest.
func spread(gaps []time.Duration) (p50, worst int64) {
	slices.Sort(gaps)
	return gaps[len(gaps)/2].Milliseconds(), gaps[len(gaps)-1].Milliseconds()
}
