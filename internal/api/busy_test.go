package api

import (
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

// otherStore is a store of a lane in which ["k","w"] is 8.
func otherStore(t *testing.T, a *testApp, lane int) *state.Store {
	st, task := a.openStore(lane), a.lanes[lane].Tasks[0]
	err := st.Publish([]state.Position{{Record: state.PositionRecord{Task: task, AppID: a.ID}, Changelog: 5}},
		[]state.Change{{Task: task, Group: mustGroup(t, a, `["k","w"]`), Values: mustValues(a, 8)}})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// A watch that always has something to send looks all the same whether the lanes are where they
// were: another lane has got another store, or is another node's.
func TestBusyWatchLooks(t *testing.T) {
	opt := Options{WatchLook: 500 * time.Millisecond, WatchInterval: time.Millisecond}
	for name, change := range map[string]func(a *testApp, c *testCluster){
		"another store": func(a *testApp, _ *testCluster) {
			fresh := otherStore(t, a, 0)
			a.setLane(0, func(v *LaneView) { v.Store = fresh })
		},
		"another owner": func(a *testApp, c *testCluster) {
			fresh := otherStore(t, a, 0)
			c.change(func() { c.nodes[1].copies[0] = fresh })
			c.give(0, 1)
		},
	} {
		a := newTestApp(t, wordcount, 2, 2)
		a.event(0, "k", "w")
		c := newTestCluster(t, a, 2, opt)
		w := startWatch(t, newTestClient(t, c.nodes[0].server.URL), "")
		eventually(t, "present values", w.has(`["k","w"]`, `{"count":1}`))
		a.event(1, "busy", "w")
		eventually(t, "a change", w.has(`["busy","w"]`, `{"count":1}`))
		change(a, c)
		eventually(t, name+": its values", func() bool {
			a.event(1, "busy", "w") // every few milliseconds
			return w.has(`["k","w"]`, `{"count":8}`)()
		})
	}
}

// The values of a change are not taken of a copy that is no owner's any more.
func TestChangeOfAStandbyIsNotSent(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	a.event(0, "k", "w")
	_, s := serve(t, &testNode{apps: []*testApp{a}}, Options{})
	views := a.Lanes()
	group := mustGroup(t, a, `["k","w"]`)
	for _, c := range []struct {
		role  Role
		stale bool
		want  int
	}{{RoleOwner, false, 1}, {RoleUnsure, false, 1}, {RoleStandby, true, 1}, {RoleStandby, false, 0}} {
		a.setLane(0, func(*LaneView) { a.roles[0] = c.role })
		got := 0
		err := (&read{s: s, app: &a.App, stale: c.stale}).valuesOf(views, group, func([]byte, []spec.Decimal) error { got++; return nil })
		if got != c.want || (err == nil) != (c.want > 0) {
			t.Errorf("%s, stale %v: %d values, %v", c.role, c.stale, got, err)
		}
	}
}

// More bytes of changed groups than the limit, of few groups: the watch sends all values again.
func TestWatchResyncsByBytes(t *testing.T) {
	for _, nodes := range []int{1, 2} {
		a := newTestApp(t, wordcount, nodes, nodes)
		opt := Options{WatchBytesMax: 8 << 10}
		url := ""
		if nodes > 1 {
			url = newTestCluster(t, a, nodes, opt).nodes[0].server.URL
		} else {
			ts, _ := serve(t, &testNode{apps: []*testApp{a}}, opt)
			url = ts.URL
		}
		a.event(int32(nodes-1), "k", "first")
		w := startWatch(t, newTestClient(t, url), "")
		eventually(t, "present values", w.has(`["k","first"]`, `{"count":1}`))
		a.event(int32(nodes-1), "k", longWords(50, 1000))
		eventually(t, "all groups", func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return len(w.latest) == 51
		})
	}
}

// What another node says of changes is taken in portions that are bounded in bytes, too.
func TestBatchesAreBoundedInBytes(t *testing.T) {
	var frames []byte
	for range 10 {
		frames = appendFrame(frames, frameGroup, []byte(strings.Repeat("g", 100)), nil)
	}
	in := newFrameReader(appendFrame(frames, frameFlush))
	for _, want := range []int{3, 3, 3, 1} {
		if b, more := readBatch(in, 1000, 250); len(b.groups) != want || !more || b.err != nil {
			t.Fatalf("%d groups, %v, %v; want %d", len(b.groups), more, b.err, want)
		}
	}
	in = newFrameReader(appendFrame(frames, frameFlush))
	if b, _ := readBatch(in, 4, 1<<20); len(b.groups) != 4 {
		t.Fatalf("%d groups", len(b.groups))
	}
}

// A top of few groups that are large is refused at once, in words, and no node is asked again.
func TestTopIsBoundedInBytes(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 2)
	for p := range int32(2) {
		a.event(p, "user-"+string(rune('0'+p)), longWords(20, 1000))
	}
	opt := Options{TopBytesMax: 12 << 10}
	one, _ := serve(t, &testNode{apps: []*testApp{a}}, opt)
	c := newTestCluster(t, a, 2, opt)
	for url, spread := range map[string]bool{one.URL + "/v1/apps/wordcount/top": false, c.url(0, "top"): true} {
		for n, want := range map[string]int{
			"5": 200, "10": 200, "20": 413, // kept at hand: of 20 each node has too many, of 10 all have together
			"10000": 413, // scanned
		} {
			before := 0
			c.change(func() { before = c.nodes[0].asks })
			status, body := ask(t, "POST", url+"?wait=10s&n="+n, "")
			if status != want {
				t.Errorf("spread %v, n=%s: status %d %.200s", spread, n, status, body)
			}
			if want == 413 {
				if e := errorOf(t, body); e.Code != CodeTooLarge || e.Next != "ask for fewer" {
					t.Errorf("spread %v, n=%s: %+v", spread, n, e)
				}
			}
			c.change(func() {
				if asks := c.nodes[0].asks - before; spread && asks > 1 {
					t.Errorf("n=%s: another node was asked %d times", n, asks)
				}
			})
		}
	}
}

// Another node that has no such limit answers with more than is taken: that is no more so at
// another try.
func TestAnswersOfNodesAreBounded(t *testing.T) {
	a := newTestApp(t, wordcount, 2, 2)
	a.event(1, "k", longWords(20, 100))
	c := newTestCluster(t, a, 2, Options{})
	c.nodes[0].api.answerMax = 1000
	status, body := ask(t, "POST", c.url(0, "top?wait=10s&n=20"), "")
	asks := 0
	c.change(func() { asks = c.nodes[0].asks })
	if e := errorOf(t, body); status != 413 || e.Code != CodeTooLarge || asks != 1 {
		t.Errorf("status %d %s, asked %d times", status, body, asks)
	}
}

// The memory of the largest groups is counted as they come and go.
func TestTopHeapCountsBytes(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	h := &topHeap{program: a.Program}
	for i, size := range []int{100, 3000, 10, 2000, 5} {
		h.offer(2, make([]byte, size), decimals(int64(i)))
		held := int64(0)
		for _, e := range h.entries {
			held += int64(cap(e.group))
		}
		if h.size != held || len(h.entries) > 2 {
			t.Errorf("after %d groups: %d bytes, and %d are held", i+1, h.size, held)
		}
	}
}
