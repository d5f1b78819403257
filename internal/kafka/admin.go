package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Admin asks a cluster about itself. It is safe for concurrent use.
type Admin struct{}

// Topic is what a cluster says of a topic.
type Topic struct {
	Name, ID    string // the id in Kafka's base64 form
	Partitions  int
	Replication int
	Configs     map[string]string
}

// TopicSpec is a topic to be created.
type TopicSpec struct {
	Name        string
	Partitions  int // -1: the broker's default
	Replication int // -1: the broker's default
	Configs     map[string]string
}

// Transaction is a transactional id as its coordinator sees it.
type Transaction struct {
	State      string // Empty, Ongoing, PrepareCommit, CompleteAbort, ...
	ProducerID int64
	Epoch      int16
	StartMs    int64 // -1 when none is open
}

func NewAdmin(c Config) (*Admin, error)                        { panic("not yet") }
func (a *Admin) Close()                                        { panic("not yet") }
func (a *Admin) Fresh() (*Admin, error)                        { panic("not yet") }
func (a *Admin) Reachable(ctx context.Context) error           { panic("not yet") }
func (a *Admin) ClusterID(ctx context.Context) (string, error) { panic("not yet") }
func (a *Admin) Brokers(ctx context.Context) (int, error)      { panic("not yet") }
func (a *Admin) Topic(ctx context.Context, name string) (t Topic, ok bool, err error) {
	panic("not yet")
}
func (a *Admin) Create(ctx context.Context, spec TopicSpec) error                 { panic("not yet") }
func (a *Admin) AddPartitions(ctx context.Context, topic string, total int) error { panic("not yet") }
func (a *Admin) StartOffsets(ctx context.Context, topic string) (map[int32]int64, error) {
	panic("not yet")
}
func (a *Admin) EndOffsets(ctx context.Context, topic string, committed bool) (map[int32]int64, error) {
	panic("not yet")
}
func (a *Admin) GroupMembers(ctx context.Context, group string) (n int, state string, err error) {
	panic("not yet")
}
func (a *Admin) GroupOffsets(ctx context.Context, group, topic string) (map[int32]int64, error) {
	panic("not yet")
}
func (a *Admin) TransactionVersion(ctx context.Context) (int16, error) { panic("not yet") }
func (a *Admin) DescribeTransaction(ctx context.Context, id string) (t Transaction, ok bool, err error) {
	panic("not yet")
}
func (a *Admin) Tail(ctx context.Context, topic string, partition int32, accept func(*kgo.Record) bool) error {
	panic("not yet")
}
