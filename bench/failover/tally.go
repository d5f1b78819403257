package failover

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/bench/peers"
	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

// The faults.
const (
	KillOwner       = "owner killed"
	KillLeader      = "owner and leader killed"
	StopOwner       = "owner stopped (SIGSTOP 10 s)"
	Drain           = "drain"
	Move            = "move"
	RollingRestart  = "rolling restart"
	KillAll         = "all killed, started again"
	stopFor         = 10 * time.Second
	settleWait      = 90 * time.Second
	settlePoll      = 20 * time.Millisecond
	statusWait      = 2 * time.Second
	betweenRestarts = 500 * time.Millisecond
)

// Tally is a band of tally nodes on this machine.
type Tally struct {
	Binary   string
	Nodes    int
	Kafka    kafka.Config
	Workload bench.Workload
	In, App  string
	Lanes    int
	Dir      string
	Seam     seam.Seam

	addrs []string
	procs []*peers.Process // by node; nil for one that does not run
}

// Name of its rows.
func (b *Tally) Name() string { return fmt.Sprintf("tally, %d nodes", b.Nodes) }

// Out is the topic of outputs.
func (b *Tally) Out() string { return b.App + "-out" }

// Faults are all.
func (b *Tally) Faults() []string {
	return []string{KillOwner, StopOwner, KillLeader, Move, Drain, RollingRestart, KillAll}
}

// Start starts all nodes at once.
func (b *Tally) Start(ctx context.Context) error {
	if err := os.MkdirAll(b.Dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(b.specFile(), []byte(b.Workload.Spec(b.App, b.In, b.Lanes)), 0o644); err != nil {
		return err
	}
	for range b.Nodes {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		b.addrs = append(b.addrs, l.Addr().String())
		if err := l.Close(); err != nil {
			return err
		}
	}
	b.procs = make([]*peers.Process, b.Nodes)
	for i := range b.procs {
		if err := b.startNode(i); err != nil {
			return err
		}
	}
	return b.settled(ctx)
}

func (b *Tally) specFile() string { return filepath.Join(b.Dir, "spec.yaml") }

func (b *Tally) startNode(i int) (err error) {
	dir := filepath.Join(b.Dir, name(i))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	cmd := exec.Command(b.Binary, "run", "--node", name(i), "--spec", b.specFile(), "--brokers", strings.Join(b.Kafka.Brokers, ","),
		"--data-dir", filepath.Join(dir, "data"), "--listen", b.addrs[i], "--join", strings.Join(b.addrs, ","))
	b.procs[i], err = peers.Start(cmd, dir, b.Seam)
	return err
}

func name(i int) string { return string(rune('a' + i)) }

// settled waits until every lane runs, at its place, with a standby that is ready.
func (b *Tally) settled(ctx context.Context) error {
	var err error
	for end := b.Seam.Now().Add(settleWait); b.Seam.Now().Before(end); {
		var st api.Status
		if st, err = b.status(ctx); err == nil {
			err = b.whole(st)
		}
		if err == nil {
			return nil
		}
		if e := b.Seam.Sleep(ctx, settlePoll); e != nil {
			return e
		}
	}
	return fmt.Errorf("the cluster has not settled within %v: %w", settleWait, err)
}

func (b *Tally) whole(st api.Status) error {
	if len(st.Apps) != 1 || len(st.Apps[0].Lanes) == 0 {
		return fmt.Errorf("it has %d apps", len(st.Apps))
	}
	owned := map[string]int{}
	for _, l := range st.Apps[0].Lanes {
		if l.State != api.LaneRunning || l.From != "" || l.Target != "" || len(l.Copies) == 0 {
			return fmt.Errorf("lane %d is %s at %q, with standbys %v, from %q to %q", l.Lane, l.State, l.Owner, l.Standbys, l.From, l.Target)
		}
		for _, c := range l.Copies {
			if !c.Ready {
				return fmt.Errorf("lane %d has a standby at %s that is not ready", l.Lane, c.Node)
			}
		}
		owned[l.Owner]++
	}
	if len(owned) != b.Nodes {
		return fmt.Errorf("the lanes are at %v", owned)
	}
	return nil
}

// status asks the first node that runs.
func (b *Tally) status(ctx context.Context) (st api.Status, err error) {
	err = fmt.Errorf("no node runs")
	for i, p := range b.procs {
		if p == nil {
			continue
		}
		if e := p.Check(); e != nil {
			return st, fmt.Errorf("node %s: %w", name(i), e)
		}
		var client *api.Client
		if client, err = b.client(i); err != nil {
			return st, err
		}
		bounded, cancel := context.WithTimeout(ctx, statusWait)
		st, err = client.Status(bounded)
		cancel()
		if err == nil {
			return st, nil
		}
	}
	return st, err
}

func (b *Tally) client(i int) (*api.Client, error) {
	return api.NewClient("http://"+b.addrs[i], b.Seam)
}

// Stop ends all nodes.
func (b *Tally) Stop() {
	for _, p := range b.procs {
		if p != nil {
			p.Kill()
		}
	}
}

// Fault does what it names.
func (b *Tally) Fault(ctx context.Context, fault string) (repair func(context.Context) error, err error) {
	st, err := b.status(ctx)
	if err != nil {
		return nil, err
	}
	switch fault {
	case KillOwner:
		return b.kill(b.victim(st, false))
	case KillLeader:
		return b.kill(b.victim(st, true))
	case StopOwner:
		return b.hang(b.victim(st, false))
	case KillAll:
		return b.killAll()
	case Drain:
		return b.drain(ctx, b.victim(st, false))
	case Move:
		return b.move(ctx, st)
	case RollingRestart:
		return b.settled, b.roll(ctx)
	}
	return nil, fmt.Errorf("no fault %q", fault)
}

// victim is the Raft leader's node, or the first that is not.
func (b *Tally) victim(st api.Status, leader bool) int {
	for i := range b.procs {
		if (name(i) == st.Leader) == leader {
			return i
		}
	}
	return 0
}

func (b *Tally) kill(i int) (func(context.Context) error, error) {
	b.procs[i].Kill()
	b.procs[i] = nil
	return func(ctx context.Context) error {
		if err := b.startNode(i); err != nil {
			return err
		}
		return b.settled(ctx)
	}, nil
}

func (b *Tally) hang(i int) (func(context.Context) error, error) {
	pid := b.procs[i].PID()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return nil, err
	}
	p := b.procs[i]
	b.procs[i] = nil // nobody asks it meanwhile
	until := b.Seam.Now().Add(stopFor)
	return func(ctx context.Context) error {
		if err := b.Seam.Sleep(ctx, until.Sub(b.Seam.Now())); err != nil {
			return err
		}
		b.procs[i] = p
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			return err
		}
		return b.settled(ctx)
	}, nil
}

