package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

const wordcount = `
app: wordcount
input: {topic: input_event}
split: words
group: [key, item]
aggregates: {count: count}
output: {topic: output_event}
`

// testNode runs apps of real stores in memory; lanes and values are moved by the test.
type testNode struct {
	mu       sync.Mutex
	status   Status
	notReady []string
	apps     []*testApp
	resets   []ResetRequest // that were asked for
}

func (n *testNode) Reset(_ context.Context, app string, req ResetRequest) (ResetAnswer, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.resets = append(n.resets, req)
	return ResetAnswer{App: app, Generation: 2, Done: !req.DryRun, From: req.From}, nil
}

func (n *testNode) Status(context.Context) Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.status
}

func (n *testNode) NotReady() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.notReady
}

func (n *testNode) Apps() []*App {
	var apps []*App
	for _, a := range n.apps {
		apps = append(apps, &a.App)
	}
	return apps
}

// testApp has partition p in lane p mod lanes.
type testApp struct {
	App
	t       testing.TB
	mu      sync.Mutex
	lanes   []LaneView
	roles   []Role
	inputs  map[int32]int64 // read positions beyond the store's
	offsets map[int32]int64
	values  map[string][]spec.Decimal // "partition group"
	homes   map[string]int32          // of keys; events of one that lie elsewhere are strays
	strays  map[int32]int64
	txn     uint64
	asked   int // calls of Lanes
}

func newTestApp(t testing.TB, text string, lanes, partitions int) *testApp {
	t.Helper()
	s, err := spec.Parse([]byte(text), "test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	a := &testApp{
		App: App{Name: s.App, ID: "id-" + s.App, Generation: 1, Spec: s, Program: spec.Compile(s), Input: s.Input.Topic, Source: s.Input.Topic},
		t:   t, inputs: map[int32]int64{}, offsets: map[int32]int64{}, values: map[string][]spec.Decimal{},
		homes: map[string]int32{}, strays: map[int32]int64{},
	}
	a.Lanes = func() []LaneView {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.asked++
		return append([]LaneView(nil), a.lanes...)
	}
	for k := range lanes {
		a.roles = append(a.roles, RoleOwner)
		v := LaneView{Lane: k, Node: "a", Epoch: 7, Store: a.openStore(k), Why: "restoring: 1 of 2 records"}
		for p := k; p < partitions; p += lanes {
			v.Tasks = append(v.Tasks, state.Task{Stage: 1, Partition: int32(p)})
		}
		v.Role = func() Role { a.mu.Lock(); defer a.mu.Unlock(); return a.roles[k] }
		v.Input = func(p int32) int64 { a.mu.Lock(); defer a.mu.Unlock(); return a.inputs[p] }
		v.Lag = func(int32) int64 { return 0 }
		v.AsOfMs = func() int64 { return time.Now().Add(time.Second).UnixMilli() }
		a.lanes = append(a.lanes, v)
	}
	return a
}

func (a *testApp) openStore(lane int) *state.Store {
	a.t.Helper()
	st, err := state.Open("lane", state.Identity{
		KafkaCluster: "k", App: a.Name, AppID: a.ID, Lane: lane, InputTopicID: "i", ChangelogTopicID: "c",
		Generation: 1, Fingerprint: a.Spec.Fingerprint(),
	}, state.Options{Seam: seam.World(), FS: vfs.NewMem(), Compare: a.Program.CompareEncoded})
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = st.Close() })
	return st
}

// setLane changes a lane under the lock.
func (a *testApp) setLane(k int, change func(v *LaneView)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.lanes[k])
}

func (a *testApp) askedSoFar() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

// event counts one event in its own transaction.
func (a *testApp) event(partition int32, key, value string) {
	a.t.Helper()
	var sc spec.Scratch
	ev := spec.Event{Value: []byte(value), Partition: partition}
	if key != "<null>" {
		ev.Key = []byte(key)
	}
	items, _, err := a.Program.Eval(ev, &sc)
	if err != nil {
		a.t.Fatal(err)
	}
	lane := &a.lanes[int(partition)%len(a.lanes)]
	task := state.Task{Stage: 1, Partition: partition}
	touched := map[string][]byte{}
	for _, it := range items {
		id := fmt.Sprintf("%d %s", partition, it.Group)
		a.values[id] = foldInto(a.Program, a.values[id], it.Inc)
		touched[string(it.Group)] = a.Program.AppendValues(nil, a.values[id])
	}
	var changes []state.Change
	for g, v := range touched {
		changes = append(changes, state.Change{Task: task, Group: []byte(g), Values: v})
	}
	a.txn++
	a.offsets[partition]++
	if home, known := a.homes[key]; !known {
		a.homes[key] = partition
	} else if home != partition {
		a.strays[partition]++
	}
	rec := state.PositionRecord{Hints: state.Hints{Murmur2: a.strays[partition], CRC32: a.strays[partition]}, Task: task, AppID: a.ID, Generation: 1, Lanes: len(a.lanes), Txn: a.txn,
		Input: a.offsets[partition]}
	pos := state.Position{Record: rec, Changelog: int64(a.txn) * 10}
	if err := lane.Store.Publish([]state.Position{pos}, changes); err != nil {
		a.t.Fatal(err)
	}
}

// serve serves the node's API; opt's zero fields are the defaults.
func serve(t testing.TB, n *testNode, opt Options) (*httptest.Server, *Server) {
	t.Helper()
	opt.Seam = seam.World()
	s := NewServer(n, opt)
	ts := httptest.NewServer(s)
	t.Cleanup(func() { s.stop(); ts.Close() })
	return ts, s
}

func serveApp(t testing.TB, a *testApp) *httptest.Server {
	t.Helper()
	ts, _ := serve(t, &testNode{apps: []*testApp{a}}, Options{})
	return ts
}

// ask sends a request and returns the status and the body.
func ask(t testing.TB, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// errorOf reads the error of an answer, whose shape is part of the contract.
func errorOf(t testing.TB, body string) Error {
	t.Helper()
	var b struct{ Error Error }
	dec := json.NewDecoder(bytes.NewReader([]byte(body)))
	if err := dec.Decode(&b); err != nil || b.Error.Code == "" || b.Error.Message == "" {
		t.Fatalf("not an error of the contract: %s", body)
	}
	return b.Error
}

func decode[T any](t testing.TB, body string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return v
}

// eventually polls until ok or the test has waited too long.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if ok() {
			return
		}
		<-time.After(2 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}
