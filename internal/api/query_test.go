package api

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/state"
)

func TestGetIsTheContract(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	for range 12 {
		a.event(0, "user-1", "Spark")
	}
	a.event(0, "user-2", "<b>&")
	a.setLane(0, func(v *LaneView) {
		v.Lag, v.AsOfMs = func(int32) int64 { return 3 }, func() int64 { return 1795393111000 }
	})
	status, body := ask(t, "POST", serveApp(t, a).URL+"/v1/apps/wordcount/get", `["user-1","spark"]`)
	answer := decode[GetAnswer](t, body)
	want := `{"app":"wordcount","group":["user-1","spark"],"found":true,"values":{"count":12},` +
		`"parts":[{"partition":0,"lane":0,"node":"a","role":"owner","epoch":7,"position":{"input_event/0":13},` +
		`"lag":3,"as_of_ms":1795393111000,"values":{"count":12}}],"token":"` + answer.Token + `"}` + "\n"
	if status != 200 || body != want || answer.Token == "" {
		t.Fatalf("status %d\n got %s\nwant %s", status, body, want)
	}
}

func TestGetFoldsEveryPartition(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 4)
	a.event(0, "user-1", "spark spark")
	a.event(3, "user-1", "spark")
	a.event(1, "<null>", "spark")
	server := serveApp(t, a)
	for body, want := range map[string]string{`["user-1","spark"]`: `{"count":3}`, `[null,"spark"]`: `{"count":1}`,
		`["user-1","kafka"]`: ``} {
		_, text := ask(t, "POST", server.URL+"/v1/apps/wordcount/get?wait=0s", body)
		answer := decode[GetAnswer](t, text)
		if string(answer.Values) != want || answer.Found != (want != "") || len(answer.Parts) != 4 {
			t.Errorf("get %s: %s", body, text)
		}
		if strings.Contains(text, `"values":null`) {
			t.Errorf("absent values must be absent: %s", text)
		}
		for i, p := range answer.Parts {
			if int(p.Partition) != i {
				t.Errorf("parts are not in order: %s", text)
			}
		}
	}
}

func TestGetRole(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	a.event(0, "k", "w")
	asks := 0
	server := serveApp(t, a)
	for _, c := range []struct {
		role func() Role
		want Role
	}{
		{func() Role { return RoleOwner }, RoleOwner},
		{func() Role { return RoleLost }, RoleLost},
		{func() Role { asks++; return []Role{RoleOwner, RoleLost}[asks%2] }, RoleUnsure},
	} {
		a.setLane(0, func(v *LaneView) { v.Role = c.role })
		_, body := ask(t, "POST", server.URL+"/v1/apps/wordcount/get", `["k","w"]`)
		if got := decode[GetAnswer](t, body).Parts[0].Role; got != c.want {
			t.Errorf("role %s, want %s", got, c.want)
		}
	}
}

// A read position that has passed markers counts, although no transaction wrote it down.
func TestAfter(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 4)
	a.event(1, "k", "w") // input position 1
	a.mu.Lock()
	a.inputs[2] = 50
	a.mu.Unlock()
	server := serveApp(t, a)
	for _, c := range []struct {
		after  string
		status int
		say    string
	}{
		{"input_event/1:0", 200, ""},
		{"input_event/2:49", 200, ""},
		{"input_event/2:50", 504, "input_event/2 is counted up to offset 49, and 50 was asked for"},
		{"input_event/1:1", 504, "counted up to offset 0, and 1 was asked for"},
		{"other/1:0", 400, "app wordcount reads input_event, not other"},
		{"input_event/9:0", 400, "reads no partition 9"},
		{"input_event:0", 400, "is not TOPIC/PARTITION:OFFSET"},
		{"input_event/x:0", 400, "is not TOPIC/PARTITION:OFFSET"},
		{"input_event/0:-1", 400, "is not TOPIC/PARTITION:OFFSET"},
		{"input_event/0:9223372036854775807", 400, "is not TOPIC/PARTITION:OFFSET"},
	} {
		u := server.URL + "/v1/apps/wordcount/get?wait=1ms&after=" + url.QueryEscape(c.after)
		status, body := ask(t, "POST", u, `["k","w"]`)
		if status != c.status || c.status != 200 && !strings.Contains(errorOf(t, body).Message, c.say) {
			t.Errorf("after=%s: %d %s", c.after, status, body)
		}
	}
}

func TestReadsWait(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 2)
	server := serveApp(t, a)
	done := make(chan string, 1)
	go func() {
		_, body := ask(t, "POST", server.URL+"/v1/apps/wordcount/get?wait=10s&after=input_event/1:0", `["k","w"]`)
		done <- body
	}()
	a.event(1, "k", "w")
	if body := <-done; !decode[GetAnswer](t, body).Found {
		t.Fatalf("the event at the offset is not included: %s", body)
	}
}

