package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

func TestStatusOfAllNodes(t *testing.T) {
	a := newTestApp(t, wordcount, 3, 3)
	a.Standbys = 1
	c := newTestCluster(t, a, 3, Options{StatusWait: 50 * time.Millisecond})
	c.change(func() {
		c.placed[0].Standbys, c.placed[1].Standbys, c.placed[2].Standbys = []string{"id-b"}, []string{"id-c"}, []string{"id-a"}
		c.placed[1].Target = "id-c"
		for _, k := range []int{0, 1, 2} {
			c.nodes[(k+1)%3].copies[k] = a.lanes[k].Store
		}
	})
	status := func(node int) Status {
		t.Helper()
		code, body := ask(t, "GET", c.nodes[node].server.URL+"/v1/status", "")
		if code != 200 {
			t.Fatalf("status %d %s", code, body)
		}
		return decode[Status](t, body)
	}
	for node := range 3 {
		st := status(node)
		app := st.Apps[0]
		if st.Leader != "a" || len(st.Nodes) != 3 || len(app.Lanes) != 3 || app.Processed != 30 || app.Lag != 6 || app.Strays != 3 || len(st.Problems) != 0 {
			t.Fatalf("%+v", st)
		}
		b := st.Nodes[1]
		if b.Name != "b" || b.Addr != "b:1" || b.Pid != 5 || b.Lanes != 1 || b.Standbys != 1 || b.Lag != 2 || b.Release != "v1" || !b.Alive {
			t.Fatalf("%+v", b)
		}
		l := app.Lanes[1]
		if l.Owner != "b" || l.Epoch != 7 || l.Target != "c" || l.State != LaneRunning || !slices.Equal(l.Standbys, []string{"c"}) ||
			l.Copies[0] != (CopyStatus{Node: "c", State: LaneStandby, Ready: true, Lag: 3}) {
			t.Fatalf("%+v", l)
		}
	}
	// b has not heard yet that it is lane 0's owner.
	c.change(func() {
		c.nodes[0].sees = []Placement{{Lane: 0, Owner: "id-b", Epoch: 8, From: "id-a"}, c.placed[1], c.placed[2]}
	})
	if l := status(0).Apps[0].Lanes[0]; l.Owner != "b" || l.State != LaneAcquiring || l.Epoch != 8 || l.From != "a" || l.Processed != 0 {
		t.Fatalf("%+v", l)
	}
	c.change(func() { c.nodes[0].sees = nil })
	c.change(func() {
		c.nodes[1].hangs, c.nodes[2].member.Alive, c.nodes[2].member.Draining = true, false, true
		c.nodes[0].member.Draining, c.nodes[0].member.Release, c.leader = true, "v2", ""
		c.placed[0].Owner = ""
	})
	st := status(0)
	if st.Nodes[1].Error == "" || st.Nodes[2].Alive || st.Apps[0].Lanes[0].State != LaneIdle || st.Apps[0].Lanes[1].State != LaneUnknown {
		t.Fatalf("%+v", st)
	}
	for i, want := range []string{"the cluster has no leader: lanes stay where they are until a majority of a, b, c is back; if most of them are lost for good: `tally node recover`",
		"node a is drained: it gets no lanes until `tally drain a --undo` or its next start", "node b at b:1 has not answered within 50ms", "node c is not alive",
		"the nodes run different releases: v2, v1", "wordcount lane 0 has no owner", "wordcount lane 1 is node b's, which does not answer",
		"wordcount lane 2 is node c's, which does not answer", "wordcount lanes 0,1 have no standby that is ready: 1 of 3 nodes answer, 1 asked"} {
		if i >= len(st.Problems) || st.Problems[i] != want {
			t.Fatalf("problem %d: want %s, got\n%s", i, want, strings.Join(st.Problems, "\n"))
		}
	}
}

