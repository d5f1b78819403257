package port

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"
)

// What is refused or ended is in the log, with the address and without what was sent; who went away
// is not.
func TestRefusalsAreLogged(t *testing.T) {
	dir := authority(t, "a")
	many := make([]string, 1000)
	for i := range many {
		many[i] = "hush-" + strings.Repeat("x", 50)
	}
	for name, c := range map[string]struct {
		cfg  Config
		do   func(t *testing.T, addr string)
		want string // "": nothing
	}{
		"TLS 1.2": {Config{Certs: dir + "/a"}, func(_ *testing.T, addr string) {
			_ = handshake(addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}, MaxVersion: tls.VersionTLS12})
		}, `"level":"INFO","msg":"refusing a connection, which does not begin as one to this node does"`},
		"plain HTTP": {Config{Certs: dir + "/a"}, func(t *testing.T, addr string) {
			c, err := net.Dial("tcp", addr)
			say(t, c, err, "GET /hush HTTP/1.1\r\nHost: hush\r\nAuthorization: Bearer hush\r\n\r\n")
		}, `"level":"INFO","msg":"refusing a connection, which does not begin as one to this node does"`},
		"no certificate": {Config{Certs: dir + "/a"}, func(_ *testing.T, addr string) {
			_ = handshake(addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"tally-raft/1"}})
		}, `"level":"INFO","msg":"refusing a connection, which does not begin as one to this node does"`},
		"many words": {Config{Certs: dir + "/a"}, func(_ *testing.T, addr string) {
			_ = handshake(addr, &tls.Config{InsecureSkipVerify: true, NextProtos: many})
		}, `"level":"INFO","msg":"refusing a connection, which does not begin as one to this node does"`},
		"nothing said":       {Config{}, saysNothing, `"level":"INFO","msg":"ending a connection that has not said what it is for in time"`},
		"nothing said to it": {Config{Certs: dir + "/a"}, saysNothing, `"level":"INFO","msg":"ending a connection that has not said what it is for in time"`},
		"too many that say nothing": {Config{PendingMax: 1, HandshakeTimeout: time.Minute}, func(t *testing.T, addr string) {
			for range 2 {
				defer dialed(t, addr).Close()
			}
		}, `"level":"WARN","msg":"too many connections say nothing; ending the oldest"`},
		"too many": {Config{PeopleMax: 1, HandshakeTimeout: time.Minute}, func(t *testing.T, addr string) {
			for range 2 {
				c := dialed(t, addr)
				defer c.Close()
				_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				_, _ = c.Read(make([]byte, 1))
			}
		}, `"level":"WARN","msg":"too many connections are open; refusing one"`},
		"gone":       {Config{}, func(t *testing.T, addr string) { dialed(t, addr).Close() }, ""},
		"gone of it": {Config{Certs: dir + "/a"}, func(t *testing.T, addr string) { dialed(t, addr).Close() }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			said := &logBuffer{}
			c.cfg.Log = slog.New(slog.NewJSONHandler(said, &slog.HandlerOptions{Level: slog.LevelDebug}))
			if c.cfg.HandshakeTimeout == 0 {
				c.cfg.HandshakeTimeout = 300 * time.Millisecond
			}
			a := listen(t, c.cfg)
			serve(t, a)
			c.do(t, a.Addr().String())
			want := c.want + `,"from":"127.0.0.1:`
			if c.want == "" {
				want = `"level":"DEBUG"`
			}
			for began := time.Now(); !strings.Contains(said.String(), want); <-time.After(time.Millisecond) {
				if time.Since(began) > 5*time.Second {
					t.Fatalf("the log does not say %s:\n%s", want, said)
				}
			}
			text := said.String()
			if c.want == "" && strings.Count(text, "\n") != strings.Count(text, `"level":"DEBUG"`) {
				t.Error("who goes away is in the log")
			}
			if strings.Contains(text, "hush") || len(text) > 1000 {
				t.Errorf("a log of %d bytes, with what a client has sent", len(text))
			}
		})
	}
}

func dialed(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	return c
}

// saysNothing is there until it is ended.
func saysNothing(t *testing.T, addr string) {
	c := dialed(t, addr)
	defer c.Close()
	_, _ = io.Copy(io.Discard, c)
}