// "No values" is said at once when the input is proved to hold nothing more, else an event on its
// way is waited for.
func TestAbsenceIsProved(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 2)
	server := serveApp(t, a)
	asOf := func(lag int64, asOf func() int64) {
		for k := range a.lanes {
			a.setLane(k, func(v *LaneView) { v.Lag, v.AsOfMs = func(int32) int64 { return lag }, asOf })
		}
	}
	get := func(wait string) (int, GetAnswer) {
		status, body := ask(t, "POST", server.URL+"/v1/apps/wordcount/get?wait="+wait, `["k","w"]`)
		return status, decode[GetAnswer](t, body)
	}
	now := func() int64 { return time.Now().Add(time.Second).UnixMilli() }
	asOf(0, now)
	began := time.Now()
	if status, answer := get("1m"); status != 200 || answer.Found || time.Since(began) > 30*time.Second {
		t.Fatalf("status %d %+v", status, answer)
	}
	for _, c := range []struct {
		lag  int64
		asOf func() int64
	}{{1, now}, {0, func() int64 { return began.UnixMilli() - 1000 }}} {
		asOf(c.lag, c.asOf)
		if status, answer := get("2ms"); status != 200 || answer.Found {
			t.Fatalf("after the wait it is said all the same: status %d %+v", status, answer)
		}
		done := make(chan GetAnswer, 1)
		before := a.askedSoFar()
		go func() { _, answer := get("1m"); done <- answer }()
		eventually(t, "a second look", func() bool { return a.askedSoFar() > before+1 })
		a.event(1, "k", "w")
		if answer := <-done; !answer.Found {
			t.Fatalf("%+v", answer)
		}
		a = newTestApp(t, wordcount, 2, 2)
		server = serveApp(t, a)
	}
}

func TestTokenReadsOwnAnswer(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 4)
	a.event(1, "k", "w")
	a.event(3, "k", "w")
	server := serveApp(t, a)
	_, body := ask(t, "POST", server.URL+"/v1/apps/wordcount/top", "")
	token := decode[TopAnswer](t, body).Token
	get := func(token string) (int, string) {
		return ask(t, "POST", server.URL+"/v1/apps/wordcount/get?wait=1ms&min_position="+url.QueryEscape(token), `["k","w"]`)
	}
	if status, body := get(token); status != 200 {
		t.Fatalf("a token of an answer is reached at once: %s", body)
	}
	newer := newToken(&a.App, []Part{{Partition: 3, Position: map[string]int64{"input_event/3": 2}}})
	if status, body := get(newer); status != 504 || !strings.Contains(body, "input_event/3 is counted up to offset 0, and 1") {
		t.Fatalf("status %d %s", status, body)
	}
	a.event(3, "k", "w")
	if status, body := get(newer); status != 200 {
		t.Fatalf("status %d %s", status, body)
	}
	other := a.App
	other.Generation = 0 // a reset ago
	if status, body := get(newToken(&other, nil)); status != 409 || errorOf(t, body).Code != CodeConflict {
		t.Fatalf("status %d %s", status, body)
	}
	for _, bad := range []string{"x", "!", "bnVsbA", "e30", strings.Repeat("A", 190_000)} {
		if status, body := get(bad); status/100 != 4 {
			t.Errorf("token %.20s: status %d %s", bad, status, body)
		}
	}
}

func TestLaneThatIsNotLoaded(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 2)
	store := a.lanes[1].Store
	a.setLane(1, func(v *LaneView) { v.Store = nil })
	server := serveApp(t, a)
	for _, verb := range []string{"get", "top", "scan", "watch"} {
		body := map[string]string{"get": `["k","w"]`}[verb]
		status, text := ask(t, "POST", server.URL+"/v1/apps/wordcount/"+verb+"?wait=1ms", body)
		if status != 503 || !strings.Contains(text, "lane 1 of app wordcount is not loaded (restoring: 1 of 2 records)") {
			t.Errorf("%s: status %d %s", verb, status, text)
		}
	}
	done := make(chan int, 1)
	go func() {
		status, _ := ask(t, "POST", server.URL+"/v1/apps/wordcount/get?wait=10s", `["k","w"]`)
		done <- status
	}()
	a.setLane(1, func(v *LaneView) { v.Store = store })
	if status := <-done; status != 200 {
		t.Fatalf("status %d", status)
	}
}

