package api

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/token"
)

// testTokens makes a token file with a token of each scope.
func testTokens(t *testing.T) (file *token.File, read, admin string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens.json")
	var err error
	if read, _, err = token.Create(path, "reader", token.Read, 0, seam.World()); err != nil {
		t.Fatal(err)
	}
	if admin, _, err = token.Create(path, "ann", token.Admin, 0, seam.World()); err != nil {
		t.Fatal(err)
	}
	if file, err = token.Open(path, token.Options{Seam: seam.World()}); err != nil {
		t.Fatal(err)
	}
	return file, read, admin
}

// sender is who sends a request.
type sender struct {
	token string
	tls   *tls.ConnectionState
}

var (
	overTLS = &tls.ConnectionState{}
	asNode  = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{}}}}
)

// call sends a request straight to the handler, which it leaves once it has answered.
func (from sender) call(s *Server, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1:7400"+path, strings.NewReader(body))
	r.TLS = from.tls
	if from.token != "" {
		r.Header.Set("Authorization", "Bearer "+from.token)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// Every route, asked by everybody: nothing but /healthz answers without a token, nothing changes
// without an admin's, and nodes alone make node calls. A new route must say here who may use it.
func TestWalkScopes(t *testing.T) {
	tokens, read, admin := testTokens(t)
	expected := map[string]scope{
		"GET /v1/status": scopeRead, "GET /v1/apps": scopeRead, "GET /metrics": scopeRead, "GET /readyz": scopeRead, "/": scopeRead,
		"POST /v1/apps/{app}/get": scopeRead, "POST /v1/apps/{app}/top": scopeRead,
		"POST /v1/apps/{app}/scan": scopeRead, "POST /v1/apps/{app}/watch": scopeRead,
		"POST /v1/apps/{app}/reset": scopeAdmin,
		"GET /healthz":              scopeOpen,
		"PUT /v1/apps/{app}":        scopeAdmin, "DELETE /v1/apps/{app}": scopeAdmin,
		"DELETE /v1/nodes/{node}": scopeAdmin, "POST /v1/nodes/{node}/drain": scopeAdmin, "POST /v1/apps/{app}/lanes/{lane}/move": scopeAdmin,
		"POST /v1/apps/{app}/sent": scopeNode, "POST /v1/apps/{app}/values": scopeNode, "POST /v1/node/{call}": scopeNode, "GET " + pieceRoute: scopeNode,
	}
	s := NewServer(&testNode{}, Options{Seam: seam.World(), Tokens: tokens})
	for _, rt := range s.routeTable() {
		needed, ok := expected[rt.pattern]
		if !ok || rt.scope != needed {
			t.Errorf("%s is for the scope %d; this test expects %d: who may use it?", rt.pattern, rt.scope, needed)
			continue
		}
		method, path, ok := strings.Cut(rt.pattern, " ")
		if !ok {
			method, path = "GET", "/nothing/there"
		}
		path = strings.NewReplacer("{app}", "none", "{lane}", "0", "{node}", "a", "{call}", "hello").Replace(path)
		for _, transport := range []*tls.ConnectionState{nil, overTLS} {
			nobody := map[scope]int{scopeRead: 401, scopeAdmin: 401, scopeNode: 403}
			reader := map[scope]int{scopeAdmin: 403, scopeNode: 403}
			for _, c := range []struct {
				who     string
				from    sender
				refused map[scope]int
			}{
				{"nobody", sender{"", transport}, nobody},
				{"a wrong token", sender{"tally_" + strings.Repeat("A", 43), transport}, nobody},
				{"half a token", sender{admin[:len(admin)/2], transport}, nobody},
				{"a read token", sender{read, transport}, reader},
				{"an admin token", sender{admin, transport}, map[scope]int{scopeNode: 403}},
				{"a node", sender{"", asNode}, nil},
			} {
				w := c.from.call(s, method, path, "")
				want := c.refused[needed]
				if isRefused := w.Code == 401 || w.Code == 403; isRefused != (want != 0) || want != 0 && w.Code != want {
					t.Errorf("%s by %s: status %d, not %d: %s", rt.pattern, c.who, w.Code, want, w.Body)
				}
				if want == 0 {
					continue
				}
				if e := errorOf(t, w.Body.String()); e.Next == "" || strings.Contains(w.Body.String(), "tally_") {
					t.Errorf("%s by %s: %s", rt.pattern, c.who, w.Body)
				}
				if (w.Header().Get("WWW-Authenticate") == "Bearer") != (want == 401) {
					t.Errorf("%s by %s: %v", rt.pattern, c.who, w.Header())
				}
			}
		}
		delete(expected, rt.pattern)
	}
	for pattern := range expected {
		t.Errorf("there is no route %s", pattern)
	}
}

// A proxy on this machine would make everybody who reaches it somebody of the machine: a node
// without tokens refuses what came through one, whoever it says that it came from.
func TestForwardedRequests(t *testing.T) {
	tokens, read, _ := testTokens(t)
	for name, value := range map[string]string{
		"Forwarded": "for=192.0.2.1", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "", "X-Forwarded-Proto": "https",
		"X-Real-IP": "192.0.2.1", "Via": "1.1 proxy",
	} {
		for _, c := range []struct {
			path   string
			tokens *token.File
			want   int
		}{
			{"/v1/status", nil, 403}, {"/metrics", nil, 403}, {"/v1/node/hello", nil, 403},
			{"/v1/status", tokens, 200}, {healthPath, nil, 200},
		} {
			s := NewServer(&testNode{}, Options{Seam: seam.World(), Tokens: c.tokens})
			r := httptest.NewRequest("GET", "http://127.0.0.1:7400"+c.path, nil)
			r.Header.Set("Authorization", "Bearer "+read)
			r.Header.Set(name, value)
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Code != c.want || c.want == 403 && !strings.Contains(errorOf(t, w.Body.String()).Next, "--tokens FILE") {
				t.Errorf("%s with %s, tokens %v: status %d %s", c.path, name, c.tokens != nil, w.Code, w.Body)
			}
		}
	}
}

func TestAuthorizationHeaders(t *testing.T) {
	tokens, read, _ := testTokens(t)
	s := NewServer(&testNode{}, Options{Seam: seam.World(), Tokens: tokens})
	for header, want := range map[string]int{
		"Bearer " + read: 200, "bearer " + read: 200, "Bearer  " + read: 200, "Bearer": 401, "Bearer ": 401, read: 401, "Basic " + read: 401,
		"Bearer " + read + " x": 401, "": 401, "Bearer " + strings.Repeat("x", 100<<10): 401,
	} {
		r := httptest.NewRequest("GET", "http://127.0.0.1/v1/status", nil)
		r.Header.Set("Authorization", header)
		w := httptest.NewRecorder()
		if s.ServeHTTP(w, r); w.Code != want {
			t.Errorf("%.40q: %d, not %d", header, w.Code, want)
		}
	}
}

// Without tokens everybody on the machine may do everything, as a node too; over TLS a node has
// a certificate all the same.
func TestNodeCallsAndTokens(t *testing.T) {
	s := NewServer(&testNode{}, Options{Seam: seam.World()})
	for _, c := range []struct {
		tls    *tls.ConnectionState
		needed scope
		ok     bool
	}{
		{nil, scopeRead, true}, {nil, scopeAdmin, true}, {nil, scopeNode, true},
		{overTLS, scopeRead, true}, {overTLS, scopeAdmin, true}, {overTLS, scopeNode, false},
		{asNode, scopeNode, true},
	} {
		r := httptest.NewRequest("GET", "http://127.0.0.1/", nil)
		r.TLS = c.tls
		if err := s.authorize(r, c.needed); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
	// With tokens, who has none does not get round them by a node call.
	s.opt.Tokens, _, _ = testTokens(t)
	var e *Error
	err := s.authorize(httptest.NewRequest("POST", "http://127.0.0.1/", nil), scopeNode)
	if !errors.As(err, &e) || e.Status != 403 || !strings.Contains(e.Next, "--certs") {
		t.Errorf("a node call without a certificate to a node with tokens: %v", err)
	}
}

// With TLS the names of the certificate are the node's; without they are not, whatever Hosts says.
func TestHostsWithTLS(t *testing.T) {
	s := NewServer(&testNode{}, Options{Seam: seam.World(), Hosts: func(host string) bool { return host == "a.example" || host == "fe80::1" }})
	for _, c := range []struct {
		host, origin string
		tls          *tls.ConnectionState
		want         int
	}{
		{"a.example:7400", "", overTLS, 200},
		{"a.example", "", overTLS, 200},
		{"[fe80::1]:7400", "", overTLS, 200},
		{"127.0.0.1:7400", "", overTLS, 200},
		{"a.example:7400", "https://a.example:7400", overTLS, 200},
		{"a.example:7400", "https://evil.example", overTLS, 403},
		{"evil.example:7400", "", overTLS, 403},
		{"a.example.evil.example", "", overTLS, 403},
		{"a.example:7400", "", nil, 403},
	} {
		r := httptest.NewRequest("GET", "/v1/status", nil)
		r.Host, r.TLS = c.host, c.tls
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		w := httptest.NewRecorder()
		if s.ServeHTTP(w, r); w.Code != c.want {
			t.Errorf("%+v: status %d %s", c, w.Code, w.Body)
		}
		if c.want == 403 && c.tls != nil && !strings.Contains(w.Body.String(), "https://") {
			t.Errorf("%+v: %s", c, w.Body)
		}
	}
	w := httptest.NewRecorder()
	if s.ServeHTTP(w, httptest.NewRequest("GET", "http://10.0.0.9:7400/healthz", nil)); w.Code != 200 {
		t.Errorf("a balancer that knows an address alone: status %d", w.Code)
	}
}

func TestClientOverTLS(t *testing.T) {
	tokens, read, _ := testTokens(t)
	var log strings.Builder
	opt := Options{Seam: seam.World(), Tokens: tokens, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	ts := httptest.NewTLSServer(NewServer(&testNode{status: testStatus()}, opt))
	t.Cleanup(ts.Close)
	pool := x509.NewCertPool()
	pool.AddCert(ts.Certificate())
	plain := newPlainServer(t, http.NotFoundHandler())
	for _, c := range []struct {
		server  string
		options []ClientOption
		say     string
	}{
		{ts.URL, []ClientOption{WithCA(pool), WithToken(read)}, ""},
		{ts.URL, []ClientOption{WithCA(pool)}, "this node wants a token: say --token @FILE"},
		{ts.URL, []ClientOption{WithCA(pool), WithToken("tally_x")}, "out of date or revoked"},
		{ts.URL, []ClientOption{WithToken(read)}, "say --ca FILE with the cluster's ca.crt"},
		{strings.Replace(ts.URL, "127.0.0.1", "localhost", 1), []ClientOption{WithCA(pool)}, "say in --server a name that the certificate of"},
		{strings.Replace(plain, "http:", "https:", 1), []ClientOption{WithCA(pool)}, "speaks plain HTTP: say --server " + plain},
	} {
		client, err := NewClient(c.server, seam.World(), c.options...)
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Status(t.Context())
		if (err == nil) != (c.say == "") || err != nil && !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v, not %q", c.server, err, c.say)
		}
		if err != nil && strings.Contains(err.Error(), read) {
			t.Errorf("a token in an error: %v", err)
		}
	}
	if strings.Contains(log.String(), "tally_") {
		t.Errorf("a token in the log:\n%s", log.String())
	}
	if _, err := NewClient("http://10.0.0.1:7400", seam.World(), WithToken(read)); err == nil || !strings.Contains(err.Error(), "say https://10.0.0.1:7400") {
		t.Errorf("a token over plain HTTP: %v", err)
	}
}

// What only looks like a node gets no token by a redirect.
func TestClientFollowsNoRedirect(t *testing.T) {
	asked := false
	thief := newPlainServer(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	server := newPlainServer(t, http.RedirectHandler(thief, http.StatusTemporaryRedirect))
	client, err := NewClient(server, seam.World(), WithToken("tally_x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Status(t.Context()); err == nil || asked {
		t.Errorf("%v, and the other was asked: %v", err, asked)
	}
}

func TestNodeCalls(t *testing.T) {
	server := newPlainServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Name string }
		switch {
		case r.Method != "POST" || r.URL.Path != "/v1/node/hello":
			writeError(w, &Error{Status: 404, Code: CodeNotFound, Message: "no call", Next: "another"})
		case json.NewDecoder(r.Body).Decode(&in) != nil:
			writeJSON(w, 200, map[string]string{"to": "nobody"})
		default:
			writeJSON(w, 200, map[string]string{"to": in.Name})
		}
	}))
	call := NewCaller(http.DefaultClient, func(addr string) string { return "http://" + addr }, 0)
	addr := strings.TrimPrefix(server, "http://")
	var out struct{ To string }
	if err := call(t.Context(), addr, "hello", map[string]string{"name": "b"}, &out); err != nil || out.To != "b" {
		t.Errorf("%+v %v", out, err)
	}
	if err := call(t.Context(), addr, "hello", nil, nil); err != nil {
		t.Error(err)
	}
	var no *Error
	if err := call(t.Context(), addr, "other", nil, nil); !errors.As(err, &no) || no.Code != CodeNotFound || no.Status != 404 {
		t.Errorf("%v", err)
	}
	err := call(t.Context(), "127.0.0.1:1", "hello", nil, nil)
	if !errors.Is(err, syscall.ECONNREFUSED) || strings.Contains(err.Error(), "tally run") {
		t.Errorf("%v", err)
	}
}
