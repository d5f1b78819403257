package api

import (
	"net/http"
	"slices"
)

// serveStatus answers GET /v1/status.
func (s *Server) serveStatus(w http.ResponseWriter, r *http.Request) error {
	writeJSON(w, http.StatusOK, filled(s.node.Status(r.Context())))
	return nil
}

// filled replaces absent lists by empty ones, so that scripts can iterate without a check.
func filled(st Status) Status {
	st.Nodes = orEmpty(st.Nodes)
	st.Apps = orEmpty(slices.Clone(st.Apps))
	st.Kafka.Brokers = orEmpty(st.Kafka.Brokers)
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
func (s *Server) serveApps(w http.ResponseWriter, _ *http.Request) error {
	answer := AppsAnswer{Apps: []AppInfo{}}
	for _, a := range s.node.Apps() {
		info := AppInfo{App: a.Name, AppID: a.ID, Generation: a.Generation, Spec: string(a.Spec.YAML()),
			Source: a.Source, Partitions: []int32{}}
		for _, v := range a.Lanes() {
			info.Lanes++
			for _, t := range v.Tasks {
				info.Partitions = append(info.Partitions, t.Partition)
			}
		}
		slices.Sort(info.Partitions)
		answer.Apps = append(answer.Apps, info)
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}
