package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
)

// report is what one member says of itself.
type report struct {
	member Member
	status Status
	err    error // why there is none
	skewMs int64 // how far its clock is ahead of this node's, 0 when it may be right
}

// gather asks all nodes of the cluster how they are, and the leader what it has to say of all, and
// makes one status of it. A node that does not answer in time is said to have not.
func (s *Server) gather(ctx context.Context, own Status) Status {
	ctx, cancel := context.WithTimeout(ctx, s.opt.StatusWait)
	defer cancel()
	var known ClusterProblems
	var asked sync.WaitGroup
	asked.Go(func() { known = s.opt.Cluster.Problems(ctx) })
	reports := s.reports(ctx, own)
	asked.Wait()
	st := own
	st.Leader, st.Nodes, st.Apps = s.opt.Cluster.Leader(), nil, nil
	for _, name := range appNames(reports) {
		st.Apps = append(st.Apps, s.gatherApp(name, reports, known.Ownerless))
	}
	for _, r := range reports {
		st.Nodes = append(st.Nodes, gatherNode(r, own, st.Apps))
	}
	st.Problems = s.problems(st, reports, known)
	s.clocks.look(s.opt.Log, reports, st.Node)
	return st
}

func (s *Server) reports(ctx context.Context, own Status) []report {
	members := s.opt.Cluster.Members()
	reports := make([]report, len(members))
	var asked sync.WaitGroup
	for i, m := range members {
		switch r := &reports[i]; {
		case m.Self:
			*r = report{member: m, status: own}
		case !m.Alive:
			*r = report{member: m, err: fmt.Errorf("node %s is not alive", m.Name)}
		default:
			asked.Go(func() { *r = s.reportOf(ctx, m) })
		}
	}
	asked.Wait()
	return reports
}

func (s *Server) reportOf(ctx context.Context, m Member) report {
	r := report{member: m}
	before := s.opt.Seam.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "/v1/status?local=true", nil)
	if err != nil {
		r.err = err
		return r
	}
	resp, err := s.opt.Cluster.Do(ctx, m.ID, req)
	switch {
	case err != nil && ctx.Err() != nil:
		r.err = fmt.Errorf("node %s at %s has not answered within %s", m.Name, m.Addr, s.opt.StatusWait)
		return r
	case err != nil:
		r.err = fmt.Errorf("node %s at %s does not answer: %w", m.Name, m.Addr, err)
		return r
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		r.err = remoteError(m, resp)
	} else if err := json.NewDecoder(io.LimitReader(resp.Body, answerBytesMax)).Decode(&r.status); err != nil {
		r.err = fmt.Errorf("node %s at %s stopped in the middle of its answer: %w", m.Name, m.Addr, err)
	}
	if at, after := r.status.AtMs, s.opt.Seam.Now(); at > 0 {
		r.skewMs = max(at-after.UnixMilli(), 0) + min(at-before.UnixMilli(), 0)
	}
	return r
}

