package api

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

func newPlainServer(t testing.TB, h http.Handler) string {
	t.Helper()
	ts := httptest.NewServer(h)
	t.Cleanup(ts.Close)
	return ts.URL
}

func testStatus() Status {
	return Status{
		Cluster: "c1", Leader: "a", Node: "a", Version: "v0",
		Kafka: KafkaStatus{ClusterID: "k", Brokers: []string{"127.0.0.1:9092"}},
		Nodes: []NodeStatus{{Name: "a", Addr: "127.0.0.1:7400", Alive: true}},
		Apps: []AppStatus{{App: "wordcount", Processed: 5, Stages: 2, Lag: 2, RepartitionLag: 9, Strays: 1, Lanes: []LaneStatus{
			{Lane: 0, Owner: "a", Epoch: 7, State: LaneRunning, Position: map[string]int64{"input_event/0": 5}, RepartitionLag: 9,
				Restore: &Restore{FromOffset: 4, ToOffset: 16, Records: 12, Ms: 8}},
			{Lane: 1, State: LaneAcquiring},
		}}},
	}
}

// Every route answers, its wrong methods are refused, and each error is one of the contract.
func TestWalkRoutes(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 2)
	a.event(0, "k", "w")
	ts, s := serve(t, &testNode{apps: []*testApp{a}, status: testStatus()}, Options{})
	for _, rt := range s.routeTable() {
		method, path, ok := strings.Cut(rt.pattern, " ")
		if !ok {
			continue // the catch-all is below
		}
		if strings.HasSuffix(path, "/sent") || strings.HasSuffix(path, "/values") || strings.HasPrefix(path, "/v1/node") ||
			strings.HasSuffix(path, "/move") || path == "/v1/apps/{app}" {
			continue // TestControl, TestCallsOfNodes and TestLocalIsForNodes have them
		}
		path = strings.ReplaceAll(path, "{app}", "wordcount")
		if !strings.HasSuffix(path, "/watch") { // TestWatch has it
			body := map[bool]string{true: `["k","w"]`, false: ""}[strings.HasSuffix(path, "/get")]
			if status, text := ask(t, method, ts.URL+path, body); status != 200 || text == "" {
				t.Errorf("%s: status %d %s", rt.pattern, status, text)
			}
		}
		status, text := ask(t, http.MethodPatch, ts.URL+path, "")
		if status/100 != 4 || errorOf(t, text).Next == "" {
			t.Errorf("PATCH %s: status %d %s", path, status, text)
		}
		if strings.Contains(rt.pattern, "{app}") {
			status, text := ask(t, method, ts.URL+strings.ReplaceAll(path, "wordcount", "nope"), `["k","w"]`)
			e := errorOf(t, text)
			if status != 404 || e.Code != CodeUnknownApp || e.Message != `this node has no app "nope"` || e.Next != "it has wordcount" {
				t.Errorf("%s of an unknown app: status %d %s", path, status, text)
			}
		}
	}
	stay := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for at, want := range map[string]int{"/v1/apps/../../etc/passwd": 404, "//v1/status": 404, "/v1//status": 404, "/v1/./status": 404, "/v1/status/..": 404,
		"/v1/status/": 404, "/": 404, "": 404, "/v1/status": 200} {
		resp, err := stay.Get(ts.URL + at)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != want {
			t.Errorf("GET %s: status %d, want %d", at, resp.StatusCode, want)
		}
	}
	status, text := ask(t, "GET", ts.URL+"/v1/nothing", "")
	if status != 404 || !strings.Contains(errorOf(t, text).Next, "POST /v1/apps/{app}/get") {
		t.Errorf("status %d %s", status, text)
	}
	status, text = ask(t, "POST", ts.URL+"/v1/status", "")
	if status != 405 || errorOf(t, text).Next != "use GET /v1/status" {
		t.Errorf("status %d %s", status, text)
	}
}

func TestStatusIsTheContract(t *testing.T) {
	ts, _ := serve(t, &testNode{status: testStatus()}, Options{})
	_, body := ask(t, "GET", ts.URL+"/v1/status", "")
	golden(t, "status.json", body)
}

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// golden compares with a file of testdata, which -rewrite writes anew.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if *rewrite {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (-rewrite writes it anew)\n got %s\nwant %s", path, got, want)
	}
}