func (b *Tally) killAll() (func(context.Context) error, error) {
	for _, p := range b.procs {
		p.Kill()
	}
	for i := range b.procs {
		if err := b.startNode(i); err != nil {
			return nil, err
		}
	}
	return b.settled, nil
}

func (b *Tally) drain(ctx context.Context, i int) (func(context.Context) error, error) {
	client, err := b.client(i)
	if err != nil {
		return nil, err
	}
	if _, err := client.Drain(ctx, name(i), api.DrainRequest{}); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		if _, err := client.Drain(ctx, name(i), api.DrainRequest{Undo: true}); err != nil {
			return err
		}
		return b.settled(ctx)
	}, nil
}

// move moves the first lane to the node that stands by for it.
func (b *Tally) move(ctx context.Context, st api.Status) (func(context.Context) error, error) {
	client, err := b.client(0)
	if err != nil {
		return nil, err
	}
	l := st.Apps[0].Lanes[0]
	if len(l.Standbys) == 0 {
		return nil, fmt.Errorf("lane %d has no standby", l.Lane)
	}
	_, err = client.Move(ctx, b.App, l.Lane, api.MoveRequest{To: l.Standbys[0]})
	return b.settled, err
}

// roll restarts one node after the other, each when the last one is whole again.
func (b *Tally) roll(ctx context.Context) error {
	for i := range b.procs {
		b.procs[i].Stop()
		b.procs[i] = nil
		if err := b.startNode(i); err != nil {
			return err
		}
		if err := b.settled(ctx); err != nil {
			return err
		}
		if err := b.Seam.Sleep(ctx, betweenRestarts); err != nil {
			return err
		}
	}
	return nil
}
