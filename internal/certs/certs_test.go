package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// clock is the world at another time.
func clock(now *time.Time) seam.Seam {
	sm := seam.World()
	sm.Now = func() time.Time { return *now }
	return sm
}

func mustMake(t *testing.T, dir string, opt MakeOptions, nodes ...Node) Made {
	t.Helper()
	if opt.Seam.Now == nil {
		opt.Seam = seam.World()
	}
	made, err := Make(dir, nodes, opt)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func mustOpen(t *testing.T, dir string, opt Options) *Set {
	t.Helper()
	if opt.Seam.Now == nil {
		opt.Seam = seam.World()
	}
	s, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// connect makes a connection from one node to another that it calls host, and sends a byte through.
func connect(server, client *Set, host string) (serverErr, clientErr error) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	go func() {
		s := tls.Server(a, server.Server([]string{"x/1"}, true))
		_, err := io.ReadFull(s, make([]byte, 1))
		_ = a.Close()
		done <- err
	}()
	c := tls.Client(b, client.Client(host, "x/1"))
	_, clientErr = c.Write([]byte("!"))
	if clientErr != nil {
		_ = b.Close()
	}
	return <-done, clientErr
}

func TestMakeAndUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	made := mustMake(t, dir, MakeOptions{}, Node{"a", []string{"10.0.0.1", "a.example"}}, Node{"b", []string{"b.example"}})
	if !made.NewCA || len(made.Dirs) != 2 || made.Dirs[1] != filepath.Join(dir, "b") {
		t.Fatalf("%+v", made)
	}
	for file, mode := range map[string]os.FileMode{"ca.key": 0o600, "ca.crt": 0o644, "a/node.key": 0o600, "a/node.crt": 0o644, "a/ca.crt": 0o644} {
		info, err := os.Stat(filepath.Join(dir, file))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", file, info, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "a", "ca.key")); err == nil {
		t.Error("the authority's key is among the files for a node")
	}
	a, b := mustOpen(t, made.Dirs[0], Options{}), mustOpen(t, made.Dirs[1], Options{})
	for host, want := range map[string]bool{"10.0.0.1": true, "a.example": true, "localhost": true, "127.0.0.1": true, "::1": true, "b.example": false, "10.0.0.2": false} {
		if a.Covers(host) != want {
			t.Errorf("a's certificate for %s: %v", host, !want)
		}
	}
	if left := time.Until(a.Until()); left < 729*24*time.Hour || left > 731*24*time.Hour {
		t.Errorf("good for %v", left)
	}
	if serverErr, clientErr := connect(a, b, "a.example"); serverErr != nil || clientErr != nil {
		t.Errorf("%v, %v", serverErr, clientErr)
	}
}

// What is there stays: the authority always, a node's certificate unless its renewal is asked for.
func TestNothingIsOverwritten(t *testing.T) {
	dir := t.TempDir()
	mustMake(t, dir, MakeOptions{}, Node{"a", []string{"a"}})
	read := func(file string) string {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	ca, key, cert := read("ca.crt"), read("ca.key"), read("a/node.crt")
	if _, err := Make(dir, []Node{{"b", []string{"b"}}, {"a", []string{"a"}}}, MakeOptions{Seam: seam.World()}); err == nil || !strings.Contains(err.Error(), "--renew") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "b")); err == nil {
		t.Error("b was made although the command failed")
	}
	if made := mustMake(t, dir, MakeOptions{}, Node{"b", []string{"b"}}); made.NewCA {
		t.Error("a second authority")
	}
	mustMake(t, dir, MakeOptions{Renew: true}, Node{"a", []string{"a2"}})
	if read("ca.crt") != ca || read("ca.key") != key || read("a/node.crt") == cert {
		t.Error("the authority changed, or the node's certificate did not")
	}
	if serverErr, clientErr := connect(mustOpen(t, dir+"/a", Options{}), mustOpen(t, dir+"/b", Options{}), "a2"); serverErr != nil || clientErr != nil {
		t.Errorf("%v, %v", serverErr, clientErr)
	}
}

