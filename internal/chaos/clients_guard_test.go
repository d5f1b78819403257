package chaos

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"
)

// page is what a page of another origin can make a browser send to the loopback port.
func (b *badClients) page() {
	_, port, err := net.SplitHostPort(b.addr)
	must(b.t, err)
	for _, c := range []struct{ method, path, host, origin, body string }{
		{"POST", "/v1/apps/clients/get", "", "https://evil.example", `["a","b"]`},
		{"POST", "/v1/apps/clients/reset", "", "https://evil.example", `{}`},
		{"POST", "/v1/nodes/node/drain", "", "null", ``},
		{"DELETE", "/v1/apps/clients", "", "http://localhost:1", ``},
		{"PUT", "/v1/apps/clients", "", "http://evil.example:" + port, "app: clients"},
		{"OPTIONS", "/v1/apps/clients", "", "https://evil.example", ``},
		{"GET", "/v1/status", "rebound.example:" + port, "", ``},
		{"GET", "/v1/status", "rebound.example:" + port, "http://rebound.example:" + port, ``},
		{"POST", "/v1/node/hello", "127.0.0.1.rebound.example", "", `{}`},
		{"GET", "/metrics", "0.0.0.0:" + port, "", ``},
	} {
		req, err := http.NewRequest(c.method, b.p.addr+c.path, strings.NewReader(c.body))
		must(b.t, err)
		if req.Host = c.host; c.host == "" {
			req.Host = b.addr
		}
		if c.origin != "" {
			req.Header.Set("Origin", c.origin)
		}
		req.Header.Set("Content-Type", "text/plain") // needs no leave of the server's
		resp, err := http.DefaultClient.Do(req)
		must(b.t, err)
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden || resp.Header.Get("Access-Control-Allow-Origin") != "" {
			b.t.Errorf("%+v: status %d, %v", c, resp.StatusCode, resp.Header)
		}
	}
}

// overTLS walks all routes of a second node, which has certificates and tokens and counts an app of
// its own, again and again: as somebody who has no token, and as one whose token is of the wrong
// scope.
func (b *badClients) overTLS() {
	g := newGuard(b.t, b.s.bin, "s")
	reader := g.newToken(b.t, b.s.bin, "reader", "read")
	s := b.guarded(g)
	s.whileCounting(func() {
		for began := time.Now(); time.Since(began) < b.hold && !b.t.Failed(); {
			s.walk(reader)
		}
	})
	s.wantLogged(s.p, "no token", "a token that is not good", "more than the token's scope", "no certificate of a node", "reader",
		"no such route", "refusing a connection, which does not begin as one to this node does")
	s.load.stop()
	s.p.stop()
	b.wantShort(s.p)
	if text := s.p.text(); strings.Contains(text, strings.TrimPrefix(reader, "tally_")) {
		b.t.Error("a token in the log")
	}
}

// guarded is a second node on the same broker, under a load of its own.
func (b *badClients) guarded(g *guard) *badClients {
	j := &job{t: b.t, s: b.s, ctx: b.j.ctx, rand: b.j.rand, dir: b.t.TempDir(), app: "guarded"}
	j.specFile = filepath.Join(j.dir, "spec.yaml")
	j.writeSpec()
	m := j.machine("s", append(g.run("s"), "--create-topics", fmt.Sprint(partitions), "--log-level", "debug")...)
	m.brokers, m.guard = b.s.kafka.Brokers, g
	s := &badClients{t: b.t, s: b.s, j: j, hold: b.hold, p: m.start()}
	s.p.awaitStatus(30*time.Second, "the second node runs", allRun)
	s.addr = strings.TrimPrefix(s.p.addr, "https://")
	s.load = j.produce(clientsRate, cleanEvents(j.rand))
	s.await("it counts", 2000)
	return s
}

