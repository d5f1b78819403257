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

// TestMoveGivenUp: a move that the leader gives up is said to be that, at once, and not waited for.
func TestMoveGivenUp(t *testing.T) {
	var asked atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/apps", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"apps":[{"app":"wordcount","spec":%q}]}`, cannedSpec)
	})
	mux.HandleFunc("POST /v1/apps/wordcount/lanes/{lane}/move", cannedMove)
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		target := ""
		if asked.Add(1) == 2 { // the asked node hears of the move after its first answer
			target = "b"
		}
		_, _ = io.WriteString(w, `{"apps":[{"app":"wordcount","lanes":[{"lane":0,"owner":"a","epoch":6,"state":"running","target":"`+target+`"}]}]}`)
	})
	node := httptest.NewServer(mux)
	defer node.Close()
	got := runScript(t, "move wordcount/0 b --wait 1m --server "+node.URL, "", nil)
	if !strings.Contains(got, "lane 0 stays at node a: node b could not take it any more") || !strings.HasSuffix(got, "exit 1\n") || asked.Load() != 3 {
		t.Errorf("after %d looks: %s", asked.Load(), got)
	}
}
