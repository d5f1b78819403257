package api

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

// However the lanes lie on nodes, and whichever node is asked, the answers are byte for byte those
// of one node that has them all.
func TestAnyNodeAnswersAsOne(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, strays := range []bool{false, true} {
		a := newTestApp(t, wordcount, 4, 6)
		steady(a)
		c := newTestCluster(t, a, 4, Options{})
		one := serveApp(t, a)
		for range 25 {
			for range 10 {
				key := rnd.IntN(20)
				partition := int32(key % 6)
				if strays {
					partition = int32(rnd.IntN(6))
				}
				a.event(partition, fmt.Sprint("user-", key), fmt.Sprint("w", rnd.IntN(4), " w", rnd.IntN(4)))
			}
			nodes := 1 + rnd.IntN(4)
			for k := range a.lanes {
				c.give(k, rnd.IntN(nodes))
			}
			for i, n := range c.nodes {
				c.change(func() { n.closed = i >= nodes && rnd.IntN(2) == 0 })
			}
			group := fmt.Sprintf(`["user-%d","w%d"]`, rnd.IntN(20), rnd.IntN(4))
			for _, q := range [][2]string{{"get?wait=5s", group}, {"get?wait=5s&fresh=true", group}, {"scan", ""},
				{"scan", fmt.Sprintf(`["user-%d"]`, rnd.IntN(20))}, {"top?n=7", ""}, {"top?n=1000", ""}, {"top?n=10000", ""}} {
				_, want := ask(t, "POST", one.URL+"/v1/apps/wordcount/"+q[0], q[1])
				status, got := ask(t, "POST", c.url(rnd.IntN(4), q[0]), q[1])
				if status != 200 || got != want {
					t.Fatalf("strays %v, %s %s: status %d\n got %s\nwant %s", strays, q[0], q[1], status, got, want)
				}
			}
		}
	}
}

// A question makes one hop: who is asked for lanes that are not its own says so and asks nobody.
// Who was asked first looks again, and tells people that it waits.
func TestOneHop(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	a.event(0, "k", "w")
	c := newTestCluster(t, a, 3, Options{})
	c.change(func() { c.placed[0].Owner = "id-c" })
	c.nodes[0].sees = []Placement{{Lane: 0, Owner: "id-b"}} // which is not so
	for _, verb := range []string{"get", "top", "scan", "watch"} {
		status, body := ask(t, "POST", c.url(0, verb+"?wait=20ms"), `["k","w"]`)
		if verb == "top" || verb == "scan" || verb == "watch" {
			status, body = ask(t, "POST", c.url(0, verb+"?wait=20ms"), "")
		}
		if e := errorOf(t, body); status != 503 || e.Code != CodeNotReady || !strings.Contains(e.Message, "which node has lane 0 of app wordcount") {
			t.Errorf("%s: status %d %s", verb, status, body)
		}
	}
	if asked := c.askedOf(1); len(asked) < 8 || c.nodes[1].asks != 0 || len(c.askedOf(2)) != 0 {
		t.Fatalf("b was asked %v and asked %d times", asked, c.nodes[1].asks)
	}
	done := make(chan string, 1)
	go func() {
		_, body := ask(t, "POST", c.url(0, "get?wait=1m"), `["k","w"]`)
		done <- body
	}()
	eventually(t, "b is asked", func() bool { return len(c.askedOf(1)) > 0 })
	c.change(func() { c.nodes[0].sees = nil }) // it hears the truth
	if body := <-done; !decode[GetAnswer](t, body).Found {
		t.Fatal(body)
	}
}

// A lane that is asked for with local=true is never another node's to answer, and a standby's copy
// answers nobody who has not said stale.
func TestLocalIsLocal(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 2)
	a.event(0, "k", "w")
	c := newTestCluster(t, a, 2, Options{})
	for _, q := range []struct {
		query string
		code  int
	}{{"lanes=0", 200}, {"lanes=1", 421}, {"lanes=0,1", 421}, {"lanes=x", 400}, {"lanes=0&app_id=other&generation=1", 421},
		{"lanes=0&app_id=id-wordcount&generation=2", 421}, {"lanes=0&app_id=id-wordcount&generation=1&at=0:1", 200},
		{"lanes=0&at=0:x", 400}} {
		if status, body := ask(t, "POST", c.url(0, "top?local=true&wait=1ms&"+q.query), ""); status != q.code {
			t.Errorf("%s: status %d %s", q.query, status, body)
		}
	}
	if c.nodes[0].asks != 0 {
		t.Fatal("it asked another node")
	}
}

