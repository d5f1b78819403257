package port

import (
	"container/list"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/tally-kafka/tally/internal/certs"
	"github.com/tally-kafka/tally/internal/seldom"
)

// acceptPause is how long a listener that fails rests: there are no file descriptors left.
const acceptPause = 50 * time.Millisecond

// Port is an open port. It may be used from many goroutines.
type Port struct {
	cfg       Config
	certs     *certs.Set // nil: plain, on loopback
	listener  net.Listener
	advertise string
	client    *http.Client
	lines     [lineCount]*line
	said      *seldom.Log
	// closing ends the handshakes and the waits when the port is closed.
	closing context.Context
	close   context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	pending *list.List // of *conn, oldest first: those that have not said what they are for
	open    map[*conn]struct{}
	people  int // of the open ones
	nodes   int
}

// Listen opens the port; what cannot be meant is refused as by Check.
func Listen(cfg Config) (*Port, error) {
	cfg = cfg.withDefaults()
	if err := Check(cfg); err != nil {
		return nil, err
	}
	p := &Port{cfg: cfg, pending: list.New(), open: map[*conn]struct{}{}, said: seldom.New(cfg.Seam, cfg.Log)}
	if cfg.Certs != "" {
		set, err := certs.Open(cfg.Certs, certs.Options{Seam: cfg.Seam, Log: cfg.Log, Every: cfg.LookEvery})
		if err != nil {
			return nil, err
		}
		p.certs = set
	}
	var err error
	if p.listener, err = open(cfg.Listen); err != nil {
		return nil, err
	}
	p.advertise = advertised(cfg, p.listener.Addr())
	if err := p.checkName(); err != nil {
		return nil, errors.Join(err, p.listener.Close())
	}
	for k := range p.lines {
		p.lines[k] = &line{addr: p.listener.Addr(), conns: make(chan net.Conn), closed: make(chan struct{})}
	}
	p.client = p.newClient()
	p.closing, p.close = context.WithCancel(context.Background())
	p.running.Go(p.accept)
	if p.certs != nil {
		p.running.Go(p.recheck)
	}
	return p, nil
}

// checkName refuses an advertised address that the certificate does not name: nobody could dial it.
func (p *Port) checkName() error {
	host, _, _ := net.SplitHostPort(p.advertise)
	if p.certs == nil || p.certs.Covers(host) {
		return nil
	}
	name := p.cfg.Node
	if name == "" {
		name = "NAME"
	}
	return fmt.Errorf("others dial this node at %s, and the certificate in %s is for %s: make one with"+
		" `tally certs DIR --nodes %s=%s --renew`, or say another --advertise", p.advertise, p.cfg.Certs, p.certs.Names(), name, host)
}

// Addr is where the port listens.
func (p *Port) Addr() net.Addr { return p.listener.Addr() }

// Advertise is the HOST:PORT at which others reach this node.
func (p *Port) Advertise() string { return p.advertise }

// Secure is true with certificates.
func (p *Port) Secure() bool { return p.certs != nil }

// Reach says in a sentence who reaches the port, for a person who starts a node.
func (p *Port) Reach() string {
	if p.certs == nil {
		return fmt.Sprintf("listening at %s for this machine only (without --certs)", p.Addr())
	}
	return fmt.Sprintf("listening at %s with TLS, as %s; the certificate is good until %s",
		p.Addr(), p.advertise, p.certs.Until().UTC().Format("2006-01-02"))
}

// URL is the URL of a node at addr, HOST:PORT.
func (p *Port) URL(addr string) string {
	if p.certs == nil {
		return "http://" + addr
	}
	return "https://" + addr
}

// Covers says that a request may name this node as host: the certificate does. No page of a foreign
// name gets as far, since its browser has checked the same certificate.
func (p *Port) Covers(host string) bool { return p.certs != nil && p.certs.Covers(host) }

// Trusts says that a certificate that was a node's when its connection was made is one still.
func (p *Port) Trusts(peer []*x509.Certificate) bool { return p.certs != nil && p.certs.Trusts(peer) }

// Raft is where other nodes' Raft connections come in, Sessions their sessions, and HTTP people and
// node calls. Closing one refuses what comes in further, and leaves the port and the others open.
func (p *Port) Raft() net.Listener     { return p.lines[lineRaft] }
func (p *Port) Sessions() net.Listener { return p.lines[lineSession] }
func (p *Port) HTTP() net.Listener     { return p.lines[linePeople] }

