package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

func newTestClient(t testing.TB, url string) *Client {
	t.Helper()
	c, err := NewClient(url, seam.World())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func lineOf(c Count) string { return string(c.Group) + string(c.Values) }

func TestScanIsTheContract(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 4)
	a.event(0, "user-1", "b a")
	a.event(3, "user-1", "b")
	a.event(1, "user-2", "c")
	a.event(2, "<null>", "z")
	server := serveApp(t, a)
	for prefix, want := range map[string]string{
		"":                 `[null,"z"]{"count":1} ["user-1","a"]{"count":1} ["user-1","b"]{"count":2} ["user-2","c"]{"count":1}`,
		`["user-1"]`:       `["user-1","a"]{"count":1} ["user-1","b"]{"count":2}`,
		`["user-1","b"]`:   `["user-1","b"]{"count":2}`,
		`["user"]`:         ``,
		`[null]`:           `[null,"z"]{"count":1}`,
		`[]`:               `[null,"z"]{"count":1} ["user-1","a"]{"count":1} ["user-1","b"]{"count":2} ["user-2","c"]{"count":1}`,
		" [ \"user-2\" ] ": `["user-2","c"]{"count":1}`,
	} {
		status, body := ask(t, "POST", server.URL+"/v1/apps/wordcount/scan", prefix)
		lines := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
		var got []string
		for _, l := range lines[:len(lines)-1] {
			got = append(got, lineOf(decode[Count](t, l)))
		}
		if status != 200 || strings.Join(got, " ") != want {
			t.Errorf("prefix %s: status %d got %v", prefix, status, got)
		}
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, `{"end":true,"parts":[{"partition":0,`) {
			t.Errorf("the end line: %s", last)
		}
	}
}

// longWords are n different words, to fill every buffer on a stream's way.
func longWords(n, length int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%d%s ", i, strings.Repeat("x", length))
	}
	return b.String()
}

// A scan is of one cut: what is counted after its first line is not in it.
func TestScanIsOneCut(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 2)
	const groups = 5000 // far beyond what the buffers on the way hold
	for p := range int32(2) {
		a.event(p, fmt.Sprint("user-", p), longWords(groups/2, 200))
	}
	client, n := newTestClient(t, serveApp(t, a).URL), 0
	end, err := client.Scan(t.Context(), "wordcount", nil, ReadOptions{Wait: -1}, func(c Count) error {
		if n++; n == 1 {
			a.event(1, "user-9999", "late")
		}
		if strings.Contains(string(c.Group), "late") {
			t.Error("an event counted after the cut is in the scan")
		}
		return nil
	})
	if err != nil || n != groups || end.Parts[1].Position["input_event/1"] != 1 {
		t.Fatalf("%d groups, %v, %v", n, end, err)
	}
}

// A store that is closed in the middle ends the stream without an end line, and the client says so.
func TestScanBrokenOff(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	a.event(0, "user-1", longWords(1500, 4000))
	client, n := newTestClient(t, serveApp(t, a).URL), 0
	_, err := client.Scan(t.Context(), "wordcount", nil, ReadOptions{Wait: -1}, func(Count) error {
		if n++; n == 1 {
			return a.lanes[0].Store.Close()
		}
		return nil
	})
	if !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "scan lane 0") {
		t.Fatalf("after %d groups: %v", n, err)
	}
}

// cutOffServer answers with what is left of a stream.
type cutOffServer struct{ lines string }

func (c cutOffServer) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write([]byte(c.lines))
}

func TestScanWithoutEnd(t *testing.T) {
	for _, lines := range []string{"", `{"group":["a"],"values":{}}` + "\n", `{"group":["a"],"val`} {
		ts := newPlainServer(t, cutOffServer{lines})
		_, err := newTestClient(t, ts).Scan(t.Context(), "a", nil, ReadOptions{}, func(Count) error { return nil })
		if !errors.Is(err, ErrIncomplete) {
			t.Errorf("%q: %v", lines, err)
		}
	}
}

