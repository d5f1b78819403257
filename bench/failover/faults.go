package failover

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/chaos/link"
	"github.com/tally-kafka/tally/internal/testkafka"
)

// The faults.
const (
	KillOwner       = "owner killed"
	KillLeader      = "owner and leader killed"
	StopOwner       = "owner stopped (SIGSTOP 10 s)"
	StopLeader      = "owner and leader stopped (SIGSTOP 10 s)"
	CutOwner        = "owner cut off (from all and from Kafka for 10 s)"
	CutLeader       = "owner and leader cut off (from all and from Kafka for 10 s)"
	Drain           = "drain"
	Move            = "move"
	Join            = "join of a fourth node"
	RollingRestart  = "rolling restart"
	KillAll         = "all killed and started again"
	awayFor         = 10 * time.Second
	betweenRestarts = 500 * time.Millisecond
)

// AllFaults are those that there are.
var AllFaults = []string{KillOwner, StopOwner, KillLeader, StopLeader, CutOwner, CutLeader, Move, Drain, Join, RollingRestart, KillAll}

// Cuts are those that need Wires.
var Cuts = []string{CutOwner, CutLeader}

// Wires are proxies between the nodes, and between them and Kafka, so that a node can be cut off.
type Wires struct {
	Net   *link.Network
	Kafka *testkafka.Cluster // with Options.Proxy
}

// Faults are all that this band can do.
func (b *Tally) Faults() []string {
	all := []string{KillOwner, StopOwner, KillLeader, StopLeader, Move, Drain, Join, RollingRestart, KillAll}
	if b.Wires != nil {
		all = append(all, Cuts...)
	}
	return all
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
	case StopLeader:
		return b.hang(b.victim(st, true))
	case CutOwner:
		return b.cut(b.victim(st, false))
	case CutLeader:
		return b.cut(b.victim(st, true))
	case KillAll:
		return b.killAll()
	case Drain:
		return b.drain(ctx, b.victim(st, false))
	case Move:
		return b.move(ctx, st)
	case Join:
		return b.join(ctx)
	case RollingRestart:
		return b.settled, b.roll(ctx)
	}
	return nil, fmt.Errorf("no fault %q", fault)
}

// victim is the Raft leader's node, or the first that is not.
func (b *Tally) victim(st api.Status, leader bool) *node {
	for _, n := range b.nodes {
		if (n.name == st.Leader) == leader {
			return n
		}
	}
	return b.nodes[0]
}

func (b *Tally) kill(n *node) (func(context.Context) error, error) {
	n.end((*process).Kill)
	return func(ctx context.Context) error {
		if err := b.start(n); err != nil {
			return err
		}
		return b.settled(ctx)
	}, nil
}

func (b *Tally) hang(n *node) (func(context.Context) error, error) {
	pid := n.proc.PID()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return nil, err
	}
	return b.away(n, func() error { return syscall.Kill(pid, syscall.SIGCONT) }), nil
}

// cut cuts a node off from the others and from Kafka; its connections are closed, and none opens.
func (b *Tally) cut(n *node) (func(context.Context) error, error) {
	var heal []func() int64
	for _, other := range b.nodes {
		if other != n {
			heal = append(heal, b.Wires.Net.BreakBoth(n.name, other.name, link.Rule{Cut: true}))
		}
	}
	hits := b.Wires.Kafka.Proxy(1).Fail(testkafka.Fault{Key: testkafka.AnyKey, Client: "tally-" + n.name, Do: testkafka.DropRequest})
	return b.away(n, func() error {
		hits.Remove()
		for _, h := range heal {
			h()
		}
		return nil
	}), nil
}

// away is the repair of a node that nobody asks meanwhile and that back brings back.
func (b *Tally) away(n *node, back func() error) func(context.Context) error {
	n.away = true
	until := b.Seam.Now().Add(awayFor)
	return func(ctx context.Context) error {
		if err := b.Seam.Sleep(ctx, until.Sub(b.Seam.Now())); err != nil {
			return err
		}
		n.away = false
		if err := back(); err != nil {
			return err
		}
		return b.settled(ctx)
	}
}

func (b *Tally) killAll() (func(context.Context) error, error) {
	for _, n := range b.nodes {
		n.end((*process).Kill)
	}
	for _, n := range b.nodes {
		if err := b.start(n); err != nil {
			return nil, err
		}
	}
	return b.settled, nil
}

func (b *Tally) drain(ctx context.Context, n *node) (func(context.Context) error, error) {
	if _, err := n.client.Drain(ctx, n.name, api.DrainRequest{}); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		if _, err := n.client.Drain(ctx, n.name, api.DrainRequest{Undo: true}); err != nil {
			return err
		}
		return b.settled(ctx)
	}, nil
}

// move moves the first lane to the node that stands by for it.
func (b *Tally) move(ctx context.Context, st api.Status) (func(context.Context) error, error) {
	l := st.Apps[0].Lanes[0]
	if len(l.Standbys) == 0 {
		return nil, fmt.Errorf("lane %d has no standby", l.Lane)
	}
	_, err := b.nodes[0].client.Move(ctx, b.App, l.Lane, api.MoveRequest{To: l.Standbys[0]})
	return b.settled, err
}

// join starts one node more, until it has its share of the lanes. The repair has it leave.
func (b *Tally) join(ctx context.Context) (func(context.Context) error, error) {
	b.joined++
	n, err := b.add(fmt.Sprintf("join%d", b.joined))
	if err != nil {
		return nil, err
	}
	if err := b.start(n); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		n.end((*process).Stop)
		b.nodes = b.nodes[:len(b.nodes)-1]
		return b.settled(ctx)
	}, b.settled(ctx)
}

// roll restarts one node after the other, each when the last one is whole again.
func (b *Tally) roll(ctx context.Context) error {
	for _, n := range b.nodes {
		n.end((*process).Stop)
		if err := b.start(n); err != nil {
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