func appNames(reports []report) []string {
	names := map[string]bool{}
	for _, r := range reports {
		for _, a := range r.status.Apps {
			names[a.App] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// gatherApp makes one app of what the nodes say of it: each lane as its owner does, or, where
// nobody runs it, as the leader does.
func (s *Server) gatherApp(name string, reports []report, ownerless map[LaneRef]string) AppStatus {
	var app AppStatus
	var elsewhere int64 // lag of partitions that no lane has yet
	byNode := map[string]map[int]LaneStatus{}
	names := map[string]string{}
	for _, r := range reports {
		names[r.member.ID] = r.member.Name
		for _, a := range r.status.Apps {
			if a.App != name {
				continue
			}
			if app.App == "" || r.member.Self {
				example := app.StrayExample
				if app = a; app.StrayExample == "" {
					app.StrayExample = example
				}
			}
			lanes := map[int]LaneStatus{}
			extra := a.Lag
			for _, l := range a.Lanes {
				lanes[l.Lane] = l
				if l.Role != RoleStandby {
					extra -= l.Lag
				}
			}
			byNode[r.member.ID], elsewhere = lanes, max(elsewhere, extra)
			if app.StrayExample == "" {
				app.StrayExample = a.StrayExample
			}
		}
	}
	app.Lanes = nil
	for _, p := range s.placed(name, byNode) {
		l := gatherLane(p, byNode, names)
		if l.State == LaneIdle || l.State == LaneUnknown {
			l.Reason = cmp.Or(l.Reason, ownerless[LaneRef{name, l.Lane}])
		}
		app.Lanes = append(app.Lanes, l)
	}
	app.SumLanes()
	app.Lag += elsewhere
	return app
}

// placed is where the lanes are: as the cluster says, or, of an app that it does not know yet, as
// the nodes do.
func (s *Server) placed(app string, byNode map[string]map[int]LaneStatus) []Placement {
	if placed := s.opt.Cluster.Place(app); placed != nil {
		return placed
	}
	at := map[int]Placement{}
	for id, lanes := range byNode {
		for k, l := range lanes {
			if p, ok := at[k]; l.Role != RoleStandby && (!ok || l.Epoch > p.Epoch) {
				at[k] = Placement{Lane: k, Owner: id, Epoch: l.Epoch}
			}
		}
	}
	return slices.SortedFunc(maps.Values(at), func(a, b Placement) int { return a.Lane - b.Lane })
}

func gatherLane(p Placement, byNode map[string]map[int]LaneStatus, names map[string]string) LaneStatus {
	l, ok := byNode[p.Owner][p.Lane]
	switch {
	case p.Owner == "":
		l = LaneStatus{Lane: p.Lane, State: LaneIdle, Reason: reasonOf(p.Lane, byNode)}
	case !ok && byNode[p.Owner] == nil:
		l = LaneStatus{Lane: p.Lane, State: LaneUnknown}
	case !ok || l.Role == RoleStandby: // it has not heard yet that it is the owner
		l = LaneStatus{Lane: p.Lane, State: LaneAcquiring}
	}
	l.Owner, l.Epoch = names[p.Owner], max(l.Epoch, p.Epoch)
	l.From, l.Target, l.Standbys = names[p.From], names[p.Target], nil
	for _, id := range p.Standbys {
		c := CopyStatus{Node: names[id], State: LaneUnknown}
		if of, ok := byNode[id][p.Lane]; ok && of.Role == RoleStandby {
			c.State, c.Ready, c.Lag = of.State, of.Ready, of.Lag
		}
		l.Standbys, l.Copies = append(l.Standbys, c.Node), append(l.Copies, c)
	}
	return l
}

// reasonOf is why nobody has a lane, where a node knows.
func reasonOf(lane int, byNode map[string]map[int]LaneStatus) string {
	for _, id := range slices.Sorted(maps.Keys(byNode)) {
		if why := byNode[id][lane].Reason; why != "" {
			return why
		}
	}
	return ""
}

// SumLanes makes the app's numbers of its lanes'. The example of a stray stays only if there are
// any.
func (app *AppStatus) SumLanes() {
	app.Lag, app.RepartitionLag, app.Groups, app.Gaps = 0, 0, 0, 0
	app.Processed, app.Filtered, app.Skipped, app.Dead = 0, 0, 0, 0
	var hints laneHints
	for _, l := range app.Lanes {
		if l.Role == RoleStandby {
			continue // it says what its owner says
		}
		app.Lag += l.Lag
		app.RepartitionLag += l.RepartitionLag
		app.Groups += l.Groups
		app.Gaps += l.Gaps
		app.Processed += l.Processed
		app.Filtered += l.Filtered
		app.Skipped += l.Skipped
		app.Dead += l.Dead
		hints.Murmur2 += l.NotMurmur2
		hints.CRC32 += l.NotCRC32
	}
	if app.Strays = min(hints.Murmur2, hints.CRC32); app.Strays == 0 {
		app.StrayExample = ""
	}
}

func gatherNode(r report, own Status, apps []AppStatus) NodeStatus {
	m := r.member
	n := NodeStatus{Name: m.Name, ID: m.ID, Addr: m.Addr, Zone: m.Zone, Release: m.Release, Alive: m.Alive, Draining: m.Draining}
	if r.err != nil && m.Alive {
		n.Error = r.err.Error()
	}
	for _, of := range own.Nodes {
		n.Voter = n.Voter || of.ID == m.ID && of.Voter
	}
	for _, of := range r.status.Nodes {
		if of.ID == m.ID {
			n.Pid, n.Incarnation, n.StartedMs, n.Problem = of.Pid, of.Incarnation, of.StartedMs, of.Problem
		}
	}
	sumNode(&n, apps)
	return n
}

// sumNode counts the lanes of a node.
func sumNode(n *NodeStatus, apps []AppStatus) {
	for _, a := range apps {
		for _, l := range a.Lanes {
			if l.Owner == n.Name {
				n.Lanes++
				n.Lag += l.Lag
			}
			if slices.Contains(l.Standbys, n.Name) {
				n.Standbys++
			}
		}
	}
}
