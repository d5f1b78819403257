package trial

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/bench"
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

// await waits for a mark, as long as the peer lives.
func (m *marks) await(ctx context.Context, a *app, key string) (time.Time, error) {
	for {
		m.mu.Lock()
		at, ok := m.at[key]
		m.mu.Unlock()
		if ok {
			return at, nil
		}
		if err := a.proc.Check(); err != nil {
			return at, err
		}
		if err := a.lab.Seam.Sleep(ctx, time.Millisecond); err != nil {
			return at, fmt.Errorf("no output of the event that was waiting: %w\n%s", err, a.proc.Log())
		}
	}
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
