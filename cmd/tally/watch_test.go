package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tally-kafka/tally/internal/api"
)

// serveStream answers for one app, with the lines of a stream that then ends.
func serveStream(t *testing.T, lines string) string {
	spec := "{app: wordcount, input: {topic: in}, split: words, group: [key, item], aggregates: {count: count}}"
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/apps", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(api.AppsAnswer{Apps: []api.AppInfo{{App: "wordcount", Spec: spec}}})
	})
	mux.HandleFunc("POST /v1/apps/wordcount/watch", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(lines))
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// A watch says once that lanes are silent, and again when they are others.
func TestWatchNamesSilentLanes(t *testing.T) {
	url := serveStream(t, strings.Repeat(`{"group":["u","w"],"values":{"count":1},"silent":[0,1]}`+"\n", 2)+
		strings.Repeat(`{"group":["u","w"],"values":{"count":1},"silent":[1]}`+"\n", 2)+
		strings.Repeat(`{"group":["u","w"],"values":{"count":2}}`+"\n", 2))
	tl := testTool()
	opt := watchOptions{parts: []string{"u", "w"}}
	opt.server = url
	if err := runWatch(t.Context(), tl, opt); err == nil || !strings.Contains(err.Error(), "has ended the watch") {
		t.Fatal(err)
	}
	out, said := tl.out.(*bytes.Buffer).String(), tl.err.(*bytes.Buffer).String()
	if want := strings.Repeat("u  w  1\n", 4) + strings.Repeat("u  w  2\n", 2); out != want {
		t.Errorf("%q, not %q", out, want)
	}
	if strings.Count(said, "nobody answers for lanes 0, 1:") != 1 || strings.Count(said, "nobody answers for lanes 1:") != 1 ||
		strings.Count(said, "\n") != 2 {
		t.Errorf("on stderr: %q", said)
	}
}

// A watch of old values says so where it is told.
func TestWatchSaysHowOld(t *testing.T) {
	url := serveStream(t, `{"group":["u","w"],"values":{"count":1},"parts":[{"partition":0,"lane":0,"node":"b","role":"standby","position":{"in/0":4},"lag":3}]}`+"\n"+
		`{"group":["u","w"],"values":{"count":2}}`+"\n")
	tl := testTool()
	opt := watchOptions{}
	opt.server, opt.stale = url, true
	_ = runWatch(t.Context(), tl, opt) // the stream ends
	out, said := tl.out.(*bytes.Buffer).String(), tl.err.(*bytes.Buffer).String()
	if out != "u  w  1\nu  w  2\n" || !strings.HasPrefix(said, "3 events are still to be counted\nlane 0: node b is standby, its values are of an unknown age") ||
		strings.Count(said, "\n") != 2 {
		t.Errorf("%q, and on stderr %q", out, said)
	}
}