// A store that was closed under a query (the lane began anew) is asked again through the next view.
func TestClosedStoreIsTriedAgain(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	if err := a.lanes[0].Store.Close(); err != nil {
		t.Fatal(err)
	}
	server := serveApp(t, a)
	status, body := ask(t, "POST", server.URL+"/v1/apps/wordcount/get?wait=1ms", `["k","w"]`)
	if e := errorOf(t, body); status != 503 || e.Code != CodeNotReady || !strings.Contains(e.Message, "read lane 0") {
		t.Fatalf("status %d %s", status, body)
	}
	for _, verb := range []string{"top", "scan", "watch"} {
		if status, body := ask(t, "POST", server.URL+"/v1/apps/wordcount/"+verb+"?wait=1ms", ""); status != 503 {
			t.Errorf("%s: status %d %s", verb, status, body)
		}
	}
	done := make(chan [2]int, 1)
	go func() {
		get, _ := ask(t, "POST", server.URL+"/v1/apps/wordcount/get?wait=10s", `["k","w"]`)
		top, _ := ask(t, "POST", server.URL+"/v1/apps/wordcount/top?wait=10s", "")
		done <- [2]int{get, top}
	}()
	fresh := a.openStore(0)
	a.setLane(0, func(v *LaneView) { v.Store = fresh })
	if got := <-done; got != [2]int{200, 200} {
		t.Fatalf("statuses %v", got)
	}
}

func TestTop(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 4)
	for i := range 9 {
		for range i + 1 {
			a.event(int32(i%4), fmt.Sprintf("u%d", i), "w")
		}
	}
	// A stray: u0 has counters in all partitions, and only their sum is the largest.
	for p := range int32(4) {
		for range 5 {
			a.event(p, "u0", "w")
		}
	}
	server := serveApp(t, a)
	_, body := ask(t, "POST", server.URL+"/v1/apps/wordcount/top?n=3", "")
	answer := decode[TopAnswer](t, body)
	var got []string
	for _, c := range answer.Counts {
		got = append(got, string(c.Group)+string(c.Values))
	}
	want := `["u0","w"]{"count":21} ["u8","w"]{"count":9} ["u7","w"]{"count":8}`
	if strings.Join(got, " ") != want || len(answer.Parts) != 4 || answer.Parts[1].Values != nil {
		t.Fatalf("got %s\nparts %v", strings.Join(got, " "), answer.Parts)
	}
	if answer.Parts[3].Position["input_event/3"] != a.offsets[3] {
		t.Fatalf("the position of the cut is not in its parts: %s", body)
	}
	for _, n := range []string{"0", "-1", "x", "10001"} {
		if status, body := ask(t, "POST", server.URL+"/v1/apps/wordcount/top?n="+n, ""); status != 400 {
			t.Errorf("n=%s: status %d %s", n, status, body)
		}
	}
}

// What the lanes keep and what a scan of all groups gives is the same, while no key strays.
func TestTopKeptIsTopScanned(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 4)
	_, s := serve(t, &testNode{apps: []*testApp{a}}, Options{})
	for i := range 300 {
		a.event(int32(i*i%4), fmt.Sprintf("u%d-%d", i*i%4, i%17), "a b")
		if i%60 > 0 {
			continue
		}
		rd := &read{s: s, app: &a.App, deadline: time.Now().Add(time.Minute)}
		kept, err := rd.topKept(t.Context(), 7)
		if err != nil {
			t.Fatal(err)
		}
		scanned, err := rd.topScanned(t.Context(), 7)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(kept.Counts) != fmt.Sprint(scanned.Counts) || kept.Token != scanned.Token {
			t.Fatalf("after %d events\nkept    %v\nscanned %v", i, kept.Counts, scanned.Counts)
		}
	}
	a.event(3, "u0-0", "a b")
	rd := &read{s: s, app: &a.App, deadline: time.Now().Add(time.Minute)}
	if _, err := rd.topKept(t.Context(), 7); !errors.Is(err, state.ErrNotRanked) {
		t.Fatalf("with a stray: %v", err)
	}
}

// Equal values come in group order, whatever their number.
func TestTopTies(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	for i := range 50 {
		a.event(0, fmt.Sprintf("u%02d", (i*7)%50), "w")
	}
	_, body := ask(t, "POST", serveApp(t, a).URL+"/v1/apps/wordcount/top?n=20", "")
	for i, c := range decode[TopAnswer](t, body).Counts {
		if want := fmt.Sprintf(`["u%02d","w"]`, i); string(c.Group) != want {
			t.Fatalf("place %d: %s, want %s", i, c.Group, want)
		}
	}
}