// The merge of any tasks is what a map makes of them.
func TestMergeIsAMap(t *testing.T) {
	s, err := spec.Parse([]byte(`{app: a, input: {topic: t, format: json}, group: [key], aggregates: {n: count, s: {sum: v}, m: {max: v}}}`), "f")
	if err != nil {
		t.Fatal(err)
	}
	p := spec.Compile(s)
	rapid.Check(t, func(rt *rapid.T) {
		want := map[string][]spec.Decimal{}
		var sources []*source
		for range rapid.IntRange(0, 5).Draw(rt, "tasks") {
			held := map[string][]spec.Decimal{}
			for range rapid.IntRange(0, 6).Draw(rt, "events") {
				var sc spec.Scratch
				items, _, err := p.Eval(spec.Event{Key: []byte(rapid.SampledFrom([]string{"", "a", "b", "ab", "c"}).Draw(rt, "key")),
					Value: []byte(fmt.Sprintf(`{"v":%d}`, rapid.IntRange(-5, 5).Draw(rt, "v")))}, &sc)
				if err != nil {
					rt.Fatal(err)
				}
				g := string(items[0].Group)
				held[g] = foldInto(p, held[g], items[0].Inc)
				want[g] = foldInto(p, want[g], items[0].Inc)
			}
			sources = append(sources, sliceSource(p, held))
		}
		last, got := "", 0
		err := mergeSources(p, sources, func(group []byte, values []spec.Decimal) error {
			if got > 0 && string(group) <= last {
				rt.Fatalf("%q after %q", group, last)
			}
			last, got = string(group), got+1
			if g, w := string(p.AppendValuesJSON(nil, values)), string(p.AppendValuesJSON(nil, want[last])); g != w {
				rt.Fatalf("%q: got %s, want %s", group, g, w)
			}
			return nil
		})
		if err != nil || got != len(want) {
			rt.Fatalf("%d groups, want %d, %v", got, len(want), err)
		}
	})
}

func sliceSource(p *spec.Program, held map[string][]spec.Decimal) *source {
	var groups []string
	for g := range held {
		groups = append(groups, g)
	}
	slices.Sort(groups)
	return &source{stop: func() {}, pull: func() ([]byte, []byte, bool) {
		if len(groups) == 0 {
			return nil, nil, false
		}
		g := groups[0]
		groups = groups[1:]
		return []byte(g), p.AppendValues(nil, held[g]), true
	}}
}

func TestMergeGivesTheErrorOfASource(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 2)
	a.event(0, "k", "w")
	rd := &read{app: &a.App}
	c, err := rd.cutViews(a.Lanes())
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.merge(ctx, nil, func([]byte, []spec.Decimal) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Fatalf("a scan that was cancelled is not complete: %v", err)
	}
}

// watched collects the lines of a watch.
type watched struct {
	mu     sync.Mutex
	latest map[string]string
	lines  int
	cancel context.CancelFunc
	done   chan error
}

func startWatch(t *testing.T, client *Client, prefix string) *watched {
	ctx, cancel := context.WithCancel(t.Context())
	w := &watched{latest: map[string]string{}, cancel: cancel, done: make(chan error, 1)}
	go func() {
		w.done <- client.Watch(ctx, "wordcount", []byte(prefix), ReadOptions{Wait: -1}, func(c Count) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.latest[string(c.Group)] = string(c.Values)
			w.lines++
			return nil
		})
	}()
	t.Cleanup(cancel)
	return w
}

func (w *watched) has(group, values string) func() bool {
	return func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.latest[group] == values
	}
}

