package kafka

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Records is Read for those who know no Kafka client.
func (a *Admin) Records(ctx context.Context, topic string, partition int32, from, to int64, fn func(Record) error) error {
	return a.Read(ctx, topic, partition, from, to, func(r *kgo.Record) error { return fn(plainRecord(r)) })
}

// sendBytes bounds what Send holds that is not acknowledged yet.
const sendBytes = 32 << 20

// Send writes records as they are, each to its Topic and Partition, with its time and headers, in
// order within each partition. It returns how many the cluster has acknowledged, also beside an
// error; after a first error it takes no further record. size is what the topics take of one
// batch.
func Send(ctx context.Context, c Config, size int, recs iter.Seq[Record]) (int, error) {
	cl, err := c.Client(
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MaxBufferedRecords(100_000), kgo.MaxBufferedBytes(sendBytes),
		kgo.ProducerBatchMaxBytes(int32(min(size, sendBytes))),
	)
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	p := &production{}
	for r := range recs {
		if p.hasFailed() || ctx.Err() != nil {
			break
		}
		rec := &kgo.Record{Topic: r.Topic, Partition: r.Partition, Timestamp: time.UnixMilli(r.TimestampMs), Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		cl.Produce(ctx, rec, p.done) // waits while too much is buffered
	}
	flushErr := cl.Flush(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed != nil {
		return p.acked, fmt.Errorf("send: %w", c.Explain(p.failed))
	}
	return p.acked, flushErr
}

// RecordLimit is the largest batch that the topic takes; Kafka's default where the broker does not
// say.
func (t Topic) RecordLimit() int {
	if n, err := strconv.Atoi(t.Configs["max.message.bytes"]); err == nil && n > 0 {
		return n
	}
	return 1048588
}