func TestReadWaitsForAnOwner(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 2)
	a.event(1, "k", "w")
	c := newTestCluster(t, a, 3, Options{ForwardSlack: 20 * time.Millisecond})
	for _, trouble := range []struct {
		name string
		on   func(n *clusterNode)
		say  string
	}{
		{"refuses", func(n *clusterNode) { n.refuses = true }, "node b at b:1 does not answer (connection refused)"},
		{"is dead", func(n *clusterNode) { n.member.Alive = false }, "node b, which owns lane 1 of app wordcount, is not alive"},
		{"hangs", func(n *clusterNode) { n.hangs = true }, "node b at b:1 does not answer"},
		{"has no owner", func(n *clusterNode) { c.placed[1].Owner = "" }, "lane 1 of app wordcount has no owner"},
	} {
		c.give(1, 1)
		c.change(func() { trouble.on(c.nodes[1]) })
		for verb, ask1 := range map[string]string{"get": `["k","w"]`, "scan": "", "top": ""} {
			if verb != "get" && trouble.name == "hangs" {
				continue // a stream is waited for longer
			}
			status, body := ask(t, "POST", c.url(0, verb+"?wait=1ms"), ask1)
			if status != 503 || !strings.Contains(errorOf(t, body).Message, trouble.say) {
				t.Errorf("%s, %s: status %d %s", trouble.name, verb, status, body)
			}
		}
		done := make(chan string, 3)
		for verb, ask1 := range map[string]string{"get": `["k","w"]`, "scan": "", "top": ""} {
			go func() {
				_, body := ask(t, "POST", c.url(0, verb+"?wait=1m"), ask1)
				done <- body
			}()
		}
		asks := func() (n int) { c.change(func() { n = c.nodes[0].asks }); return n }
		eventually(t, "they are on their way", func() bool { return trouble.name == "has no owner" || trouble.name == "is dead" || asks() > 2 })
		c.give(1, 2)
		for range 3 {
			if body := <-done; !strings.Contains(body, `"count":1`) {
				t.Errorf("%s: %s", trouble.name, body)
			}
		}
		c.change(func() { n := c.nodes[1]; n.refuses, n.hangs, n.member.Alive = false, false, true })
	}
}

// TestClosedHere: a node that has not opened an app yet has others answer for their lanes, and its
// own waited for.
func TestClosedHere(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 2)
	a.event(1, "k", "w")
	c := newTestCluster(t, a, 2, Options{})
	closed := func(yes bool) { c.change(func() { c.nodes[0].closed = yes }) }
	closed(true)
	for verb, body := range map[string]string{"get": `["k","w"]`, "scan": "", "top": ""} {
		c.give(0, 1)
		if _, got := ask(t, "POST", c.url(0, verb+"?wait=0s"), body); !strings.Contains(got, `"count":1`) {
			t.Errorf("%s of another's lanes: %s", verb, got)
		}
		c.give(0, 0)
		status, got := ask(t, "POST", c.url(0, verb+"?wait=20ms"), body)
		if status != 503 || !strings.Contains(errorOf(t, got).Message, `app "wordcount" is not open at this node`) {
			t.Errorf("%s of its own lane, too: status %d %s", verb, status, got)
		}
		done := c.askClosed(verb, body)
		closed(false)
		if got := <-done; !strings.Contains(got, `"count":1`) {
			t.Errorf("%s that waits for its own lane: %s", verb, got)
		}
		closed(true)
	}
}

// askClosed asks the first node, which has not opened the app, and returns once it waits.
func (c *testCluster) askClosed(verb, body string) (answer <-chan string) {
	c.change(func() { c.nodes[0].listed = 0 })
	done := make(chan string)
	go func() {
		_, got := ask(c.t, "POST", c.url(0, verb+"?wait=1m"), body)
		done <- got
	}()
	eventually(c.t, "it is on its way", func() (yes bool) { c.change(func() { yes = c.nodes[0].listed > 0 }); return yes })
	return done
}

// TestResetWhileClosed: who waits at a node that does not open the app is told that it was reset.
func TestResetWhileClosed(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	a.event(0, "k", "w")
	c := newTestCluster(t, a, 2, Options{})
	c.change(func() { c.nodes[0].closed = true })
	for _, verb := range []string{"get", "scan", "watch"} {
		c.change(func() { c.nodes[0].resets = 0 })
		group := ""
		if verb == "get" {
			group = `["k","w"]`
		}
		done := c.askClosed(verb, group)
		c.change(func() { c.nodes[0].resets = 1 })
		if body := <-done; !strings.Contains(body, "was reset meanwhile") {
			t.Errorf("%s: %s", verb, body)
		}
	}
}