func TestWatch(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 4)
	a.event(0, "user-1", "spark")
	a.event(3, "user-1", "spark")
	ts, s := serve(t, &testNode{apps: []*testApp{a}}, Options{})
	w := startWatch(t, newTestClient(t, ts.URL), `["user-1"]`)
	eventually(t, "present values", w.has(`["user-1","spark"]`, `{"count":2}`))
	a.event(3, "user-1", "spark new")
	a.event(1, "user-2", "spark")
	eventually(t, "a change, with all partitions folded", w.has(`["user-1","spark"]`, `{"count":3}`))
	eventually(t, "a new group", w.has(`["user-1","new"]`, `{"count":1}`))
	for range 200 {
		a.event(0, "user-1", "spark")
	}
	eventually(t, "the latest of many changes", w.has(`["user-1","spark"]`, `{"count":203}`))
	w.mu.Lock()
	if _, ok := w.latest[`["user-2","spark"]`]; ok || w.lines > 100 {
		t.Errorf("%d lines, %v", w.lines, w.latest)
	}
	w.mu.Unlock()
	w.cancel()
	if err := <-w.done; !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	eventually(t, "the watch frees its place", func() bool { return len(s.watches) == 0 })
}

// A watch goes on when a lane begins anew with another store, and says the values of that; also
// when nothing closes the old one.
func TestWatchFollowsANewStore(t *testing.T) {
	for _, closeOld := range []bool{true, false} {
		a := newTestApp(t, wordcount, 1, 1)
		a.event(0, "k", "w")
		ts, _ := serve(t, &testNode{apps: []*testApp{a}}, Options{WatchLook: 5 * time.Millisecond})
		w := startWatch(t, newTestClient(t, ts.URL), "")
		eventually(t, "present values", w.has(`["k","w"]`, `{"count":1}`))
		old := a.lanes[0].Store
		a.setLane(0, func(v *LaneView) { v.Store = nil })
		if closeOld {
			if err := old.Close(); err != nil {
				t.Fatal(err)
			}
		}
		fresh := a.openStore(0)
		task := a.lanes[0].Tasks[0]
		err := fresh.Publish([]state.Position{{Record: state.PositionRecord{Task: task, AppID: a.ID}, Changelog: 5}},
			[]state.Change{{Task: task, Group: mustGroup(t, a, `["k","w"]`),
				Values: a.Program.AppendValues(nil, []spec.Decimal{spec.DecimalOf(8)})}})
		if err != nil {
			t.Fatal(err)
		}
		a.setLane(0, func(v *LaneView) { v.Store = fresh })
		eventually(t, "the new store's values", w.has(`["k","w"]`, `{"count":8}`))
	}
}

func mustGroup(t testing.TB, a *testApp, text string) []byte {
	t.Helper()
	g, err := a.Program.ParseGroupJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// More changed groups than the limit: the watch catches up by sending all present values again.
func TestWatchResyncs(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	ts, _ := serve(t, &testNode{apps: []*testApp{a}}, Options{WatchGroupsMax: 3})
	a.event(0, "k", "first")
	w := startWatch(t, newTestClient(t, ts.URL), "")
	eventually(t, "present values", w.has(`["k","first"]`, `{"count":1}`))
	a.event(0, "k", longWords(300, 1))
	eventually(t, "all groups", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.latest) == 301
	})
}

func TestShutdownEndsStreams(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	a.event(0, "k", "w")
	s := NewServer(&testNode{apps: []*testApp{a}}, Options{Seam: seam.World()})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	w := startWatch(t, newTestClient(t, "http://"+l.Addr().String()), "")
	eventually(t, "present values", w.has(`["k","w"]`, `{"count":1}`))
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	if err := <-w.done; err == nil || !strings.Contains(err.Error(), "the node is stopping") {
		t.Fatalf("%v", err)
	}
	if _, err := net.Listen("tcp", l.Addr().String()); err != nil {
		t.Fatalf("the port is free again: %v", err)
	}
}

// TestShutdownCutsOff: a request that does not end is cut off when the time for a stop is over, and
// that is no error: a node that was told to stop has stopped.
func TestShutdownCutsOff(t *testing.T) {
	s := NewServer(&testNode{apps: []*testApp{newTestApp(t, wordcount, 1, 1)}}, Options{Seam: seam.World()})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	begun := make(chan struct{})
	s.http.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateActive {
			close(begun)
		}
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /v1/apps/wordcount/get HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil || ctx.Err() == nil {
		t.Errorf("a stop with a request that does not end: %v; its time is over: %v", err, ctx.Err() != nil)
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
}
