package node

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// link is how a node reaches others.
type link int

const (
	linkUp    link = iota
	linkAlone      // it reaches Kafka, and no node
	linkCut        // it reaches nobody, and connections end
	linkHung       // nothing passes, and no connection ends
	linkRaft       // of what nodes say to each other only Raft's log passes
	linkDeaf       // all passes but Raft's log
)

// bandNet is the network of a band. It knows a connection by the node that has made it and the node
// that it is to, -1 for Kafka.
type bandNet struct {
	addrs []string

	mu    sync.Mutex
	links []link
	over  []chan struct{} // by node: closed when its hang is over
	conns map[*bandConn]struct{}
}

func newBandNet(addrs []string) *bandNet {
	return &bandNet{addrs: addrs, links: make([]link, len(addrs)), over: make([]chan struct{}, len(addrs)), conns: map[*bandConn]struct{}{}}
}

// set gives a node another link. What was sent during a hang is lost, and its connections with it.
func (n *bandNet) set(i int, to link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.links[i] == linkHung {
		close(n.over[i])
	}
	was := n.links[i]
	if n.links[i] = to; to == linkHung {
		n.over[i] = make(chan struct{})
		return
	}
	for c := range n.conns {
		if c.touches(i) && (was == linkHung || to == linkCut || to == linkAlone && c.to >= 0 || to == linkDeaf && c.raft) {
			_ = c.Conn.Close()
			delete(n.conns, c)
		}
	}
}

var errParted = errors.New("cut off by the test")

// dialFrom is the dial of a node.
func (n *bandNet) dialFrom(i int) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c := &bandConn{net: n, from: i, to: slices.Index(n.addrs, addr), closed: make(chan struct{})}
		if over := c.hung(); over != nil {
			select {
			case <-over:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if n.parted(c) {
			return nil, errParted
		}
		conn, err := seam.World().Dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		c.Conn = conn
		n.mu.Lock()
		n.conns[c] = struct{}{}
		n.mu.Unlock()
		if n.parted(c) {
			_ = c.Close()
			return nil, errParted
		}
		return c, nil
	}
}

// parted reports whether nothing can be connected.
func (n *bandNet) parted(c *bandConn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, l := range n.links {
		if c.touches(i) && (l == linkCut || l == linkAlone && c.to >= 0 && c.to != c.from) {
			return true
		}
	}
	return false
}

// lets reports whether a connection between nodes may be what its first bytes say, which is Raft's
// or not.
func (n *bandNet) lets(c *bandConn, raft bool) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	c.raft = raft
	if c.to < 0 || c.to == c.from {
		return true
	}
	other := linkRaft
	if raft {
		other = linkDeaf
	}
	return n.links[c.from] != other && n.links[c.to] != other
}

type bandConn struct {
	net.Conn
	net      *bandNet
	from, to int
	said     bool // something; what a connection is for, its first bytes say
	raft     bool
	closed   chan struct{}
	closing  sync.Once
	deadline atomic.Pointer[time.Time] // of reads
}

func (c *bandConn) touches(i int) bool { return c.from == i || c.to == i }

// hung is closed when the hang of one of the two ends is over; nil while there is none.
func (c *bandConn) hung() <-chan struct{} {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	for i, l := range c.net.links {
		if c.touches(i) && l == linkHung && c.from != c.to {
			return c.net.over[i]
		}
	}
	return nil
}

// Read loses what comes during a hang, and does not tell that the other end has closed. Its
// deadline and Close hold all the same: who waits for a node that hangs is not hung by that.
func (c *bandConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		over := c.hung()
		var timeout net.Error
		switch {
		case over == nil, errors.Is(err, net.ErrClosed), errors.As(err, &timeout) && timeout.Timeout():
			return n, err
		case err == nil:
			continue
		}
		return 0, c.wait(over)
	}
}

func (c *bandConn) wait(over <-chan struct{}) error {
	var late <-chan time.Time
	if at := c.deadline.Load(); at != nil && !at.IsZero() {
		late = time.After(time.Until(*at))
	}
	select {
	case <-over:
		return errParted
	case <-c.closed:
		return net.ErrClosed
	case <-late:
		return os.ErrDeadlineExceeded
	}
}

func (c *bandConn) SetDeadline(at time.Time) error {
	c.deadline.Store(&at)
	return c.Conn.SetDeadline(at)
}

func (c *bandConn) SetReadDeadline(at time.Time) error {
	c.deadline.Store(&at)
	return c.Conn.SetReadDeadline(at)
}

func (c *bandConn) Write(b []byte) (int, error) {
	if c.hung() != nil {
		return len(b), nil
	}
	if !c.said && !c.net.lets(c, bytes.HasPrefix(b, []byte("tally-raft/"))) {
		_ = c.Close()
		return 0, errParted
	}
	c.said = true
	return c.Conn.Write(b)
}

func (c *bandConn) Close() error {
	c.net.mu.Lock()
	delete(c.net.conns, c)
	c.net.mu.Unlock()
	c.closing.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
