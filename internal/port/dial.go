package port

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"
)

// idlePerNode is how many HTTP connections to one node are kept for the next call.
const idlePerNode = 16

// DialRaft connects to the Raft of the node at addr. When it returns, that node has taken the
// connection.
func (p *Port) DialRaft(ctx context.Context, addr string) (net.Conn, error) {
	return p.dial(ctx, addr, lineRaft)
}

// DialSession connects to the sessions of the node at addr, as DialRaft does.
func (p *Port) DialSession(ctx context.Context, addr string) (net.Conn, error) {
	return p.dial(ctx, addr, lineSession)
}

// Client makes HTTP requests to nodes, at the URLs that URL gives, as this node. It follows no
// redirect: no node sends one.
func (p *Port) Client() *http.Client { return p.client }

func (p *Port) dial(ctx context.Context, addr string, kind lineKind) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.HandshakeTimeout)
	defer cancel()
	var c net.Conn
	var err error
	if p.certs == nil {
		if c, err = p.dialPlain(ctx, addr); err == nil {
			err = within(ctx, c, func() error { _, err := io.WriteString(c, protocols[kind]+"\n"); return err })
		}
	} else {
		c, err = p.dialTLS(ctx, addr, protocols[kind])
	}
	if err == nil {
		err = within(ctx, c, func() error { return p.readTaken(c, addr) })
	}
	if err == nil {
		return c, nil
	}
	if c != nil {
		_ = c.Close()
	}
	return nil, err
}

// noCertsError says that this node would need certificates.
type noCertsError struct{ text string }

func (e *noCertsError) Error() string { return e.text }

// Untrusted tells those who know nothing of certificates that no waiting mends it.
func (e *noCertsError) Untrusted() bool { return true }

// within makes a connection end its work when ctx does.
func within(ctx context.Context, c net.Conn, work func() error) error {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	err := work()
	if !stop() && err == nil {
		err = ctx.Err() // the deadline is on the connection, or will be
	}
	return err
}

// readTaken waits for the first byte. In TLS 1.3 this is also where a client hears that its
// certificate was refused.
func (p *Port) readTaken(c net.Conn, addr string) error {
	var b [1]byte
	_, err := io.ReadFull(c, b[:])
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("the node at %s has ended the connection: it is full, starting or stopping (%w)", addr, err)
	case err != nil && p.certs != nil:
		return p.certs.Why(err, addr)
	case err != nil:
		return fmt.Errorf("the node at %s: %w", addr, err)
	case b[0] == wantsTLS:
		return &noCertsError{fmt.Sprintf("the node at %s has certificates: start this one with --certs too", addr)}
	case b[0] != taken:
		return fmt.Errorf("at %s there is no tally node, or one of another version", addr)
	}
	return nil
}

func (p *Port) dialPlain(ctx context.Context, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%q is not the HOST:PORT of a node", addr)
	}
	if !isLoopback(host) {
		return nil, &noCertsError{fmt.Sprintf("the node at %s is on another machine, and this one has no certificates: start it with --certs", addr)}
	}
	return p.cfg.Seam.Dial(ctx, "tcp", addr)
}

func (p *Port) dialTLS(ctx context.Context, addr, protocol string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%q is not the HOST:PORT of a node", addr)
	}
	nc, err := p.cfg.Seam.Dial(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := tls.Client(nc, p.certs.Client(host, protocol))
	if err := c.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, p.certs.Why(err, addr)
	}
	return c, nil
}

func (p *Port) newClient() *http.Client {
	tr := &http.Transport{
		DialContext:         func(ctx context.Context, _, addr string) (net.Conn, error) { return p.dialPlain(ctx, addr) },
		MaxIdleConnsPerHost: idlePerNode, IdleConnTimeout: 90 * time.Second, DisableCompression: true,
	}
	if p.certs != nil {
		tr.DialContext = func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("a node with certificates makes no plain request: ask https://")
		}
		tr.DialTLSContext = func(ctx context.Context, _, addr string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, p.cfg.HandshakeTimeout)
			defer cancel()
			return p.dialTLS(ctx, addr, "http/1.1")
		}
	}
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}
