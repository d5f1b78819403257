package chaos

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/api"
)

// guard is how the nodes of a fleet are reached that has certificates and tokens, as on several
// machines; nil: anybody on this one may ask, and no connection is secret.
type guard struct {
	dir    string   // of each node, with its certificate
	made   []string // by one authority each: the first is the one of now
	nodes  []string
	tokens string   // the nodes' file
	flags  []string // of the commands
	token  string
	roots  *x509.CertPool
	http   *http.Client
}

func newGuard(t testing.TB, bin string, nodes ...string) *guard {
	t.Helper()
	dir := t.TempDir()
	g := &guard{dir: filepath.Join(dir, "live"), made: []string{filepath.Join(dir, "one"), filepath.Join(dir, "two")}, nodes: nodes}
	for _, made := range g.made {
		output(t, bin, "certs", made, "--nodes", strings.Join(nodes, "=127.0.0.1,")+"=127.0.0.1")
	}
	g.tokens = filepath.Join(dir, "tokens.json")
	admin, ca := filepath.Join(dir, "admin"), filepath.Join(dir, "ca.crt")
	g.token = g.newToken(t, bin, "suite", "admin")
	must(t, os.WriteFile(admin, []byte(g.token), 0o600))
	both := slices.Concat(g.read(t, g.made[0], "ca.crt"), g.read(t, g.made[1], "ca.crt"))
	must(t, os.WriteFile(ca, both, 0o600))
	g.roots = x509.NewCertPool()
	if !g.roots.AppendCertsFromPEM(both) {
		t.Fatal("no authority")
	}
	g.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: g.roots, MinVersion: tls.VersionTLS13}}}
	t.Cleanup(g.http.CloseIdleConnections)
	g.flags = []string{"--ca", ca, "--token", "@" + admin}
	g.give(t, "ca.crt", g.read(t, g.made[0], "ca.crt"))
	g.certify(t)
	return g
}

// newToken adds a token to the nodes' file.
func (g *guard) newToken(t testing.TB, bin, name, scope string) string {
	t.Helper()
	token, _, _ := strings.Cut(output(t, bin, "token", "create", name, "--scope", scope, "--tokens", g.tokens), "\n")
	if !strings.HasPrefix(token, "tally_") {
		t.Fatal("no token")
	}
	return token
}

// output is what a command prints that asks no node.
func output(t testing.TB, bin string, args ...string) string {
	t.Helper()
	out, err := exec.Command(bin, args...).Output()
	if err != nil {
		t.Fatalf("tally %s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}

func (g *guard) read(t testing.TB, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	must(t, err)
	return b
}

// give puts a file beside the certificate of each node.
func (g *guard) give(t testing.TB, name string, text []byte) {
	t.Helper()
	for _, n := range g.nodes {
		must(t, os.MkdirAll(filepath.Join(g.dir, n), 0o700))
		must(t, os.WriteFile(filepath.Join(g.dir, n, name), text, 0o600))
	}
}

// certify gives each node its certificate of the authority of now.
func (g *guard) certify(t testing.TB) {
	t.Helper()
	for _, n := range g.nodes {
		for _, name := range []string{"node.key", "node.crt"} {
			must(t, os.WriteFile(filepath.Join(g.dir, n, name), g.read(t, g.made[0], n, name), 0o600))
		}
	}
}

// run are the flags of a node.
func (g *guard) run(node string) []string {
	if g == nil {
		return nil
	}
	return []string{"--certs", filepath.Join(g.dir, node), "--tokens", g.tokens}
}

func (g *guard) url(addr string) string {
	if g == nil {
		return "http://" + addr
	}
	return "https://" + addr
}

func (g *guard) options() []api.ClientOption {
	if g == nil {
		return nil
	}
	return []api.ClientOption{api.WithCA(g.roots), api.WithToken(g.token)}
}

// do sends a request of a test's own.
func (g *guard) do(req *http.Request) (*http.Response, error) {
	if g == nil {
		return http.DefaultClient.Do(req)
	}
	req.Header.Set("Authorization", "Bearer "+g.token)
	return g.http.Do(req)
}

// command is how tally is asked for something of the node at a URL.
func (g *guard) command(url string, args ...string) []string {
	args = append(slices.Clone(args), "--server", url)
	if g == nil {
		return args
	}
	return append(args, g.flags...)
}

// certificatesTaken is within what time nodes have taken files that have changed.
const certificatesTaken = 3 * time.Second

// changeAuthority does what docs/security.md says of another authority, to nodes that run: the last
// step ends every connection between them. Nothing moves for that.
func (f *fleet) changeAuthority() {
	g := f.guard
	old, next := g.read(f.t, g.made[0], "ca.crt"), g.read(f.t, g.made[1], "ca.crt")
	slices.Reverse(g.made)
	f.row("another authority", 3, func() {
		for _, step := range []func(){
			func() { g.give(f.t, "ca.crt", slices.Concat(old, next)) },
			func() { g.certify(f.t) },
			func() { g.give(f.t, "ca.crt", next) },
		} {
			step()
			<-time.After(certificatesTaken)
		}
	})
	f.wantNothingAborted(1)
}
