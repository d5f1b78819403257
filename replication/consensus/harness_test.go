package consensus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/replication/ownership"
)

// patience is how long a test waits for what must happen; it decides only how long a failure takes.
const patience = 30 * time.Second

// quick is a timing that makes an election in some 150 ms on a busy machine.
var quick = Timing{Heartbeat: slow * 150 * time.Millisecond, Election: slow * 150 * time.Millisecond,
	Lease: slow * 100 * time.Millisecond, RPC: slow * 500 * time.Millisecond, Propose: slow * 2 * time.Second}

// eventually polls until check returns nil.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	end := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %s still: %v", patience, err)
		}
		<-time.After(2 * time.Millisecond)
	}
}

func limit(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// A group is some nodes on real TCP, in one process.
type group struct {
	t      testing.TB
	timing Timing
	adjust func(*Config)
	nodes  []*node

	mu    sync.Mutex
	apart map[string]bool // addresses that are cut off
	conns map[*net.Conn]string
}

type node struct {
	*Raft
	g        *group
	id, addr string
	dir      string
	halted   chan error
	led      chan uint64 // terms
}

func newGroup(t testing.TB, n int, timing Timing) *group {
	g := &group{t: t, timing: timing, apart: map[string]bool{}, conns: map[*net.Conn]string{}}
	for i := range n {
		g.nodes = append(g.nodes, g.newNode(fmt.Sprintf("n%d", i)))
	}
	return g
}

func (g *group) newNode(id string) *node {
	return &node{g: g, id: id, dir: g.t.TempDir(), halted: make(chan error, 1), led: make(chan uint64, 100)}
}

// form opens all nodes, the first one bootstraps, and one leads.
func (g *group) form() *node {
	g.t.Helper()
	var servers []Server
	for _, n := range g.nodes {
		n.open()
		servers = append(servers, Server{ID: n.id, Addr: n.addr})
	}
	if err := g.nodes[0].Bootstrap(servers); err != nil {
		g.t.Fatal(err)
	}
	return g.leader()
}

// leader waits for one that all reachable nodes follow.
func (g *group) leader() (leader *node) {
	g.t.Helper()
	eventually(g.t, func() error {
		leader = nil
		for _, n := range g.up() {
			if _, _, ok := n.Leading(); ok {
				if leader != nil {
					return errors.New("two leaders")
				}
				leader = n
			}
		}
		if leader == nil {
			return errors.New("no leader")
		}
		for _, n := range g.up() {
			if id, addr := n.Leader(); id != leader.id || addr != leader.addr {
				return fmt.Errorf("%s follows %q at %q, not %s at %s", n.id, id, addr, leader.id, leader.addr)
			}
		}
		return nil
	})
	return leader
}

func (g *group) up() (up []*node) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range g.nodes {
		if n.Raft != nil && !g.apart[n.addr] {
			up = append(up, n)
		}
	}
	return up
}

// cut takes a node off the network, or puts it back.
func (g *group) cut(n *node, off bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.apart[n.addr] = off
	for c, addr := range g.conns {
		if addr == n.addr {
			(*c).Close()
			delete(g.conns, c)
		}
	}
}

// dial gives each node its own way to the others, so that it can be cut off.
func (g *group) dial(from *node) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.apart[from.addr] || g.apart[addr] {
			return nil, errors.New("cut off")
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			mine, theirs := conn, conn
			g.conns[&mine], g.conns[&theirs] = from.addr, addr
		}
		return conn, err
	}
}

// listen takes the node's address, the same one after a restart.
func (n *node) listen() net.Listener {
	if n.addr == "" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			n.g.t.Fatal(err)
		}
		n.addr = l.Addr().String()
		return l
	}
	var l net.Listener
	eventually(n.g.t, func() (err error) {
		l, err = net.Listen("tcp", n.addr)
		return err
	})
	return l
}

func (n *node) config() Config {
	level := slog.LevelError
	if os.Getenv("TALLY_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	c := Config{
		ID: n.id, Dir: n.dir, Listener: n.listen(), Seam: seam.World(), Timing: n.g.timing,
		Addr: n.addr, Dial: n.g.dial(n),
		Log:    slog.New(slog.NewTextHandler(n.g.t.Output(), &slog.HandlerOptions{Level: level})).With("node", n.id),
		Halt:   func(err error) { n.halted <- err },
		OnLead: func(ctx context.Context, term uint64) { n.led <- term; <-ctx.Done() },
	}
	if n.g.adjust != nil {
		n.g.adjust(&c)
	}
	return c
}

func (n *node) open() *node {
	n.g.t.Helper()
	r, err := Open(n.config())
	if err != nil {
		n.g.t.Fatal(err)
	}
	n.Raft = r
	n.g.t.Cleanup(func() { r.Close() })
	return n
}

// kill ends the node without a word to the others.
func (n *node) kill() {
	n.g.t.Helper()
	if err := n.Raft.Close(); err != nil {
		n.g.t.Fatal(err)
	}
	n.Raft = nil
}

func member(id string) ownership.Command {
	return ownership.Command{Register: &ownership.Register{Member: ownership.Member{
		ID: id, Name: "node-" + id, Incarnation: "1", Addr: "127.0.0.1:1", Release: "test", Format: 1, Capacity: 1,
	}}}
}

// propose must succeed at this node.
func (n *node) propose(c ownership.Command) {
	n.g.t.Helper()
	result, err := n.Propose(limit(n.g.t), c)
	if err != nil || result.Refused != "" {
		n.g.t.Fatalf("%s: %v %v", n.id, err, result)
	}
}

// has waits until a node has applied the registration of a member.
func (n *node) has(id string) {
	n.g.t.Helper()
	eventually(n.g.t, func() error {
		if n.State().Members[id] == nil {
			return fmt.Errorf("%s has no member %s", n.id, id)
		}
		return nil
	})
}
