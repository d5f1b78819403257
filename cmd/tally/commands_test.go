package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/processor/spec"
)

// TestScripts runs the scripts in testdata: each line of a "tally" block is one command line, and
// what it prints follows, stderr with a "! " before each line, and the exit code. -rewrite writes
// them anew.
//
// In a script NODE is the URL of a node that counts words, DIR a directory of the test's own.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		dir := t.TempDir()
		node := httptest.NewServer(cannedNode())
		defer node.Close()
		names := strings.NewReplacer("DIR", dir, "NODE", node.URL)
		back := strings.NewReplacer(dir, "DIR", node.URL, "NODE", strings.TrimPrefix(node.URL, "http://"), "NODEADDR")
		env := map[string]string{"TALLY_SERVER": node.URL}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "file":
				path := filepath.Join(dir, d.CmdArgs[0].Key)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				writeFile(t, path, names.Replace(d.Input))
				return ""
			case "env":
				for _, a := range d.CmdArgs {
					env[a.Key] = names.Replace(strings.Join(a.Vals, ""))
				}
				return ""
			case "tally":
				args, stdin, _ := strings.Cut(d.Input, "\n<<\n")
				return back.Replace(runScript(t, names.Replace(args), stdin, env))
			}
			d.Fatalf(t, "there is no %q in a script", d.Cmd)
			return ""
		})
	})
}

func runScript(t *testing.T, line, stdin string, env map[string]string) string {
	t.Helper()
	var out, stderr bytes.Buffer
	tl := &tool{in: strings.NewReader(stdin), inTTY: stdin == "", out: &out, err: &stderr, seam: seam.World(),
		getenv: func(name string) string { return env[name] }}
	code := tl.execute(t.Context(), strings.Fields(line))
	text := out.String()
	for l := range strings.Lines(stderr.String()) {
		text += "! " + l
	}
	return fmt.Sprintf("%sexit %d\n", text, code)
}

const cannedSpec = "app: wordcount\ninput: {topic: input_event}\nsplit: words\ngroup: [key, item]\naggregates: {count: count}\n"

// cannedNode answers as a node does that counts words.
func cannedNode() http.Handler {
	mux := http.NewServeMux()
	say := func(pattern, text string) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text+"\n") })
	}
	say("GET /v1/apps", fmt.Sprintf(`{"apps":[{"app":"wordcount","spec":%q}]}`, cannedSpec))
	mux.HandleFunc("POST /v1/apps/wordcount/get", cannedGet)
	parts := `"parts":[` + cannedPart(0, "owner", "") + `],"token":"T"`
	say("POST /v1/apps/wordcount/top", `{"app":"wordcount","counts":[{"group":["user-1","spark"],"values":{"count":12}},`+
		`{"group":[null,"null"],"values":{"count":3}},{"group":["a\u001b[2J b",""],"values":{"count":1}}],`+parts+`}`)
	lines := `{"group":["user-1","and"],"values":{"count":2}}` + "\n" + `{"group":["user-1","spark"],"values":{"count":12}}` + "\n"
	mux.HandleFunc("POST /v1/apps/wordcount/scan", func(w http.ResponseWriter, r *http.Request) {
		switch body, _ := io.ReadAll(r.Body); string(body) {
		case `["broken"]`:
			_, _ = io.WriteString(w, lines)
		case `["nothing"]`:
			_, _ = io.WriteString(w, `{"end":true,`+parts+"}\n")
		default:
			_, _ = io.WriteString(w, lines+`{"end":true,`+parts+"}\n")
		}
	})
	say("POST /v1/apps/wordcount/watch", strings.TrimSuffix(lines, "\n"))
	say("GET /v1/status", cannedStatus)
	mux.HandleFunc("POST /v1/apps/{app}/reset", cannedReset)
	mux.HandleFunc("PUT /v1/apps/wordcount", cannedSubmit)
	say("PUT /v1/apps/older", `{"app":"older","generation":1,"lanes":4,"change":"none"}`) // it knows of no standbys
	mux.HandleFunc("DELETE /v1/apps/wordcount", func(w http.ResponseWriter, r *http.Request) {
		topics := `[]`
		if r.URL.Query().Get("topics") == "true" {
			topics = `["wordcount.changelog","wordcount.dead"]`
		}
		fmt.Fprintf(w, `{"app":"wordcount","topics":%s}`, topics)
	})
	mux.HandleFunc("POST /v1/nodes/{node}/drain", cannedDrain)
	mux.HandleFunc("POST /v1/apps/wordcount/lanes/{lane}/move", cannedMove)
	mux.HandleFunc("DELETE /v1/nodes/{node}", cannedForget)
	return mux
}

// cannedSubmit adds the app with one standby a lane, or gives it the number that is asked for.
func cannedSubmit(w http.ResponseWriter, r *http.Request) {
	text, _ := io.ReadAll(r.Body)
	s, err := spec.Parse(text, "the spec")
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	a := api.SubmitAnswer{App: s.App, Generation: 1, Lanes: 4, Standbys: 1, Change: api.ChangeAdded, Notes: s.Notes()}
	if asked := r.URL.Query().Get("standbys"); asked != "" {
		a.Standbys, _ = strconv.Atoi(asked)
		a.Change = api.ChangeStandbys
	}
	_ = json.NewEncoder(w).Encode(a)
}

