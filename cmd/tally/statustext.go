package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/tally-kafka/tally/internal/api"
)

func statusNodes(w io.Writer, st api.Status) {
	kind := ""
	if st.Kafka.Embedded {
		kind = " (embedded, for trying out)"
	}
	fmt.Fprintf(w, "Kafka %s at %s%s\n", shown(st.Kafka.ClusterID), shown(strings.Join(st.Kafka.Brokers, ",")), kind)
	if st.Kafka.Error != "" {
		fmt.Fprintf(w, "  %s\n", shownLines(st.Kafka.Error))
	}
	tw := table(w)
	fmt.Fprintln(tw, "\nNODE\tADDR\tALIVE\tLEADER\tZONE\tRELEASE\tLANES\tSTANDBYS\tLAG")
	for _, n := range st.Nodes {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\n", shown(n.Name), shown(n.Addr), aliveText(n), yes(n.Name == st.Leader),
			orDash(shown(n.Zone)), orDash(shown(n.Release)), n.Lanes, n.Standbys, n.Lag)
	}
	tw.Flush()
}

func aliveText(n api.NodeStatus) string {
	switch {
	case !n.Alive:
		return "no"
	case n.Error != "":
		return "silent"
	case n.Draining:
		return "draining"
	}
	return "yes"
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func statusApps(w io.Writer, st api.Status) {
	tw := table(w)
	fmt.Fprintln(tw, "\nAPP\tINPUT\tOUTPUT\tLAG\tREPARTITION-LAG\tPROCESSED\tFILTERED\tSKIPPED\tDEAD\tGROUPS\tSTRAYS")
	for _, a := range st.Apps {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\n", a.App, orDash(a.Input), orDash(a.Output), appLag(a),
			repartitionLag(a, a.RepartitionLag), a.Processed, a.Filtered, a.Skipped, a.Dead, a.Groups, a.Strays)
	}
	tw.Flush()
}

func statusLanes(w io.Writer, st api.Status) {
	tw := table(w)
	fmt.Fprintln(tw, "\nAPP\tLANE\tOWNER\tEPOCH\tSTATE\tSTANDBYS\tLAG\tREPARTITION-LAG\tPOSITION\tRESTORED")
	for _, a := range st.Apps {
		for _, l := range a.Lanes {
			fmt.Fprintf(tw, "%s\t%d\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", a.App, l.Lane, ownerText(l), l.Epoch, l.State,
				standbysText(l), laneLag(l), repartitionLag(a, l.RepartitionLag), positionText(l.Position), restoreText(l.Restore))
		}
	}
	tw.Flush()
}

// ownerText says with the owner where the lane comes from or goes to.
func ownerText(l api.LaneStatus) string {
	owner := orDash(shown(l.Owner))
	switch {
	case l.Target != "":
		return owner + "->" + shown(l.Target)
	case l.From != "":
		return shown(l.From) + "->" + owner
	}
	return owner
}

// standbysText are the standbys, each with what it is behind or why it is no use yet.
func standbysText(l api.LaneStatus) string {
	var texts []string
	for _, name := range l.Standbys {
		texts = append(texts, shown(name))
	}
	for _, c := range l.Copies {
		i := slices.Index(l.Standbys, c.Node)
		switch {
		case i < 0:
		case !c.Ready:
			texts[i] += "(" + c.State + ")"
		default:
			texts[i] += fmt.Sprintf("(%d)", c.Lag)
		}
	}
	return orDash(strings.Join(texts, ","))
}

// statusNotes says what people should know or do.
func statusNotes(w io.Writer, st api.Status) {
	for _, a := range st.Apps {
		if a.Strays > 0 {
			fmt.Fprintf(w, "\n%s: %d strays: events lie where no known partitioner puts their keys, so a group may have"+
				" counters in several partitions; queries fold them, and outputs rise per partition;"+
				" under `repartition: always` each group has one counter\n", a.App, a.Strays)
			if a.StrayExample != "" {
				fmt.Fprintf(w, "  for example %s\n", shownLines(a.StrayExample))
			}
		}
	}
	for _, line := range st.Problems {
		fmt.Fprintf(w, "\n%s\n", shownLines(line))
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func positionText(position map[string]int64) string {
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(position)) {
		texts = append(texts, fmt.Sprintf("%s:%d", shown(name), position[name]))
	}
	return orDash(strings.Join(texts, " "))
}

func restoreText(r *api.Restore) string {
	if r == nil {
		return "-"
	}
	return fmt.Sprintf("%d records (%d to %d) in %d ms", r.Records, r.FromOffset, r.ToOffset, r.Ms)
}