func TestEmptyStatusHasLists(t *testing.T) {
	ts, _ := serve(t, &testNode{}, Options{})
	for path, list := range map[string]string{"/v1/status": `"nodes":[],"apps":[]`, "/v1/apps": `{"apps":[]}`} {
		if _, body := ask(t, "GET", ts.URL+path, ""); !strings.Contains(body, list) {
			t.Errorf("%s: %s", path, body)
		}
	}
	_, body := ask(t, "POST", ts.URL+"/v1/apps/wordcount/top", "")
	if e := errorOf(t, body); e.Next != "it has none yet: `tally submit FILE`" {
		t.Errorf("%+v", e)
	}
}

// What a node does not know is unknown once it is in its cluster, and not before.
func TestReadOfANodeThatHasJustStarted(t *testing.T) {
	c := newTestCluster(t, newTestApp(t, wordcount, 2, 2), 2, Options{})
	get := c.nodes[0].server.URL + "/v1/apps/other/get?wait=20ms"
	for refuses, want := range map[bool]string{true: CodeNotReady, false: CodeUnknownApp} {
		c.change(func() { c.nodes[0].refuses = refuses })
		if status, body := ask(t, "POST", get, `["k","w"]`); errorOf(t, body).Code != want {
			t.Errorf("joining %t: status %d %s", refuses, status, body)
		}
	}
}

func TestAppsTellTheSpec(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 3)
	apps, err := newTestClient(t, serveApp(t, a).URL).Apps(t.Context())
	if err != nil || len(apps) != 1 || apps[0].Spec != string(a.Spec.YAML()) || apps[0].Lanes != 2 || len(apps[0].Partitions) != 3 {
		t.Fatalf("%+v %v", apps, err)
	}
}

func TestForeignPagesAreRefused(t *testing.T) {
	ts, _ := serve(t, &testNode{}, Options{})
	own := strings.TrimPrefix(ts.URL, "http://")
	_, port, _ := net.SplitHostPort(own)
	for _, c := range []struct {
		host, origin string
		status       int
	}{
		{own, "", 200},
		{own, "http://" + own, 200},
		{"localhost:" + port, "", 200},
		{"[::1]:" + port, "", 200},
		{"127.0.0.1", "", 200},
		{"evil.example:" + port, "", 403},
		{"127.0.0.1.evil.example:" + port, "", 403},
		{"10.0.0.1:" + port, "", 403},
		{own, "http://evil.example", 403},
		{own, "null", 403},
		{own, "http://localhost:" + port, 403},
		{own, "http://127.0.0.1:1", 403},
	} {
		req, _ := http.NewRequest("GET", ts.URL+"/v1/status", nil)
		req.Host = c.host
		if c.origin != "" {
			req.Header.Set("Origin", c.origin)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("Host %s, Origin %q: status %d %s", c.host, c.origin, resp.StatusCode, body)
		}
	}
}

func TestReady(t *testing.T) {
	n := &testNode{notReady: []string{"lane 0 of app wordcount: restoring", "lane 1 of app wordcount: stopped"}}
	ts, _ := serve(t, n, Options{})
	if status, body := ask(t, "GET", ts.URL+"/readyz", ""); status != 503 || body != strings.Join(n.notReady, "\n")+"\n" {
		t.Errorf("status %d %s", status, body)
	}
	if status, _ := ask(t, "GET", ts.URL+"/healthz", ""); status != 200 {
		t.Errorf("a node that is not ready is alive; status %d", status)
	}
	n.mu.Lock()
	n.notReady = nil
	n.mu.Unlock()
	if status, body := ask(t, "GET", ts.URL+"/readyz", ""); status != 200 || body != "ready\n" {
		t.Errorf("status %d %s", status, body)
	}
}

func TestMetrics(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 2)
	a.event(0, "k", "w")
	ts, _ := serve(t, &testNode{apps: []*testApp{a}, status: testStatus()}, Options{})
	_, body := ask(t, "GET", ts.URL+"/metrics", "")
	for _, line := range []string{
		`tally_info{node="a",version="v0"} 1`,
		`tally_ready 1`,
		`tally_processed_events_total{app="wordcount"} 5`,
		`tally_lag_events{app="wordcount"} 2`,
		`tally_repartition_lag_records{app="wordcount"} 9`,
		`tally_lane_repartition_lag_records{app="wordcount",lane="0"} 9`,
		`tally_stray_events_total{app="wordcount"} 1`,
		`tally_lane_running{app="wordcount",lane="0"} 1`,
		`tally_lane_running{app="wordcount",lane="1"} 0`,
		`tally_lane_epoch{app="wordcount",lane="0"} 7`,
		`tally_lane_restored_records{app="wordcount",lane="0"} 12`,
		`tally_store_cached_groups{app="wordcount",lane="0"} 1`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("no line %s in\n%s", line, body)
		}
	}
}