// cannedDrain drains any node but the last one, and plans for the lane another node than the one
// where the canned status has it.
func cannedDrain(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if r.PathValue("node") == "z" {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"error":{"code":"not_found","message":"there is no node \"z\"","next":"there are a, b"}}`)
		return
	}
	a := api.DrainAnswer{Node: r.PathValue("node"), Draining: q.Get("undo") == "", DryRun: q.Get("dry_run") != "", Moves: []api.LaneMove{}}
	if a.Draining {
		a.Moves = []api.LaneMove{{App: "wordcount", Lane: 0, From: a.Node, To: "c"}}
	}
	_ = json.NewEncoder(w).Encode(a)
}

// cannedMove moves lane 0 from b, of which the canned status says that it has come to a. Lane 1 is
// there already, and lane 2 was on its way to c.
func cannedMove(w http.ResponseWriter, r *http.Request) {
	lane, _ := strconv.Atoi(r.PathValue("lane"))
	to := r.URL.Query().Get("to")
	a := api.MoveAnswer{LaneMove: api.LaneMove{App: "wordcount", Lane: lane, From: "b", To: to}, Epoch: 6, DryRun: r.URL.Query().Get("dry_run") != ""}
	switch lane {
	case 1:
		a.From, a.Done = to, true
	case 2:
		a.From, a.TakenBack, a.Done = to, "c", !a.DryRun
		if a.DryRun {
			a.Plan = []string{"lane 2 of app wordcount: its move to c is taken back"}
		}
	}
	_ = json.NewEncoder(w).Encode(a)
}

// cannedForget forgets any node but a, which is alive.
func cannedForget(w http.ResponseWriter, r *http.Request) {
	if r.PathValue("node") == "a" {
		w.WriteHeader(http.StatusConflict)
		_, _ = io.WriteString(w, `{"error":{"code":"conflict","message":"node a is alive","next":"stop it first"}}`)
		return
	}
	dry := r.URL.Query().Get("dry_run") != ""
	a := api.ForgetAnswer{Node: r.PathValue("node"), Addr: "127.0.0.1:7402", DryRun: dry, Voted: true, Voters: 2}
	if dry {
		a.Voters, a.Lanes = 1, 1
	}
	_ = json.NewEncoder(w).Encode(a)
}

func cannedReset(w http.ResponseWriter, r *http.Request) {
	var req api.ResetRequest
	if r.PathValue("app") != "wordcount" || json.NewDecoder(r.Body).Decode(&req) != nil {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"error":{"code":"unknown_app","message":"this node has no such app","next":"it has wordcount"}}`)
		return
	}
	_ = json.NewEncoder(w).Encode(api.ResetAnswer{
		App: "wordcount", Generation: 3, Done: !req.DryRun, From: req.From, Group: "wordcount", Output: "output_event",
		Topics:    []api.ResetTopic{{Topic: "wordcount.changelog", Records: 12}, {Topic: "wordcount.dead", Records: 1}},
		StateDirs: []string{"tally-data/state/wordcount"}, Start: map[string]int64{"input_event/0": 5, "input_event/1": 0},
	})
}

func cannedPart(partition int, role, values string) string {
	if values != "" {
		values = `,"values":` + values
	}
	return fmt.Sprintf(`{"partition":%d,"lane":%d,"node":"a","role":%q,"epoch":7,"position":{"input_event/%d":123},"lag":0,"as_of_ms":1795393111000%s}`,
		partition, partition, role, partition, values)
}

func cannedGet(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	found := func(values string, parts ...string) {
		fmt.Fprintf(w, `{"app":"wordcount","group":%s,"found":true,"values":%s,"parts":[%s],"token":"T"}`+"\n",
			body, values, strings.Join(parts, ","))
	}
	switch string(body) {
	case `["user-1","spark"]`:
		found(`{"count":1}`, cannedPart(0, "owner", `{"count":1}`))
	case `["user-1","several"]`:
		found(`{"count":3,"sum":4.5}`, cannedPart(0, "owner", `{"count":3,"sum":4.5}`))
	case `[null,"spark"]`:
		found(`{"count":5}`, cannedPart(0, "owner", `{"count":2}`), cannedPart(1, "owner", ""), cannedPart(2, "owner", `{"count":3}`))
	case `["user-1","stale"]`:
		role := map[bool]string{true: "standby", false: "owner"}[r.URL.Query().Get("stale") == "true"]
		found(`{"count":1}`, cannedPart(0, role, `{"count":1}`))
	case `["user-1","alone"]`:
		fmt.Fprintf(w, `{"app":"wordcount","group":%s,"found":true,"values":{"count":1},"parts":[%s],"silent":[0,2],"token":"T"}`+"\n",
			body, strings.Replace(cannedPart(1, "unsure", `{"count":1}`), "1795393111000", "0", 1))
	case `["user-1","late"]`:
		w.WriteHeader(http.StatusGatewayTimeout)
		_, _ = io.WriteString(w, `{"error":{"code":"timeout","message":"input_event/0 is counted up to offset 4, and 9 was asked for; waited 2s",`+
			`"next":"see tally status, or ask with a longer --wait"}}`)
	case `["user-1","unsure"]`: // of a Kafka that does not answer: nobody knows whether there is more
		fmt.Fprintf(w, `{"app":"wordcount","group":%s,"found":false,"parts":[%s],"token":"T"}`+"\n", body, cannedPart(0, "unsure", ""))
	case `["user-1","behind"]`, `["user-1","busy"]`: // with events that came before the question, and after it
		proved := map[bool]string{true: `"proved":true,`}[string(body) == `["user-1","busy"]`]
		part := strings.Replace(cannedPart(0, "owner", ""), `"lag":0`, `"lag":5`, 1)
		fmt.Fprintf(w, `{"app":"wordcount","group":%s,"found":false,%s"parts":[%s],"token":"T"}`+"\n", body, proved, part)
	default:
		fmt.Fprintf(w, `{"app":"wordcount","group":%s,"found":false,"proved":true,"parts":[%s],"token":"T"}`+"\n", body, cannedPart(0, "owner", ""))
	}
}

