package check

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// Steps are the steps of a transaction and of an acquire at which a fault can come, in order; the
// last two are of an app of two stages.
var Steps = []string{
	"poll", "fold", "read", "produce-output", "produce-changelog", "produce-dead", "produce-position", "flush", "offsets",
	"endtxn-sent", "endtxn-answered", "publish", "apply", "memtable-flush",
	"fence", "barrier", "catch-up", "ingest", "compare-offsets",
	"produce-partial", "trim",
}

// Transitions are the changes of a lane's role during which a fault can come.
var Transitions = []string{"acquiring", "restoring", "standby", "moving", "draining", "joining"}

// cellHits is how often a cell has to be hit to count.
const cellHits = 3

// Cells says which pairs of a step, or of a transition, and a kind of fault a run has hit.
type Cells struct {
	All     int      `json:"all"`
	Hit     int      `json:"hit"`     // at least three times
	Exact   int      `json:"exact"`   // of these, those where the target was held at the step three times
	Faults  int      `json:"faults"`  // that came
	Signals int      `json:"signals"` // that processes got by them
	ByKind  []Amount `json:"by_kind"`
	Unhit   []Cell   `json:"unhit"`
}

// Cell is a pair with the number of its hits.
type Cell struct {
	Row  string `json:"row"`
	Kind string `json:"kind"`
	Hits int    `json:"hits"`
}

// Kinds are those of faults, as the schedule calls them.
type Kinds struct {
	// Columns are those of the table of cells: what happens to a node at a step. Without any those
	// of the faults are.
	Columns []string
	// Counted are those of which it is seen whether they hit something. One that has not is none.
	Counted []string
}

// CountCells counts the faults that came. Those that are no column of the table are counted and
// have no cells.
func CountCells(faults []history.Fault, kinds Kinds) Cells {
	last := map[int]history.Fault{} // a fault is written when it begins, and again when it ends
	for _, f := range faults {
		last[f.ID] = f
	}
	hits, exact, byKind := map[Cell]int{}, map[Cell]int{}, map[string]int64{}
	var c Cells
	var seen []string
	for _, f := range last {
		if !history.Hit(&f, kinds.Counted) {
			continue
		}
		c.Faults++
		c.Signals += f.Signals()
		byKind[f.Kind]++
		seen = append(seen, f.Kind)
		if f.Step != "" {
			at := Cell{Row: f.Step, Kind: f.Kind}
			hits[at]++
			if f.Exact {
				exact[at]++
			}
		}
		for _, t := range slices.Compact(slices.Sorted(slices.Values(f.Transitions))) {
			hits[Cell{Row: t, Kind: f.Kind}]++
		}
	}
	columns := kinds.Columns
	if len(columns) == 0 {
		columns = seen
	}
	c.fill(hits, exact, byKind, sorted(columns), sorted(append(seen, columns...)))
	return c
}

func sorted(kinds []string) []string { return slices.Compact(slices.Sorted(slices.Values(kinds))) }

func (c *Cells) fill(hits, exact map[Cell]int, byKind map[string]int64, columns, kinds []string) {
	c.ByKind, c.Unhit = []Amount{}, []Cell{}
	for _, kind := range kinds {
		c.ByKind = append(c.ByKind, Amount{kind, byKind[kind]})
	}
	for _, kind := range columns {
		for _, row := range slices.Concat(Steps, Transitions) {
			at := Cell{Row: row, Kind: kind}
			c.All++
			if n := hits[at]; n < cellHits {
				c.Unhit = append(c.Unhit, Cell{row, kind, n})
				continue
			}
			c.Hit++
			if exact[at] >= cellHits {
				c.Exact++
			}
		}
	}
}

func (c *Cells) write(b *strings.Builder) {
	share := 0.0
	if c.All > 0 {
		share = 100 * float64(c.Hit) / float64(c.All)
	}
	fmt.Fprintf(b, "\n%d faults, %d signals; cells hit %d times: %d of %d (%.0f%%), %d of them held at the step\n",
		c.Faults, c.Signals, cellHits, c.Hit, c.All, share, c.Exact)
	for _, a := range c.ByKind {
		fmt.Fprintf(b, "  %-24s %d\n", a.What, a.Count)
	}
	if len(c.Unhit) == 0 {
		return
	}
	b.WriteString("not hit so often:\n")
	for _, a := range c.ByKind {
		c.writeUnhit(b, a.What)
	}
}

// writeUnhit lists the rows that a kind has hit too seldom.
func (c *Cells) writeUnhit(b *strings.Builder, kind string) {
	var some, never []string
	for _, u := range c.Unhit {
		switch {
		case u.Kind != kind:
		case u.Hits > 0:
			some = append(some, fmt.Sprintf("%s (%d)", u.Row, u.Hits))
		default:
			never = append(never, u.Row)
		}
	}
	if len(never) == len(Steps)+len(Transitions) {
		never = []string{"any"}
	}
	if len(some) > 0 {
		fmt.Fprintf(b, "  %s at %s\n", kind, strings.Join(some, ", "))
	}
	if len(never) > 0 {
		fmt.Fprintf(b, "  %s never at %s\n", kind, strings.Join(never, ", "))
	}
}