// problemsOf are the lines of a node's status.
func (c *testCluster) problemsOf(node int) []string {
	c.t.Helper()
	code, body := ask(c.t, "GET", c.nodes[node].server.URL+"/v1/status", "")
	if code != 200 {
		c.t.Fatalf("status %d %s", code, body)
	}
	return decode[Status](c.t, body).Problems
}

func (c *testCluster) hasProblems(node int, want ...string) {
	c.t.Helper()
	if got := c.problemsOf(node); !slices.Equal(got, want) {
		c.t.Errorf("problems\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What the leader alone can see is in the status of any node, each thing once; why a lane has no
// owner stands with the lane. A leader that does not say it holds nobody up longer than a node that
// does not answer, and all else is said.
func TestStatusOfTheLeader(t *testing.T) {
	c := newTestCluster(t, newTestApp(t, wordcount, 3, 3), 3, Options{StatusWait: 200 * time.Millisecond})
	const pause = "2 of 3 nodes were lost at once: lanes stay where they are until more are back, or for 10s"
	c.change(func() {
		c.placed[0].Owner, c.nodes[2].member.Alive = "", false
		c.known = ClusterProblems{
			Leader: []string{pause, "the plan for version 7 was refused: it is bad"},
			Ownerless: map[LaneRef]string{
				{"wordcount", 0}: "its fence has failed 3 times: no broker answers; it is tried again",
				{"wordcount", 1}: "of a lane that runs by now",
				{"wordcount", 2}: "its standbys have not reported yet",
				{"other", 0}:     "of another app",
			},
		}
	})
	for node := range 2 {
		c.hasProblems(node, pause, "the plan for version 7 was refused: it is bad", "node c is not alive",
			"wordcount lane 0 has no owner: its fence has failed 3 times: no broker answers; it is tried again",
			"wordcount lane 2 is node c's, which does not answer: its standbys have not reported yet")
	}
	c.change(func() { c.silent = true })
	began := time.Now()
	c.hasProblems(1, "node c is not alive", "wordcount lane 0 has no owner", "wordcount lane 2 is node c's, which does not answer")
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the status took %s", took)
	}
}

// A node that is in no cluster yet says what it waits for, and nothing of a leader that it does not
// miss; one that knows its cluster says both.
func TestStatusOfWhoWaits(t *testing.T) {
	c := newTestCluster(t, newTestApp(t, wordcount, 1, 1), 1, Options{})
	c.change(func() {
		c.leader, c.nodes[0].outside = "", true
		c.known.Waits = "these seeds do not answer: 127.0.0.1:7403 (connection refused)"
	})
	waits := "node a waits for the cluster: these seeds do not answer: 127.0.0.1:7403 (connection refused)"
	c.hasProblems(0, waits)
	c.change(func() { c.nodes[0].outside = false })
	c.hasProblems(0, waits, "the cluster has no leader: lanes stay where they are until a majority of a is back; "+
		"if most of them are lost for good: `tally node recover`")
}

func TestClockFarOff(t *testing.T) {
	for off, want := range map[time.Duration]string{
		-5 * time.Second: "the clock of node b is [45]\\d\\d\\d ms behind node a's: set both by NTP",
		5 * time.Second:  "the clock of node b is [45]\\d\\d\\d ms ahead of node a's: set both by NTP",
	} {
		c := newTestCluster(t, newTestApp(t, wordcount, 1, 1), 2, Options{})
		clock := c.nodes[1].api.opt.Seam
		now := clock.Now
		clock.Now = func() time.Time { return now().Add(off) }
		c.nodes[1].api.opt.Seam = clock
		if got := c.problemsOf(0); len(got) != 1 || !regexp.MustCompile("^"+want+"$").MatchString(got[0]) {
			t.Errorf("%s off: %q", off, got)
		}
	}
}

// The node that sees that a clock is far off says so in its log, too: once a change, not once a
// status. A node that does not answer has no other clock for that.
func TestClockFarOffIsLogged(t *testing.T) {
	var logged bytes.Buffer
	c := newTestCluster(t, newTestApp(t, wordcount, 1, 1), 2, Options{
		StatusWait: 10 * time.Second, Log: slog.New(slog.NewTextHandler(&logged, nil)),
	})
	var off atomic.Int64
	clock := c.nodes[1].api.opt.Seam
	now := clock.Now
	clock.Now = func() time.Time { return now().Add(time.Duration(off.Load())) }
	c.nodes[1].api.opt.Seam = clock
	for i, s := range []struct {
		off     time.Duration
		refuses bool
		warns   int // in all
		infos   int
	}{
		{0, false, 0, 0}, {-9 * time.Second, false, 1, 0}, {-9 * time.Second, false, 1, 0}, {0, true, 1, 0},
		{-9 * time.Second, false, 1, 0}, {-1900 * time.Millisecond, false, 1, 0}, {-9 * time.Second, false, 1, 0},
		{0, false, 1, 1}, {0, false, 1, 1}, {9 * time.Second, false, 2, 1},
	} {
		off.Store(int64(s.off))
		c.change(func() { c.nodes[1].refuses = s.refuses })
		c.problemsOf(0)
		warns, infos := strings.Count(logged.String(), "level=WARN"), strings.Count(logged.String(), "level=INFO")
		if warns != s.warns || infos != s.infos {
			t.Fatalf("look %d: %d warnings and %d that it is right again, want %d and %d:\n%s", i, warns, infos, s.warns, s.infos, &logged)
		}
	}
	if !regexp.MustCompile(`the clock of node b is [89]\d\d\d ms behind node a's: set both by NTP`).MatchString(logged.String()) {
		t.Error(logged.String())
	}
	c.change(func() { c.nodes[1].outside, c.nodes[0].outside = true, true })
	if c.problemsOf(0); len(c.nodes[0].api.clocks.off) != 0 {
		t.Errorf("it remembers %v, who are no members", c.nodes[0].api.clocks.off)
	}
}

func TestAppsOfACluster(t *testing.T) {
	c := newTestCluster(t, newTestApp(t, wordcount, 3, 5), 3, Options{})
	apps, err := newTestClient(t, c.nodes[1].server.URL).Apps(t.Context())
	if err != nil || apps[0].Lanes != 3 || !slices.Equal(apps[0].Partitions, []int32{0, 1, 2, 3, 4}) {
		t.Fatalf("%+v %v", apps, err)
	}
}

// testControl notes what it was asked to do.
type testControl struct{ did []string }

func (c *testControl) note(format string, args ...any) {
	c.did = append(c.did, fmt.Sprintf(format, args...))
}

func (c *testControl) Submit(_ context.Context, spec []byte, req SubmitRequest) (SubmitAnswer, error) {
	c.note("submit %d", len(spec))
	if req.Standbys != nil {
		c.note("standbys %d", *req.Standbys)
	}
	return SubmitAnswer{App: "wordcount", Generation: 1, Lanes: 4, Change: ChangeAdded}, nil
}

func (c *testControl) Delete(_ context.Context, app string, topics bool) (DeleteAnswer, error) {
	c.note("delete %s %v", app, topics)
	return DeleteAnswer{App: app}, nil
}

func (c *testControl) Drain(_ context.Context, node string, req DrainRequest) (DrainAnswer, error) {
	c.note("drain %s %+v", node, req)
	if node == "z" {
		return DrainAnswer{}, &Error{Status: 404, Code: CodeNotFound, Message: `there is no node "z"`, Next: "there are a, b"}
	}
	return DrainAnswer{Node: node, Draining: !req.Undo, DryRun: req.DryRun}, nil
}

func (c *testControl) Forget(_ context.Context, node string, dryRun bool) (ForgetAnswer, error) {
	c.note("forget %s %v", node, dryRun)
	return ForgetAnswer{Node: node, DryRun: dryRun, Voted: true, Voters: 2}, nil
}

func (c *testControl) Move(_ context.Context, app string, lane int, req MoveRequest) (MoveAnswer, error) {
	c.note("move %s/%d %+v", app, lane, req)
	return MoveAnswer{LaneMove: LaneMove{App: app, Lane: lane, From: "a", To: req.To}, Epoch: 7, DryRun: req.DryRun}, nil
}

func TestControl(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 2)
	control := &testControl{}
	idle := wordcount + "repartition: {partitions: 12}\n"
	ts, _ := serve(t, &testNode{apps: []*testApp{a}}, Options{Control: control})
	for _, c := range []struct {
		method, path, body string
		status             int
		say, did           string
	}{
		{"PUT", "/v1/apps/wordcount", wordcount, 200, `"change":"added"`, fmt.Sprint("submit ", len(wordcount))},
		{"PUT", "/v1/apps/wordcount", idle, 200, `"notes":["repartition.partitions: 12 has no effect`, fmt.Sprint("submit ", len(idle))},
		{"PUT", "/v1/apps/wordcount?standbys=2", wordcount, 200, `"standbys":0`, fmt.Sprint("submit ", len(wordcount), ";standbys 2")},
		{"PUT", "/v1/apps/wordcount?standbys=0", wordcount, 200, `"standbys":0`, fmt.Sprint("submit ", len(wordcount), ";standbys 0")},
		{"PUT", "/v1/apps/wordcount?standbys=7", wordcount, 400, "no number from 0 to 6", ""},
		{"PUT", "/v1/apps/wordcount?standbys=x", wordcount, 400, "no number from 0 to 6", ""},
		{"PUT", "/v1/apps/other", wordcount, 400, "the spec is of app wordcount, and the path names other", ""},
		{"PUT", "/v1/apps/wordcount", "app: [", 400, "the spec:1:", ""},
		{"DELETE", "/v1/apps/wordcount?topics=true", "", 200, `"topics":[]`, "delete wordcount true"},
		{"DELETE", "/v1/apps/wordcount?topics=yes", "", 400, "neither true nor false", ""},
		{"POST", "/v1/nodes/b/drain?dry_run=true", "", 200, `"moves":[]`, "drain b {Undo:false DryRun:true}"},
		{"POST", "/v1/nodes/b/drain?undo=true", "", 200, `"draining":false`, "drain b {Undo:true DryRun:false}"},
		{"POST", "/v1/nodes/z/drain", "", 404, "there are a, b", "drain z {Undo:false DryRun:false}"},
		{"DELETE", "/v1/nodes/b?dry_run=true", "", 200, `"voted":true,"voters":2`, "forget b true"},
		{"DELETE", "/v1/nodes/b?dry_run=x", "", 400, "neither true nor false", ""},
		{"POST", "/v1/apps/wordcount/lanes/1/move?to=b", "", 200, `"from":"a","to":"b"`, "move wordcount/1 {To:b DryRun:false}"},
		{"POST", "/v1/apps/wordcount/lanes/x/move?to=b", "", 400, "is no lane", ""},
		{"POST", "/v1/apps/wordcount/lanes/1/move", "", 400, "say ?to=NODE", ""},
	} {
		control.did = nil
		status, body := ask(t, c.method, ts.URL+c.path, c.body)
		if status != c.status || !strings.Contains(body, c.say) || strings.Join(control.did, ";") != c.did {
			t.Errorf("%s %s: status %d %s, did %v", c.method, c.path, status, body, control.did)
		}
	}
}

func TestCallsOfNodes(t *testing.T) {
	echo := func(_ context.Context, body []byte) (any, error) {
		if string(body) == "{}" {
			return nil, &Error{Status: 409, Code: "not_leader", Message: "the leader is b"}
		}
		return json.RawMessage(body), nil
	}
	ts, _ := serve(t, &testNode{}, Options{Calls: map[string]Call{"echo": echo}})
	for _, c := range []struct {
		call, body string
		status     int
		say        string
	}{{"echo", `{"a":1}`, 200, `{"a":1}`}, {"echo", "{}", 409, "the leader is b"}, {"nope", "", 404, `knows no call`}} {
		status, body := ask(t, "POST", ts.URL+"/v1/node/"+c.call, c.body)
		if status != c.status || !strings.Contains(body, c.say) {
			t.Errorf("%s: status %d %s", c.call, status, body)
		}
	}
	asked := NewCaller(http.DefaultClient, func(addr string) string { return "http://" + addr }, 0)
	for call, unknown := range map[string]bool{"nope": true, "echo": false} {
		err := asked(t.Context(), strings.TrimPrefix(ts.URL, "http://"), call, struct{}{}, nil)
		if e := new(Error); !errors.As(err, &e) || e.UnknownCall() != unknown {
			t.Errorf("%s: it says %v", call, err)
		}
	}
}

// A node reads pieces of another one's files. One that breaks off in the middle is an error, whose
// text is never taken for the file's.
func TestPieces(t *testing.T) {
	const text = "0123456789"
	pieces := func(_ context.Context, p Piece) (io.ReadCloser, int64, error) {
		if p.App != "wordcount" || p.Lane != 3 || p.ID != "id" {
			return nil, 0, &Error{Status: 410, Code: CodeGone, Message: "it is gone"}
		}
		b := text[p.From:min(p.From+p.Bytes, int64(len(text)))]
		var r io.Reader = strings.NewReader(b)
		if p.File == "broken" {
			r = io.MultiReader(strings.NewReader(b[:2]), iotest.ErrReader(errors.New("no more")))
		}
		return io.NopCloser(r), int64(len(b)), nil
	}
	ts, _ := serve(t, &testNode{}, Options{Pieces: pieces})
	open := NewPieceOpener(ts.Client(), func(addr string) string { return addr })
	for _, c := range []struct {
		p    Piece
		want string
		fail string
	}{
		{Piece{"wordcount", 3, "id", "000001.sst", 0, 100}, text, ""},
		{Piece{"wordcount", 3, "id", "000001.sst", 4, 3}, "456", ""},
		{Piece{"wordcount", 3, "id", "broken", 0, 8}, "", "EOF"},
		{Piece{"wordcount", 3, "other", "000001.sst", 0, 8}, "", "it is gone"},
		{Piece{"wordcount", 3, "id", "000001.sst", -1, 8}, "", "no number of bytes"},
	} {
		r, err := open(t.Context(), ts.URL, c.p)
		var got []byte
		if err == nil {
			got, err = io.ReadAll(r)
			r.Close()
		}
		if string(got) != c.want || (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) {
			t.Errorf("%+v: %q %v", c.p, got, err)
		}
	}
	if status, body := ask(t, "GET", ts.URL+"/v1/node/checkpoint/wordcount/x/id/f?from=0&bytes=1", ""); status != 400 {
		t.Errorf("status %d %s", status, body)
	}
}

// Lanes are another node's to ask for: whoever has only a token gets no local answer.
func TestLocalIsForNodes(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	tokens, _, admin := testTokens(t)
	s := NewServer(&testNode{apps: []*testApp{a}}, Options{Seam: seam.World(), Tokens: tokens})
	for path, want := range map[string]int{"top?local=true": 403, "sent": 403, "values": 403, "top": 200, "sent?local=true": 403} {
		if w := (sender{token: admin}).call(s, "POST", "/v1/apps/wordcount/"+path, ""); w.Code != want {
			t.Errorf("%s: status %d %s", path, w.Code, w.Body)
		}
		if w := (sender{tls: asNode}).call(s, "POST", "/v1/apps/wordcount/"+path, ""); w.Code == 403 {
			t.Errorf("%s of a node: status %d %s", path, w.Code, w.Body)
		}
	}
}
