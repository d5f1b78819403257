package node

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/processor/spec"
)

// view is the cluster as the api sees it: its Cluster.
type view struct{ n *Node }

// Members are the nodes of the cluster, sorted by name.
func (v view) Members() []api.Member {
	var all []api.Member
	for _, m := range v.n.cluster.State().SortedMembers() {
		all = append(all, api.Member{
			ID: m.ID, Name: m.Name, Addr: m.Addr, Zone: m.Zone, Release: m.Release,
			Alive: m.Alive, Draining: m.Draining, Self: m.ID == v.n.dir.id.ID,
		})
	}
	return all
}

// Leader is the name of the node that decides.
func (v view) Leader() string {
	_, name, _ := v.n.cluster.Leader()
	return name
}

// Problems are what this node waits for, and what the leader says while it answers. Who does not
// answer the status is named there; the leader is one of them.
func (v view) Problems(ctx context.Context) api.ClusterProblems {
	c := v.n.cluster
	p := api.ClusterProblems{Waits: c.Waits()}
	h, err := c.Health(ctx)
	if err != nil {
		v.n.cfg.Log.Debug("the leader does not say what is wrong", "error", err)
		return p
	}
	p.Leader, p.Ownerless = h.Problems, map[api.LaneRef]string{}
	for _, o := range h.Ownerless {
		p.Ownerless[api.LaneRef{App: o.App, Lane: o.Lane}] = o.Why
	}
	return p
}

// Settled waits until this node has opened what the cluster runs, as far as it can.
func (v view) Settled(ctx context.Context) error {
	n := v.n
	ctx, cancel := context.WithTimeout(ctx, n.cfg.SettleWait)
	defer cancel()
	for {
		n.mu.Lock()
		why := n.waiting
		n.mu.Unlock()
		if why == "" {
			return nil
		}
		if n.cfg.Seam.Sleep(ctx, retryPause) != nil {
			return n.notSettled(why)
		}
	}
}

// known waits until this node is a member: before that it knows no other node.
func (n *Node) known(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.SettleWait)
	defer cancel()
	if err := n.cluster.Wait(ctx); err != nil {
		return n.notSettled(err.Error())
	}
	return nil
}

func (n *Node) notSettled(why string) error {
	return &api.Error{Status: http.StatusServiceUnavailable, Code: api.CodeNotReady,
		Message: fmt.Sprintf("node %s has started, and is still joining its cluster: %s", n.cfg.Name, why),
		Next:    "ask again, or ask another node with --server"}
}

// Records are the apps of the cluster. What their positions count in is told by their specs.
func (v view) Records() []api.AppInfo {
	st := v.n.cluster.State()
	var all []api.AppInfo
	for _, name := range slices.Sorted(maps.Keys(st.Apps)) {
		rec := st.Apps[name]
		info := api.AppInfo{App: name, AppID: rec.ID, Generation: rec.Generation, Spec: rec.Spec, Lanes: len(rec.Lanes), Partitions: []int32{}}
		counted := rec.Partitions
		if rec.Repartitions > 0 {
			info.Source, counted = spec.RepartitionTopic(name), rec.Repartitions
		} else if s, err := spec.Parse([]byte(rec.Spec), "the stored spec of app "+name); err == nil {
			info.Source = s.Input.Topic
		}
		for p := range int32(counted) {
			info.Partitions = append(info.Partitions, p)
		}
		all = append(all, info)
	}
	return all
}

// Place says who has the lanes of an app.
func (v view) Place(app string) []api.Placement {
	a := v.n.cluster.State().Apps[app]
	if a == nil {
		return nil
	}
	all := make([]api.Placement, len(a.Lanes))
	for k, l := range a.Lanes {
		all[k] = api.Placement{Lane: k, Owner: l.Owner, Epoch: l.Epoch, Standbys: l.Standbys, From: l.From, Target: l.Target}
	}
	return all
}

// Do sends a request to another member.
func (v view) Do(ctx context.Context, member string, req *http.Request) (*http.Response, error) {
	m := v.n.cluster.State().Members[member]
	if m == nil {
		return nil, &api.Error{Status: http.StatusServiceUnavailable, Code: api.CodeNotReady,
			Message: "node " + member + " is no longer in the cluster", Next: "ask again"}
	}
	to, err := url.Parse(v.n.port.URL(m.Addr))
	if err != nil {
		return nil, fmt.Errorf("the address of node %s: %w", m.Name, err)
	}
	req = req.Clone(ctx)
	req.URL.Scheme, req.URL.Host, req.RequestURI = to.Scheme, to.Host, ""
	return v.n.port.Client().Do(req)
}
