package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/audit"
)

// evil is a name that no node may have, of one that is no tally node or is another release's.
const evil = "x\ty\nz\x1b[31mRED\xff\u202e"

// evilNode answers with evil names wherever an answer has one.
func evilNode(t *testing.T) string {
	part := api.Part{Node: evil, Role: "unsure" + evil, Position: map[string]int64{evil: 1}}
	standby := api.Part{Lane: 1, Node: evil, Role: api.RoleStandby, Position: map[string]int64{evil: 1}}
	parts := []api.Part{part, standby}
	count := api.Count{Group: json.RawMessage(`["u","w"]`), Values: json.RawMessage(`{"count":1}`)}
	plan := []string{"lane 0 of app wordcount: " + evil + " -> " + evil}
	answers := map[string]any{
		"GET /v1/apps":                         api.AppsAnswer{Apps: []api.AppInfo{{App: "wordcount", Spec: cannedSpec}}},
		"GET /v1/status":                       api.Status{Apps: []api.AppStatus{{App: "wordcount", Lanes: []api.LaneStatus{{Lane: 2, Owner: evil, State: api.LaneRunning, Epoch: 9}}}}},
		"POST /v1/apps/wordcount/get":          api.GetAnswer{Group: count.Group, Found: true, Values: count.Values, Parts: parts},
		"POST /v1/apps/wordcount/top":          api.TopAnswer{Counts: []api.Count{count}, Parts: parts},
		"POST /v1/apps/wordcount/scan":         api.End{End: true, Parts: parts},
		"POST /v1/apps/wordcount/lanes/0/move": api.MoveAnswer{LaneMove: api.LaneMove{From: evil, To: evil}, Done: true, TakenBack: evil},
		"POST /v1/apps/wordcount/lanes/1/move": api.MoveAnswer{LaneMove: api.LaneMove{From: evil, To: evil}, Done: true},
		"POST /v1/apps/wordcount/lanes/2/move": api.MoveAnswer{LaneMove: api.LaneMove{App: "wordcount", Lane: 2, From: evil, To: evil}},
		"POST /v1/apps/wordcount/lanes/3/move": api.MoveAnswer{Plan: plan},
		"POST /v1/nodes/a/drain":               api.DrainAnswer{Node: evil, Moves: []api.LaneMove{{From: evil, To: evil}}},
		"POST /v1/nodes/b/drain":               api.DrainAnswer{Node: evil, Plan: plan},
		"DELETE /v1/nodes/a":                   api.ForgetAnswer{Node: evil, Addr: evil},
	}
	mux := http.NewServeMux()
	for path, answer := range answers {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(answer) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusConflict)
		_ = json.NewEncoder(w).Encode(map[string]any{"error": api.Error{Code: api.CodeConflict, Message: "node " + evil, Next: evil}})
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// What a node says is no terminal's order, in no command's answer.
func TestAnswersAreSafeForATerminal(t *testing.T) {
	server := evilNode(t)
	for _, line := range []string{
		"get u w", "top", "scan", "move wordcount/0 a", "move wordcount/1 a", "move wordcount/2 a --wait 0s",
		"move wordcount/2 a --dry-run", "move wordcount/3 a --dry-run", "drain a --undo", "drain a --dry-run", "drain a --wait 0s",
		"drain b --dry-run", "node forget a", "node forget a --dry-run", "node forget c", "move wordcount/9 a", "delete wordcount",
	} {
		got := runScript(t, line+" --server "+server, "", nil)
		if !strings.Contains(got, `"`) || !strings.Contains(got, `x\ty`) {
			t.Errorf("%s: no evil name is shown:\n%s", line, got)
		}
		safe(t, line, got)
	}
}

func TestAuditIsSafeForATerminal(t *testing.T) {
	var out bytes.Buffer
	r := &audit.Report{App: evil, AppID: evil, Undecided: []string{evil},
		Differences: []*audit.Difference{{Topic: evil, Why: evil}}, Checks: []audit.Check{{Name: "groups", Skipped: evil}}}
	if err := printAudit(&out, r); err != nil {
		t.Fatal(err)
	}
	safe(t, "audit", out.String())
}

func safe(t *testing.T, what, text string) {
	t.Helper()
	for _, r := range text {
		if r != '\n' && !plain(string(r)) {
			t.Errorf("%s: a terminal gets %q:\n%q", what, r, text)
			return
		}
	}
}