// Of equal groups the first in group order stays when there is no room for all.
func TestTopTiesAtTheEdge(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	a.event(0, "k", "a b c d d")
	_, body := ask(t, "POST", serveApp(t, a).URL+"/v1/apps/wordcount/top?n=3", "")
	var got []string
	for _, c := range decode[TopAnswer](t, body).Counts {
		got = append(got, lineOf(c))
	}
	if want := `["k","d"]{"count":2} ["k","a"]{"count":1} ["k","b"]{"count":1}`; strings.Join(got, " ") != want {
		t.Fatalf("got %v", got)
	}
}

// Groups are canonical JSON in every answer.
func TestNothingIsEscapedForHTML(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	a.event(0, "<&>", "w")
	server := serveApp(t, a)
	for verb, body := range map[string]string{"get": `["<&>","w"]`, "top": "", "scan": ""} {
		if _, text := ask(t, "POST", server.URL+"/v1/apps/wordcount/"+verb, body); !strings.Contains(text, `["<&>","w"]`) {
			t.Errorf("%s: %s", verb, text)
		}
	}
}

func TestEmptyTopIsAList(t *testing.T) {
	_, body := ask(t, "POST", serveApp(t, newTestApp(t, wordcount, 1, 1)).URL+"/v1/apps/wordcount/top", "")
	if !strings.Contains(body, `"counts":[],"parts":[{`) {
		t.Fatal(body)
	}
}

func TestScansAreBounded(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	ts, s := serve(t, &testNode{apps: []*testApp{a}}, Options{ScansMax: 1})
	s.scans <- struct{}{}
	for _, verb := range []string{"top", "scan"} {
		status, body := ask(t, "POST", ts.URL+"/v1/apps/wordcount/"+verb+"?wait=1ms", "")
		if status != http.StatusTooManyRequests || errorOf(t, body).Code != CodeBusy {
			t.Errorf("%s: status %d %s", verb, status, body)
		}
	}
	<-s.scans
	if status, body := ask(t, "POST", ts.URL+"/v1/apps/wordcount/top", ""); status != 200 {
		t.Fatalf("status %d %s", status, body)
	}
}

func TestWaitIsBounded(t *testing.T) {
	server := serveApp(t, newTestApp(t, wordcount, 1, 1))
	for _, wait := range []string{"2m", "-1s", "5", "forever"} {
		status, body := ask(t, "POST", server.URL+"/v1/apps/wordcount/top?wait="+wait, "")
		if status != 400 || !strings.Contains(body, "is not a duration from 0s to 1m0s") {
			t.Errorf("wait=%s: status %d %s", wait, status, body)
		}
	}
}

// A read looks less often the longer it waits: many that wait for nothing are no burden.
func TestLongWaitsLookSeldom(t *testing.T) {
	s := NewServer(&testNode{}, Options{Seam: seam.World()})
	for waited, want := range map[time.Duration]time.Duration{
		0: 5 * time.Millisecond, 50 * time.Millisecond: 5 * time.Millisecond, 2 * time.Second: 100 * time.Millisecond,
		time.Minute: 250 * time.Millisecond,
	} {
		rd := &read{s: s, begun: time.Now().Add(-waited)}
		if got := rd.pollInterval(); got < want || got > want+5*time.Millisecond {
			t.Errorf("after %s it looks again after %s, not %s", waited, got, want)
		}
	}
}

// A body that is announced and does not come holds its connection for as long as one may take, also
// where the answer does not need it, and where there is no answer but a refusal.
func TestBodyThatNeverComes(t *testing.T) {
	n := &testNode{apps: []*testApp{newTestApp(t, wordcount, 1, 1)}}
	s := NewServer(n, Options{Seam: seam.World(), BodyTimeout: 100 * time.Millisecond, Control: &testControl{}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	const get, long = "POST /v1/apps/wordcount/get HTTP/1.1\r\nHost: localhost\r\n", "Content-Length: 100000\r\n"
	for name, text := range map[string]string{
		"of no route":             "POST /v1/nothing HTTP/1.1\r\nHost: localhost\r\n" + long + "\r\n",
		"that nobody wants":       "GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + long + "\r\n",
		"that is read":            get + long + "\r\n",
		"of which the half comes": get + long + "\r\n" + strings.Repeat("x", 50_000),
		"in chunks":               get + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"that is asked for first": get + "Expect: 100-continue\r\n" + long + "\r\n",
		"that should be empty":    "POST /v1/nodes/b/drain HTTP/1.1\r\nHost: localhost\r\n" + long + "\r\n",
		"to a foreign host":       "POST /v1/apps/wordcount/get HTTP/1.1\r\nHost: evil.example\r\n" + long + "\r\n",
		"of a foreign page":       get + "Origin: http://evil.example\r\n" + long + "\r\n",
		"of a question for all":   "OPTIONS * HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\n",
	} {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, text)
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a body %s: the connection is still held", name)
		}
		conn.Close()
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
