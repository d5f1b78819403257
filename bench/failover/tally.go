package failover

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/bench/peers"
	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

const (
	settleWait = 3 * time.Minute
	settlePoll = 20 * time.Millisecond
	statusWait = 2 * time.Second
)

// Tally is a band of tally nodes on this machine.
type Tally struct {
	Binary   string
	Nodes    int // that it starts with
	Kafka    kafka.Config
	Workload bench.Workload
	In, App  string // "": the nodes run no app
	Lanes    int
	Dir      string
	Wires    *Wires // nil: nothing is between the nodes, and none can be cut off
	Seam     seam.Seam

	nodes  []*node
	seeds  []string // addresses of the first ones
	joined int
}

type process = peers.Process

// node is one of a band.
type node struct {
	name, dir string
	listen    string // its own address
	addr      string // that the others reach it at
	client    *api.Client
	proc      *process // nil for one that does not run
	away      bool     // it runs, and is not asked
}

func (n *node) asked() bool { return n.proc != nil && !n.away }

func (n *node) end(how func(*process)) {
	how(n.proc)
	n.proc = nil
}

// Name of its rows.
func (b *Tally) Name() string { return fmt.Sprintf("tally, %d nodes", b.Nodes) }

// Out is the topic of outputs.
func (b *Tally) Out() string { return b.App + "-out" }

func (b *Tally) changelog() string { return b.App + ".changelog" }

// Start starts all nodes at once, and returns when all lanes run and have their standbys.
func (b *Tally) Start(ctx context.Context) error {
	if err := b.launch(); err != nil {
		return err
	}
	return b.settled(ctx)
}

func (b *Tally) launch() error {
	if err := os.MkdirAll(b.Dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(b.specFile(), []byte(b.Workload.Spec(b.App, b.In, b.Lanes)), 0o644); err != nil {
		return err
	}
	for i := range b.Nodes {
		n, err := b.add(string(rune('a' + i)))
		if err != nil {
			return err
		}
		b.seeds = append(b.seeds, n.addr)
	}
	for _, n := range b.nodes {
		if err := b.start(n); err != nil {
			return err
		}
	}
	return nil
}

func (b *Tally) specFile() string { return filepath.Join(b.Dir, "spec.yaml") }

// add makes a node that does not run yet.
func (b *Tally) add(name string) (*node, error) {
	n := &node{name: name, dir: filepath.Join(b.Dir, name)}
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n.listen = l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	if n.addr = n.listen; b.Wires != nil {
		if n.addr, err = b.Wires.Net.Listen(name, n.listen); err != nil {
			return nil, err
		}
	}
	if n.client, err = api.NewClient("http://"+n.listen, b.Seam); err != nil {
		return nil, err
	}
	b.nodes = append(b.nodes, n)
	return n, nil
}

func (b *Tally) start(n *node) (err error) {
	brokers := b.Kafka.Brokers
	if b.Wires != nil {
		brokers = b.Wires.Kafka.ProxyAddrs()
	}
	args := []string{"run", "--node", n.name, "--brokers", strings.Join(brokers, ","), "--data-dir", filepath.Join(n.dir, "data"),
		"--listen", n.listen, "--advertise", n.addr}
	if b.Nodes > 1 {
		args = append(args, "--join", strings.Join(b.seeds, ","))
	}
	if b.App != "" {
		args = append(args, "--spec", b.specFile())
	}
	if n.proc, err = peers.Start(exec.Command(b.Binary, args...), n.dir, b.Seam); err == nil && b.Wires != nil {
		b.Wires.Net.Register(n.name, n.proc.PID())
	}
	return err
}

// settled waits until every lane runs, at its place, with a standby that is ready.
func (b *Tally) settled(ctx context.Context) error { return b.await(ctx, b.whole) }

// await asks until the status is as it shall be.
func (b *Tally) await(ctx context.Context, is func(api.Status) error) error {
	var err error
	for end := b.Seam.Now().Add(settleWait); b.Seam.Now().Before(end); {
		var st api.Status
		if st, err = b.status(ctx); err == nil {
			err = is(st)
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

// running: all lanes do.
func (b *Tally) running(st api.Status) error {
	if len(st.Apps) != 1 || len(st.Apps[0].Lanes) == 0 {
		return fmt.Errorf("it has %d apps", len(st.Apps))
	}
	for _, l := range st.Apps[0].Lanes {
		if l.State != api.LaneRunning {
			return fmt.Errorf("lane %d is %s at %q: %s", l.Lane, l.State, l.Owner, l.Reason)
		}
	}
	return nil
}

func (b *Tally) whole(st api.Status) error {
	if err := b.running(st); err != nil {
		return err
	}
	owned := map[string]int{}
	for _, l := range st.Apps[0].Lanes {
		if l.From != "" || l.Target != "" || len(l.Copies) == 0 && len(b.nodes) > 1 {
			return fmt.Errorf("lane %d is at %q, with standbys %v, from %q to %q", l.Lane, l.Owner, l.Standbys, l.From, l.Target)
		}
		for _, c := range l.Copies {
			if !c.Ready {
				return fmt.Errorf("lane %d has a standby at %s that is not ready", l.Lane, c.Node)
			}
		}
		owned[l.Owner]++
	}
	if len(owned) != min(len(b.nodes), b.Lanes) {
		return fmt.Errorf("the lanes are at %v", owned)
	}
	return nil
}

// status asks the first node that runs.
func (b *Tally) status(ctx context.Context) (st api.Status, err error) {
	err = fmt.Errorf("no node runs")
	for _, n := range b.nodes {
		if !n.asked() {
			continue
		}
		if e := n.proc.Check(); e != nil {
			return st, fmt.Errorf("node %s: %w", n.name, e)
		}
		bounded, cancel := context.WithTimeout(ctx, statusWait)
		st, err = n.client.Status(bounded)
		cancel()
		if err == nil {
			return st, nil
		}
	}
	return st, err
}

// Stop ends all nodes.
func (b *Tally) Stop() {
	for _, n := range b.nodes {
		if n.proc != nil {
			n.proc.Kill()
		}
	}
}
