package world

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The settings with which Kafka compacts changelogs at once, and those that tally makes them with.
var (
	compactsAtOnce = map[string]*string{"min.compaction.lag.ms": kadm.StringPtr("0"),
		"min.cleanable.dirty.ratio": kadm.StringPtr("0.01"), "segment.ms": kadm.StringPtr("1000")}
	compactsLater = map[string]*string{"min.compaction.lag.ms": kadm.StringPtr("3600000"),
		"min.cleanable.dirty.ratio": kadm.StringPtr("0.3"), "segment.ms": kadm.StringPtr("3600000")}
)

// compact has Kafka compact the changelogs at once. It has hit those of their partitions that lose
// records. Also where Kafka has refused the settings, or not answered, some of them may be there.
func (f *fault) compact(ctx context.Context) error {
	f.w.compacts.Lock()
	defer f.w.compacts.Unlock()
	var topics []string
	for _, a := range f.w.apps {
		if !a.Passing {
			topics = append(topics, a.Changelog)
		}
	}
	lost := f.w.losing(ctx, topics)
	f.hurt = topics
	f.came(0)
	err := f.w.alterTopics(ctx, topics, compactsAtOnce)
	if err == nil {
		f.lastUntilHit(ctx, lost)
	}
	return errors.Join(err, f.w.insistOnTopics(ctx, time.Minute, topics, compactsLater))
}

// insistOnTopics sets a configuration of topics, again and again until Kafka has it: whoever judges
// the run takes it for set. Where that does not succeed, the run is one of which nobody knows what
// was compacted in it.
func (w *World) insistOnTopics(ctx context.Context, within time.Duration, topics []string, settings map[string]*string) error {
	for end := time.Now().Add(within); ; <-time.After(200 * time.Millisecond) {
		try, cancel := context.WithTimeout(ctx, within/4)
		err := w.alterTopics(try, topics, settings)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		if time.Now().After(end) {
			w.problem("Kafka does not take the settings of %v back: %v", topics, err)
			return err
		}
	}
}

// losing gives how many partitions of topics have lost records since now, as far as Kafka says it.
func (w *World) losing(ctx context.Context, topics []string) (lost func() int64) {
	before, n := w.early(ctx, topics), int64(0)
	return func() int64 {
		if n > 0 {
			return n // and not to be asked for again
		}
		for of, at := range w.early(ctx, topics) {
			if was, known := before[of]; known && at > was {
				n++
			}
		}
		return n
	}
}

const (
	// earlyNth is which record of a partition tells whether one was taken away before it: the very
	// first may be of a kind that stays.
	earlyNth  = 5
	earlyMost = 5 * time.Second // for an answer
)

// early is where, in each partition of topics, the earlyNth record lies; of those that say so in
// time.
func (w *World) early(ctx context.Context, topics []string) map[place]int64 {
	ctx, cancel := context.WithTimeout(ctx, earlyMost)
	defer cancel()
	from := map[string]map[int32]kgo.Offset{}
	for _, t := range topics {
		from[t] = map[int32]kgo.Offset{}
		for p := range int32(Partitions) {
			from[t][p] = kgo.NewOffset().AtStart()
		}
	}
	seen, at := map[place]int{}, map[place]int64{}
	cl, err := kgo.NewClient(append(w.kafka.Opts(), kgo.ConsumePartitions(from), kgo.FetchMaxPartitionBytes(16<<10))...)
	if err != nil {
		return at
	}
	defer cl.Close()
	for len(at) < len(topics)*Partitions && ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			of := place{r.Topic, r.Partition}
			if seen[of]++; seen[of] == earlyNth {
				at[of] = r.Offset
				cl.PauseFetchPartitions(map[string][]int32{of.topic: {of.partition}})
			}
		})
	}
	return at
}
