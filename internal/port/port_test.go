package port

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/certs"
	"github.com/tally-kafka/tally/internal/seam"
)

// logBuffer is a log that may be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func testLog(t *testing.T) (*slog.Logger, *logBuffer) {
	log := &logBuffer{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})), log
}

// authority makes certificates of one authority for nodes on this machine.
func authority(t *testing.T, nodes ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	var all []certs.Node
	for _, n := range nodes {
		all = append(all, certs.Node{Name: n, Hosts: []string{n + ".example"}})
	}
	if _, err := certs.Make(dir, all, certs.MakeOptions{Seam: seam.World()}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func listen(t *testing.T, cfg Config) *Port {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	if cfg.Seam.Now == nil {
		cfg.Seam = seam.World()
	}
	if cfg.Log == nil {
		cfg.Log, _ = testLog(t)
	}
	p, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// serve answers on all three: Raft and sessions with their name and what came in, HTTP with "http".
func serve(t *testing.T, p *Port) {
	t.Helper()
	for name, l := range map[string]net.Listener{"raft": p.Raft(), "session": p.Sessions()} {
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					line, _ := bufio.NewReader(c).ReadString('\n')
					_, _ = io.WriteString(c, name+" "+line)
				}()
			}
		}()
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := "people"
		if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
			who = "node " + r.TLS.PeerCertificates[0].Subject.CommonName
		}
		_, _ = io.WriteString(w, r.Proto+" "+who)
	}), ReadHeaderTimeout: time.Second}
	go func() { _ = srv.Serve(p.HTTP()) }()
	t.Cleanup(func() { _ = srv.Close() })
}

func say(t *testing.T, c net.Conn, err error, text string) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func get(t *testing.T, c *http.Client, url string) string {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// trusting is a person's client, with the authority's certificate or without.
func trusting(t *testing.T, ca string) *http.Client {
	t.Helper()
	cfg := &tls.Config{}
	if ca != "" {
		pool, err := certs.Pool(ca + "/ca.crt")
		if err != nil {
			t.Fatal(err)
		}
		cfg.RootCAs = pool
	}
	tr := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func TestOnePortIsThree(t *testing.T) {
	dir := authority(t, "a", "b")
	for name, cfg := range map[string][2]Config{
		"Plain":            {{}, {}},
		"WithCertificates": {{Certs: dir + "/a"}, {Certs: dir + "/b"}},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := listen(t, cfg[0]), listen(t, cfg[1])
			serve(t, a)
			c, err := b.DialRaft(t.Context(), a.Advertise())
			if got := say(t, c, err, "hello\n"); got != "raft hello\n" {
				t.Errorf("raft: %q", got)
			}
			c, err = b.DialSession(t.Context(), a.Advertise())
			if got := say(t, c, err, "hello\n"); got != "session hello\n" {
				t.Errorf("session: %q", got)
			}
			want := map[bool]string{false: "HTTP/1.1 people", true: "HTTP/1.1 node b"}[b.Secure()]
			if got := get(t, b.Client(), b.URL(a.Advertise())+"/"); got != want {
				t.Errorf("node call: %q", got)
			}
			if b.Secure() {
				want = "HTTP/1.1 people"
			}
			if got := get(t, trusting(t, dir), a.URL(a.Addr().String())+"/"); got != want {
				t.Errorf("people: %q, not %q", got, want)
			}
		})
	}
}

