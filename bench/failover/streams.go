package failover

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/bench/peers"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

// Streams is a band of instances of Kafka Streams with one standby replica, with its own time-outs
// or with those of somebody who wants it to notice soon.
type Streams struct {
	Peer      peers.Streams
	Soon      bool // session.timeout.ms=6000, the least that a broker allows by default
	Instances int
	Kafka     kafka.Config
	Workload  bench.Workload
	In, App   string
	Dir       string
	Seam      seam.Seam

	procs []*peers.Process
}

// Name of its rows.
func (b *Streams) Name() string {
	if b.Soon {
		return "kafka-streams, 6 s session"
	}
	return "kafka-streams, default"
}

// Out is the topic of outputs.
func (b *Streams) Out() string { return b.App + "-out" }

// Faults are those that need nothing of its own.
func (b *Streams) Faults() []string { return []string{KillOwner, RollingRestart} }

// warmUp is how long its standbys are given: nothing says that they are ready.
const warmUp = 5 * time.Second

// Start starts all instances.
func (b *Streams) Start(ctx context.Context) error {
	b.procs = make([]*peers.Process, b.Instances)
	for i := range b.procs {
		if err := b.startInstance(ctx, i); err != nil {
			return err
		}
	}
	return b.Seam.Sleep(ctx, warmUp)
}

func (b *Streams) startInstance(ctx context.Context, i int) (err error) {
	cmd, err := b.command(i)
	if err != nil {
		return err
	}
	if b.procs[i], err = peers.Start(cmd, b.dir(i), b.Seam); err != nil {
		return err
	}
	return b.procs[i].Running(ctx)
}

func (b *Streams) dir(i int) string { return filepath.Join(b.Dir, string(rune('a'+i))) }

func (b *Streams) command(i int) (*exec.Cmd, error) {
	if err := os.MkdirAll(b.dir(i), 0o755); err != nil {
		return nil, err
	}
	settings := map[string]string{
		"num.standby.replicas": "1",
		// The name of a lone instance would be that of all of them, who would fence each other.
		"consumer.group.instance.id": "", "consumer.session.timeout.ms": "",
	}
	if b.Soon {
		settings["consumer.session.timeout.ms"], settings["consumer.heartbeat.interval.ms"] = "6000", "2000"
	}
	job := peers.Job{Kafka: b.Kafka, Workload: b.Workload, In: b.In, App: b.App, Dir: b.dir(i), Interval: 100 * time.Millisecond}
	return b.Peer.CommandWith(job, settings)
}

// Stop ends all instances.
func (b *Streams) Stop() {
	for _, p := range b.procs {
		if p != nil {
			p.Kill()
		}
	}
}

// Fault does what it names.
func (b *Streams) Fault(ctx context.Context, fault string) (repair func(context.Context) error, err error) {
	switch fault {
	case KillOwner:
		b.procs[0].Kill()
		return func(ctx context.Context) error {
			if err := b.startInstance(ctx, 0); err != nil {
				return err
			}
			return b.Seam.Sleep(ctx, warmUp)
		}, nil
	case RollingRestart:
		return func(ctx context.Context) error { return b.Seam.Sleep(ctx, warmUp) }, b.roll(ctx)
	}
	return nil, fmt.Errorf("no fault %q", fault)
}

func (b *Streams) roll(ctx context.Context) error {
	for i := range b.procs {
		b.procs[i].Stop()
		if err := b.startInstance(ctx, i); err != nil {
			return err
		}
		if err := b.Seam.Sleep(ctx, betweenRestarts); err != nil {
			return err
		}
	}
	return nil
}
