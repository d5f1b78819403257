package api

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// logged is a log that may be read while it is written.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logged) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Each kind of refusal is a line in the log, with the route, the address and the name of the token
// or certificate, and nothing else of the request.
func TestRefusalsAreLogged(t *testing.T) {
	tokens, read, admin := testTokens(t)
	a := newTestApp(t, wordcount, 1, 1)
	a.event(0, "k", "w")
	other := &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Subject: pkix.Name{CommonName: "b"}}}}}
	const app, hush = "/v1/apps/wordcount/", "?hush=hush"
	forged := "tally_" + strings.Repeat("A", 43)
	for _, c := range []struct {
		method, path, body string
		headers            []string // name, value, ...
		tls                *tls.ConnectionState
		want               string // "": it is no refusal
	}{
		{"POST", app + "get" + hush, "", nil, nil, `level=WARN reason="no token" route="POST /v1/apps/{app}/get"`},
		{"GET", "/hush" + hush, "", nil, nil, `level=WARN reason="no token" route=/`},
		{"GET", "//v1//status" + hush, "", nil, nil, `level=WARN reason="no token" route=/`},
		{"GET", "/v1/status" + hush, "", []string{"Authorization", "Bearer " + forged}, nil,
			`level=WARN reason="a token that is not good" route="GET /v1/status"`},
		{"POST", "/v1/nodes/hush/drain" + hush, "", []string{"Authorization", "Bearer " + read}, nil,
			`level=WARN reason="more than the token's scope" route="POST /v1/nodes/{node}/drain" token=reader`},
		{"POST", "/v1/node/hush" + hush, "", []string{"Authorization", "Bearer " + admin}, nil,
			`level=WARN reason="no certificate of a node" route="POST /v1/node/{call}" token=ann`},
		{"GET", "/v1/status" + hush, "", []string{"Host", "hush.example"}, nil,
			`level=WARN reason="the name of another host" route="GET /v1/status"`},
		{"CONNECT", "", "", []string{"Host", "hush.example"}, nil, `level=WARN reason="the name of another host" route=/`},
		{"POST", app + "reset", "hush", []string{"Origin", "https://hush.example", "Authorization", "Bearer " + admin}, nil,
			`level=WARN reason="a web page of another origin" route="POST /v1/apps/{app}/reset" token=ann`},
		{"GET", "/hush", "", []string{"Authorization", "Bearer " + read}, nil, `level=INFO reason="no such route" route=/ token=reader`},
		{"POST", app + "get", `["hush`, []string{"Authorization", "Bearer " + read}, nil,
			`level=INFO reason=malformed route="POST /v1/apps/{app}/get" token=reader`},
		{"POST", app + "get" + hush, "", nil, other, `level=INFO reason=malformed route="POST /v1/apps/{app}/get" certificate=b`},
		{"POST", app + "get", strings.Repeat("hush", 1<<19), nil, other, `level=INFO reason="too large" route="POST /v1/apps/{app}/get" certificate=b`},
		{"POST", app + "get", `["k","w"]`, nil, other, ""},
		{"POST", "/v1/apps/none/get", `["k","w"]`, nil, other, ""},
	} {
		log := &logged{}
		s := NewServer(&testNode{apps: []*testApp{a}}, Options{Seam: seam.World(), Tokens: tokens, Log: log.logger()})
		r := httptest.NewRequest("POST", "http://127.0.0.1:7400"+c.path, strings.NewReader(c.body))
		r.Method, r.TLS = c.method, c.tls
		for i := 0; i < len(c.headers); i += 2 {
			r.Header.Set(c.headers[i], c.headers[i+1])
		}
		if host := r.Header.Get("Host"); host != "" {
			r.Host = host
		}
		s.ServeHTTP(httptest.NewRecorder(), r)
		_, got, _ := strings.Cut(strings.TrimSpace(log.String()), " ")
		got = strings.Replace(got, ` msg="a request was refused"`, "", 1)
		if strings.Contains(got, " from=192.0.2.1:1234") {
			got = strings.Replace(got, " from=192.0.2.1:1234", "", 1)
		} else if c.want != "" {
			t.Errorf("%s %.40s: no address in %s", c.method, c.path, got)
		}
		if got != c.want {
			t.Errorf("%s %.40s:\n got %s\nwant %s", c.method, c.path, got, c.want)
		}
		if strings.Contains(log.String(), "hush") || strings.Contains(log.String(), "tally_") {
			t.Errorf("%s %.40s: what was sent is in the log: %s", c.method, c.path, log)
		}
	}
}