// A preface that comes in pieces is one; what only begins as one is HTTP, from its first byte on.
func TestPrefaceInPieces(t *testing.T) {
	p := listen(t, Config{})
	serve(t, p)
	c, err := net.Dial("tcp", p.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []byte("tally-session/1\nhel") {
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if got := say(t, c, nil, "lo\n"); got != "+session hello\n" {
		t.Errorf("%q", got)
	}
	for in, want := range map[string]string{
		"GET / HTTP/1.0\r\n\r\n":              "HTTP/1.0 200 OK",
		"tally-bogus / HTTP/1.0\r\n\r\n":      "HTTP/1.0 200 OK",
		"tally-raft/2\n":                      "HTTP/1.1 400 Bad Request",
		"\x00\x01\x02\x03\r\n\r\n":            "HTTP/1.1 400 Bad Request",
		"\x16\x03\x01\x00\x05hello\r\n\r\n":   "HTTP/1.1 400 Bad Request",
		"tally-raft/1\r\nX: y\r\n\r\n":        "HTTP/1.1 400 Bad Request",
		strings.Repeat("x", 300<<10) + "\r\n": "HTTP/1.1 4",
	} {
		c, err := net.Dial("tcp", p.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.WriteString(c, in)
		if line, _ := bufio.NewReader(c).ReadString('\n'); len(in) < 1000 && !strings.HasPrefix(line, want) {
			t.Errorf("%.30q: %q", in, line)
		}
		c.Close()
	}
}

func TestTLSRefuses(t *testing.T) {
	dir, other := authority(t, "a", "b"), authority(t, "c")
	log, said := testLog(t)
	a := listen(t, Config{Certs: dir + "/a", Log: log})
	serve(t, a)
	foreign, plain := listen(t, Config{Certs: other + "/c"}), listen(t, Config{})
	serve(t, plain)
	addr := a.Addr().String()
	astray := seam.World() // every name leads to a
	astray.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return seam.World().Dial(ctx, network, addr)
	}
	lost := listen(t, Config{Certs: dir + "/b", Seam: astray})
	for _, c := range []struct {
		name string
		dial func() error
		say  string
	}{
		{"another authority", func() error { _, err := foreign.DialRaft(t.Context(), addr); return err }, "is of another authority than the one in " + other},
		{"another authority's HTTP", func() error { _, err := foreign.Client().Get("https://" + addr); return err }, "is of another authority than the one in " + other},
		{"no certificate for Raft", func() error {
			return handshake(addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"tally-raft/1"}})
		}, "certificate required"},
		{"no certificate for a session, hidden behind h2", func() error {
			return handshake(addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "tally-session/1"}})
		}, "certificate required"},
		{"TLS 1.2", func() error {
			return handshake(addr, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
		}, "protocol version"},
		{"an unknown protocol", func() error {
			return handshake(addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"smtp"}})
		}, "no application protocol"},
		{"a node without certificates", func() error { _, err := plain.DialRaft(t.Context(), addr); return err }, "has certificates: start this one with --certs too"},
		{"a node without certificates afar", func() error { _, err := plain.DialRaft(t.Context(), "10.0.0.1:7400"); return err }, "this one has no certificates: start it with --certs"},
		{"a call afar", func() error { _, err := plain.Client().Get("http://10.0.0.1:7400"); return err }, "this one has no certificates"},
		{"to a node without certificates", func() error { _, err := a.DialSession(t.Context(), plain.Addr().String()); return err }, "has no certificates: start it with --certs"},
		{"a plain call of a node with certificates", func() error { _, err := a.Client().Get("http://" + plain.Addr().String()); return err }, "ask https://"},
		{"by another name", func() error {
			_, err := lost.DialRaft(t.Context(), "moved.example:7400")
			return err
		}, "and not for moved.example"},
		{"an untrusting person", func() error { _, err := trusting(t, "").Get("https://" + addr); return err }, "unknown authority"},
	} {
		if err := c.dial(); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v, not %q", c.name, err, c.say)
		}
	}
	for _, to := range []string{addr, "10.0.0.1:7400"} {
		_, err := plain.DialSession(t.Context(), to)
		var said interface{ Untrusted() bool }
		if !errors.As(err, &said) || !said.Untrusted() {
			t.Errorf("a node without certificates, to %s: %v, which seems to pass by itself", to, err)
		}
	}
	// A client with a certificate of another authority that takes any server's.
	set, err := certs.Open(other+"/c", certs.Options{Seam: seam.World()})
	if err != nil {
		t.Fatal(err)
	}
	for _, proto := range []string{"tally-raft/1", "http/1.1"} {
		cfg := set.Client("127.0.0.1", proto)
		cfg.InsecureSkipVerify = true
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cfg.Certificates[0], nil }
		if err := handshake(addr, cfg); err == nil || !strings.Contains(err.Error(), "unknown certificate authority") {
			t.Errorf("%s with another authority's certificate: %v", proto, err)
		}
	}
	if !strings.Contains(said.String(), "certificate is of another authority or out of date") {
		t.Error("the log does not say it")
	}
	if strings.Count(said.String(), "level=WARN") != 1 {
		t.Error("the log says it twice within ten seconds")
	}
}