// What remains of the wait goes along, with the positions that the read asks for.
func TestForwardedWait(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 2)
	c := newTestCluster(t, a, 2, Options{})
	status, body := ask(t, "POST", c.url(0, "get?wait=20ms&after=input_event/1:0"), `["k","w"]`)
	if status != 504 || !strings.Contains(errorOf(t, body).Message, "input_event/1 is counted up to offset -1, and 0 was asked for") {
		t.Fatalf("status %d %s", status, body)
	}
	done := make(chan string, 1)
	go func() {
		_, body := ask(t, "POST", c.url(0, "get?wait=1m&after=input_event/1:0"), `["k","w"]`)
		done <- body
	}()
	c.askedOf(1)
	eventually(t, "b is asked", func() bool { return len(c.askedOf(1)) > 0 })
	a.event(1, "k", "w")
	if body := <-done; !decode[GetAnswer](t, body).Found {
		t.Fatal(body)
	}
	status, body = ask(t, "POST", c.url(0, "get?wait=20ms&after=input_event/7:0"), `["k","w"]`)
	if status != 400 || !strings.Contains(body, "reads no partition 7") {
		t.Fatalf("status %d %s", status, body)
	}
}

// A new owner whose copy is older than what a client has seen answers it only when it has come
// there.
func TestTokenAcrossFailover(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 2)
	c := newTestCluster(t, a, 3, Options{})
	old := a.openStore(1)
	a.event(0, "k", "w")
	a.event(1, "k", "w")
	_, body := ask(t, "POST", c.url(0, "top"), "")
	token := url.QueryEscape(decode[TopAnswer](t, body).Token)
	c.change(func() { c.nodes[2].copies[1] = old })
	c.give(1, 2)
	status, body := ask(t, "POST", c.url(0, "get?wait=5ms&min_position="+token), `["k","w"]`)
	if status != 504 || !strings.Contains(body, "input_event/1 is counted up to offset -1, and 0") {
		t.Fatalf("status %d %s", status, body)
	}
	c.askedOf(2)
	done := make(chan string, 1)
	go func() {
		_, body := ask(t, "POST", c.url(1, "get?wait=1m&min_position="+token), `["k","w"]`)
		done <- body
	}()
	eventually(t, "the new owner is asked", func() bool { return len(c.askedOf(2)) > 0 })
	c.change(func() { delete(c.nodes[2].copies, 1) }) // it has caught up
	if answer := decode[GetAnswer](t, <-done); string(answer.Values) != `{"count":2}` {
		t.Fatalf("%+v", answer)
	}
}

// The token of an answer that asked one lane still knows what the question's token knew of others.
func TestTokenCarriesOn(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 2)
	a.event(0, "k", "w")
	token := newToken(&a.App, []Part{{Partition: 0, Position: map[string]int64{"input_event/0": 5}},
		{Partition: 1, Position: map[string]int64{"input_event/1": 9}}})
	bounds, err := parseToken(&a.App, token)
	if err != nil {
		t.Fatal(err)
	}
	rd := &read{app: &a.App, bounds: bounds}
	again, err := parseToken(&a.App, rd.token([]Part{{Partition: 0, Position: map[string]int64{"input_event/0": 6}}}))
	if err != nil || again[0].position != 6 || again[1].position != 9 {
		t.Fatalf("%+v %v", again, err)
	}
}