// A proxy in front of a node without tokens, and a place that is not free, have their lines too.
func TestRefusalsWithoutTokens(t *testing.T) {
	for want, change := range map[string]func(s *Server, r *http.Request){
		`reason="passed on by a proxy" route="POST /v1/apps/{app}/scan"`: func(_ *Server, r *http.Request) { r.Header.Set("Via", "hush") },
		`level=INFO msg="a request was refused" reason=busy route="POST /v1/apps/{app}/scan"`: func(s *Server, _ *http.Request) {
			s.scans <- struct{}{}
		},
	} {
		log := &logged{}
		s := NewServer(&testNode{apps: []*testApp{newTestApp(t, wordcount, 1, 1)}}, Options{Seam: seam.World(), ScansMax: 1, Log: log.logger()})
		r := httptest.NewRequest("POST", "http://127.0.0.1:7400/v1/apps/wordcount/scan?wait=0s", nil)
		change(s, r)
		s.ServeHTTP(httptest.NewRecorder(), r)
		if !strings.Contains(log.String(), want) || strings.Contains(log.String(), "hush") {
			t.Errorf("%s\nwant %s", log, want)
		}
	}
}

// However often somebody is refused, the log is short, and says how often that was.
func TestRefusalsAreLoggedSeldom(t *testing.T) {
	tokens, _, _ := testTokens(t)
	log, sm, now := &logged{}, seam.World(), time.Now()
	sm.Now = func() time.Time { return now }
	s := NewServer(&testNode{}, Options{Seam: sm, Tokens: tokens, Log: log.logger()})
	for range 1000 {
		sender{}.call(s, "GET", "/v1/status", "")
	}
	now = now.Add(10 * time.Second)
	sender{}.call(s, "GET", "/v1/status", "")
	if lines := strings.Count(log.String(), "\n"); lines != 2 || strings.Count(log.String(), "left_out=999\n") != 1 {
		t.Errorf("%d lines:\n%s", lines, log)
	}
}

// served is a server at an address, with its log.
func served(t *testing.T, a *testApp, opt Options) (s *Server, addr string, log *logged) {
	t.Helper()
	log = &logged{}
	opt.Seam, opt.Log = seam.World(), log.logger()
	s = NewServer(&testNode{apps: []*testApp{a}}, opt)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, l.Addr().String(), log
}

func dialed(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// What net/http cannot read never gets to a handler; it is logged all the same, also behind a good
// request if it is not short. Who asks well, or asks nothing, is not.
func TestUnreadableRequestsAreLogged(t *testing.T) {
	const good = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
	for text, want := range map[string]bool{
		"": false, good: false, good + good: false,
		"hush\r\n\r\n": true, good + strings.Repeat("hush", 2<<10) + "\r\n\r\n": true, "GET /hush": true,
		"GET / HTTP/1.1\r\nX: " + strings.Repeat("hush", 100<<10) + "\r\n\r\n": true,
	} {
		s, addr, log := served(t, newTestApp(t, wordcount, 1, 1), Options{})
		c := dialed(t, addr)
		if len(text) < 100<<10 {
			_, _ = io.WriteString(c, text)
		} else { // the server reads a part of it
			go func() { _, _ = io.WriteString(c, text) }()
		}
		answers := bufio.NewReader(c)
		for range strings.Count(text, good) {
			resp, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
		}
		if text == "GET /hush" { // there the server may not have seen the connection yet
			if err := c.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
		}
		if want {
			_, _ = io.Copy(io.Discard, answers) // the server ends it
		}
		c.Close()
		eventually(t, "nothing is kept of a connection", func() bool {
			empty := true
			s.heads.begun.Range(func(any, any) bool { empty = false; return false })
			return empty
		})
		_, port, _ := net.SplitHostPort(c.LocalAddr().String())
		line := `level=INFO msg="a request was refused" reason="not readable as HTTP" from=127.0.0.1:` + port + "\n"
		if got := log.String(); want != strings.HasSuffix(got, line) || !want && got != "" || strings.Contains(got, "hush") {
			t.Errorf("%.40q: %s", text, got)
		}
	}
}

// A reader that takes nothing at all is too slow a reader, too.
func TestReaderThatStopsIsLogged(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	a.event(0, "k", longWords(3000, 4000)) // 12 MB: more than what the buffers of two sockets hold
	_, addr, log := served(t, a, Options{WriteTimeout: 100 * time.Millisecond})
	c := dialed(t, addr)
	defer c.Close()
	if err := c.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "POST /v1/apps/wordcount/scan HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
	eventually(t, "the log says it", func() bool {
		return strings.Contains(log.String(), `reason="too slow a reader" route="POST /v1/apps/{app}/scan"`)
	})
}
