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

// TestMoveOfAStoppedLane: a lane that has ended on an error at its new owner is not waited for.
func TestMoveOfAStoppedLane(t *testing.T) {
	var asked atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/apps", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"apps":[{"app":"wordcount","spec":%q}]}`, cannedSpec)
	})
	mux.HandleFunc("POST /v1/apps/wordcount/lanes/{lane}/move", cannedMove)
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		lane := `"owner":"b","epoch":7`
		switch asked.Add(1) {
		case 1:
			lane = `"owner":"a","epoch":6,"target":"b"`
		case 2: // what it was as a standby
			lane += `,"from":"a"`
		}
		_, _ = io.WriteString(w, `{"apps":[{"app":"wordcount","lanes":[{"lane":0,"state":"stopped","reason":"events were deleted",`+lane+`}]}]}`)
	})
	node := httptest.NewServer(mux)
	defer node.Close()
	got := runScript(t, "move wordcount/0 b --wait 1m --server "+node.URL, "", nil)
	if !strings.Contains(got, "lane 0 is at node b now, and does not run there: it is stopped, since events were deleted") ||
		!strings.HasSuffix(got, "exit 1\n") || asked.Load() != 3 {
		t.Errorf("after %d looks: %s", asked.Load(), got)
	}
}

// TestDrainBesideAStoppedLane: nor is one of a drain, which has done its part.
func TestDrainBesideAStoppedLane(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/nodes/{node}/drain", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"node":"a","moves":[{"app":"lost","lane":0,"from":"a","to":"b"}]}`)
	})
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"nodes":[{"name":"a"},{"name":"b","lanes":1}],"apps":[{"app":"lost","lanes":[
			{"lane":0,"owner":"b","epoch":7,"state":"stopped","reason":"events were deleted"}]}]}`)
	})
	node := httptest.NewServer(mux)
	defer node.Close()
	got := runScript(t, "drain a --wait 1m --server "+node.URL, "", nil)
	if !strings.Contains(got, "lost lane 0 is at node b now, and does not run there: it is stopped, since events were deleted") ||
		!strings.Contains(got, "node a has no lanes any more") || !strings.HasSuffix(got, "exit 0\n") {
		t.Error(got)
	}
}