// A standby answers who says stale, once it has been at the end, and says what it is.
func TestStaleReads(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	behind := a.openStore(0)
	if err := behind.Publish([]state.Position{{Record: state.PositionRecord{Task: a.lanes[0].Tasks[0], AppID: a.ID, Input: 4}, Changelog: 5}},
		[]state.Change{{Task: a.lanes[0].Tasks[0], Group: mustGroup(t, a, `["k","w"]`), Values: mustValues(a, 1)}}); err != nil {
		t.Fatal(err)
	}
	a.event(0, "k", "w w")
	c := newTestCluster(t, a, 2, Options{StaleTry: 20 * time.Millisecond})
	c.change(func() { c.placed[0].Standbys = []string{"id-b"} })
	get := func(node int, query string) (int, string) {
		return ask(t, "POST", c.url(node, "get?wait=20ms&"+query), `["k","w"]`)
	}
	if _, body := get(1, "stale=true"); string(decode[GetAnswer](t, body).Values) != `{"count":2}` {
		t.Fatalf("the owner answers while it can: %s", body)
	}
	for _, trouble := range []func(n *clusterNode){func(n *clusterNode) { n.hangs = true }, func(n *clusterNode) { n.refuses = true }} {
		c.change(func() { trouble(c.nodes[0]); c.nodes[1].copies[0] = behind }) // nobody says that it is dead
		for _, verb := range []string{"get", "top", "scan"} {
			body := map[string]string{"get": `["k","w"]`}[verb]
			if _, text := ask(t, "POST", c.url(1, verb+"?wait=10s&stale=true"), body); !strings.Contains(text, `"role":"standby"`) {
				t.Fatalf("%s: %s", verb, text)
			}
		}
		c.change(func() { c.nodes[0].hangs, c.nodes[0].refuses = false, false; delete(c.nodes[1].copies, 0) })
	}
	c.change(func() { c.nodes[0].refuses, c.nodes[0].member.Alive = true, false })
	if status, body := get(1, "stale=true"); status != 421 && status != 503 {
		t.Fatalf("a copy that has not been at the end answers: status %d %s", status, body)
	}
	local := func(query string, want int) {
		t.Helper()
		if status, body := ask(t, "POST", c.url(1, "top?local=true&lanes=0&wait=1ms&"+query), ""); status != want {
			t.Fatalf("a standby asked with %q: status %d %s", query, status, body)
		}
	}
	local("stale=true", 421) // it has not been at the end: another copy may have
	c.change(func() { c.nodes[1].copies[0] = behind })
	local("", 421)
	local("stale=true", 200)
	if status, body := get(1, ""); status != 503 {
		t.Fatalf("a standby answers without stale: status %d %s", status, body)
	}
	_, body := get(1, "stale=true")
	answer := decode[GetAnswer](t, body)
	if string(answer.Values) != `{"count":1}` || answer.Parts[0].Role != RoleStandby || answer.Parts[0].Position["input_event/0"] != 4 {
		t.Fatal(body)
	}
	for _, verb := range []string{"top", "scan"} {
		if _, body := ask(t, "POST", c.url(1, verb+"?stale=true"), ""); !strings.Contains(body, `"role":"standby"`) {
			t.Errorf("%s: %s", verb, body)
		}
	}
	for _, prefix := range []string{"", `["k"]`, `["k","w"]`} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		var first Count
		_ = newTestClient(t, c.nodes[1].server.URL).Watch(ctx, a.Name, []byte(prefix), ReadOptions{Wait: -1, Stale: true}, func(c Count) error {
			first = c
			cancel()
			return nil
		})
		cancel()
		if string(first.Values) != `{"count":1}` || len(first.Parts) != 1 || first.Parts[0].Role != RoleStandby || first.Parts[0].Position["input_event/0"] != 4 {
			t.Errorf("a watch of %q: %+v", prefix, first)
		}
	}
}

// While one partitioner explains all events, one lane is asked; a fresh read, or one that finds
// nothing, asks all.
func TestGetAsksOneLane(t *testing.T) {
	a := newTestApp(t, wordcount, 3, 3)
	digit := func(key []byte, n int) int32 { return int32(key[len(key)-1]-'0') % int32(n) }
	a.Partitioners = []func([]byte, int) int32{digit, digit}
	c := newTestCluster(t, a, 3, Options{})
	steady(a)
	for i := range 9 {
		a.event(int32(i%3), fmt.Sprint("u", i), "w")
	}
	get := func(query, group string) []string {
		t.Helper()
		status, body := ask(t, "POST", c.url(0, "get?wait=1s&"+query), group)
		if status != 200 {
			t.Fatalf("status %d %s", status, body)
		}
		return append(c.askedOf(1), c.askedOf(2)...)
	}
	first := get("", `["u4","w"]`)
	for _, q := range []struct {
		query, group string
		want         string
	}{
		{"", `["u4","w"]`, "get 1"}, {"", `["u5","w"]`, "get 2"}, {"", `["u3","w"]`, ""},
		{"fresh=true", `["u4","w"]`, "get 1,get 2"}, {"", `["u4","nothing"]`, "get 1,get 1,get 2"},
		{"after=input_event/2:0", `["u4","w"]`, "get 1,get 2"},
	} {
		if got := strings.Join(get(q.query, q.group), ","); len(first) != 2 || got != q.want {
			t.Errorf("%+v: asked %s, at first %v", q, got, first)
		}
	}
	app := c.nodes[0].Apps()[0]
	if known := &c.nodes[0].api.hints; known.lanes(app, time.Now()) == nil || known.lanes(app, time.Now().Add(2*hintsTTL)) != nil {
		t.Error("hints are taken as they were for a short while, and no longer")
	}
	// A token that knows more of another lane has that asked too.
	newer := newToken(&a.App, []Part{{Partition: 2, Position: map[string]int64{"input_event/2": 4}}})
	a.event(2, "u4", "w")
	_, body := ask(t, "POST", c.url(0, "get?wait=5s&min_position="+newer), `["u4","w"]`)
	if string(decode[GetAnswer](t, body).Values) != `{"count":2}` {
		t.Fatalf("a stray that the token knows of is left out: %s", body)
	}
	if got := get("", `["u4","w"]`); len(got) < 2 {
		t.Errorf("with a stray all lanes are asked: %v", got)
	}
}

