package main

import (
	"bytes"
	"fmt"
	"io"

	"github.com/tally-kafka/tally/internal/audit"
)

// printAudit prints a report for people: tables, what differs, and the result as the last line.
func printAudit(w io.Writer, r *audit.Report) error {
	var text bytes.Buffer
	fmt.Fprintf(&text, "app %s, generation %d, id %s\n\n", shown(r.App), r.Generation, shown(r.AppID))
	auditPartitions(&text, r)
	auditRepartitions(&text, r)
	auditChecks(&text, r)
	for _, d := range r.Differences {
		fmt.Fprintf(&text, "%s\n", shown(d.String()))
	}
	if more := r.Found - int64(len(r.Differences)); more > 0 {
		fmt.Fprintf(&text, "and %d more differences\n", more)
	}
	for _, u := range r.Undecided {
		fmt.Fprintf(&text, "cannot decide: %s\n", shown(u))
	}
	if len(r.Differences)+len(r.Undecided) > 0 {
		text.WriteByte('\n')
	}
	fmt.Fprintln(&text, auditResult(r))
	_, err := w.Write(text.Bytes())
	return err
}

func auditPartitions(w io.Writer, r *audit.Report) {
	tw := table(w)
	head := "PARTITION\tINPUT\tEVENTS\tPROCESSED\tFILTERED\tSKIPPED\tDEAD"
	if len(r.Repartitions) == 0 {
		head += "\tGROUPS\tSTORE AT"
	}
	fmt.Fprintln(tw, head)
	for _, p := range r.Partitions {
		fmt.Fprintf(tw, "%d\t%d to %d\t%d\t%d\t%d\t%d\t%d", p.Partition, p.Start, p.Input, p.Events,
			p.Processed, p.Filtered, p.Skipped, p.Dead)
		if len(r.Repartitions) == 0 {
			fmt.Fprintf(tw, "\t%d\t%s", p.Counters, storeAt(p.Store))
		}
		fmt.Fprintln(tw)
	}
	tw.Flush()
	fmt.Fprintln(w)
}

// auditRepartitions shows the second of two stages, which has the groups.
func auditRepartitions(w io.Writer, r *audit.Report) {
	if len(r.Repartitions) == 0 {
		return
	}
	tw := table(w)
	fmt.Fprintln(tw, "REPARTITION\tREAD TO\tTRIMMED TO\tPARTIALS\tGROUPS\tSTORE AT")
	for _, p := range r.Repartitions {
		fmt.Fprintf(tw, "%d\t%d\t%d\t%d\t%d\t%s\n", p.Partition, p.Input, p.Trimmed, p.Partials, p.Counters, storeAt(p.Store))
	}
	tw.Flush()
	fmt.Fprintln(w)
}

func storeAt(position int64) string {
	if position < 0 {
		return "-"
	}
	return fmt.Sprint(position)
}

func auditChecks(w io.Writer, r *audit.Report) {
	tw := table(w)
	fmt.Fprintln(tw, "CHECK\tCOMPARED\tDIFFERENCES")
	for _, c := range r.Checks {
		if c.Skipped != "" {
			fmt.Fprintf(tw, "%s\tleft out: %s\t-\n", c.Name, shown(c.Skipped))
			continue
		}
		fmt.Fprintf(tw, "%s\t%d %s\t%d\n", c.Name, c.Compared, c.Of, c.Differences)
	}
	tw.Flush()
	fmt.Fprintln(w)
}

// auditResult is the last line.
func auditResult(r *audit.Report) string {
	switch {
	case r.Verdict == audit.Differences:
		return fmt.Sprintf("not exact: %d events, %d groups, %d differences", r.Events, r.Groups, r.Found)
	case r.Verdict == audit.Undecided:
		return fmt.Sprintf("undecided: %d events, %d groups, no difference found, but not everything could be compared", r.Events, r.Groups)
	case r.Spanning > 0:
		return fmt.Sprintf("exact per partition: %d events, %d groups, 0 differences; %d groups span partitions", r.Events, r.Groups, r.Spanning)
	}
	return fmt.Sprintf("exact: %d events, %d groups, 0 differences", r.Events, r.Groups)
}
