package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/audit"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/node"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/processor/spec"
)

const auditedSpec = `app: wc
input: {topic: in}
split: words
group: [key, item]
output: {topic: out}
`

// audited is an app on a Kafka in memory, counted by a node in this process.
type audited struct {
	brokers, server, file string
	cl                    *kgo.Client
}

func newAudited(t *testing.T, text string) *audited {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	a := &audited{brokers: cluster.ListenAddrs()[0], server: "http://" + addr, file: filepath.Join(t.TempDir(), "wc.yaml")}
	writeFile(t, a.file, text)
	cfg := kafka.Config{Brokers: []string{a.brokers}, Seam: seam.World()}
	if a.cl, err = cfg.Client(kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.cl.Close)
	s, err := spec.Parse([]byte(text), a.file)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- node.Run(ctx, node.Config{Specs: []*spec.Spec{s}, Brokers: []string{a.brokers}, Listen: addr, Name: "a",
			DataDir: t.TempDir(), Memory: 32 << 20, CreateTopics: 2, LagInterval: 20 * time.Millisecond, TrimInterval: time.Hour, Seam: seam.World()})
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return a
}

// send writes events, and waits until so many are counted.
func (a *audited) send(t *testing.T, counted int64, events ...*kgo.Record) {
	t.Helper()
	client, err := api.NewClient(a.server, seam.World())
	if err != nil {
		t.Fatal(err)
	}
	await(t, func() bool {
		st, err := client.Status(t.Context())
		return err == nil && len(st.Apps) == 1 && len(st.Apps[0].Lanes) == 2 && st.Apps[0].Lanes[0].State == api.LaneRunning && st.Apps[0].Lanes[1].State == api.LaneRunning
	})
	for _, e := range events {
		e.Topic = "in"
	}
	if err := a.cl.ProduceSync(t.Context(), events...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool {
		st, err := client.Status(t.Context())
		return err == nil && st.Apps[0].Processed+st.Apps[0].Dead == counted && st.Apps[0].Lag == 0 && st.Apps[0].RepartitionLag == 0
	})
}

func await(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("it did not come")
		}
	}
}

func has(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("it does not say %q:\n%s", part, text)
		}
	}
}

// An audit with a node and without, of an app that is exact, then has strays, then a difference,
// then cannot be decided.
func TestAudit(t *testing.T) {
	a := newAudited(t, auditedSpec)
	a.send(t, 3, &kgo.Record{Key: []byte("ann"), Value: []byte("one two one")}, &kgo.Record{Key: []byte("bob"), Value: []byte("\xff"), Partition: 1},
		&kgo.Record{Key: []byte("bob"), Value: []byte("two"), Partition: 1})
	withNode, without := "audit --server "+a.server, "audit --spec "+a.file+" --brokers "+a.brokers
	has(t, runScript(t, withNode, "", nil), "app wc, generation 1, id ", "PARTITION  INPUT", "store      3 groups             0\n",
		"offsets    2 partitions         0\n", "\nexact: 3 events, 3 groups, 0 differences\nexit 0\n")
	has(t, runScript(t, without+" --app wc", "", nil), "store      left out: no node was asked  -", "\nexact: 3 events, 3 groups, 0 differences\nexit 0\n")
	has(t, runScript(t, without+" --server "+a.server, "", nil), "store      3 groups")
	file := filepath.Join(t.TempDir(), "client.properties")
	writeFile(t, file, "bootstrap.servers="+a.brokers+"\n")
	has(t, runScript(t, "audit --spec "+a.file+" --kafka-config "+file, "", nil), "store      left out: no node was asked", "exit 0\n")
	// A node's own settings do not say which of its apps is audited, nor that it is not asked.
	settings := map[string]string{"TALLY_SPEC": a.file + ",other.yaml", "TALLY_BROKERS": a.brokers, "TALLY_SERVER": a.server}
	has(t, runScript(t, "audit", "", settings), "store      3 groups", "exit 0\n")
	settings["TALLY_SPEC"] = a.file
	delete(settings, "TALLY_SERVER")
	has(t, runScript(t, "audit --app other", "", settings), "without a node, say --spec FILE and --brokers HOST:PORT\nexit 1\n")

	a.send(t, 4, &kgo.Record{Key: []byte("ann"), Value: []byte("one"), Partition: 1})
	has(t, runScript(t, withNode, "", nil), "\nexact per partition: 4 events, 3 groups, 0 differences; 1 groups span partitions\nexit 0\n")

	planted := &kgo.Record{Topic: "out", Partition: 1, Key: []byte("bob"), Value: []byte(`{"item":"two","count":9}`),
		Headers: []kgo.RecordHeader{{Key: "tally.partition", Value: []byte("1")}, {Key: "tally.generation", Value: []byte("1")}}}
	if err := a.cl.ProduceSync(t.Context(), planted).FirstErr(); err != nil {
		t.Fatal(err)
	}
	has(t, runScript(t, withNode, "", nil), fmt.Sprintf(`output.wrong: out/1 offset %d: ["bob","two"] the last output: {"count":9}, the recount says {"count":1}`, planted.Offset),
		"\nnot exact: 4 events, 3 groups, 1 differences\nexit 4\n")
	var r audit.Report
	out := runScript(t, withNode+" --json", "", nil)
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&r); err != nil || r.Verdict != audit.Differences || r.Found != 1 ||
		r.Differences[0].Kind != audit.OutputWrong || !strings.HasSuffix(out, "}\nexit 4\n") || strings.Count(out, "\n") != 2 {
		t.Errorf("%v:\n%s", err, out)
	}
}

