package bench

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/kafka"
)

// Partitions of every topic of a workload.
const Partitions = 4

// A Workload is what is counted. Its events are the same at every run.
type Workload struct {
	Name   string
	Events int
	Keys   int
	Words  int // of each event's text, drawn from a Zipf-like distribution; 0: 100 bytes that nobody splits
}

// Counts is how many increments all events make together.
func (w Workload) Counts() int { return w.Events * max(1, w.Words) }

// Spec counts topic by key, or by key and word, into another topic.
func (w Workload) Spec(app, topic string) string {
	split, group := "none", "[key]"
	if w.Words > 0 {
		split, group = "words", "[key, item]"
	}
	return fmt.Sprintf("app: %s\ninput: {topic: %s}\nsplit: %s\ngroup: %s\noutput: {topic: %s-out}\n",
		app, topic, split, group, app)
}

// Items are the groups that an event counts in, as the limit names them.
func (w Workload) Items(key, value []byte, each func(group string)) {
	if w.Words == 0 {
		each(string(key))
		return
	}
	for word := range strings.FieldsSeq(string(value)) {
		each(string(key) + "\x00" + word)
	}
}

// Fill creates the topic and sends the events.
func (w Workload) Fill(ctx context.Context, cfg kafka.Config, topic string) error {
	admin, err := kafka.NewAdmin(cfg)
	if err != nil {
		return err
	}
	defer admin.Close()
	if err := admin.Create(ctx, kafka.TopicSpec{Name: topic, Partitions: Partitions, Replication: -1}); err != nil {
		return err
	}
	cl, err := cfg.Client(
		kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.MaxBufferedRecords(100_000),
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	// A record that failed ends the filling: what is missing would be measured as a hang.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	draw := chance(1)
	for range w.Events {
		key, value := w.event(&draw)
		cl.Produce(ctx, &kgo.Record{Key: key, Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				cancel(err)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	return context.Cause(ctx)
}

func (w Workload) event(draw *chance) (key, value []byte) {
	key = strconv.AppendInt([]byte("key-"), int64(draw.below(w.Keys)), 10)
	if w.Words == 0 {
		value = make([]byte, 100)
		for i := range value {
			value[i] = 'a' + byte(draw.below(26))
		}
		return key, value
	}
	for i := range w.Words {
		if i > 0 {
			value = append(value, ' ')
		}
		value = append(value, 'w')
		value = strconv.AppendInt(value, int64(draw.zipf()), 10)
	}
	return key, value
}

// chance is a xorshift generator: the same events each time, and no seam needed.
type chance uint64

func (c *chance) below(n int) int {
	x := *c
	x ^= x << 13
	x ^= x >> 7
	x ^= x << 17
	*c = x
	return int(uint64(x>>11) % uint64(n))
}

// zipf draws a rank below 2^16 with a density of about 1/rank: each power of two is as likely.
func (c *chance) zipf() int {
	octave := c.below(16)
	return 1<<octave + c.below(1<<octave)
}