// Events that one partitioner explains at one node and the other one elsewhere: together neither
// does, and what lies at several nodes is summed first.
func TestTopOfTwoPartitioners(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 2)
	group := mustGroup(t, a, `["k","w"]`)
	for lane, hints := range []state.Hints{{Murmur2: 1}, {CRC32: 1}} {
		task := a.lanes[lane].Tasks[0]
		rec := state.PositionRecord{Task: task, AppID: a.ID, Txn: 1, Input: 1, Hints: hints}
		if err := a.lanes[lane].Store.Publish([]state.Position{{Record: rec, Changelog: 1}},
			[]state.Change{{Task: task, Group: group, Values: mustValues(a, 3)}}); err != nil {
			t.Fatal(err)
		}
	}
	c := newTestCluster(t, a, 2, Options{})
	for _, n := range []string{"1", "10000"} { // kept at hand, and not
		if _, body := ask(t, "POST", c.url(0, "top?n="+n), ""); !strings.Contains(body, `"counts":[{"group":["k","w"],"values":{"count":6}}]`) {
			t.Errorf("n=%s: %s", n, body)
		}
	}
}

// A grown input has keys where they lay before and where they lie now, and each partitioner
// explains both: that is no proof that a group lies in one partition.
func TestGrownInputSpans(t *testing.T) {
	a := newTestApp(t, wordcount, 3, 6)
	c := newTestCluster(t, a, 3, Options{})
	place := func(key []byte, n int) int32 { return int32(key[len(key)-1]-'0') % int32(n) }
	a.Partitions, a.Partitioners = 3, []func([]byte, int) int32{place, place}
	a.homes["u4"] = 4 // as placed among six
	a.event(1, "u3", "w w w")
	a.event(4, "u4", "w w")
	a.homes["u4"] = 1
	a.event(1, "u4", "w w")
	for node := range 3 {
		_, top := ask(t, "POST", c.url(node, "top?n=1"), "")
		_, get := ask(t, "POST", c.url(node, "get?wait=1s"), `["u4","w"]`)
		if !strings.Contains(top, `"counts":[{"group":["u4","w"],"values":{"count":4}}]`) || string(decode[GetAnswer](t, get).Values) != `{"count":4}` {
			t.Fatalf("%s%s", top, get)
		}
	}
	one := serveApp(t, a)
	if _, top := ask(t, "POST", one.URL+"/v1/apps/wordcount/top?n=1", ""); !strings.Contains(top, `{"count":4}`) {
		t.Fatal(top)
	}
}

func mustValues(a *testApp, count int64) []byte {
	return a.Program.AppendValues(nil, decimals(count))
}

// A node that has nothing of a group does not make others wait for the proof of that.
func TestGetDoesNotWaitForOthers(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 2)
	a.event(0, "k", "w")
	a.setLane(1, func(v *LaneView) { v.Lag = func(int32) int64 { return 5 } })
	c := newTestCluster(t, a, 2, Options{})
	began := time.Now()
	_, body := ask(t, "POST", c.url(0, "get?wait=1m"), `["k","w"]`)
	if answer := decode[GetAnswer](t, body); !answer.Found || time.Since(began) > 30*time.Second {
		t.Fatalf("after %s: %s", time.Since(began), body)
	}
	done := make(chan string, 1)
	go func() {
		_, body := ask(t, "POST", c.url(0, "get?wait=1m"), `["k","new"]`)
		done <- body
	}()
	eventually(t, "b is asked again", func() bool { return len(c.askedOf(1)) > 0 })
	a.event(1, "k", "new")
	if answer := decode[GetAnswer](t, <-done); !answer.Found {
		t.Fatalf("%+v", answer)
	}
}

func decimals(n int64) []spec.Decimal { return []spec.Decimal{spec.DecimalOf(n)} }