func TestMakeRefuses(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	mustMake(t, other, MakeOptions{})
	mustMake(t, dir, MakeOptions{})
	for _, c := range []struct {
		node   Node
		break_ func(t *testing.T)
		say    string
	}{
		{Node{"../a", []string{"a"}}, nil, "cannot be the name"},
		{Node{"ca.key", []string{"a"}}, nil, "cannot be the name of a node here"},
		{Node{"a\n", []string{"a"}}, nil, NameRule},
		{Node{"a", nil}, nil, "say a=HOST"},
		{Node{"a", []string{"10.0.0.1:7400"}}, nil, "(without a port)"},
		{Node{"a", []string{"a b"}}, nil, "no host name"},
		{Node{"a", []string{"a"}}, func(t *testing.T) { copyFile(t, other+"/ca.key", dir+"/ca.key") }, "is not the one of the certificate"},
		{Node{"a", []string{"a"}}, func(t *testing.T) { _ = os.WriteFile(dir+"/ca.key", []byte("x"), 0o600) }, "no key in PEM"},
		{Node{"a", []string{"a"}}, func(t *testing.T) { _ = os.Remove(dir + "/ca.key") }, "put the key back"},
	} {
		if c.break_ != nil {
			c.break_(t)
		}
		if _, err := Make(dir, []Node{c.node}, MakeOptions{Seam: seam.World()}); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%+v: %v, not %q", c.node, err, c.say)
		}
		if entries, _ := filepath.Glob(dir + "/*/*"); len(entries) > 0 {
			t.Fatalf("%+v: it left %v", c.node, entries)
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	root := t.TempDir()
	long := time.Now().Add(-3 * 365 * 24 * time.Hour)
	early := time.Now().Add(48 * time.Hour)
	mustMake(t, root+"/one", MakeOptions{}, Node{"a", []string{"a"}}, Node{"b", []string{"b"}})
	mustMake(t, root+"/two", MakeOptions{}, Node{"a", []string{"a"}})
	mustMake(t, root+"/old", MakeOptions{Seam: clock(&long)}, Node{"a", []string{"a"}})
	mustMake(t, root+"/early", MakeOptions{Seam: clock(&early)}, Node{"a", []string{"a"}})
	for _, c := range []struct {
		files map[string]string // name -> from where
		say   string
	}{
		{map[string]string{"ca.crt": "two/a/ca.crt", "node.crt": "one/a/node.crt", "node.key": "one/a/node.key"}, "is of another authority than"},
		{map[string]string{"ca.crt": "one/a/ca.crt", "node.crt": "one/a/node.crt", "node.key": "one/b/node.key"}, "is not the key of the certificate"},
		{map[string]string{"ca.crt": "old/a/ca.crt", "node.crt": "old/a/node.crt", "node.key": "old/a/node.key"}, "is out of date since"},
		{map[string]string{"ca.crt": "early/a/ca.crt", "node.crt": "early/a/node.crt", "node.key": "early/a/node.key"}, "is the clock right?"},
		{map[string]string{"ca.crt": "one/a/ca.crt", "node.crt": "one/ca.crt", "node.key": "one/ca.key"}, ""},
		{map[string]string{"ca.crt": "one/a/ca.crt", "node.crt": "one/a/node.crt"}, "node.key is missing: --certs wants"},
		{map[string]string{"ca.crt": "one/a/node.key", "node.crt": "one/a/node.crt", "node.key": "one/a/node.key"}, "holds no certificate"},
		{map[string]string{"ca.crt": "one/a/ca.crt", "node.crt": "one/a/node.key", "node.key": "one/a/node.key"}, "holds no certificate"},
	} {
		dir := t.TempDir()
		for name, from := range c.files {
			copyFile(t, filepath.Join(root, from), filepath.Join(dir, name))
		}
		_, err := Open(dir, Options{Seam: seam.World()})
		if c.say == "" {
			t.Logf("the authority's own certificate: %v", err)
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%v: %v, not %q", c.files, err, c.say)
		}
	}
}

// A renewed certificate is used at the next handshake; one that does not fit is not, and the one
// before stays.
func TestReload(t *testing.T) {
	now := time.Now()
	dir, other := t.TempDir(), t.TempDir()
	mustMake(t, dir, MakeOptions{}, Node{"a", []string{"a"}}, Node{"b", []string{"b"}})
	mustMake(t, other, MakeOptions{}, Node{"a", []string{"a"}})
	a, b := mustOpen(t, dir+"/a", Options{Seam: clock(&now)}), mustOpen(t, dir+"/b", Options{})
	if serverErr, clientErr := connect(a, b, "new"); serverErr == nil || clientErr == nil {
		t.Fatal("the name is not in the certificate yet")
	}
	mustMake(t, dir, MakeOptions{Renew: true}, Node{"a", []string{"new"}})
	now = now.Add(time.Second)
	if serverErr, clientErr := connect(a, b, "new"); serverErr != nil || clientErr != nil {
		t.Fatalf("after the renewal: %v, %v", serverErr, clientErr)
	}
	copyFile(t, other+"/a/node.crt", dir+"/a/node.crt")
	now = now.Add(time.Second)
	if serverErr, clientErr := connect(a, b, "new"); serverErr != nil || clientErr != nil {
		t.Fatalf("with a certificate of another authority on the disk: %v, %v", serverErr, clientErr)
	}
	for _, f := range []string{CAFile, KeyFile} {
		copyFile(t, other+"/a/"+f, dir+"/a/"+f)
	}
	now = now.Add(time.Second)
	if serverErr, clientErr := connect(a, b, "a"); serverErr == nil || clientErr == nil {
		t.Fatal("a has another authority now, and b connects still")
	}
}

// Another node's certificate is good as long as the authorities of now vouch for it, and no longer
// than it says; to have found it good once changes nothing of that.
func TestTrusts(t *testing.T) {
	now := time.Now()
	dir, other := t.TempDir(), t.TempDir()
	mustMake(t, dir, MakeOptions{}, Node{"a", []string{"a"}}, Node{"b", []string{"b"}})
	mustMake(t, other, MakeOptions{}, Node{"a", []string{"a"}}, Node{"c", []string{"c"}})
	read := func(path string) []*x509.Certificate {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := firstCertificate(text)
		if err != nil {
			t.Fatal(err)
		}
		return []*x509.Certificate{cert}
	}
	a := mustOpen(t, dir+"/a", Options{Seam: clock(&now)})
	b, c := read(dir+"/b/node.crt"), read(other+"/c/node.crt")
	want := func(when string, trustB, trustC bool) {
		t.Helper()
		for range 2 {
			if a.Trusts(b) != trustB || a.Trusts(c) != trustC {
				t.Errorf("%s: of its own authority %v, of the other %v", when, a.Trusts(b), a.Trusts(c))
			}
		}
	}
	want("at first", true, false)
	if a.Trusts(nil) {
		t.Error("who has no certificate is a node")
	}
	both, err := os.ReadFile(dir + "/ca.crt")
	if err != nil {
		t.Fatal(err)
	}
	next, err := os.ReadFile(other + "/ca.crt")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/a/ca.crt", append(both, next...), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	want("with both authorities", true, true)
	for _, f := range []string{CertFile, KeyFile, CAFile} {
		copyFile(t, other+"/a/"+f, dir+"/a/"+f)
	}
	now = now.Add(time.Second)
	want("without its first authority", false, true)
	now = now.Add(NodeLife + time.Hour)
	want("when it is out of date", false, false)
}

func TestWhy(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	now := time.Now()
	late := now.Add(NodeLife + time.Hour)
	mustMake(t, dir, MakeOptions{}, Node{"a", []string{"a"}}, Node{"b", []string{"b"}})
	mustMake(t, other, MakeOptions{}, Node{"c", []string{"c"}})
	a, b, c := mustOpen(t, dir+"/a", Options{}), mustOpen(t, dir+"/b", Options{}), mustOpen(t, other+"/c", Options{})
	slow := mustOpen(t, dir+"/b", Options{Seam: clock(&now)})
	now = late
	for _, tc := range []struct {
		server, client *Set
		host, say      string
	}{
		{a, b, "x.example", "is for localhost, a, 127.0.0.1, ::1, and not for x.example"},
		{a, c, "a", "is of another authority than the one in " + other},
		{a, slow, "a", "is out of date since"},
	} {
		_, err := connect(tc.server, tc.client, tc.host)
		if err == nil {
			t.Errorf("%s: connected", tc.say)
			continue
		}
		why := tc.client.Why(err, "10.0.0.1:7400")
		if got := why.Error(); !strings.Contains(got, tc.say) || !strings.Contains(got, "10.0.0.1:7400") || !errors.As(why, new(*TrustError)) {
			t.Errorf("%s (%T), not %q", got, why, tc.say)
		}
	}
	if why := a.Why(io.EOF, "10.0.0.1:7400"); errors.As(why, new(*TrustError)) {
		t.Errorf("%v counts as a certificate's", why)
	}
}