// What is neither TLS nor HTTP is ended at once, and a record that does not end is with the
// handshake's time, however it trickles in.
func TestGarbageToTLS(t *testing.T) {
	a := listen(t, Config{Certs: authority(t, "a") + "/a", HandshakeTimeout: 300 * time.Millisecond})
	serve(t, a)
	for _, in := range []string{"\x00\x00\x00", "ssh-2.0\r\n", "GARBAGE", "\x16\x03\x01\xff\xff" + strings.Repeat("x", 70<<10),
		"\x16\x03\x01\x00\x05hello", "\xff" + strings.Repeat("\x00", 1<<20), "tally-raft/1\n"} {
		c, err := net.Dial("tcp", a.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.WriteString(c, in)
		if answer, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) || len(answer) > 1000 {
			t.Errorf("%.10q: %d bytes, %v", in, len(answer), err)
		}
		c.Close()
	}
	drip, err := net.Dial("tcp", a.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer drip.Close()
	_, err = io.WriteString(drip, "\x16\x03\x01\x02\x00")
	for begun := time.Now(); err == nil; _, err = drip.Write([]byte{1}) {
		if time.Since(begun) > 5*time.Second {
			t.Fatal("a handshake that trickles in is waited for")
		}
		<-time.After(20 * time.Millisecond)
	}
	if n := a.pendingNow(); n != 0 {
		t.Errorf("%d connections wait", n)
	}
}

// handshake connects, and waits for the first byte: in TLS 1.3 only that says that one was taken.
func handshake(addr string, cfg *tls.Config) error {
	c, err := tls.Dial("tcp", addr, cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if cfg.NextProtos[0] == "http/1.1" {
		_, _ = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
	}
	_, err = c.Read(make([]byte, 1))
	return err
}

func TestPlainHTTPToTLS(t *testing.T) {
	a := listen(t, Config{Certs: authority(t, "a") + "/a"})
	serve(t, a)
	resp, err := http.Post("http://"+a.Addr().String()+"/v1/status", "text/plain", strings.NewReader(strings.Repeat("x", 60<<10)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 400 || !strings.Contains(string(body), `"code":"needs_tls"`) ||
		!strings.Contains(string(body), `"next":"use https://`+a.Advertise()+`, and --ca`) {
		t.Fatalf("%d %s %v", resp.StatusCode, body, err)
	}
}

func TestExpiredInUse(t *testing.T) {
	dir := authority(t, "a", "b")
	a := listen(t, Config{Certs: dir + "/a"})
	serve(t, a)
	var mu sync.Mutex
	late := time.Duration(0)
	sm := seam.World()
	sm.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return time.Now().Add(late) }
	log, _ := testLog(t)
	b, err := Listen(Config{Seam: sm, Listen: "127.0.0.1:0", Certs: dir + "/b", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	mu.Lock()
	late = certs.NodeLife + 24*time.Hour
	mu.Unlock()
	if _, err := b.DialRaft(t.Context(), a.Addr().String()); err == nil || !strings.Contains(err.Error(), "is out of date since") {
		t.Errorf("%v", err)
	}
}

func TestRenewedCertificate(t *testing.T) {
	dir := authority(t, "a", "b")
	a := listen(t, Config{Certs: dir + "/a", LookEvery: time.Nanosecond})
	b := listen(t, Config{Certs: dir + "/b", LookEvery: time.Nanosecond})
	serve(t, a)
	serial := func() string {
		c, err := b.DialRaft(t.Context(), a.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	opt := certs.MakeOptions{Seam: seam.World(), Renew: true}
	if _, err := certs.Make(dir, []certs.Node{{Name: "a", Hosts: []string{"a.example"}}}, opt); err != nil {
		t.Fatal(err)
	}
	if serial() == before {
		t.Error("a connection after the renewal has the old certificate")
	}
}

// Any number of connections that say nothing, or rubbish, keeps nobody out, and ends by itself.
func TestIdleConnectionsAreBounded(t *testing.T) {
	dir := authority(t, "a", "b")
	for name, cfg := range map[string]Config{"Plain": {}, "WithCertificates": {Certs: dir + "/a"}} {
		t.Run(name, func(t *testing.T) {
			cfg.PendingMax, cfg.HandshakeTimeout = 50, time.Second
			a := listen(t, cfg)
			serve(t, a)
			var idle []net.Conn
			for i := range 1000 {
				c, err := net.Dial("tcp", a.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if i%2 == 0 {
					_, _ = c.Write([]byte{"\x16t"[i/2%2]}) // the first byte of TLS, or of a preface
				}
				idle = append(idle, c)
			}
			b := listen(t, Config{Certs: map[bool]string{true: dir + "/b"}[a.Secure()]})
			c, err := b.DialRaft(t.Context(), a.Addr().String())
			if got := say(t, c, err, "hello\n"); got != "raft hello\n" {
				t.Errorf("%q", got)
			}
			if got := get(t, b.Client(), b.URL(a.Addr().String())); !strings.HasPrefix(got, "HTTP/1.1") {
				t.Errorf("%q", got)
			}
			if n := a.pendingNow(); n > 50 {
				t.Errorf("%d connections wait", n)
			}
			for _, c := range idle {
				_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
				if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal("an idle connection stays")
				}
			}
			if n := a.pendingNow(); n != 0 {
				t.Errorf("%d connections wait", n)
			}
		})
	}
}

func (p *Port) pendingNow() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pending.Len()
}

// The people's connections have a limit, and at it nodes still come in; what ends makes room.
func TestOpenConnectionsAreBounded(t *testing.T) {
	a := listen(t, Config{PeopleMax: 3, NodesMax: 2})
	serve(t, a)
	b := listen(t, Config{})
	addr := a.Addr().String()
	var open []net.Conn
	person := func() (net.Conn, bool) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		_, err = c.Read(make([]byte, 1))
		return c, err == nil
	}
	for range 3 {
		c, ok := person()
		if !ok {
			t.Fatal("refused below the limit")
		}
		open = append(open, c)
	}
	if c, ok := person(); ok {
		t.Error("more people than PeopleMax")
	} else {
		c.Close()
	}
	for i := range 3 {
		c, err := b.DialSession(t.Context(), addr)
		if (err == nil) != (i < 2) {
			t.Errorf("session %d: %v", i, err)
		}
		if err == nil {
			defer c.Close()
		} else if !strings.Contains(err.Error(), "it is full, starting or stopping") {
			t.Errorf("%v", err)
		}
	}
	open[0].Close()
	deadline := time.Now().Add(5 * time.Second)
	for {
		c, ok := person()
		c.Close()
		if ok {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a connection that ended makes no room")
		}
	}
	for _, c := range open {
		c.Close()
	}
}

// Where nodes are known by certificates, people who hold all connections that they may have keep no
// node call out.
func TestPeopleKeepNoNodeCallOut(t *testing.T) {
	dir := authority(t, "a", "b")
	a := listen(t, Config{Certs: dir + "/a", PeopleMax: 1, HandshakeTimeout: 300 * time.Millisecond})
	serve(t, a)
	b := listen(t, Config{Certs: dir + "/b"})
	url := "https://" + a.Addr().String()
	if got := get(t, trusting(t, dir), url); got != "HTTP/1.1 people" {
		t.Fatalf("%q", got)
	}
	if resp, err := trusting(t, dir).Get(url); err == nil {
		resp.Body.Close()
		t.Error("more people than PeopleMax")
	}
	if got := get(t, b.Client(), url); got != "HTTP/1.1 node b" {
		t.Errorf("%q", got)
	}
}

func TestCloseEndsAll(t *testing.T) {
	a := listen(t, Config{HandshakeTimeout: time.Minute})
	b := listen(t, Config{HandshakeTimeout: time.Minute})
	addr := a.Addr().String()
	accepted := make(chan net.Conn, 1)
	go func() { c, _ := a.Raft().Accept(); accepted <- c }()
	raft, err := b.DialRaft(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raft.Close()
	served := <-accepted
	waiting, err := b.DialSession(t.Context(), addr) // nobody accepts it
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	idle, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]net.Conn{"raft": raft, "waiting": waiting, "idle": idle, "served": served} {
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s is open still: %v", name, err)
		}
	}
	if _, err := a.HTTP().Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
	if _, err := b.DialRaft(t.Context(), addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a closed port refuses, which is how a death is seen at once: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	if a.pendingNow() != 0 || len(a.open) != 0 || a.people != 0 || a.nodes != 0 {
		t.Errorf("something is counted still: %d %d %d %d", a.pendingNow(), len(a.open), a.people, a.nodes)
	}
}

// Whoever dials what does not answer waits as long as it wants to, and no longer.
func TestDialEndsWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := authority(t, "a")
	for _, cfg := range []Config{{}, {Certs: dir + "/a"}} {
		p := listen(t, cfg)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if c, err := p.DialRaft(ctx, l.Addr().String()); err == nil {
			c.Close()
			t.Error("connected to nothing")
		}
		cancel()
	}
}
