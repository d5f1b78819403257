package bench

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/kafka"
)

// WatchOutputs reads topics as their readers do, read committed, from an offset on until ctx ends.
// each gets every record with the moment at which its fetch came back; an error of it ends the
// watch.
func WatchOutputs(ctx context.Context, cfg kafka.Config, from kgo.Offset, topics []string, each func(*kgo.Record, time.Time) error) error {
	cl, err := cfg.Client(
		kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(from), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	for {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err := fetches.Err(); err != nil {
			return err
		}
		now := cfg.Seam.Now()
		for rec := range fetches.RecordsAll() {
			if err := each(rec, now); err != nil {
				return err
			}
		}
	}
}

// WatchCounts tells the counts of groups as they come out in topics, from an offset on until ctx
// ends.
func WatchCounts(ctx context.Context, cfg kafka.Config, from kgo.Offset, topics []string, seen func(group string, count int64, now time.Time)) error {
	return WatchOutputs(ctx, cfg, from, topics, func(rec *kgo.Record, now time.Time) error {
		group, count, err := ParseOutput(rec.Key, rec.Value)
		if err == nil {
			seen(group, count, now)
		}
		return err
	})
}
