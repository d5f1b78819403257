package consensus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/tally-kafka/tally/replication/ownership"
)

// greetingMax bounds the line with which a connection begins: "for ID from ID\n", or, in a group
// that goes on after a recovery, "for ID from ID recovered N-ID\n".
const greetingMax = 256

// stream gives Raft its connections. Each begins with a line that names the node it is for.
type stream struct {
	c     Config
	addr  advertised
	group func() (recovered ownership.Recovery, any bool) // that this node's log is of; any: it has one
	mu    sync.Mutex
	conns map[*greeted]bool // accepted and open
	ended bool
}

func newStream(c Config, group func() (ownership.Recovery, bool)) *stream {
	return &stream{c: c, addr: advertised(c.Addr), group: group, conns: map[*greeted]bool{}}
}

// advertised is the address that the others are told, as a net.Addr.
type advertised string

func (a advertised) Network() string { return "tcp" }
func (a advertised) String() string  { return string(a) }

func (s *stream) Addr() net.Addr { return s.addr }

func (s *stream) Close() error { return s.c.Listener.Close() }

// Dial connects to "id@address" and says whom the connection is for.
func (s *stream) Dial(target raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	id, addr := splitTarget(target)
	if addr == "" {
		return nil, fmt.Errorf("no address is known of node %s", id)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := s.c.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	err = conn.SetWriteDeadline(s.c.Seam.Now().Add(timeout))
	if err == nil {
		_, err = io.WriteString(conn, s.greetingTo(id))
	}
	if err == nil {
		err = conn.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func (s *stream) greetingTo(id string) string {
	line := fmt.Sprintf("for %s from %s", id, s.c.ID)
	if recovered, _ := s.group(); recovered.String() != "" {
		line += " recovered " + recovered.String()
	}
	return line + "\n"
}

// Accept does not read the greeting: a connection that says nothing must not keep the others
// waiting. The first Read does.
func (s *stream) Accept() (net.Conn, error) {
	conn, err := s.c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	g := &greeted{Conn: conn, s: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	s.conns[g] = true
	return g, nil
}

// closeConns ends the accepted connections: Raft's transport leaves them until the other side says
// something.
func (s *stream) closeConns() {
	s.mu.Lock()
	conns := s.conns
	s.conns, s.ended = map[*greeted]bool{}, true
	s.mu.Unlock()
	for c := range conns {
		c.Conn.Close()
	}
}

// greeted is an accepted connection. Only one goroutine reads it.
type greeted struct {
	net.Conn
	s    *stream
	open bool // the greeting was read and is for this node
}

func (g *greeted) Read(p []byte) (int, error) {
	if !g.open {
		if err := g.greeting(); err != nil {
			return 0, err
		}
		g.open = true
	}
	return g.Conn.Read(p)
}

func (g *greeted) Close() error {
	g.s.mu.Lock()
	delete(g.s.conns, g)
	g.s.mu.Unlock()
	return g.Conn.Close()
}

func (g *greeted) greeting() error {
	if err := g.SetReadDeadline(g.s.c.Seam.Now().Add(g.s.c.Timing.RPC)); err != nil {
		return err
	}
	line, err := readLine(g.Conn)
	if err != nil {
		return fmt.Errorf("a connection from %s: %w", g.RemoteAddr(), err)
	}
	to, from, theirs, err := parseGreeting(line)
	if err != nil {
		return fmt.Errorf("a connection from %s: %w", g.RemoteAddr(), err)
	}
	if to != g.s.c.ID {
		return fmt.Errorf("node %s at %s looks for node %s here, and this is %s: an address has passed to another node",
			from, g.RemoteAddr(), to, g.s.c.ID)
	}
	if mine, any := g.s.group(); any && theirs != mine {
		if g.s.c.Parted != nil {
			g.s.c.Parted(from)
		}
		return fmt.Errorf("node %s at %s has a log of before or after a recovery of the cluster (%q, and this node's is %q)",
			from, g.RemoteAddr(), theirs, mine)
	}
	return g.SetReadDeadline(time.Time{})
}

func parseGreeting(line string) (to, from string, r ownership.Recovery, err error) {
	line, recovered, _ := strings.Cut(line, " recovered ")
	if _, err := fmt.Sscanf(line, "for %s from %s", &to, &from); err != nil {
		return "", "", r, fmt.Errorf("it begins with %q", line)
	}
	r, err = ownership.ParseRecovery(recovered)
	return to, from, r, err
}

// readLine reads byte by byte, so that nothing behind the line is taken.
func readLine(conn net.Conn) (string, error) {
	var line bytes.Buffer
	var b [1]byte
	for line.Len() < greetingMax {
		if _, err := conn.Read(b[:]); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return line.String(), nil
		}
		line.WriteByte(b[0])
	}
	return "", errors.New("it begins with no line")
}
