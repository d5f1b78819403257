package trial

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/internal/kafka"
)

// marks are the events that were waiting for a start, and when their counts were first seen.
type marks struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (m *marks) see(key string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, again := m.at[key]; !again {
		m.at[key] = now
	}
}

// markKeys are keys of events that wait for the n-th start of an app, one of each partition.
func markKeys(app string, n, partitions int) []string {
	keys := make([]string, partitions)
	for left, try := partitions, 0; left > 0; try++ {
		key := fmt.Sprintf("mark-%s-%d-%d", app, n, try)
		if p := kafka.PartitionMurmur2([]byte(key), partitions); keys[p] == "" {
			keys[p], left = key, left-1
		}
	}
	return keys
}

// await waits for marks, as long as the peer lives, and says when the first and the last was seen.
func (m *marks) await(ctx context.Context, a *app, keys []string) (first, last time.Time, err error) {
	for {
		var all bool
		if first, last, all = m.of(keys); all {
			return first, last, nil
		}
		if err := a.proc.Check(); err != nil {
			return first, last, err
		}
		if err := a.lab.Seam.Sleep(ctx, time.Millisecond); err != nil {
			return first, last, fmt.Errorf("no output of an event that was waiting: %w\n%s", err, a.proc.Log())
		}
	}
}

func (m *marks) of(keys []string) (first, last time.Time, all bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range keys {
		at, ok := m.at[key]
		if !ok {
			return first, last, false
		}
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
	}
	return first, last, true
}

// watchMarks reads a topic of outputs from its end, until ctx ends.
func (l *Lab) watchMarks(ctx context.Context, topic string, seen *marks) error {
	return bench.WatchOutputs(ctx, l.Kafka, kgo.NewOffset().AtEnd(), []string{topic}, func(rec *kgo.Record, now time.Time) error {
		if strings.HasPrefix(string(rec.Key), "mark-") {
			seen.see(string(rec.Key), now)
		}
		return nil
	})
}