func TestBodiesAreBounded(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	server := serveApp(t, a)
	for _, verb := range []string{"get", "scan", "watch"} {
		status, body := ask(t, "POST", server.URL+"/v1/apps/wordcount/"+verb, `["`+strings.Repeat("x", 1<<20)+`","w"]`)
		if status != 413 || errorOf(t, body).Code != CodeTooLarge {
			t.Errorf("%s: status %d %.200s", verb, status, body)
		}
	}
	for _, bad := range []string{"", "[]", `["k"]`, `["k","w","x"]`, `{"group":["k","w"]}`, `["k",`, "null", `[["k"],"w"]`} {
		status, body := ask(t, "POST", server.URL+"/v1/apps/wordcount/get", bad)
		if status != 400 || errorOf(t, body).Code != CodeBadRequest {
			t.Errorf("%s: status %d %s", bad, status, body)
		}
	}
}

func TestClientErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := "http://" + l.Addr().String()
	l.Close()
	_, err = newTestClient(t, gone).Status(t.Context())
	var noNode *NoNodeError
	if !errors.As(err, &noNode) || !strings.HasPrefix(err.Error(), "no node answers at "+gone+": start one with `tally run`, or say --server") {
		t.Errorf("%v", err)
	}
	other := newPlainServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "hello", 404) }))
	if _, err := newTestClient(t, other).Status(t.Context()); err == nil || !strings.Contains(err.Error(), "but not as a tally node does (404") {
		t.Errorf("%v", err)
	}
	html := newPlainServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }))
	if _, err := newTestClient(t, html).Status(t.Context()); err == nil || !strings.Contains(err.Error(), "but not as a tally node does") {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{"", "127.0.0.1:7400", "ftp://127.0.0.1:7400", "http://u:p@x", "http://x/y", "http://", "http://x?y=1"} {
		if _, err := NewClient(bad, seam.World()); err == nil {
			t.Errorf("--server %q is no node", bad)
		}
	}
}

func TestClientFindsTheApp(t *testing.T) {
	one := newTestApp(t, wordcount, 1, 1)
	two := newTestApp(t, strings.Replace(wordcount, "wordcount", "letters", 1), 1, 1)
	ts, _ := serve(t, &testNode{apps: []*testApp{one, two}}, Options{})
	empty, _ := serve(t, &testNode{}, Options{})
	single := serveApp(t, one)
	for _, c := range []struct{ url, name, want, say string }{
		{single.URL, "", "wordcount", ""},
		{ts.URL, "letters", "letters", ""},
		{ts.URL, "", "", "runs 2 apps: say --app with one of wordcount, letters"},
		{ts.URL, "nope", "", `has no app "nope": it has wordcount, letters`},
		{empty.URL, "", "", "runs no app yet: start one with `tally submit FILE`"},
	} {
		info, err := newTestClient(t, c.url).App(t.Context(), c.name)
		if info.App != c.want || (err != nil) != (c.say != "") || err != nil && !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %+v %v", c.name, info, err)
		}
	}
}

// No body, query or path can do more than get an answer of the contract.
func FuzzRequests(f *testing.F) {
	a := newTestApp(f, wordcount, 2, 4)
	a.event(0, "k", "w")
	s := NewServer(&testNode{apps: []*testApp{a}}, Options{Seam: seam.World(), WaitDefault: time.Millisecond, WaitMax: 5 * time.Millisecond})
	for _, seed := range []struct {
		verb byte
		q, b string
	}{{0, "wait=0s", `["k","w"]`}, {1, "n=5&wait=0s", ""}, {2, "wait=0s", `["k"]`}, {2, "after=input_event/0:0", `[{"b64":"/w=="}]`},
		{0, "min_position=eyJhIjoiaWQtd29yZGNvdW50IiwiZyI6MSwicCI6eyIwIjoxfX0&wait=0s", `[null,"w"]`}, {0, "a=%zz", "\xff"}} {
		f.Add(seed.verb, seed.q, []byte(seed.b))
	}
	f.Fuzz(func(t *testing.T, verb byte, query string, body []byte) {
		verbs := []string{"get", "top", "scan"}
		r := httptest.NewRequest("POST", "http://127.0.0.1/v1/apps/wordcount/"+verbs[int(verb)%3], strings.NewReader(string(body)))
		r.URL.RawQuery = query
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code/100 == 5 && w.Code != 503 && w.Code != 504 {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		for line := range strings.Lines(w.Body.String()) {
			if !json.Valid([]byte(line)) {
				t.Fatalf("not JSON: %q", line)
			}
		}
		if w.Code != 200 {
			errorOf(t, w.Body.String())
		}
	})
}
