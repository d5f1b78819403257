package failover

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/bench/measure"
	"github.com/tally-kafka/tally/bench/peers"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

// ReaderCommand is the argument by which the command that measures a cluster runs a Reader; what it
// reads follows as JSON.
const ReaderCommand = "reader-process"

// A Reader reads a topic of one partition on and on as a standby does, at the same pace and with
// the same client, and does nothing with it: what a standby cannot cost less than.
type Reader struct {
	Brokers []string
	Topic   string
	From    int64
}

// readerPace is how long a standby lets transactions gather (replication's FollowPace).
const readerPace = 50 * time.Millisecond

// Run reads until ctx ends.
func (r Reader) Run(ctx context.Context, sm seam.Seam) error {
	cl, err := kafka.Config{Brokers: r.Brokers, Seam: sm}.Client(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{r.Topic: {0: kgo.NewOffset().At(r.From)}}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.FetchMaxWait(100*time.Millisecond), kgo.FetchMaxBytes(1<<20), kgo.WithPools(&kafka.RecordPool{}),
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	for {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			return err
		}
		fs.EachRecord((*kgo.Record).Recycle)
		if err := sm.Sleep(ctx, readerPace); err != nil {
			return err
		}
	}
}

// command is a process that reads so.
func (r Reader) command() (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	job, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return exec.Command(self, ReaderCommand, string(job)), nil
}

// read runs a Reader of the changelog beside what goes on, and takes what it costs.
func (s *standing) read(ctx context.Context) (c cost, err error) {
	from, err := s.end(ctx)
	if err != nil {
		return c, err
	}
	cmd, err := Reader{Brokers: s.f.Kafka.Brokers, Topic: s.b.changelog(), From: from}.command()
	if err != nil {
		return c, err
	}
	p, err := peers.Start(cmd, s.b.Dir, s.f.Seam)
	if err != nil {
		return c, err
	}
	defer p.Kill()
	if err := s.f.Seam.Sleep(ctx, readerSettle); err != nil {
		return c, err
	}
	return s.cost(ctx, p)
}

const readerSettle = 2 * time.Second

// cost is what a process used while records were written.
type cost struct {
	cpu     time.Duration
	records int64
}

func (c cost) perMillion() float64 { return c.cpu.Seconds() / float64(c.records) * 1e6 }

// cost takes what a process uses for a while.
func (s *standing) cost(ctx context.Context, p *process) (c cost, err error) {
	before, err := measure.Of(p.PID())
	if err != nil {
		return c, err
	}
	from, err := s.end(ctx)
	if err != nil {
		return c, err
	}
	if err := s.f.Seam.Sleep(ctx, standbyFor); err != nil {
		return c, err
	}
	to, err := s.end(ctx)
	if err != nil {
		return c, err
	}
	after, err := measure.Of(p.PID())
	return cost{after.Sub(before).CPU, to - from}, err
}

// end of the changelog's one partition.
func (s *standing) end(ctx context.Context) (int64, error) {
	admin, err := kafka.NewAdmin(s.f.Kafka)
	if err != nil {
		return 0, err
	}
	defer admin.Close()
	ends, err := admin.EndOffsets(ctx, s.b.changelog(), true)
	return ends[0], err
}