// Close ends the listener and every connection. Whoever serves them is closed before.
func (p *Port) Close() error {
	p.mu.Lock()
	p.closed = true
	conns := make([]*conn, 0, len(p.open))
	for c := range p.open {
		conns = append(conns, c)
	}
	p.mu.Unlock()
	err := p.listener.Close()
	p.close()
	for _, l := range p.lines {
		_ = l.Close()
	}
	for _, c := range conns {
		_ = c.Close()
	}
	p.client.CloseIdleConnections()
	p.running.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil // closed before
	}
	return err
}

func (p *Port) accept() {
	for {
		nc, err := p.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			p.say("no connection can be accepted", "error", err)
			if p.cfg.Seam.Sleep(p.closing, acceptPause) != nil {
				return
			}
			continue
		}
		if c := p.admit(nc); c != nil {
			p.running.Go(func() { p.receive(c) })
		}
	}
}

// admit makes room for a connection that has said nothing yet.
func (p *Port) admit(nc net.Conn) *conn {
	c := &conn{Conn: nc, port: p}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		_ = nc.Close()
		return nil
	}
	p.open[c] = struct{}{}
	c.place = p.pending.PushBack(c)
	var oldest *conn
	if p.pending.Len() > p.cfg.PendingMax {
		oldest = p.pending.Front().Value.(*conn)
	}
	p.mu.Unlock()
	if oldest != nil {
		_ = oldest.Close()
		p.say("too many connections say nothing; ending the oldest", "from", oldest.RemoteAddr().String(), "limit", p.cfg.PendingMax)
	}
	return c
}

// settle counts a connection that has said whose it is; not room: as many are open as may be;
// ended: it had to make way for others before it had said so.
func (p *Port) settle(c *conn, node bool, peer []*x509.Certificate) (room, ended bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.place == nil {
		return false, true
	}
	count, limit := &p.people, p.cfg.PeopleMax
	if node {
		count, limit = &p.nodes, p.cfg.NodesMax
	}
	if *count >= limit {
		return false, false
	}
	p.pending.Remove(c.place)
	c.place, c.count, c.peer = nil, count, peer
	*count++
	return true, false
}

// forget is called once a connection is closed.
func (p *Port) forget(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
	if c.place != nil {
		p.pending.Remove(c.place)
		c.place = nil
	}
	if c.count != nil {
		*c.count--
	}
}

// receive finds out what a connection is for and hands it to whoever serves that.
func (p *Port) receive(c *conn) {
	_ = c.SetDeadline(p.cfg.Seam.Now().Add(p.cfg.HandshakeTimeout))
	kind, nc, err := p.identify(c)
	if err != nil {
		_ = c.Close()
		p.sayRefused(c, err)
		return
	}
	peer := peerOf(nc)
	if room, ended := p.settle(c, kind != linePeople || peer != nil, peer); !room {
		_ = c.Close()
		if !ended {
			p.say("too many connections are open; refusing one", "from", c.RemoteAddr().String(), "for", kind.String())
		}
		return
	}
	if kind != linePeople {
		_, err = nc.Write([]byte{taken})
	}
	if err == nil {
		err = c.SetDeadline(time.Time{})
	}
	if err != nil || !p.lines[kind].put(p.closing, p.cfg, nc) {
		_ = nc.Close()
	}
}

func (p *Port) identify(c *conn) (lineKind, net.Conn, error) {
	if p.certs == nil {
		kind, err := c.readPreface()
		return kind, c, err
	}
	if err := c.readRecord(); err != nil {
		return 0, nil, err
	}
	tc := tls.Server(c, &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: p.configFor})
	if err := tc.HandshakeContext(p.closing); err != nil {
		return 0, nil, err
	}
	return kindOf(tc.ConnectionState().NegotiatedProtocol), tc, nil
}

// peerOf is a node's certificate, with those behind it, nil where a connection has none: HTTP may
// be of people and of nodes.
func peerOf(nc net.Conn) []*x509.Certificate {
	tc, ok := nc.(*tls.Conn)
	if !ok {
		return nil
	}
	st := tc.ConnectionState()
	if len(st.VerifiedChains) == 0 {
		return nil
	}
	return st.PeerCertificates
}

// configFor asks for a certificate where nodes alone may come in.
func (p *Port) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	for _, k := range []lineKind{lineRaft, lineSession} {
		if slices.Contains(hello.SupportedProtos, protocols[k]) {
			return p.certs.Server([]string{protocols[k]}, true), nil
		}
	}
	// Not h2: in that a write's deadline ends a stream on which nothing is being written.
	return p.certs.Server([]string{"http/1.1"}, false), nil
}