// An audit of an app of two stages: a key in two partitions is no stray.
func TestAuditOfTwoStages(t *testing.T) {
	t.Parallel()
	a := newAudited(t, auditedSpec+"repartition: always\n")
	a.send(t, 3, &kgo.Record{Key: []byte("ann"), Value: []byte("one two one")}, &kgo.Record{Key: []byte("ann"), Value: []byte("one"), Partition: 1},
		&kgo.Record{Key: []byte("bob"), Value: []byte("two"), Partition: 1})
	withNode := "audit --server " + a.server
	has(t, runScript(t, withNode, "", nil), "REPARTITION  READ TO", "partials   3 counters", "store      3 groups             0\n",
		"offsets    4 partitions         0\n", "\nexact: 3 events, 3 groups, 0 differences\nexit 0\n")
	foreign := &kgo.Record{Topic: "wc.repartition", Partition: 1, Key: []byte("x")}
	if err := a.cl.ProduceSync(t.Context(), foreign).FirstErr(); err != nil {
		t.Fatal(err)
	}
	has(t, runScript(t, withNode, "", nil), fmt.Sprintf("partials.foreign: wc.repartition/1 offset %d: the key 78", foreign.Offset), "\nexit 4\n")
}

// A node whose store cannot be compared leaves the audit undecided; a node with other values, as a
// stub of its API, is found out.
func TestAuditOfAStubbedNode(t *testing.T) {
	a := newAudited(t, auditedSpec)
	a.send(t, 1, &kgo.Record{Key: []byte("ann"), Value: []byte("one")})
	answer := func(change func(path string, body []byte) []byte) string {
		stub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			req, err := http.NewRequestWithContext(r.Context(), r.Method, a.server+r.URL.String(), r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := (&http.Client{}).Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			_, _ = w.Write(change(r.URL.Path, body))
		}))
		t.Cleanup(stub.Close)
		return runScript(t, "audit --server "+stub.URL, "", nil)
	}
	has(t, answer(func(_ string, b []byte) []byte { return b }), "exact: 1 events, 1 groups, 0 differences\nexit 0\n")
	has(t, answer(func(path string, b []byte) []byte {
		if strings.HasSuffix(path, "/scan") {
			return bytes.Replace(b, []byte(`{"count":1}`), []byte(`{"count":2}`), 1)
		}
		return b
	}), `store.wrong: in/0 offset 0: ["ann","one"]`, `{"count":2}, the recount says {"count":1}`, "exit 4\n")
	has(t, answer(func(path string, b []byte) []byte {
		if strings.HasSuffix(path, "/scan") {
			return b[:len(b)/2]
		}
		return b
	}), "cannot decide: the store: the node stopped in the middle of the answer", "undecided: 1 events, 1 groups, no difference found", "exit 6\n")
}

func TestAuditUsage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "wc.yaml")
	writeFile(t, file, auditedSpec)
	for line, want := range map[string]string{
		"audit --spec " + file + " --spec " + file: "an audit is of one app: say one --spec, not 2\nexit 2\n",
		"audit --spec " + file + " --app other":    "is the spec of app wc, not of other",
		"audit --spec none.yaml":                   "exit 2\n",
		"audit x":                                  "exit 2\n",
		"audit --server http://127.0.0.1:1":        "without a node, say --spec FILE and --brokers HOST:PORT\nexit 1\n",
	} {
		if got := runScript(t, line, "", nil); !strings.Contains(got, want) {
			t.Errorf("%s: %s", line, got)
		}
	}
}
