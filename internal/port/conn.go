package port

import (
	"bytes"
	"container/list"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// lineKind is what a connection is for.
type lineKind int

const (
	lineRaft lineKind = iota
	lineSession
	linePeople // HTTP: people, and node calls
	lineCount
)

// protocols are what TLS agrees on, and, with a line end, how a plain connection begins.
var protocols = [...]string{lineRaft: "tally-raft/1", lineSession: "tally-session/1"}

func (k lineKind) String() string {
	if k == linePeople {
		return "http"
	}
	return protocols[k]
}

func kindOf(protocol string) lineKind {
	for k, name := range protocols {
		if name == protocol {
			return lineKind(k)
		}
	}
	return linePeople
}

// The first byte of the answer to a node's connection.
const (
	taken    = '+'
	wantsTLS = '!'
)

// recordHandshake is the first byte of TLS.
const recordHandshake = 0x16

var errNotTLS = errors.New("it does not begin as TLS does")

// conn is a connection of which the beginning was read and is to be read again. The port knows it
// until it is closed.
type conn struct {
	net.Conn
	port *Port
	head []byte // read from Conn, and not from conn yet
	once sync.Once

	// Under the port's lock.
	place *list.Element       // in pending; nil once it has said what it is for, or is closed
	count *int                // of the port, in which it is counted
	peer  []*x509.Certificate // with which a node has come; nil of people, and without TLS
}

func (c *conn) Read(b []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(b, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

func (c *conn) Close() error {
	c.once.Do(func() { c.port.forget(c) })
	return c.Conn.Close()
}

// CloseWrite lets net/http end an answer so that the other side can still read it.
func (c *conn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// readPreface reads as far as it takes to know what a plain connection is for.
func (c *conn) readPreface() (lineKind, error) {
	buf := make([]byte, 0, len(protocols[lineSession])+1)
	for {
		kind, size, ok := prefaced(buf)
		if ok {
			c.head = buf[size:]
			return kind, nil
		}
		n, err := c.Conn.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if n == 0 && err != nil {
			return 0, err
		}
	}
}

// prefaced says what a connection that begins so is for, and how long its preface is; not ok: more
// must be read.
func prefaced(buf []byte) (kind lineKind, size int, ok bool) {
	open := false
	for k, name := range protocols {
		preface := []byte(name + "\n")
		if bytes.HasPrefix(buf, preface) {
			return lineKind(k), len(preface), true
		}
		open = open || bytes.HasPrefix(preface, buf)
	}
	return linePeople, 0, !open
}

// readRecord reads the first byte, and answers what is not TLS in its own words.
func (c *conn) readRecord() error {
	buf := make([]byte, 1)
	if _, err := io.ReadFull(c.Conn, buf); err != nil {
		return err
	}
	switch {
	case buf[0] == recordHandshake:
		c.head = buf
		return nil
	case buf[0] == protocols[lineRaft][0]: // a node without certificates
		_, _ = c.Conn.Write([]byte{wantsTLS})
	case 'A' <= buf[0] && buf[0] <= 'Z': // a method of HTTP
		c.answerPlain()
	}
	return errNotTLS
}

// answerPlain tells a client that speaks plain HTTP what would work. What it has sent is read away:
// else the connection would be reset, and the client might not see the answer.
func (c *conn) answerPlain() {
	body, err := json.Marshal(map[string]any{"error": map[string]string{
		"code": "needs_tls", "message": "this node speaks TLS, and this was plain HTTP",
		"next": "use https://" + c.port.advertise + ", and --ca with the cluster's ca.crt; a node that is to join it says --certs",
	}})
	if err != nil {
		panic("port: constant text that is not JSON: " + err.Error())
	}
	_, err = fmt.Fprintf(c.Conn, "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"+
		"Connection: close\r\n\r\n%s\n", len(body)+1, body)
	if err != nil || c.CloseWrite() != nil {
		return
	}
	_ = c.SetReadDeadline(c.port.cfg.Seam.Now().Add(min(time.Second, c.port.cfg.HandshakeTimeout)))
	_, _ = io.CopyN(io.Discard, c.Conn, 64<<10)
}

// line is where the connections of one kind wait to be accepted.
type line struct {
	addr   net.Addr
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *line) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *line) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *line) Addr() net.Addr { return l.addr }

// put waits for an Accept, as long as for a handshake: nobody may serve this kind yet, or any more.
func (l *line) put(closing context.Context, cfg Config, c net.Conn) bool {
	late, stop := cfg.Seam.Timer(cfg.HandshakeTimeout)
	defer stop()
	select {
	case l.conns <- c:
		return true
	case <-l.closed:
	case <-closing.Done():
	case <-late:
	}
	return false
}
