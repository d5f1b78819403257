package api

import (
	"crypto/tls"
	"crypto/x509"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/token"
)

// trustedNode is a connection with a certificate that is a node's for as long as trusted says so.
func trustedNode() (conn *tls.ConnectionState, trusted *atomic.Bool, trusts func([]*x509.Certificate) bool) {
	cert := &x509.Certificate{Raw: []byte("a node's")}
	trusted = &atomic.Bool{}
	trusted.Store(true)
	return &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}}}, trusted,
		func(peer []*x509.Certificate) bool { return len(peer) == 1 && peer[0] == cert && trusted.Load() }
}

// Who came as a node is one for as long as the certificate is good: no longer than that on a
// connection that is open still, and no route makes an exception.
func TestRevokedNode(t *testing.T) {
	conn, trusted, trusts := trustedNode()
	tokens, read, _ := testTokens(t)
	a := newTestApp(t, wordcount, 1, 1)
	s := NewServer(&testNode{apps: []*testApp{a}}, Options{Seam: seam.World(), Tokens: tokens, Trusts: trusts})
	node := sender{tls: conn}
	for _, c := range []struct{ path, was, is string }{
		{"sent?local=true", "200", "403"}, {"top?local=true", "200", "401"}, {"top", "200", "401"}, {"reset", "200", "401"},
	} {
		for _, good := range []bool{true, false} {
			trusted.Store(good)
			want := map[bool]string{true: c.was, false: c.is}[good]
			if w := node.call(s, "POST", "/v1/apps/wordcount/"+c.path, ""); itoa(w.Code) != want {
				t.Errorf("%s, trusted %v: status %d %s", c.path, good, w.Code, w.Body)
			}
		}
	}
	if w := (sender{token: read, tls: conn}).call(s, "POST", "/v1/apps/wordcount/top", ""); w.Code != 200 {
		t.Errorf("with a token it is a person's: status %d %s", w.Code, w.Body)
	}
}

// An open watch ends when who watches may not any more: also while there is always something to
// send.
func TestRevokedWatch(t *testing.T) {
	for _, end := range []string{"revoked", "expired"} {
		var late atomic.Int64
		sm := seam.World()
		sm.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
		path := filepath.Join(t.TempDir(), "tokens.json")
		secret, _, err := token.Create(path, "ann", token.Read, time.Hour, sm)
		if err != nil {
			t.Fatal(err)
		}
		tokens, err := token.Open(path, token.Options{Seam: sm, Every: time.Nanosecond})
		if err != nil {
			t.Fatal(err)
		}
		a := newTestApp(t, wordcount, 1, 1)
		a.event(0, "k", "w")
		ts, s := serve(t, &testNode{apps: []*testApp{a}},
			Options{Tokens: tokens, WatchLook: 20 * time.Millisecond, WatchInterval: time.Millisecond})
		client, err := NewClient(ts.URL, seam.World(), WithToken(secret))
		if err != nil {
			t.Fatal(err)
		}
		w := startWatch(t, client, "")
		eventually(t, "present values", w.has(`["k","w"]`, `{"count":1}`))
		if end == "revoked" {
			if err := token.Revoke(path, "ann"); err != nil {
				t.Fatal(err)
			}
		} else {
			late.Store(int64(2 * time.Hour))
		}
		eventually(t, end+": the watch ends", func() bool {
			a.event(0, "k", "w")
			select {
			case err := <-w.done:
				if err == nil || !strings.Contains(err.Error(), "out of date or revoked") {
					t.Errorf("%s: it ends with %v", end, err)
				}
				return true
			default:
				return false
			}
		})
		eventually(t, "its place is free", func() bool { return len(s.watches) == 0 })
	}
}

// What another node watches ends as well when that is a node no more.
func TestRevokedNodeWatch(t *testing.T) {
	conn, trusted, trusts := trustedNode()
	a := newTestApp(t, wordcount, 1, 1)
	s := NewServer(&testNode{apps: []*testApp{a}}, Options{Seam: seam.World(), Trusts: trusts, WatchLook: 5 * time.Millisecond})
	done := make(chan *httptest.ResponseRecorder, 1)
	go func() { done <- sender{tls: conn}.call(s, "POST", "/v1/apps/wordcount/watch?local=true&lanes=0", "") }()
	eventually(t, "it watches", func() bool { return len(s.nodeWatches) == 1 })
	trusted.Store(false)
	eventually(t, "the watch ends", func() bool {
		select {
		case w := <-done:
			if !strings.Contains(w.Body.String(), "only the nodes of the cluster may call this") {
				t.Errorf("it ends with %q", w.Body)
			}
			return true
		default:
			return false
		}
	})
}
