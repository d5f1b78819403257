package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/api"
)

// What other nodes say of themselves is no terminal's order, and moves no column.
func TestStatusIsSafeForATerminal(t *testing.T) {
	evil := "x\ty\nz\x1b[31mRED\xff\u202e"
	st := api.Status{
		Leader: evil, Kafka: api.KafkaStatus{Error: evil}, Problems: []string{"one\ntwo " + evil},
		Nodes: []api.NodeStatus{{Name: evil, Addr: evil, Zone: evil, Release: evil, Alive: true}, {Name: "b", Addr: "b:1"}},
		Apps: []api.AppStatus{{App: "wc", Strays: 1, StrayExample: evil, Lanes: []api.LaneStatus{
			{Owner: evil, Target: evil, Standbys: []string{"b", evil}, Copies: []api.CopyStatus{{Node: evil, Ready: true, Lag: 4}}},
			{Owner: evil, From: evil},
		}}},
	}
	tl := testTool()
	var out bytes.Buffer
	tl.out = &out
	if err := printStatus(tl, st, statusOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, r := range out.String() {
		if r != '\n' && !plain(string(r)) {
			t.Fatalf("a terminal gets %q:\n%q", r, out.String())
		}
	}
	quoted := `"x\ty\nz\x1b[31mRED\xff\u202e"`
	has(t, out.String(), "\n"+quoted+"  "+quoted+"  yes    yes     "+quoted, "\none\n\"two x\\ty\"\n",
		quoted+"->"+quoted, "b,"+quoted+"(4)", "\nb ")
}

// TestStatusWatchGoesOn: a node that is watched and answers no more is asked again until it does.
// An interruption is no failure; that the first question is not answered is one.
func TestStatusWatchGoesOn(t *testing.T) {
	for _, c := range []struct {
		flags       string
		tty         bool
		shown, errs string // where the answer fails: what stdout and stderr hold
	}{
		{"", false, "the node is restarting: ask again\n\nIt is asked again each second.\n\nKafka k1", ""},
		{"", true, "\x1b[H\x1b[2Jthe node is restarting: ask again\n\nIt is asked again each second.\n\x1b[H\x1b[2JKafka k1", ""},
		{" --json", false, "}\n{", "tally: the node is restarting: ask again\n"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		node := &restartingNode{answers: []bool{true, false, true}, then: cancel}
		server := httptest.NewServer(node)
		var out, stderr bytes.Buffer
		tl := testTool()
		tl.out, tl.err, tl.outTTY = &out, &stderr, c.tty
		tl.seam.Timer = atOnce
		code := tl.execute(ctx, strings.Fields("status --watch --server "+server.URL+c.flags))
		server.Close()
		if code != exitDone || stderr.String() != c.errs || !strings.Contains(out.String(), c.shown) {
			t.Errorf("%+v: exit %d\n%q\n%q", c, code, out.String(), stderr.String())
		}
	}
	server := httptest.NewServer(&restartingNode{answers: []bool{false}})
	defer server.Close()
	if got := runScript(t, "status --watch --server "+server.URL, "", nil); got != "! tally: the node is restarting: ask again\nexit 1\n" {
		t.Errorf("the first answer fails: %q", got)
	}
}

// restartingNode answers or fails, in this order; at one question more it is then that somebody
// interrupts the watch.
type restartingNode struct {
	mu      sync.Mutex
	answers []bool
	then    func()
}

func (n *restartingNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.answers) == 0 {
		n.then()
		<-r.Context().Done()
		return
	}
	answers := n.answers[0]
	n.answers = n.answers[1:]
	if answers {
		_ = json.NewEncoder(w).Encode(api.Status{Kafka: api.KafkaStatus{ClusterID: "k1"}})
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(`{"error":{"code":"not_ready","message":"the node is restarting","next":"ask again"}}`))
}

// atOnce is a timer for which nobody waits.
func atOnce(time.Duration) (<-chan time.Time, func()) {
	c := make(chan time.Time, 1)
	c <- time.Time{}
	return c, func() {}
}

// TestLagOfUnknownLanes: nobody says that nothing waits where a lane's node does not answer.
func TestLagOfUnknownLanes(t *testing.T) {
	known, unknown := api.LaneStatus{State: api.LaneRunning, Lag: 3}, api.LaneStatus{State: api.LaneUnknown}
	if got := laneLag(known) + " " + laneLag(unknown); got != "3 ?" {
		t.Error(got)
	}
	a := api.AppStatus{Lag: 3, Lanes: []api.LaneStatus{known, known}}
	if got := appLag(a); got != "3" {
		t.Error(got)
	}
	if a.Lanes[1] = unknown; appLag(a) != ">=3" {
		t.Error(appLag(a))
	}
}
