package port

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/certs"
	"github.com/tally-kafka/tally/internal/seam"
)

// nodeLines opens a connection of each kind as a node, with nothing said yet.
func nodeLines(t *testing.T, from *Port, addr string) map[string]net.Conn {
	t.Helper()
	all := map[string]net.Conn{}
	for name, dial := range map[string]func() (net.Conn, error){
		"raft":    func() (net.Conn, error) { return from.DialRaft(t.Context(), addr) },
		"session": func() (net.Conn, error) { return from.DialSession(t.Context(), addr) },
		"http":    func() (net.Conn, error) { return from.dialTLS(t.Context(), addr, "http/1.1") },
	} {
		c, err := dial()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Cleanup(func() { _ = c.Close() })
		all[name] = c
	}
	ask(t, all["http"])
	return all
}

// ask makes a request over a connection, which stays open.
func ask(t *testing.T, c net.Conn) (answer string) {
	t.Helper()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 64<<10)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// wantEnded waits until the other side has ended the connections.
func wantEnded(t *testing.T, when string, all map[string]net.Conn) {
	t.Helper()
	for name, c := range all {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection for %s is still open", when, name)
		}
	}
}

// A node of an authority that is gone from ca.crt is out, with what it has open; those of the
// authority that is there, and people, stay.
func TestRevokedCertificate(t *testing.T) {
	old, next := authority(t, "a", "b"), authority(t, "a", "b")
	a := listen(t, Config{Certs: old + "/a", LookEvery: time.Nanosecond, RecheckEvery: 10 * time.Millisecond})
	serve(t, a)
	addr := a.Addr().String()
	revoked := nodeLines(t, listen(t, Config{Certs: old + "/b"}), addr)
	person, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer person.Close()
	ask(t, person)
	copyFiles(t, old+"/a/ca.crt", old+"/ca.crt", next+"/ca.crt")
	copyFiles(t, next+"/b/ca.crt", old+"/ca.crt", next+"/ca.crt") // a has its old certificate still
	b := listen(t, Config{Certs: next + "/b"})
	until(t, "a has read its authorities anew", func() bool {
		c, err := b.DialRaft(t.Context(), addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	until(t, "that connection is gone", func() bool { return len(a.ofNodes()) == 3 })
	stays := nodeLines(t, b, addr)
	if n := len(a.ofNodes()); n != 6 {
		t.Errorf("with both authorities %d connections of nodes are open, not 6", n)
	}
	for _, f := range []string{"node.crt", "node.key", "ca.crt"} {
		copyFiles(t, old+"/a/"+f, next+"/a/"+f)
	}
	wantEnded(t, "the authority is gone", revoked)
	for _, name := range []string{"raft", "session"} {
		if got := say(t, stays[name], nil, "hello\n"); got != name+" hello\n" {
			t.Errorf("of the new authority, %s: %q", name, got)
		}
	}
	if got := ask(t, person); !strings.HasSuffix(got, "people") {
		t.Errorf("a person: %q", got)
	}
}

// until polls for as long as ten seconds.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for began := time.Now(); !so(); <-time.After(time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("it never was so: %s", what)
		}
	}
}

// copyFiles writes one file with what several have.
func copyFiles(t *testing.T, to string, from ...string) {
	t.Helper()
	var all []byte
	for _, f := range from {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	if err := os.WriteFile(to, all, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A certificate that ends while its connections are open ends them.
func TestOutOfDateWhileOpen(t *testing.T) {
	dir := authority(t, "a", "b")
	var mu sync.Mutex
	late := time.Duration(0)
	sm := seam.World()
	sm.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return time.Now().Add(late) }
	a := listen(t, Config{Certs: dir + "/a", Seam: sm, RecheckEvery: 10 * time.Millisecond})
	serve(t, a)
	open := nodeLines(t, listen(t, Config{Certs: dir + "/b"}), a.Addr().String())
	mu.Lock()
	late = certs.NodeLife + 24*time.Hour
	mu.Unlock()
	wantEnded(t, "the certificate is out of date", open)
	if n := len(a.ofNodes()); n != 0 {
		t.Errorf("%d connections of nodes are counted", n)
	}
}