func (b *badClients) walk(reader string) {
	g := b.p.m.guard
	if c, err := tls.Dial("tcp", b.addr, &tls.Config{RootCAs: g.roots, MaxVersion: tls.VersionTLS12}); err == nil {
		c.Close()
		b.t.Error("TLS 1.2 is spoken")
	}
	status := func(method, path, token string) (int, []byte) {
		req, err := http.NewRequest(method, b.p.addr+path, strings.NewReader("{}"))
		must(b.t, err)
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := g.http.Do(req)
		must(b.t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		must(b.t, err)
		return resp.StatusCode, body
	}
	_, unknown := status("GET", "/nothing/there", reader)
	for _, route := range b.walkRoutes(unknown) {
		method, path, _ := strings.Cut(route.at, " ")
		nobody, body := status(method, path, "")
		forged, _ := status(method, path+"?hush=hush", "tally_"+strings.Repeat("A", 43))
		read, _ := status(method, path, reader)
		if nobody != route.nobody || forged != route.nobody || (read == http.StatusForbidden) != route.notForReaders {
			b.t.Errorf("%s: %d without a token, %d with a wrong one, %d with one to read", route.at, nobody, forged, read)
		}
		var e struct{ Error struct{ Message string } }
		if nobody != 200 && (json.Unmarshal(body, &e) != nil || e.Error.Message == "" || bytes.Contains(body, []byte("tally_"))) {
			b.t.Errorf("%s: %s", route.at, body)
		}
	}
	if b.p.ended() {
		b.t.Error("the node has ended")
	}
}

// walked is a route, with what those get who may not use it.
type walked struct {
	at            string
	nobody        int
	notForReaders bool
}

// walkRoutes are all routes, as internal/api TestWalkScopes knows them: those that the node itself
// names to whoever asks for what is not there, none of which may be missing here.
func (b *badClients) walkRoutes(unknown []byte) (all []walked) {
	b.t.Helper()
	var e struct{ Error struct{ Next string } }
	err := json.Unmarshal(unknown, &e)
	named, ok := strings.CutPrefix(e.Error.Next, "there is ")
	if err != nil || !ok {
		b.t.Fatalf("the node does not name its routes: %s", unknown)
	}
	expected := map[string]walked{}
	for _, route := range routesExpected {
		expected[route.at] = route
	}
	for at := range strings.SplitSeq(named, ", ") {
		route, ok := expected[at]
		if !ok {
			b.t.Errorf("there is a route %s: who may use it?", at)
			continue
		}
		delete(expected, at)
		route.at = routeNames.Replace(at)
		all = append(all, route)
	}
	for at := range expected {
		b.t.Errorf("there is no route %s", at)
	}
	return append(all, walked{"GET /nothing/there", 401, false}, walked{"POST /v1/node/propose", 403, true})
}

// routeNames fill the wildcards of a route.
var routeNames = strings.NewReplacer("{app}", "clients", "{lane}", "0", "{node}", "s", "{call}", "hello", "{id}", "1", "{file}", "MANIFEST-000001")

var routesExpected = []walked{
	{"GET /healthz", 200, false},
	{"GET /readyz", 401, false},
	{"GET /metrics", 401, false},
	{"GET /v1/status", 401, false},
	{"GET /v1/apps", 401, false},
	{"POST /v1/apps/{app}/get", 401, false},
	{"POST /v1/apps/{app}/top", 401, false},
	{"POST /v1/apps/{app}/scan", 401, false},
	{"POST /v1/apps/{app}/watch", 401, false},
	{"POST /v1/apps/{app}/reset", 401, true},
	{"PUT /v1/apps/{app}", 401, true},
	{"DELETE /v1/apps/{app}", 401, true},
	{"POST /v1/apps/{app}/lanes/{lane}/move", 401, true},
	{"POST /v1/nodes/{node}/drain", 401, true},
	{"DELETE /v1/nodes/{node}", 401, true},
	{"POST /v1/apps/{app}/sent", 403, true},
	{"POST /v1/apps/{app}/values", 403, true},
	{"POST /v1/node/{call}", 403, true},
	{"GET /v1/node/checkpoint/{app}/{lane}/{id}/{file}", 403, true},
}
