package bench

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/kafka"
)

// fillWait is how long a record of a filling may take; nobody answers where that is over.
const fillWait = time.Minute

// Fill creates the topic and sends all events. Brokers that are mute for a minute are an error.
func (w Workload) Fill(ctx context.Context, cfg kafka.Config, topic string) error {
	if err := w.CreateTopic(ctx, cfg, topic); err != nil {
		return err
	}
	return w.Send(ctx, cfg, topic)
}

// Send sends all events to a topic that is there, as Fill does.
func (w Workload) Send(ctx context.Context, cfg kafka.Config, topic string) error {
	return w.send(ctx, cfg, topic, fillWait)
}

func (w Workload) send(ctx context.Context, cfg kafka.Config, topic string, wait time.Duration) error {
	cl, err := cfg.Client(
		kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.MaxBufferedRecords(100_000),
		kgo.ProducerBatchMaxBytes(900_000),
		kgo.RecordDeliveryTimeout(wait),
		// Also for records whose request was never answered: nobody sends them again.
		kgo.AllowIdempotentProduceCancellation(),
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	// A record that failed ends the filling: what is missing would be measured as a hang.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	source := w.Source()
	for n := 0; n < w.Events && ctx.Err() == nil; n++ {
		key, value := source.Next()
		cl.Produce(ctx, &kgo.Record{Key: key, Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				cancel(err)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil && ctx.Err() == nil {
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
