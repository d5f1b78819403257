package api

import (
	"fmt"
	"slices"
	"strings"
)

// problems are what people should know or do, worst first. Each fact has one source: the leader
// says what it alone can see, and all else comes of what the nodes say of themselves and of the log
// as this node has it, so that it is known without a leader, too.
func (s *Server) problems(st Status, reports []report, known ClusterProblems) []string {
	var lines []string
	if known.Waits != "" {
		lines = append(lines, fmt.Sprintf("node %s waits for the cluster: %s", st.Node, known.Waits))
	}
	if st.Leader == "" && len(st.Nodes) > 0 { // before it is in a cluster it misses no leader
		lines = append(lines, fmt.Sprintf("the cluster has no leader: lanes stay where they are until a majority of %s is back; "+
			"if most of them are lost for good: `tally node recover`", nodeNames(st.Nodes)))
	}
	lines = append(lines, known.Leader...)
	for _, r := range reports {
		lines = append(lines, reportProblems(st, r)...)
	}
	lines = append(lines, voterProblems(st)...)
	for _, n := range st.Nodes {
		if n.Problem != "" {
			lines = append(lines, fmt.Sprintf("node %s gets no lanes while another can have them: %s", n.Name, n.Problem))
		}
	}
	lines = append(lines, releaseProblems(st.Nodes)...)
	lines = append(lines, laneProblems(st)...)
	return append(lines, s.standbyProblems(st)...)
}

func reportProblems(st Status, r report) (lines []string) {
	if r.err != nil {
		lines = append(lines, r.err.Error())
	}
	if r.skewMs > clockSkewMs || r.skewMs < -clockSkewMs {
		lines = append(lines, skewText(r, st.Node))
	}
	if r.member.Draining && r.member.Alive {
		lines = append(lines, drainText(r.member.Name, lanesAt(st, r.member.Name)))
	}
	return lines
}

func drainText(node string, lanes int) string {
	if lanes == 0 {
		return fmt.Sprintf("node %s is drained: it gets no lanes until `tally drain %[1]s --undo` or its next start", node)
	}
	return fmt.Sprintf("node %s is draining: it still has %d lanes", node, lanes)
}

// voterProblems says which nodes vote and are gone, and when one voter more that ends would leave
// nobody who can decide.
func voterProblems(st Status) []string {
	var gone []string
	known, alive, spare := 0, 0, 0 // spare: it gets a vote soon, if there are too few
	for _, n := range st.Nodes {
		switch {
		case !n.Voter && n.Alive && !n.Draining:
			spare++
		case !n.Voter:
		case n.Alive:
			known, alive = known+1, alive+1
		default:
			known, gone = known+1, append(gone, n.Name)
		}
	}
	voters := max(st.Voters, known)
	if voters > known {
		never := fmt.Sprintf("%d that have never registered", voters-known)
		if len(st.Unregistered) > 0 {
			never += ": " + strings.Join(st.Unregistered, ", ")
		}
		gone = append(gone, never)
	}
	what := "and the others vote still"
	switch {
	case st.Leader == "":
		return nil
	case voters == 2 && len(gone) == 0 && spare == 0:
		return []string{"two nodes vote, and when one of them ends nothing can be decided, and no lane be taken over: start a third"}
	case len(gone) == 0:
		return nil
	case 2*(alive-1) <= voters:
		what = "and when one more of them ends nothing can be decided"
	}
	return []string{fmt.Sprintf("%d of %d nodes that vote are alive, %s: "+
		"start the others (%s); what is gone for good: `tally node forget NODE`", alive, voters, what, strings.Join(gone, ", "))}
}

func nodeNames(nodes []NodeStatus) string {
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Name
	}
	return strings.Join(names, ", ")
}

func lanesAt(st Status, node string) int {
	for _, n := range st.Nodes {
		if n.Name == node {
			return n.Lanes
		}
	}
	return 0
}

// releaseProblems says when the nodes run different programs, as they do while they are upgraded.
func releaseProblems(nodes []NodeStatus) []string {
	var releases []string
	for _, n := range nodes {
		if n.Alive && n.Release != "" && !slices.Contains(releases, n.Release) {
			releases = append(releases, n.Release)
		}
	}
	if len(releases) < 2 {
		return nil
	}
	return []string{"the nodes run different releases: " + strings.Join(releases, ", ")}
}

// laneProblems are the lanes that do not run.
func laneProblems(st Status) (lines []string) {
	for _, a := range st.Apps {
		for _, l := range a.Lanes {
			switch {
			case l.State == LaneIdle:
				lines = append(lines, fmt.Sprintf("%s lane %d has no owner", a.App, l.Lane)+because(l.Reason))
			case l.State == LaneUnknown:
				lines = append(lines, fmt.Sprintf("%s lane %d is node %s's, which does not answer", a.App, l.Lane, l.Owner)+because(l.Reason))
			case l.Reason != "":
				lines = append(lines, fmt.Sprintf("%s lane %d is %s: %s", a.App, l.Lane, l.State, l.Reason))
			}
		}
	}
	return lines
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// standbyProblems says which lanes have fewer copies to take over from than were asked for. A lone
// node can have none, and is not reminded of it.
func (s *Server) standbyProblems(st Status) (lines []string) {
	alive := 0
	for _, n := range st.Nodes {
		if n.Alive && n.Error == "" {
			alive++
		}
	}
	if len(st.Nodes) < 2 {
		return nil
	}
	for _, a := range s.node.Apps() {
		i := slices.IndexFunc(st.Apps, func(of AppStatus) bool { return of.App == a.Name })
		if i < 0 || a.Standbys == 0 {
			continue
		}
		for ready, lanes := range lanesByReady(st.Apps[i], a.Standbys) {
			if len(lanes) > 0 {
				lines = append(lines, fmt.Sprintf("%s %s %s: %d of %d nodes answer, %d asked", a.Name, plural("lane", lanes),
					readyText(ready, len(lanes)), alive, len(st.Nodes), a.Standbys))
			}
		}
	}
	return lines
}

// lanesByReady are the lanes with each number of ready standbys below want.
func lanesByReady(app AppStatus, want int) [][]int {
	lanes := make([][]int, want)
	for _, l := range app.Lanes {
		ready := 0
		for _, c := range l.Copies {
			if c.Ready {
				ready++
			}
		}
		if ready < want {
			lanes[ready] = append(lanes[ready], l.Lane)
		}
	}
	return lanes
}

func plural(what string, lanes []int) string {
	if len(lanes) > 1 {
		what += "s"
	}
	return what + " " + lanesText(lanes)
}

func readyText(ready, lanes int) string {
	have := "have"
	if lanes == 1 {
		have = "has"
	}
	if ready == 0 {
		return have + " no standby that is ready"
	}
	return fmt.Sprintf("%s only %d standbys that are ready", have, ready)
}
