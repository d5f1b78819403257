package world

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// waitingMost bounds one count of what waits.
const waitingMost = 5 * time.Second

// barrierKind is the second byte of a barrier's key.
const barrierKind = 'b'

type place struct {
	topic     string
	partition int32
}

// waiting is how many records of their sources the apps that run all the time have not read, by
// Kafka's word alone: those behind what their groups have committed, as a read-committed consumer
// gets them. Markers of transactions and barriers are none: what only they move is committed a
// minute later.
func (w *World) waiting(ctx context.Context, topics []history.Topic) (n int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, waitingMost)
	defer cancel()
	for _, a := range w.apps {
		if a.Passing {
			continue
		}
		committed, err := w.admin.FetchOffsets(ctx, a.ConsumerGroup)
		if err == nil {
			err = committed.Error()
		}
		if err != nil && !errors.Is(err, kerr.GroupIDNotFound) { // which has committed nothing
			return 0, fmt.Errorf("what group %s has committed: %w", a.ConsumerGroup, err)
		}
		from, ends := map[string]map[int32]kgo.Offset{}, map[place]int64{}
		for _, t := range topics {
			if t.Topic != a.Input && t.Topic != a.Repartition {
				continue
			}
			at := t.Start
			if o, ok := committed.Lookup(t.Topic, t.Partition); ok {
				at = max(at, o.At)
			}
			if at >= t.LastStable {
				continue
			}
			if from[t.Topic] == nil {
				from[t.Topic] = map[int32]kgo.Offset{}
			}
			from[t.Topic][t.Partition], ends[place{t.Topic, t.Partition}] = kgo.NewOffset().At(at), t.LastStable
		}
		found, err := w.records(ctx, a, from, ends)
		if n += found; err != nil {
			return 0, fmt.Errorf("what waits for %s: %w", a.Name, err)
		}
	}
	return n, nil
}

// records counts those that are committed, from these offsets up to where the partitions end.
func (w *World) records(ctx context.Context, a history.App, from map[string]map[int32]kgo.Offset, ends map[place]int64) (n int64, err error) {
	if len(ends) == 0 {
		return 0, nil
	}
	cl, err := kgo.NewClient(append(w.kafka.Opts(), kgo.ConsumePartitions(from), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords())...)
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	for len(ends) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return 0, err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			at := place{r.Topic, r.Partition}
			end, left := ends[at]
			barrier := r.Topic == a.Repartition && len(r.Key) > 1 && r.Key[1] == barrierKind
			if left && r.Offset < end && !r.Attrs.IsControl() && !barrier {
				n++
			}
			if r.Offset+1 >= end {
				delete(ends, at)
			}
		})
	}
	return n, nil
}
