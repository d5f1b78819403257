package api

import (
	"net/http"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

func TestParseFrom(t *testing.T) {
	now := time.Date(2026, 1, 31, 18, 0, 0, 0, time.UTC)
	for text, want := range map[string]From{
		"": {Spec: true}, "earliest": {Earliest: true}, "latest": {Latest: true}, "90m": {At: now.Add(-90 * time.Minute)},
		"2026-01-31T19:30:00+02:00": {At: now.Add(-30 * time.Minute)},
	} {
		got, err := ParseFrom(text, now)
		if err != nil || !got.At.Equal(want.At) || got.Spec != want.Spec || got.Earliest != want.Earliest || got.Latest != want.Latest {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"Latest", "yesterday", "2h ago", "-2h", "0s", "2026-01-31", "1738346400"} {
		if got, err := ParseFrom(text, now); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestResetRoute(t *testing.T) {
	n := &testNode{apps: []*testApp{newTestApp(t, wordcount, 1, 1)}}
	ts, _ := serve(t, n, Options{})
	c, err := NewClient(ts.URL, seam.World())
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Reset(t.Context(), "wordcount", ResetRequest{From: "2h", Spec: "app: wordcount", DryRun: true})
	if err != nil || got.Generation != 2 || got.Done || got.Topics == nil || got.StateDirs == nil || got.Start == nil {
		t.Errorf("%+v, %v", got, err)
	}
	if len(n.resets) != 1 || n.resets[0] != (ResetRequest{From: "2h", Spec: "app: wordcount", DryRun: true}) {
		t.Errorf("the node was asked for %+v", n.resets)
	}
	for _, c := range []struct {
		path, body string
		status     int
	}{
		{"/v1/apps/nobody/reset", `{}`, http.StatusNotFound},
		{"/v1/apps/wordcount/reset", `{"from":"yesterday"}`, http.StatusBadRequest},
		{"/v1/apps/wordcount/reset", `from=latest`, http.StatusBadRequest},
	} {
		if status, body := ask(t, http.MethodPost, ts.URL+c.path, c.body); status != c.status {
			t.Errorf("%s %s: %d %s", c.path, c.body, status, body)
		}
	}
	if len(n.resets) != 1 {
		t.Errorf("the node was asked for %+v", n.resets)
	}
}

// An app that the cluster has and this node cannot open is reset all the same: that is the way out.
// One that the cluster does not have is not.
func TestResetOfAClosedApp(t *testing.T) {
	c := newTestCluster(t, newTestApp(t, wordcount, 1, 1), 1, Options{})
	n := &testNode{}
	ts, _ := serve(t, n, Options{Cluster: c.nodes[0]})
	client, err := NewClient(ts.URL, seam.World())
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.Reset(t.Context(), "wordcount", ResetRequest{From: "latest"})
	if err != nil || got.App != "wordcount" || !got.Done || len(n.resets) != 1 {
		t.Errorf("%+v, %v; the node was asked for %+v", got, err, n.resets)
	}
	c.change(func() { c.placed = nil })
	if _, err := client.Reset(t.Context(), "wordcount", ResetRequest{}); asError(err).Code != CodeUnknownApp || len(n.resets) != 1 {
		t.Errorf("%v; the node was asked for %+v", err, n.resets)
	}
}

// A reset cannot be asked for by a web page.
func TestResetOfAPage(t *testing.T) {
	n := &testNode{apps: []*testApp{newTestApp(t, wordcount, 1, 1)}}
	ts, _ := serve(t, n, Options{})
	for _, h := range [][2]string{{"Origin", "http://evil.example"}, {"Host", "evil.example"}} {
		req, err := http.NewRequest(http.MethodPost, ts.URL+"/v1/apps/wordcount/reset", nil)
		if err != nil {
			t.Fatal(err)
		}
		if req.Header.Set(h[0], h[1]); h[0] == "Host" {
			req.Host = h[1]
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden || len(n.resets) != 0 {
			t.Errorf("%v: %s", h, resp.Status)
		}
	}
}

// A read that waits through a reset is told of it.
func TestReadThroughReset(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	n := &testNode{apps: []*testApp{a}}
	s := NewServer(n, Options{Seam: seam.World()})
	rd := &read{s: s, app: &App{Name: a.Name, ID: a.ID, Generation: 1}, deadline: time.Now().Add(time.Hour)}
	if err := rd.pause(t.Context(), errResync); err != nil {
		t.Errorf("%v", err)
	}
	a.Generation = 2
	if err := asError(rd.pause(t.Context(), errResync)); err.Code != CodeConflict {
		t.Errorf("%+v", err)
	}
}
