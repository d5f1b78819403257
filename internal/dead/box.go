package dead

import (
	"context"
	"errors"
	"fmt"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/processor/spec"
)

// Box is the dead-letter topic of one app.
type Box struct {
	cfg   kafka.Config
	admin *kafka.Admin
	topic kafka.Topic
}

// Open finds the app's dead letters.
func Open(ctx context.Context, cfg kafka.Config, app string) (*Box, error) {
	admin, err := kafka.NewAdmin(cfg)
	if err != nil {
		return nil, err
	}
	name := spec.DeadTopic(app)
	t, ok, err := admin.Topic(ctx, name)
	if err == nil && !ok {
		err = fmt.Errorf("there is no topic %s: app %s has not run on this Kafka with on_error: dead", name, app)
	}
	if err != nil {
		admin.Close()
		return nil, err
	}
	return &Box{cfg: cfg, admin: admin, topic: t}, nil
}

// Close closes the connections.
func (b *Box) Close() { b.admin.Close() }

// Topic is the name of the dead-letter topic.
func (b *Box) Topic() string { return b.topic.Name }

// ErrEnough is what a function returns to Each to end it without an error.
var ErrEnough = errors.New("enough")

// Each calls fn for every dead letter, partition by partition, the oldest first.
func (b *Box) Each(ctx context.Context, fn func(Letter) error) error {
	starts, err := b.admin.StartOffsets(ctx, b.topic.Name)
	if err != nil {
		return err
	}
	ends, err := b.admin.EndOffsets(ctx, b.topic.Name, true)
	if err != nil {
		return err
	}
	for p := range int32(b.topic.Partitions) {
		err := b.admin.Records(ctx, b.topic.Name, p, starts[p], ends[p], func(r kafka.Record) error {
			return fn(read(r))
		})
		if errors.Is(err, ErrEnough) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Get reads one dead letter.
func (b *Box) Get(ctx context.Context, at Place) (Letter, error) {
	starts, err := b.admin.StartOffsets(ctx, b.topic.Name)
	if err != nil {
		return Letter{}, err
	}
	ends, err := b.admin.EndOffsets(ctx, b.topic.Name, true)
	if err != nil {
		return Letter{}, err
	}
	end, ok := ends[at.Partition]
	if !ok {
		return Letter{}, fmt.Errorf("%s has no partition %d, but %d partitions", b.topic.Name, at.Partition, len(ends))
	}
	if at.Offset < starts[at.Partition] || at.Offset >= end {
		return Letter{}, fmt.Errorf("there is no dead letter %s: partition %d of %s has offsets %d to %d; see `tally dead list`",
			at, at.Partition, b.topic.Name, starts[at.Partition], end-1)
	}
	var l Letter
	found := false
	err = b.admin.Records(ctx, b.topic.Name, at.Partition, at.Offset, at.Offset+1, func(r kafka.Record) error {
		l, found = read(r), true
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("there is no dead letter %s: that offset holds none; see `tally dead list`", at)
	}
	return l, err
}
