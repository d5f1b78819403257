package world

import (
	"slices"
	"sync"

	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/chaos/plan"
)

// cells are the pairs of a kind of fault and a row of the table that this run has hit so far, and
// those that it owes: a fault was dealt the row, and did not come there. What the schedule deals
// once too often is given to one of those.
type cells struct {
	mu   sync.Mutex
	hits map[cell]int
	owed map[plan.Kind][]string
}

type cell struct {
	kind plan.Kind
	row  string
}

// cellHits is how often a pair has to be hit to count; internal/chaos/check counts so too.
const cellHits = 3

func newCells() cells { return cells{hits: map[cell]int{}, owed: map[plan.Kind][]string{}} }

// deal is the row at which a fault shall come that was dealt this one. "" stays "".
func (c *cells) deal(kind plan.Kind, row string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if row == "" || c.hits[cell{kind, row}] < cellHits {
		return row
	}
	for len(c.owed[kind]) > 0 {
		first := c.owed[kind][0]
		c.owed[kind] = c.owed[kind][1:]
		if c.hits[cell{kind, first}] < cellHits {
			return first
		}
	}
	return row
}

// note counts where a fault came that has hit something, as far as that is counted, and owes the
// row that it was dealt where that is not among them.
func (c *cells) note(kind plan.Kind, row string, f history.Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	hit := false
	if history.Hit(&f, plan.Counted) {
		for _, at := range slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(f.Transitions), f.Step)))) {
			c.hits[cell{kind, at}]++
			hit = hit || at == row
		}
	}
	if row != "" && !hit && c.hits[cell{kind, row}] < cellHits {
		c.owed[kind] = append(c.owed[kind], row)
	}
}
