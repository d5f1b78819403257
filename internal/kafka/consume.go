package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Record is a consumed record in plain types. A null key or value is nil.
type Record struct {
	Topic       string
	Partition   int32
	Offset      int64
	TimestampMs int64
	Key, Value  []byte
	Headers     []Header
}

// Header is one header of a Record.
type Header struct {
	Key   string
	Value []byte
}

// ConsumeOptions say what is consumed.
type ConsumeOptions struct {
	Topic     string
	FromStart bool
	Limit     int           // ends after so many records; 0: never
	Timeout   time.Duration // ends when no record came for so long; 0: never
}

// Consume calls fn for each committed record of a topic, in order within each partition, until the
// limit, the timeout, ctx's end or an error of fn. Only the last is an error, besides Kafka's own;
// and the timeout, where it comes before all is read that there was at the beginning.
func Consume(ctx context.Context, c Config, opt ConsumeOptions, fn func(Record) error) error {
	if _, err := topicMustExist(ctx, c, opt.Topic); err != nil {
		return err
	}
	offset := kgo.NewOffset().AtEnd()
	if opt.FromStart {
		offset = kgo.NewOffset().AtStart()
	}
	read := progress{topic: opt.Topic}
	if opt.FromStart && opt.Timeout > 0 {
		if err := read.begin(ctx, c); err != nil {
			return err
		}
	}
	cl, err := c.Client(
		kgo.KeepControlRecords(), // where a partition ends with some
		kgo.ConsumeTopics(opt.Topic), kgo.ConsumeStartOffset(offset),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), // without it a reset would repeat or skip records
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxBytes(4<<20), kgo.FetchMaxPartitionBytes(1<<20), kgo.FetchMaxWait(250*time.Millisecond),
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	left := opt.Limit
	for {
		fetches, err := pollWithin(ctx, cl, opt.Timeout)
		if err == nil && fetches == nil && ctx.Err() == nil {
			return read.whole(opt.Timeout)
		}
		if err != nil || fetches == nil {
			return c.Explain(err)
		}
		for _, r := range fetches.Records() {
			if read.pass(r); r.Attrs.IsControl() {
				continue
			}
			if err := fn(plainRecord(r)); err != nil {
				return err
			}
			if left--; left == 0 {
				return nil
			}
		}
	}
}

// progress is how far the partitions of a topic are read, of what they had at the beginning.
type progress struct {
	topic string
	at    map[int32]int64 // next offsets; nil: not asked for
	ends  map[int32]int64
}

func (p *progress) begin(ctx context.Context, c Config) error {
	a, err := NewAdmin(c)
	if err != nil {
		return err
	}
	defer a.Close()
	if p.ends, err = a.EndOffsets(ctx, p.topic, true); err == nil {
		p.at, err = a.StartOffsets(ctx, p.topic)
	}
	return c.Explain(err)
}

func (p *progress) pass(r *kgo.Record) {
	if p.at != nil {
		p.at[r.Partition] = r.Offset + 1
	}
}

// whole is an error where a partition is not read to its end: a broker that does not answer looks
// like one that has nothing more.
func (p *progress) whole(timeout time.Duration) error {
	for partition, end := range p.ends {
		if at := p.at[partition]; at < end {
			return fmt.Errorf("%s/%d was read up to offset %d of %d only, and nothing came for %v: its broker may be away; consume again, with a longer --timeout",
				p.topic, partition, at, end, timeout)
		}
	}
	return nil
}

// pollWithin waits for records; nil without an error means that there is nothing more to wait for.
func pollWithin(ctx context.Context, cl *kgo.Client, timeout time.Duration) (kgo.Fetches, error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	const batch = 1000
	fetches := cl.PollRecords(ctx, batch)
	errs := fetches.Errors()
	if len(errs) == 0 {
		return fetches, nil
	}
	e := errs[0]
	if errors.Is(e.Err, context.Canceled) || errors.Is(e.Err, context.DeadlineExceeded) {
		return nil, nil
	}
	return nil, fmt.Errorf("consume %s/%d: %w", e.Topic, e.Partition, e.Err)
}

func plainRecord(r *kgo.Record) Record {
	out := Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset,
		TimestampMs: r.Timestamp.UnixMilli(), Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, Header{Key: h.Key, Value: h.Value})
	}
	return out
}
