package api

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/state"
)

// agingNode is a node whose app is reset, or deleted.
type agingNode struct {
	*testNode
	mu         sync.Mutex
	generation int // 0: the app is deleted
	asked      int // for its apps
}

func newAgingNode(a *testApp) *agingNode {
	return &agingNode{testNode: &testNode{apps: []*testApp{a}}, generation: a.Generation}
}

func (n *agingNode) Apps() []*App {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	if n.generation == 0 {
		return nil
	}
	app := n.apps[0].App
	app.Generation = n.generation
	return []*App{&app}
}

func (n *agingNode) set(generation int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.generation = generation
}

func (n *agingNode) askedSoFar() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

// serveNode serves a node of another kind than testNode.
func serveNode(t testing.TB, n Node, opt Options) string {
	opt.Seam = seam.World()
	s := NewServer(n, opt)
	t.Cleanup(s.stop)
	return newPlainServer(t, s)
}

// A node that has not heard of a reset yet is behind, and does not call the token of an answer from
// behind it bad: it waits, and then says that it is not ready.
func TestTokenOfALaterGeneration(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	a.event(0, "k", "w")
	n := newAgingNode(a)
	server := serveNode(t, n, Options{})
	later := a.App
	later.Generation = 2
	get := func(wait string, token string) (int, string) {
		return ask(t, "POST", server+"/v1/apps/wordcount/get?wait="+wait+"&min_position="+url.QueryEscape(token), `["k","w"]`)
	}
	status, body := get("1ms", newToken(&later, nil))
	if e := errorOf(t, body); status != http.StatusServiceUnavailable || e.Code != CodeNotReady || !strings.Contains(e.Message, "generation 2") {
		t.Fatalf("status %d %s", status, body)
	}
	before, done := n.askedSoFar(), make(chan int, 1)
	go func() { status, _ := get("1m", newToken(&later, nil)); done <- status }()
	eventually(t, "the app is looked for again", func() bool { return n.askedSoFar() > before+2 })
	n.set(2)
	if status := <-done; status != 200 {
		t.Fatalf("once the node has heard of the reset: status %d", status)
	}
	if status, body := get("1ms", newToken(&a.App, nil)); status != http.StatusConflict || errorOf(t, body).Code != CodeConflict {
		t.Fatalf("a token of before the reset: status %d %s", status, body)
	}
	later.ID = "another"
	if status, body := get("1ms", newToken(&later, nil)); status != http.StatusConflict {
		t.Fatalf("a token of another app: status %d %s", status, body)
	}
}

// A partition that a token names is there, whatever this node has heard: who has not heard of it is
// waited for. One that --after names is not.
func TestTokenOfAPartitionToCome(t *testing.T) {
	for _, nodes := range []int{1, 2} {
		a := newTestApp(t, wordcount, 2, 2)
		a.event(0, "k", "w")
		base := serveApp(t, a).URL + "/v1/apps/wordcount/"
		if nodes > 1 {
			base = newTestCluster(t, a, nodes, Options{}).url(0, "")
		}
		token := "min_position=" + url.QueryEscape(newToken(&a.App, []Part{{Partition: 3, Position: map[string]int64{"input_event/3": 1}}}))
		for query, want := range map[string]string{token: CodeNotReady, "after=input_event/3:0": CodeBadRequest} {
			status, body := ask(t, "POST", base+"get?wait=20ms&"+query, `["k","w"]`)
			if e := errorOf(t, body); e.Code != want || !strings.Contains(e.Message, "reads no partition 3 of input_event here") {
				t.Errorf("%d nodes, %.20s: status %d %s", nodes, query, status, body)
			}
		}
		done := make(chan int, 1)
		before := a.askedSoFar()
		go func() {
			status, _ := ask(t, "POST", base+"get?wait=1m&"+token, `["k","w"]`)
			done <- status
		}()
		eventually(t, "it waits", func() bool { return a.askedSoFar() > before+2 })
		a.setLane(1, func(v *LaneView) {
			a.inputs[3], v.Tasks = 1, append(v.Tasks[:1:1], state.Task{Stage: 1, Partition: 3})
		})
		if status := <-done; status != 200 {
			t.Errorf("%d nodes: once the partition is there: status %d", nodes, status)
		}
	}
}

// Who waits in an app that is deleted meanwhile is told at once.
func TestDeletedWhileWaiting(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	a.event(0, "k", "w")
	n := newAgingNode(a)
	server := serveNode(t, n, Options{WatchLook: 5 * time.Millisecond})
	w := startWatch(t, newTestClient(t, server), "")
	eventually(t, "present values", w.has(`["k","w"]`, `{"count":1}`))
	before, done := n.askedSoFar(), make(chan int, 2)
	for verb, body := range map[string]string{"get": `["k","w"]`, "scan": ""} {
		go func() {
			status, _ := ask(t, "POST", server+"/v1/apps/wordcount/"+verb+"?wait=1m&after=input_event/0:9", body)
			done <- status
		}()
	}
	eventually(t, "they wait", func() bool { return n.askedSoFar() > before+10 })
	began := time.Now()
	n.set(0)
	for range 2 {
		if status := <-done; status != http.StatusNotFound {
			t.Errorf("status %d", status)
		}
	}
	eventually(t, "the watch ends", func() bool {
		select {
		case err := <-w.done:
			if asError(err).Code != CodeUnknownApp {
				t.Errorf("the watch ends with %v", err)
			}
			return true
		default:
			return false
		}
	})
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
}

// An error says how long it has waited, and not how long it might have.
func TestErrorsSayTheirWait(t *testing.T) {
	s := NewServer(&testNode{}, Options{Seam: seam.World()})
	rd := &read{s: s, begun: time.Now().Add(-1500 * time.Millisecond), deadline: time.Now().Add(time.Minute)}
	if why := rd.notReady("x").Message; !strings.HasPrefix(why, "x; waited 1.5") {
		t.Errorf("%s", why)
	}
	if why := rd.late("x").Message; !strings.HasPrefix(why, "x; waited 1.5") {
		t.Errorf("%s", why)
	}
	a := newTestApp(t, wordcount, 1, 1)
	status, body := ask(t, "POST", serveApp(t, a).URL+"/v1/apps/wordcount/get?wait=0s&after=input_event/0:9", `["k","w"]`)
	if status != 504 || !strings.Contains(body, "; waited 0s") {
		t.Errorf("status %d %s", status, body)
	}
}
