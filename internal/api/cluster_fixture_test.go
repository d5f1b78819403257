package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/state"
)

// testCluster is some servers in one process that share the lanes of one app; the test moves them.
// What nodes do to each other can be made to fail.
type testCluster struct {
	t     testing.TB
	app   *testApp
	nodes []*clusterNode

	mu     sync.Mutex
	leader string
	placed []Placement
	known  ClusterProblems
	silent bool // the leader does not say what is wrong
}

// clusterNode is one of them: its Node, and its Cluster.
type clusterNode struct {
	c      *testCluster
	member Member
	server *httptest.Server
	api    *Server

	// Guarded by testCluster.mu.
	refuses, hangs bool
	outside        bool        // it is in no cluster yet
	closed         bool        // it has not opened the app
	listed         int         // how often it was asked for an app that it has not opened
	resets         int         // of that app, of which it has heard
	sees           []Placement // what it believes of the lanes; nil: the truth
	copies         map[int]*state.Store
	asked          []string // what other nodes asked: verb and lanes
	asks           int      // requests to others
}

// newTestCluster puts lane k of the app at node k mod n.
func newTestCluster(t testing.TB, app *testApp, n int, opt Options) *testCluster {
	t.Helper()
	c := &testCluster{t: t, app: app, leader: "a"}
	app.LaneCount, app.Partitions = len(app.lanes), 0
	for _, v := range app.lanes {
		for _, task := range v.Tasks {
			app.Partitions = max(app.Partitions, int(task.Partition)+1)
		}
	}
	for i := range n {
		name := string(rune('a' + i))
		node := &clusterNode{c: c, copies: map[int]*state.Store{},
			member: Member{ID: "id-" + name, Name: name, Addr: name + ":1", Release: "v1", Alive: true}}
		opt.Seam, opt.Cluster, opt.Registry = seam.World(), node, nil
		node.api = NewServer(node, opt)
		node.server = httptest.NewServer(node.counting(node.api))
		t.Cleanup(func() { node.api.stop(); node.server.Close() })
		c.nodes = append(c.nodes, node)
	}
	for k := range app.lanes {
		c.placed = append(c.placed, Placement{Lane: k, Owner: c.nodes[k%n].member.ID, Epoch: 7})
	}
	return c
}

// counting notes what other nodes ask.
func (n *clusterNode) counting(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("local") == "true" {
			n.c.mu.Lock()
			n.asked = append(n.asked, r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]+" "+r.URL.Query().Get("lanes"))
			n.c.mu.Unlock()
		}
		h.ServeHTTP(w, r)
	})
}

// change changes the cluster under the lock.
func (c *testCluster) change(fn func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fn()
}

// give moves a lane to a node under the next epoch.
func (c *testCluster) give(lane, node int) {
	c.change(func() {
		placed := append([]Placement(nil), c.placed...)
		placed[lane].Owner, placed[lane].Epoch = c.nodes[node].member.ID, placed[lane].Epoch+1
		c.placed = placed
	})
}

// askedOf is what other nodes have asked a node since the last call.
func (c *testCluster) askedOf(node int) (asked []string) {
	c.change(func() { asked, c.nodes[node].asked = c.nodes[node].asked, nil })
	return asked
}

func (n *clusterNode) Status(context.Context) Status {
	st := Status{Node: n.member.Name, Nodes: []NodeStatus{{Name: n.member.Name, ID: n.member.ID, Pid: 5}}}
	app := AppStatus{App: n.c.app.Name, Stages: 1}
	for _, v := range n.lanes() {
		l := LaneStatus{Lane: v.Lane, Owner: n.member.Name, State: LaneRunning, Lag: 2, Processed: 10, NotMurmur2: 1, NotCRC32: 2}
		if v.Role() == RoleStandby {
			l = LaneStatus{Lane: v.Lane, State: LaneStandby, Role: RoleStandby, Ready: v.Store != nil, Lag: 3, Processed: 9}
		} else {
			app.Lag += l.Lag
		}
		app.Lanes = append(app.Lanes, l)
	}
	st.Apps = []AppStatus{app}
	return st
}

func (n *clusterNode) NotReady() []string { return nil }

func (n *clusterNode) isClosed() (yes bool) {
	n.c.change(func() { yes = n.closed })
	return yes
}

func (n *clusterNode) Apps() []*App {
	if n.isClosed() {
		return nil
	}
	app := n.c.app.App
	app.Lanes = n.lanes
	return []*App{&app}
}

