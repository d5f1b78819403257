package failover

import (
	"fmt"
	"strings"
)

// Table is one of the page's.
type Table struct {
	Title, Note string
	Head        []string // of the cells
	Names       int      // how many of them, at the left, are no figures; 0: one
	Rows        []Row
}

// Row is what was measured once. One without cells could not be, and Wrong says why.
type Row struct {
	Cells  []string
	Target string // "" for none
	Missed bool
	Wrong  string
}

// Markdown is the table as it is read.
func (t Table) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n", t.Title)
	if t.Note != "" {
		b.WriteString(t.Note + "\n\n")
	}
	b.WriteString("| " + strings.Join(t.Head, " | ") + " | target | |\n|---|" + strings.Repeat("---|", max(t.Names-1, 0)) +
		strings.Repeat("---:|", len(t.Head)-max(t.Names, 1)) + "---|---|\n")
	for _, r := range t.Rows {
		cells := append(r.Cells, make([]string, max(len(t.Head)-len(r.Cells), 0))...)
		fmt.Fprintf(&b, "| %s | %s | %s |\n", strings.Join(cells, " | "), r.Target, r.verdict())
	}
	return b.String()
}

func (r Row) verdict() string {
	switch {
	case r.Wrong != "":
		return "**wrong**: " + strings.ReplaceAll(strings.ReplaceAll(r.Wrong, "|", "/"), "\n", " ")
	case r.Target == "":
		return ""
	case r.Missed:
		return "missed"
	}
	return "reached"
}

// bound is what a fault's gaps shall be, in milliseconds; 0 for no bound.
type bound struct{ median, most float64 }

var bounds = map[string]bound{
	KillOwner: {300, 1000}, StopOwner: {0, 2500}, CutOwner: {0, 2500}, KillLeader: {0, 2500}, StopLeader: {0, 2500}, CutLeader: {0, 2500},
	RollingRestart: {0, 300}, Move: {0, 300}, Drain: {0, 300}, Join: {0, 300}, KillAll: {0, 3000},
}

func (b bound) String() string {
	if b.median > 0 {
		return fmt.Sprintf("p50 <= %.0f, max <= %.0f", b.median, b.most)
	}
	return fmt.Sprintf("max <= %.0f", b.most)
}

// GapsTable shows gaps. Targets are of tally's rows.
func GapsTable(title, note string, all []Gaps) Table {
	t := Table{Title: title, Note: note, Names: 2,
		Head: []string{"band", "fault", "tries", "gap p50 ms", "max ms"}}
	for _, g := range all {
		r := Row{
			Cells: []string{g.Band, g.Fault, fmt.Sprint(len(g.Ms)), fmt.Sprintf("%.0f", g.Median()), fmt.Sprintf("%.0f", g.Max())},
			Wrong: g.Wrong,
		}
		if b, ok := bounds[g.Fault]; ok && strings.HasPrefix(g.Band, "tally") {
			r.Target = b.String()
			r.Missed = len(g.Ms) == 0 || b.median > 0 && g.Median() > b.median || g.Max() > b.most
		}
		t.Rows = append(t.Rows, r)
	}
	return t
}

// failed is a table whose figures could not be taken.
func (t Table) failed(what string, err error) Table {
	t.Rows = append(t.Rows, Row{Cells: []string{what}, Wrong: err.Error()})
	return t
}
