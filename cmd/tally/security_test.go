package main

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/port"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/token"
)

// statusNode is a node that says its status, and nothing else.
type statusNode struct{ api.Node }

func (statusNode) Status(context.Context) api.Status { return api.Status{Node: "a", Cluster: "c1"} }
func (statusNode) Apps() []*api.App                  { return nil }

// secureNode serves the API with certificates and tokens that the commands have made.
func secureNode(t *testing.T, dir string) (url string) {
	t.Helper()
	p, err := port.Listen(port.Config{Seam: seam.World(), Listen: "127.0.0.1:0", Certs: dir + "/certs/a", Tokens: dir + "/tokens.json"})
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := token.Open(dir+"/tokens.json", token.Options{Seam: seam.World(), Every: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: api.NewServer(statusNode{}, api.Options{Seam: seam.World(), Tokens: tokens, Hosts: p.Covers, Trusts: p.Trusts}), ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(p.HTTP()) }()
	t.Cleanup(func() { _ = srv.Close(); _ = p.Close() })
	return p.URL(p.Addr().String())
}

// The way of the README: certificates, a token, a node, a question over TLS.
func TestSecurityCommands(t *testing.T) {
	dir := t.TempDir()
	env := map[string]string{"TALLY_TOKENS": dir + "/tokens.json"}
	run := func(line string, code string, says ...string) string {
		t.Helper()
		got := runScript(t, line, "", env)
		for _, s := range append(says, "exit "+code+"\n") {
			if !strings.Contains(got, s) {
				t.Errorf("%s: %q is not in\n%s", line, s, got)
			}
		}
		return got
	}
	made := filepath.Join(dir, "certs")
	run("certs "+made+" --nodes a=10.0.0.1,a=a.example,b=b.example", "0",
		made+"/ca.key: the authority's key.", made+"/a: copy it to node a (10.0.0.1, a.example)", made+"/b: copy it", "good until 20")
	if got := run("certs "+made+" --nodes c=c.example", "0", made+"/c: copy it"); strings.Contains(got, "ca.key") {
		t.Errorf("a second authority: %s", got)
	}
	run("certs "+made+" --nodes a=10.0.0.1", "1", "--renew makes it anew")
	run("certs "+made, "2", "--nodes is missing")
	run("certs "+made+" --nodes a", "2", "is not NAME=HOST")
	run("certs "+made+" --nodes ../d=d", "2", "cannot be the name of a node")
	run("certs "+made+" --nodes ca.key=d", "2", "cannot be the name of a node here")
	run("certs "+made+" --nodes d=10.0.0.1:7400", "2", "is no host name")
	run("certs "+made+" --nodes d=d --life 1s", "2", "at least 1h")

	secretOf := func(out string) string {
		text, _, _ := strings.Cut(out, "\n")
		if !strings.HasPrefix(text, "tally_") {
			t.Fatalf("no token in the first line of %s", out)
		}
		return text
	}
	admin := secretOf(run("token create ann --scope admin", "0", "! The token ann of the scope admin is good until it is revoked."))
	reader := secretOf(run("token create grafana --ttl 720h", "0", "scope read is good until 20"))
	run("token create ann", "1", "has a token ann already")
	run("token create a/b", "2", "cannot be the name of a token")
	run("token create x --tokens "+dir+"/none/tokens.json", "2", "there is no directory "+dir+"/none")
	run("token list --tokens "+dir+"/none", "2", "there is no token file")
	run("token revoke ann --tokens "+dir+"/none", "2", "there is no token file")
	run("token create x --scope root", "2", "say read or admin")
	run("token create x --ttl -1h", "2", "--ttl")
	if got := run("token list", "0", "ann      admin", "grafana  read"); strings.Contains(got, "tally_") {
		t.Errorf("%s", got)
	}
	run("token list --json", "0", `"name":"ann","scope":"admin","created_ms":`, `"expired":false`)

	for flag, say := range map[string]string{"--tokens": "there is no token file " + dir + "/none", "--certs": dir + "/none/ca.crt is missing"} {
		run("run --node a --listen 127.0.0.1:0 --brokers 127.0.0.1:1 --data-dir "+dir+"/data "+flag+" "+dir+"/none", "2", say)
	}

	writeFile(t, dir+"/ann.token", admin+"\n")
	url := secureNode(t, dir)
	ask := "status --json --server " + url
	run(ask, "1", "say --ca FILE with the cluster's ca.crt")
	run(ask+" --ca "+made+"/ca.crt", "1", "this node wants a token: say --token @FILE")
	run(ask+" --ca "+dir+"/ann.token", "2", "--ca: "+dir+"/ann.token holds no certificate")
	run(ask+" --ca "+made+"/ca.crt --token @"+dir+"/ann.token", "0", `"cluster":"c1"`)
	run(ask+" --ca "+made+"/ca.crt --token @"+dir+"/none", "2", "--token: open "+dir+"/none")
	run(ask+" --ca "+made+"/ca.crt --token @"+made+"/ca.crt", "2", "does not hold one token")
	run("status --server "+strings.Replace(url, "https", "http", 1), "2", "use https://127.0.0.1:")
	env["TALLY_CA"], env["TALLY_TOKEN"], env["TALLY_SERVER"] = made+"/ca.crt", reader, url
	run("status", "0")
	run("reset wordcount --yes --data-dir "+dir, "1", "the token grafana has the scope read, and this needs admin")
	if got := run("config print status", "0", "(not shown) "); strings.Contains(got, reader) {
		t.Errorf("config print shows a token: %s", got)
	}
	run("token revoke grafana", "0")
	run("status", "1", "it is out of date or revoked")
	run("token revoke grafana", "1", "has no token")
}
