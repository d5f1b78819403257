package api

import (
	"net/http"
	"slices"
)

// serveStatus answers GET /v1/status: of the cluster, or with local=true of this node alone.
func (s *Server) serveStatus(w http.ResponseWriter, r *http.Request) error {
	q, err := queryHere(r, "local")
	if err != nil {
		return err
	}
	local, err := parseBool(q, "local")
	if err != nil {
		return err
	}
	st := s.node.Status(r.Context())
	switch {
	case local:
		st.AtMs = s.opt.Seam.Now().UnixMilli()
	case s.opt.Cluster != nil:
		st = s.gather(r.Context(), st)
	default:
		st.Nodes, st.Problems = slices.Clone(st.Nodes), laneProblems(st)
		for i := range st.Nodes {
			sumNode(&st.Nodes[i], st.Apps)
		}
	}
	writeJSON(w, http.StatusOK, filled(st))
	return nil
}

// filled replaces absent lists by empty ones, so that scripts can iterate without a check.
func filled(st Status) Status {
	st.Nodes = orEmpty(st.Nodes)
	st.Apps = orEmpty(slices.Clone(st.Apps))
	st.Kafka.Brokers = orEmpty(st.Kafka.Brokers)
	st.Problems = orEmpty(st.Problems)
	for i := range st.Apps {
		lanes := orEmpty(slices.Clone(st.Apps[i].Lanes))
		for j := range lanes {
			lanes[j].Standbys = orEmpty(lanes[j].Standbys)
			if lanes[j].Position == nil {
				lanes[j].Position = map[string]int64{}
			}
		}
		st.Apps[i].Lanes = lanes
	}
	return st
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// serveApps answers GET /v1/apps: what a client must know of an app to ask about it.
func (s *Server) serveApps(w http.ResponseWriter, r *http.Request) error {
	if _, err := queryOf(r); err != nil {
		return err
	}
	if s.opt.Cluster != nil {
		if err := s.opt.Cluster.Settled(r.Context()); err != nil {
			return err
		}
	}
	answer := AppsAnswer{Apps: []AppInfo{}}
	if s.opt.Cluster != nil { // this node may be about to open one, or the other nodes have its lanes
		answer.Apps = append(answer.Apps, s.opt.Cluster.Records()...)
	} else {
		for _, a := range s.node.Apps() {
			answer.Apps = append(answer.Apps, a.info())
		}
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// info is what a client must know of the app, as far as this node can answer for it.
func (a *App) info() AppInfo {
	info := AppInfo{App: a.Name, AppID: a.ID, Generation: a.Generation, Spec: string(a.Spec.YAML()),
		Source: a.Source, Partitions: []int32{}}
	for _, v := range a.Lanes() {
		info.Lanes++
		for _, t := range v.Tasks {
			info.Partitions = append(info.Partitions, t.Partition)
		}
	}
	slices.Sort(info.Partitions)
	info.Partitions = slices.Compact(info.Partitions)
	return info
}
