package api

import (
	"net/http"
	"strings"
	"testing"
)

// What changes something and says what its route does not know, or says it wrong, is refused before
// anything is done: most of all a dry run that is not asked for as it should be.
func TestWrongWordsDoNothing(t *testing.T) {
	control := &testControl{}
	n := &testNode{apps: []*testApp{newTestApp(t, wordcount, 1, 1)}}
	ts, _ := serve(t, n, Options{Control: control})
	const reset, app = "POST /v1/apps/wordcount/reset", "/v1/apps/wordcount"
	const drain, forget, move = "POST /v1/nodes/b/drain", "DELETE /v1/nodes/b", "POST /v1/apps/wordcount/lanes/0/move"
	for _, c := range []struct{ route, query, body, say string }{
		{reset, "dryrun=true", "", `says \"dryrun\", which means nothing here: it may say dry_run`},
		{reset, "dry-run=true", `{}`, "may say dry_run"},
		{reset, "dry_run", "", "neither true nor false"},
		{reset, "dry_run=", "", "neither true nor false"},
		{reset, "dry_run=1", "", "neither true nor false"},
		{reset, "dry_run=True", "", "neither true nor false"},
		{reset, "dry_run=false&dry_run=true", "", "says dry_run 2 times"},
		{reset, "from=2h;dry_run=true", "", "cannot be read"},
		{reset, "dry_run=%zz", "", "cannot be read"},
		{reset, "", `{"dryRun":true}`, "unknown field"},
		{reset, "", `{"dry_run":"true"}`, "is not JSON as"},
		{reset, "", `{"dry_run":true} x`, "something follows"},
		{reset, "", `{"from":"latest"}{"dry_run":true}`, "something follows"},
		{reset, "", `dry_run=true`, "is not JSON as"},
		{drain, "dry-run=true", "", "it may say undo, dry_run"},
		{drain, "undo=true;dry_run=true", "", "cannot be read"},
		{drain, "dry_run", "", "neither true nor false"},
		{drain, "undo=true&undo=true", "", "says undo 2 times"},
		{drain, "", `{"dry_run":true}`, "nothing is asked for here by a body"},
		{forget, "dryrun=true", "", "it may say dry_run"},
		{forget, "dry_run=yes", "", "neither true nor false"},
		{forget, "", `{"dry_run":true}`, "nothing is asked for here by a body"},
		{move, "to=b&dryrun=true", "", "it may say to, dry_run"},
		{move, "to=a&to=b", "", "says to 2 times"},
		{move, "to=b", `{"dry_run":true}`, "nothing is asked for here by a body"},
		{"DELETE " + app, "dry_run=true", "", "it may say topics"},
		{"DELETE " + app, "topics", "", "neither true nor false"},
		{"DELETE " + app, "topic=true", "", "it may say topics"},
		{"DELETE " + app, "", `{"topics":true}`, "nothing is asked for here by a body"},
		{"PUT " + app, "dry_run=true", wordcount, "it may say standbys"},
	} {
		method, path, _ := strings.Cut(c.route, " ")
		status, body := ask(t, method, ts.URL+path+"?"+c.query, c.body)
		if status != http.StatusBadRequest || errorOf(t, body).Code != CodeBadRequest || !strings.Contains(body, c.say) {
			t.Errorf("%s?%s %s: status %d %s, not %q", c.route, c.query, c.body, status, body, c.say)
		}
		if len(control.did) > 0 || len(n.resets) > 0 {
			t.Fatalf("%s?%s %s: it was done: %v %+v", c.route, c.query, c.body, control.did, n.resets)
		}
	}
}

// A reset may be asked for as a dry run where other routes are, in the query, and by its body.
func TestDryResets(t *testing.T) {
	for _, c := range []struct {
		query, body string
		dry         bool
	}{
		{"", "", false}, {"", " {} ", false}, {"dry_run=false", `{"from":"2h"}`, false}, {"dry_run=true", "", true},
		{"dry_run=true", `{"dry_run":false}`, true}, {"dry_run=false", `{"dry_run":true}`, true}, {"", `{"dry_run":true}` + "\n", true},
	} {
		n := &testNode{apps: []*testApp{newTestApp(t, wordcount, 1, 1)}}
		ts, _ := serve(t, n, Options{})
		status, body := ask(t, "POST", ts.URL+"/v1/apps/wordcount/reset?"+c.query, c.body)
		if status != 200 || len(n.resets) != 1 || n.resets[0].DryRun != c.dry {
			t.Errorf("?%s %s: status %d %s, asked %+v", c.query, c.body, status, body, n.resets)
		}
	}
}

// A read that asks for something that is not there is refused, and does not go without it. Only
// what other nodes say is passed over: they may be of a later release.
func TestWrongWordsAreNotRead(t *testing.T) {
	a := newTestApp(t, wordcount, 1, 1)
	a.event(0, "k", "w")
	server := serveApp(t, a)
	token := newToken(&a.App, nil)
	for query, say := range map[string]string{
		"min-position=" + token:                            "means nothing here",
		"min_position=" + token + "&min_position=" + token: "says min_position 2 times",
		"stale=1":                     "neither true nor false",
		"stale":                       "neither true nor false",
		"fresh=True":                  "neither true nor false",
		"Fresh=true":                  "means nothing here",
		"local=True":                  "means nothing here",
		"wait=1s&wait=2s":             "says wait 2 times",
		"wait=1s;fresh=true":          "cannot be read",
		"prove=true":                  "it may say", // of nodes
		"after=input_event/0:0&x=%20": "means nothing here",
	} {
		for _, verb := range []string{"get", "top", "scan", "watch"} {
			body := map[string]string{"get": `["k","w"]`}[verb]
			status, text := ask(t, "POST", server.URL+"/v1/apps/wordcount/"+verb+"?"+query, body)
			if status != 400 || !strings.Contains(text, say) {
				t.Errorf("%s?%s: status %d %s, not %q", verb, query, status, text, say)
			}
		}
	}
	for path, want := range map[string]int{
		"get?n=5": 400, "scan?n=5": 400, "top?n=5": 200, "top?n=5&n=6": 400,
		"top?wait=0s&after=input_event/0:0&after=input_event/0:0&stale=false&fresh=true&min_position=" + token: 200,
		"top?local=true&lanes=0&later=1&later=2": 200,
	} {
		body := map[bool]string{true: `["k","w"]`}[strings.HasPrefix(path, "get")]
		if status, text := ask(t, "POST", server.URL+"/v1/apps/wordcount/"+path, body); status != want {
			t.Errorf("%s: status %d, not %d: %s", path, status, want, text)
		}
	}
}
