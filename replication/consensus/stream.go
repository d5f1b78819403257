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

// greetingMax bounds the line with which a connection begins: "for ID from ID at HOST:PORT\n", or,
// in a group that goes on after a recovery, "for ID from ID at HOST:PORT recovered N-ID\n". Nodes
// of earlier releases read the first four words, and say no more.
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
	id, addr := splitTarget(string(target))
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
	line, recovered := fmt.Sprintf("for %s from %s", id, s.c.ID), ""
	if r, _ := s.group(); r != (ownership.Recovery{}) {
		recovered = " recovered " + r.String()
	}
	at := " at " + s.c.Addr
	if len(line)+len(at)+len(recovered) >= greetingMax {
		at = ""
	}
	return line + at + recovered + "\n"
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
	from sender
	// sure: this node's log is of the recovery that the sender's is. While it has no log it takes
	// either one, and looks again with each read: it may have got its log from somebody else.
	sure bool
}

// sender is who has opened a connection.
type sender struct {
	id, addr  string // addr "" if it does not say
	recovered ownership.Recovery
}

func (g *greeted) Read(p []byte) (int, error) {
	if !g.open {
		if err := g.greeting(); err != nil {
			return 0, err
		}
		g.open = true
	}
	n, err := g.Conn.Read(p)
	if n > 0 && !g.sure {
		if err := g.ofOneGroup(); err != nil {
			return 0, err
		}
	}
	return n, err
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
	var to string
	if to, g.from, err = parseGreeting(line); err != nil {
		return fmt.Errorf("a connection from %s: %w", g.RemoteAddr(), err)
	}
	if to != g.s.c.ID {
		return fmt.Errorf("node %s at %s looks for node %s here, and this is %s: an address has passed to another node",
			g.from.id, g.RemoteAddr(), to, g.s.c.ID)
	}
	if err := g.ofOneGroup(); err != nil {
		return err
	}
	return g.SetReadDeadline(time.Time{})
}

// ofOneGroup refuses a sender whose log is of another recovery than this node's.
func (g *greeted) ofOneGroup() error {
	mine, any := g.s.group()
	switch {
	case !any:
		return nil
	case g.from.recovered == mine:
		g.sure = true
		return nil
	}
	if g.s.c.Parted != nil {
		g.s.c.Parted(g.from.id, g.from.addr)
	}
	return fmt.Errorf("node %s at %s has a log of before or after a recovery of the cluster (%q, and this node's is %q)",
		g.from.id, g.RemoteAddr(), g.from.recovered, mine)
}

func parseGreeting(line string) (to string, from sender, err error) {
	line, recovered, _ := strings.Cut(line, " recovered ")
	line, from.addr, _ = strings.Cut(line, " at ")
	if _, err := fmt.Sscanf(line, "for %s from %s", &to, &from.id); err != nil {
		return "", sender{}, fmt.Errorf("it begins with %q", line)
	}
	from.recovered, err = ownership.ParseRecovery(recovered)
	return to, from, err
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
