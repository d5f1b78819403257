package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// cannedApps is a node that answers the status and the list of apps as it is told, and counts how
// often it was asked for the status.
func cannedApps(t *testing.T, status func(asked int64) string, apps func(http.ResponseWriter)) *httptest.Server {
	t.Helper()
	var asked atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/apps", func(w http.ResponseWriter, _ *http.Request) { apps(w) })
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, status(asked.Add(1))) })
	node := httptest.NewServer(mux)
	t.Cleanup(node.Close)
	return node
}

// TestAppsOfANodeThatWaits: a node that does not know the apps yet is not taken for one without.
func TestAppsOfANodeThatWaits(t *testing.T) {
	const none = `{"apps":[]}`
	listed := func(w http.ResponseWriter) { fmt.Fprintf(w, `{"apps":[{"app":"wordcount","spec":%q}]}`, cannedSpec) }
	run := `{"apps":[{"app":"wordcount","generation":1,"stages":1,"lanes":[{"lane":0,"state":"running"}]}]}`
	waits := `{"apps":[{"app":"wordcount","generation":1,"stages":1,"lanes":[{"lane":0,"state":"acquiring","reason":"Kafka does not answer: dial"}]}]}`
	for name, c := range map[string]struct {
		status func(int64) string
		apps   func(http.ResponseWriter)
		parts  []string
		exit   string
	}{
		"joining": {func(int64) string { return none }, func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"error":{"code":"not_ready","message":"node b is still joining its cluster: the seeds do not answer","next":"ask again"}}`)
		}, []string{"the seeds do not answer", "ask again"}, "exit 1\n"},
		"none": {func(int64) string { return none }, func(w http.ResponseWriter) { _, _ = io.WriteString(w, none) },
			[]string{"no app runs yet: `tally submit FILE` runs one"}, "exit 0\n"},
		"known by now": {func(asked int64) string {
			if asked == 1 {
				return none
			}
			return run
		}, listed, []string{"wordcount  1"}, "exit 0\n"},
		"not said": {func(int64) string { return none }, listed, []string{"wordcount", "`tally status`"}, "exit 1\n"},
		"waiting for Kafka": {func(int64) string { return waits }, listed,
			[]string{"wordcount  1", "app wordcount does not run: Kafka does not answer: dial"}, "exit 0\n"},
	} {
		node := cannedApps(t, c.status, c.apps)
		got := runScript(t, "apps --server "+node.URL, "", nil)
		for _, part := range c.parts {
			if !strings.Contains(got, part) {
				t.Errorf("%s: it does not say %q", name, part)
			}
		}
		if !strings.HasSuffix(got, c.exit) || name != "none" && strings.Contains(got, "no app runs") {
			t.Errorf("%s: %s", name, got)
		}
	}
}
