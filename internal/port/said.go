package port

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
)

// errorTextMax is how much of an error is logged: how long it gets may be a client's choice.
const errorTextMax = 200

// sayRefused logs why a connection has ended before it was taken. A wrong certificate is worth to
// be seen at once, who went away is not.
func (p *Port) sayRefused(c *conn, err error) {
	var verify *tls.CertificateVerificationError
	switch {
	case errors.As(err, &verify):
		p.say("refusing a connection, whose certificate is of another authority or out of date", "from", c.RemoteAddr().String(), "error", err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		p.tell("ending a connection that has not said what it is for in time", "from", c.RemoteAddr().String(), "limit", p.cfg.HandshakeTimeout.String())
	case wentAway(err):
		p.cfg.Log.Debug("a connection ended before it said what it is for", "from", c.RemoteAddr().String(), "error", err)
	default:
		p.tell("refusing a connection, which does not begin as one to this node does", "from", c.RemoteAddr().String(), "error", shortened(err))
	}
}

// wentAway says that a connection was ended, by the other side or by this one, which has said so in
// words of its own or is being closed.
func wentAway(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled)
}

// shortened is an error without what crypto/tls puts in brackets, which are a client's own words.
func shortened(err error) string {
	text, _, _ := strings.Cut(err.Error(), " (")
	return text[:min(len(text), errorTextMax)]
}

// say logs one kind of trouble, and that not too often: others decide how often it happens.
func (p *Port) say(what string, args ...any) { p.log(slog.LevelWarn, what, args) }

// tell is say of what happens at any port that the world reaches: scanners, and clients that are
// set up wrongly.
func (p *Port) tell(what string, args ...any) { p.log(slog.LevelInfo, what, args) }

func (p *Port) log(level slog.Level, what string, args []any) {
	p.said.Say(level, what, what, func() []any { return args })
}