func (n *clusterNode) Listed(name string) *App {
	app := n.c.app.App
	if name != app.Name {
		return nil
	}
	n.c.change(func() { n.listed++; app.Generation += n.resets })
	app.Listed, app.Look, app.Lanes = true, nil, func() []LaneView {
		if n.isClosed() {
			return nil
		}
		return n.lanes()
	}
	return &app
}

func (n *clusterNode) Records() []AppInfo {
	a := n.c.app.App
	info := AppInfo{App: a.Name, AppID: a.ID, Generation: a.Generation, Spec: string(a.Spec.YAML()), Source: a.Source, Lanes: a.LaneCount}
	for p := range int32(a.counted()) {
		info.Partitions = append(info.Partitions, p)
	}
	return []AppInfo{info}
}

func (n *clusterNode) Reset(context.Context, string, ResetRequest) (ResetAnswer, error) {
	return ResetAnswer{}, errors.New("not here")
}

// lanes are views of the lanes that the node owns, on the app's own stores, and of those that it is
// a standby of, on its copies.
func (n *clusterNode) lanes() []LaneView {
	var views []LaneView
	for _, v := range n.c.app.Lanes() {
		switch {
		case n.owns(v.Lane):
			role := v.Role
			v.Role = func() Role {
				if !n.owns(v.Lane) {
					return RoleStandby
				}
				return role()
			}
			n.c.change(func() {
				if own := n.copies[v.Lane]; own != nil {
					v.Store = own
				}
			})
			views = append(views, v)
		case n.standsBy(v.Lane):
			v.Role = func() Role { return RoleStandby }
			n.c.change(func() { v.Store = n.copies[v.Lane] })
			views = append(views, v)
		}
	}
	return views
}

func (n *clusterNode) owns(lane int) bool {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	return n.c.placed[lane].Owner == n.member.ID
}

func (n *clusterNode) standsBy(lane int) (yes bool) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	for _, id := range n.c.placed[lane].Standbys {
		yes = yes || id == n.member.ID
	}
	return yes
}

func (n *clusterNode) Members() []Member {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	if n.outside {
		return nil
	}
	var members []Member
	for _, of := range n.c.nodes {
		m := of.member
		m.Self = of == n
		members = append(members, m)
	}
	return members
}

// Problems are what the test says. Of a leader that is silent nothing comes until ctx ends.
func (n *clusterNode) Problems(ctx context.Context) (p ClusterProblems) {
	var silent bool
	n.c.change(func() { p, silent = n.c.known, n.c.silent })
	if silent {
		<-ctx.Done()
		p.Leader, p.Ownerless = nil, nil
	}
	return p
}

// Settled fails at a node that refuses.
func (n *clusterNode) Settled(context.Context) error {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	if n.refuses {
		return &Error{Status: http.StatusServiceUnavailable, Code: CodeNotReady, Message: "still joining", Next: "ask again"}
	}
	return nil
}

func (n *clusterNode) Leader() string {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	return n.c.leader
}

func (n *clusterNode) Place(app string) []Placement {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	switch {
	case app != n.c.app.Name:
		return nil
	case n.sees != nil:
		return n.sees
	}
	return n.c.placed
}

func (n *clusterNode) Do(ctx context.Context, id string, req *http.Request) (*http.Response, error) {
	var to *clusterNode
	var refuses, hangs bool
	n.c.change(func() {
		n.asks++
		for _, of := range n.c.nodes {
			if of.member.ID == id {
				to, refuses, hangs = of, of.refuses, of.hangs
			}
		}
	})
	switch {
	case refuses:
		return nil, errors.New("connection refused")
	case hangs:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	req.URL.Scheme, req.URL.Host = "http", strings.TrimPrefix(to.server.URL, "http://")
	resp, err := http.DefaultClient.Do(req.WithContext(ctx))
	if err == nil {
		resp.Body = &hangingBody{resp.Body, ctx, to}
	}
	return resp, err
}

// hangingBody gives nothing while its node hangs.
type hangingBody struct {
	io.ReadCloser
	ctx  context.Context
	from *clusterNode
}

func (b *hangingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	var hangs bool
	b.from.c.change(func() { hangs = b.from.hangs })
	if hangs {
		<-b.ctx.Done()
		return 0, b.ctx.Err()
	}
	return n, err
}

// url is a question at a node.
func (c *testCluster) url(node int, verb string) string {
	return c.nodes[node].server.URL + "/v1/apps/wordcount/" + verb
}

// steady gives all lanes the same unchanging age, so that answers can be compared byte by byte.
func steady(a *testApp) {
	for k := range a.lanes {
		a.setLane(k, func(v *LaneView) { v.AsOfMs = func() int64 { return 1 << 50 } })
	}
}