const cannedStatus = `{"cluster":"c1","leader":"a","node":"a","version":"v0","kafka":{"cluster_id":"k1","brokers":["127.0.0.1:9092"],"embedded":true},
"nodes":[{"name":"a","id":"x","addr":"127.0.0.1:7400","alive":true,"zone":"z1","release":"v0","lanes":1,"standbys":1,"lag":2},
{"name":"b","id":"y","addr":"127.0.0.1:7401","alive":true,"draining":true},{"name":"c","id":"w","addr":"127.0.0.1:7402","alive":false}],
"problems":["node c is not alive","wordcount lane 1 is stopped: the consumer group has offset 9: delete it"],
"apps":[{"app":"wordcount","app_id":"i","generation":1,"input":"input_event","output":"output_event","stages":1,"lag":2,"repartition_lag":0,"processed":5,"filtered":0,"skipped":0,"dead":1,"groups":4,"strays":1,
"stray_example":"key user-9 in partition 2","lanes":[{"lane":0,"owner":"a","epoch":7,"state":"running","fence_ms":3,"standbys":["b","c"],"copies":[{"node":"b","state":"standby","ready":true,"lag":4},{"node":"c","state":"unknown","ready":false,"lag":0}],"target":"b",
"position":{"input_event/0":5,"input_event/2":1},"lag":2,
"as_of_ms":1795393111000,"groups":4,"transactions":9,"aborted":0,"restore":{"from_offset":4,"to_offset":16,"records":12,"ms":8}},
{"lane":1,"owner":"","epoch":0,"state":"stopped","reason":"the consumer group has offset 9: delete it","fence_ms":0,"standbys":[],"position":{},"lag":0,"as_of_ms":0,"groups":0,"transactions":0,"aborted":0}]},
{"app":"topwords","app_id":"j","generation":1,"input":"lines","stages":2,"lag":0,"repartition_lag":7,"processed":9,"groups":6,"lanes":[{"lane":0,"owner":"a","epoch":3,"state":"running",
"fence_ms":2,"standbys":[],"position":{"lines/0":9,"topwords.repartition/0":40},"lag":0,"repartition_lag":7,"as_of_ms":1795393111000,"groups":6,"transactions":5,"aborted":0}]}]}`

func TestNoNode(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	l.Close()
	for _, line := range []string{"get a b", "top", "scan", "watch", "status", "produce --topic t", "consume --topic t"} {
		got := runScript(t, line+" --server "+url, "", nil)
		if !strings.Contains(got, "! tally: no node answers at "+url+": start one with `tally run`, or say --server") ||
			!strings.HasSuffix(got, "exit 1\n") {
			t.Errorf("%s: %s", line, got)
		}
	}
}

// TestEmptyNames: a variable of a script that is not set is said to be empty, and nothing is asked.
func TestEmptyNames(t *testing.T) {
	for _, args := range [][]string{
		{"drain", ""}, {"move", "", "b"}, {"move", "0", ""}, {"delete", ""}, {"reset", ""}, {"node", "forget", ""},
		{"run", "--brokers", ""}, {"run", "--data-dir", ""}, {"run", "--tokens", ""}, {"run", "--node", ""}, {"run", "--spec", ""},
		{"run", "--join="}, {"node", "recover", "--yes", "--data-dir", ""}, {"token", "create", "ann", "--tokens", ""},
	} {
		var out, stderr bytes.Buffer
		tl := &tool{in: strings.NewReader(""), out: &out, err: &stderr, seam: seam.World(), getenv: func(string) string { return "" }}
		if code := tl.execute(t.Context(), args); code != exitUsage || !strings.Contains(stderr.String(), " is empty: ") {
			t.Errorf("%q exits %d and says %q", args, code, &stderr)
		}
	}
}
