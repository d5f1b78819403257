package state

import (
	"context"
	"time"

	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/step"
)

type Identity struct {
	KafkaCluster     string `json:"kafka_cluster"`
	App              string `json:"app"`
	AppID            string `json:"app_id"`
	Lane             int    `json:"lane"`
	InputTopicID     string `json:"input_topic_id"`
	ChangelogTopicID string `json:"changelog_topic_id"`
	Generation       int    `json:"generation"`
	Fingerprint      string `json:"fingerprint"`
}

type BlockCache = pebble.Cache

func NewBlockCache(bytes int64) *BlockCache { return pebble.NewCache(bytes) }

type Options struct {
	Seam            seam.Seam
	Step            step.Hook
	FS              vfs.FS
	Log             *slog.Logger
	CacheBytes      int64
	BlockCache      *BlockCache
	BlockCacheBytes int64
	MemTableBytes   int64
	ApplyTxns       int
	ApplyBytes      int64
	FlushBytes      int64
	FlushInterval   time.Duration
	Compactions     int
}

type Store struct{}

func Open(dir string, id Identity, opt Options) (*Store, error) { panic("soon") }

func (s *Store) Position(t Task) (Position, bool)                    { panic("soon") }
func (s *Store) Positions() map[Task]Position                        { panic("soon") }
func (s *Store) Durable(t Task) (changelog int64, ok bool)           { panic("soon") }
func (s *Store) Get(t Task, group, dst []byte) ([]byte, bool, error) { panic("soon") }
func (s *Store) GetMany(t Task, groups [][]byte, fn func(i int, values []byte, ok bool)) error {
	panic("soon")
}

type Change struct {
	Task          Task
	Group, Values []byte
}

func (s *Store) Publish(pos []Position, ch []Change) error { panic("soon") }
func (s *Store) Tick() error                               { panic("soon") }
func (s *Store) Apply() error                              { panic("soon") }
func (s *Store) Flush() error                              { panic("soon") }
func (s *Store) Close() error                              { panic("soon") }
func (s *Store) Abandon() error                            { panic("soon") }

type Cut struct{}

func (s *Store) Cut() (*Cut, error)         { panic("soon") }
func (c *Cut) Positions() map[Task]Position { panic("soon") }
func (c *Cut) Close()                       { panic("soon") }
func (c *Cut) Scan(ctx context.Context, t Task, prefix []byte, fn func(group, values []byte) error) error {
	panic("soon")
}

type LoadOptions struct{ ChunkBytes int64 }
type Load struct{}

func (s *Store) Load(opt LoadOptions) *Load                             { panic("soon") }
func (l *Load) Value(t Task, group, values []byte, offset int64) error  { panic("soon") }
func (l *Load) Position(t Task, rec PositionRecord, offset int64) error { panic("soon") }
func (l *Load) Advance(t Task, next int64) error                        { panic("soon") }
func (l *Load) Apply() error                                            { panic("soon") }
func (l *Load) Finish() error                                           { panic("soon") }
func (l *Load) Drop()                                                   { panic("soon") }

type DigestError struct {
	Task               Task
	WantGroups, Groups int64
	WantDigest, Digest uint64
}

func (e *DigestError) Error() string              { panic("soon") }
func (s *Store) Verify(ctx context.Context) error { panic("soon") }
func (s *Store) Verified() bool                   { panic("soon") }

type Subscription struct{}

func (s *Store) Subscribe(match func(t Task, group []byte) bool, limit int) *Subscription {
	panic("soon")
}
func (u *Subscription) Next(ctx context.Context) (ch []Change, lost bool, err error) { panic("soon") }
func (u *Subscription) Close()                                                       { panic("soon") }

type Metrics struct{}

func (s *Store) Metrics() Metrics { panic("soon") }

func SetAside(dir string, s seam.Seam) (string, error) { panic("soon") }
