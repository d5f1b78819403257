package node

import (
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/step"
	"github.com/tally-kafka/tally/processor"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/replication/cluster"
	"github.com/tally-kafka/tally/state"
)

// CheckJoin refuses, before anything is opened, a Config.Join with which the node would not start.
func CheckJoin(seeds []string) error {
	_, err := cluster.SeedList(seeds)
	return err
}

// Config is what `tally run` needs. Zero durations and sizes mean their defaults.
type Config struct {
	Specs       []*spec.Spec // to run; none: those that this data dir has run before
	Brokers     []string     // none: the embedded broker in the data dir
	KafkaConfig string       // a Java client.properties, "" for none
	Env         func(string) string

	DataDir      string   // default ./tally-data
	Listen       string   // default 127.0.0.1:7400
	Advertise    string   // HOST:PORT at which others reach this node; default Listen
	Name         string   // required; unique in the cluster
	Join         []string // HOST:PORT of the nodes that form the cluster; none: a cluster of one
	Zone         string   // standbys are put into another zone than the owner's
	Standbys     int      // copies of each lane beside the owner's, of apps that Specs add to the cluster
	StandbysSaid bool     // a person has said Standbys: apps that have another number are logged
	Certs        string   // directory of the node's certificate, "" for none
	Tokens       string   // people's token file, "" for none
	Memory       int64    // for caches, memtables and fetches together, bytes; default 512 MB
	CreateTopics int      // partitions of an input that is missing; 0: refuse (embedded: EmbeddedPartitions)
	SkipGaps     bool     // count on behind events that the input has lost, read or not, else stop
	Takeover     bool     // fence another cluster's node without watching for it

	OpenFiles        int // that this process may have; default what the system says
	CommitsPerSecond int // of all lanes together; default 100
	Limits           processor.Limits
	Pace             processor.Pace

	Watch          time.Duration // how long to watch for another cluster's commits; default 3 s
	WatchAge       time.Duration // how long a watch at a submit holds for the app's start; default 10 s
	OffsetsWait    time.Duration // how long a lower group offset is asked again; default 60 s
	UnstableWait   time.Duration // how long a pending offset commit is waited for; default 15 s
	LagInterval    time.Duration // between two looks at the end of an app's input, of ten apps; more apps wait longer; default 500 ms
	TopicsInterval time.Duration // between two looks at the topics' ids and settings; default 10 s
	TrimInterval   time.Duration // between two trims of a repartition topic, each to the positions at the one before; default 10 s
	DrainTimeout   time.Duration // bound of a clean stop, after the lanes were handed over; default 5 s
	HandOverMax    time.Duration // that a clean stop waits until others have the lanes; default 4 s
	DepartMax      time.Duration // that a clean stop waits for a leader to part with its vote; default 3 s
	SettleWait     time.Duration // that a question waits for a node that is starting; default 5 s
	RetryMax       time.Duration // longest pause before a lane is acquired again; default 2 s
	UnreachableAt  time.Duration // how often an unreachable broker is said; default 5 s
	PassResetAfter time.Duration // that a node without Kafka keeps a reset from the others; default 15 s

	// A standby that is behind by so many records of the changelog (default 200,000) asks another
	// node for a copy, and takes it when that is there sooner than the changelog is read, as two
	// speeds say: the bytes a second that a node sends and receives of copies (default 64 MB), and
	// the records a second that a replay reads (default 500,000).
	SeedRecords, SeedRate, ReplayRate int64

	// IngestBytes is the size from which a chunk of a playback is ingested as a table; default: as
	// state.LoadOptions has it.
	IngestBytes int64

	StateFS state.FS // the file system of the stores; default the disk

	Exit    func(code int) // ends the process at once; default os.Exit
	Version string
	Seam    seam.Seam
	Step    step.Hook
	Log     *slog.Logger
	Out     io.Writer // what a person should see at the start
	TTY     bool      // Out is a terminal: a restore draws a bar
}

// EmbeddedPartitions is the number of partitions of an input that is made on the embedded broker.
const EmbeddedPartitions = 4

func (c Config) withDefaults() Config {
	c.DataDir = or(c.DataDir, "./tally-data")
	c.Listen = or(c.Listen, "127.0.0.1:7400")
	c.Memory = or(c.Memory, 512<<20)
	c.CommitsPerSecond = or(c.CommitsPerSecond, 100)
	c.Watch = or(c.Watch, 3*time.Second)
	c.WatchAge = or(c.WatchAge, 10*time.Second)
	c.OffsetsWait = or(c.OffsetsWait, time.Minute)
	c.UnstableWait = or(c.UnstableWait, 15*time.Second)
	c.LagInterval = or(c.LagInterval, 500*time.Millisecond)
	c.TrimInterval = or(c.TrimInterval, 10*time.Second)
	c.TopicsInterval = or(c.TopicsInterval, 10*time.Second)
	c.DrainTimeout = or(c.DrainTimeout, 5*time.Second)
	c.HandOverMax = or(c.HandOverMax, 4*time.Second)
	c.DepartMax = or(c.DepartMax, 3*time.Second)
	c.SettleWait = or(c.SettleWait, 5*time.Second)
	c.RetryMax = or(c.RetryMax, 2*time.Second)
	c.SeedRecords = or(c.SeedRecords, 200_000)
	c.SeedRate = or(c.SeedRate, 64<<20)
	c.ReplayRate = or(c.ReplayRate, 500_000)
	c.UnreachableAt = or(c.UnreachableAt, 5*time.Second)
	c.PassResetAfter = or(c.PassResetAfter, 15*time.Second)
	if c.Env == nil {
		c.Env = func(string) string { return "" }
	}
	if c.Exit == nil {
		c.Exit = os.Exit
	}
	if c.Out == nil {
		c.Out = io.Discard
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}
