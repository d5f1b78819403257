package bench

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/kafka"
)

// Fill creates the topic and sends all events.
func (w Workload) Fill(ctx context.Context, cfg kafka.Config, topic string) error {
	if err := w.CreateTopic(ctx, cfg, topic); err != nil {
		return err
	}
	cl, err := cfg.Client(
		kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.MaxBufferedRecords(100_000),
		kgo.ProducerBatchMaxBytes(900_000),
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	// A record that failed ends the filling: what is missing would be measured as a hang.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	source := w.Source()
	for range w.Events {
		key, value := source.Next()
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

// CreateTopic creates the input.
func (w Workload) CreateTopic(ctx context.Context, cfg kafka.Config, topic string) error {
	admin, err := kafka.NewAdmin(cfg)
	if err != nil {
		return err
	}
	defer admin.Close()
	return admin.Create(ctx, kafka.TopicSpec{Name: topic, Partitions: w.Partitions, Replication: -1})
}
