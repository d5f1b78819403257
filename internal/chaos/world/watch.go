package world

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/chaos/link"
)

// view is what a node has said of itself last.
type view struct {
	at time.Time
	st api.Status
}

const (
	// watchEach is how often each node is asked what it says of itself.
	watchEach = 250 * time.Millisecond
	// wholeMost is how old the cluster's view may be in which a lane moves or a node drains.
	wholeMost = time.Second
)

// watch asks every node again and again until ctx ends, and while something moves or drains the
// cluster.
func (w *World) watch(ctx context.Context, watching *sync.WaitGroup) {
	for _, n := range w.nodes {
		watching.Go(func() {
			again(ctx, func() {
				if n.lively() {
					_ = w.look(ctx, n) // a node that says nothing now is no news
				}
			})
		})
	}
	watching.Go(func() {
		again(ctx, func() {
			if w.anyDoing("moving", "draining") {
				w.lookAtAll(ctx)
			}
		})
	})
}

func again(ctx context.Context, do func()) {
	tick := time.NewTicker(watchEach)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			do()
		case <-ctx.Done():
			return
		}
	}
}

// lookAtAll asks what the cluster says of all its nodes: which lanes move, and who drains.
func (w *World) lookAtAll(ctx context.Context) {
	began := time.Now()
	if st, err := w.status(ctx); err == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.whole = view{began, st}
	}
}

// look asks a node what it says of itself, and writes it down.
func (w *World) look(ctx context.Context, n *node) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	began := time.Now()
	st, err := n.localStatus(ctx)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.views[n.name] = view{began, st}
	w.mu.Unlock()
	h := history.Status{Node: n.name, Leader: st.Leader, Began: began.UnixNano()}
	for _, of := range st.Nodes {
		if of.Name == n.name {
			h.Incarnation = of.Incarnation
		}
	}
	for _, a := range st.Apps {
		for _, l := range a.Lanes {
			h.Lanes = append(h.Lanes, history.Lane{App: a.App, Lane: l.Lane, Owner: l.Owner, Epoch: l.Epoch, State: l.State,
				Role: string(l.Role), Ready: l.Ready, Lag: l.Lag})
		}
	}
	w.write(history.Event{Kind: history.KindStatus, Status: &h})
	return nil
}

// localStatus is what a node says of itself alone, past its proxy.
func (n *node) localStatus(ctx context.Context) (st api.Status, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.listen+"/v1/status?local=true", nil)
	if err != nil {
		return st, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return st, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return st, errors.New(resp.Status)
	}
	return st, json.NewDecoder(resp.Body).Decode(&st)
}

// alive are the nodes that run and are not stopped, sorted; where there is none, those that run.
func (w *World) alive() (names []string) {
	for name, n := range w.nodes {
		if n.lively() {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		for name, n := range w.nodes {
			if n.running() != nil {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// leader is the node that leads, as the newest view has it; "" when nobody knows.
func (w *World) leader() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var newest view
	for _, v := range w.views {
		if v.st.Leader != "" && v.at.After(newest.at) {
			newest = v
		}
	}
	return newest.st.Leader
}

// holders are the nodes that say of lanes that they own them, or with standby that they have a copy
// of them; of one lane where it is named.
func (w *World) holders(standby bool, lane string) (names []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, v := range w.views {
		for _, a := range v.st.Apps {
			for _, l := range a.Lanes {
				is := l.Role == api.RoleStandby
				if is == standby && (is || l.State == api.LaneRunning) && (lane == "" || lane == fmt.Sprintf("%s/%d", a.App, l.Lane)) {
					names = append(names, name)
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// transitions are the changes of role that a node is in: as its process says itself, and as the
// cluster has said a moment ago. That somebody has asked for one is no sign of it.
func (w *World) transitions(name string) (found []string) {
	p := w.nodes[name].running()
	if p == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if own := w.views[name]; own.at.After(p.began) {
		found = changing(own.st)
		if w.doing[name]["joining"] > 0 {
			found = append(found, "joining")
		}
	}
	if time.Since(w.whole.at) < wholeMost {
		found = append(found, leaving(w.whole.st, name)...)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// changing are the roles that a node has not yet, by what it says of itself.
func changing(st api.Status) (found []string) {
	for _, a := range st.Apps {
		for _, l := range a.Lanes {
			switch {
			case l.Role == api.RoleStandby && !l.Ready:
				found = append(found, "standby")
			case l.Role == api.RoleStandby:
			case l.State == api.LaneAcquiring:
				found = append(found, "acquiring")
			case l.State == api.LaneRestoring:
				found = append(found, "restoring")
			}
		}
	}
	return found
}

// leaving says whether, by the cluster's status, a lane moves from a node or to it, and whether the
// node drains and has some lanes still.
func leaving(st api.Status, name string) (found []string) {
	for _, a := range st.Apps {
		for _, l := range a.Lanes {
			if l.From != "" && slices.Contains([]string{l.From, l.Owner}, name) ||
				l.Target != "" && slices.Contains([]string{l.Owner, l.Target}, name) {
				found = append(found, "moving")
			}
		}
	}
	for _, n := range st.Nodes {
		if n.Name == name && n.Draining && n.Lanes > 0 {
			found = append(found, "draining")
		}
	}
	return found
}

// anyDoing says whether a command is under way that one of these comes of.
func (w *World) anyDoing(what ...string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, doing := range w.doing {
		for _, of := range what {
			if doing[of] > 0 {
				return true
			}
		}
	}
	return false
}

// begin says that a command is under way of which nodes come into a transition, until end is
// called.
func (w *World) begin(what string, names ...string) (end func()) {
	add := func(d int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, name := range names {
			if w.doing[name] == nil {
				w.doing[name] = map[string]int{}
			}
			w.doing[name][what] += d
		}
	}
	add(1)
	return func() { add(-1) }
}

// status is the cluster's, of any node that gives it.
func (w *World) status(ctx context.Context) (st api.Status, err error) {
	err = errors.New("no node runs")
	for _, name := range w.alive() {
		ask, cancel := context.WithTimeout(ctx, 3*time.Second)
		st, err = w.nodes[name].own.Status(ask)
		cancel()
		if err == nil {
			return st, nil
		}
	}
	return st, err
}

// progress says from time to time how far the run is.
func (w *World) progress(ctx context.Context, tick <-chan time.Time, began time.Time) {
	for {
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
		var sent int64
		for _, l := range w.loads {
			n, _ := l.now()
			sent += n
		}
		lag := "unknown"
		if st, err := w.status(ctx); err == nil {
			lag = fmt.Sprint(lagOf(st))
		}
		w.mu.Lock()
		faults, reads := len(w.faults), w.reads
		w.mu.Unlock()
		w.opt.Say("%4.0f s: %d events, lag %s, %d reads, %d faults over; %d nodes run%s", time.Since(began).Seconds(), sent, lag, reads,
			faults, len(w.alive()), w.strangers())
	}
}

// strangers says how many connections are of no known place: what is broken does not break them.
func (w *World) strangers() string {
	count := 0
	for name := range w.nodes {
		count += w.links.Conns(link.Unknown, name)
	}
	for id := 1; id <= Brokers; id++ {
		count += w.links.Conns(link.Unknown, brokerName(id))
	}
	if count == 0 {
		return ""
	}
	return fmt.Sprintf("; %d connections of nobody known", count)
}

func lagOf(st api.Status) (lag int64) {
	for _, a := range st.Apps {
		if a.App != PassingApp {
			lag += a.Lag + a.RepartitionLag
		}
	}
	return lag
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }
