package check

import (
	"fmt"
	"maps"
	"slices"
)

// askUpTo judges the answers below the position to which the task comes next: the state is still
// that of its last position.
func (c *column) askUpTo(next int64) error {
	if len(c.asks) == 0 || c.asks[0].at >= next {
		return nil
	}
	e, err := c.events.peek()
	if err != nil {
		return err
	}
	defer c.rep.by(c.rep.nowMs)
	for len(c.asks) > 0 && c.asks[0].at < next {
		n := &c.asks[0]
		c.asks = c.asks[1:]
		c.rep.by(n.of.endedMs)
		switch {
		case c.adopt:
			n.of.unknown = true
			c.rep.Of(Reads).undecidedOf(1, "parts of answers", "%s: of what was answered at position %d the events are lost", c.source, n.at)
		case n.at > c.last.Input && c.holed():
			n.of.unknown = true
			c.rep.Of(Reads).undecidedOf(1, "parts of answers", "%s: the position %d is perhaps one whose record nobody has read", c.source, n.at)
		case n.at < c.last.Input || e != nil && e.sources == nil && n.at > e.offset:
			c.rep.Of(Reads).fail("%s: %s says position %d in %s as %s, where no transaction ended", n.of.where, n.node, n.at, c.source, n.role)
			n.of.unknown = true
		default:
			c.judgeCommitted(n)
			c.answer(n)
		}
		if n.of.left--; n.of.left == 0 && !n.of.unknown {
			c.reads.explain(n.of)
		}
	}
	return nil
}

// answer holds one answer to the state at its position.
func (c *column) answer(n *ask) {
	a := n.of
	switch a.what {
	case "get":
		if want := c.counts.get(a.group); !slices.Equal(n.values, want) {
			c.rep.Of(Reads).differ(versusOf(a.group, want, n.values),
				"%s: %s says as %s that %s is %s at position %d of %s, where it is %s", a.where, n.node, n.role,
				show(a.group), showValues(n.values), n.at, c.source, showValues(want))
		}
	case "scan":
		a.digest -= c.counts.digest
		a.groups -= c.counts.len()
		c.rep.Of(Stores).saw(1, "stores of "+n.role+"s, by a scan")
	case "top":
		a.groups += c.counts.len()
		c.top(n)
	}
}

// explain judges an answer of many groups once all of its partitions are known.
func (r *reads) explain(a *answered) {
	switch {
	case a.what == "scan" && (a.digest != 0 || a.groups != 0):
		r.app.rep.Of(Stores).fail("%s: its groups are not those of the changelog at its positions (%+d groups)", a.where, a.groups)
	case a.what == "top":
		r.explainTop(a)
	}
}

// explainTop: what is listed is counted in one partition, and it is as much as was asked for.
func (r *reads) explainTop(a *answered) {
	c := r.app.rep.Of(Reads)
	for _, group := range slices.Sorted(maps.Keys(a.listed)) {
		if n := a.listed[group]; n.found != 1 {
			c.differ(versus{show(group), "in one partition", fmt.Sprintf("in %d", n.found)},
				"%s: it lists %s with %s, which %d partitions have", a.where, show(group), showValues(n.values), n.found)
		}
	}
	most := a.most
	if most == 0 { // at least something
		most = max(len(a.listed), 1)
	}
	if want := min(most, a.groups); len(a.listed) != want {
		c.differ(versus{"", fmt.Sprintf("%d groups", want), fmt.Sprint(len(a.listed))},
			"%s: it lists %d groups, of %d, and %d were asked for", a.where, len(a.listed), a.groups, most)
	}
}

// walksMax bounds how many groups of a partition its tops are compared with, over all of them:
// where that is not enough for each top, those that are compared are spread over the run.
const walksMax = 20_000_000

// ranked reports whether the next top is compared with all groups.
func (c *column) ranked() bool {
	c.tops--
	return c.tops%(1+c.topsAll*c.counts.len()/walksMax) == 0
}

// top: what is listed is what the groups have, and nothing larger is missing.
func (c *column) top(n *ask) {
	a := n.of
	smallest, full := int64(1<<63-1), len(a.listed) > 0
	for _, group := range slices.Sorted(maps.Keys(a.listed)) {
		listed := a.listed[group]
		if len(listed.values) > 0 {
			smallest = min(smallest, listed.values[0].coef)
		}
		want := c.counts.get(group)
		if want == nil {
			continue
		}
		if listed.found++; !slices.Equal(want, listed.values) {
			c.rep.Of(Reads).differ(versusOf(group, want, listed.values),
				"%s: %s says that %s is %s at position %d of %s, where it is %s", a.where, n.node, show(group),
				showValues(listed.values), n.at, c.source, showValues(want))
		}
	}
	if !c.ranked() || !full || c.spec.sums[0] != "" {
		return
	}
	c.rep.Of(Reads).saw(1, "tops of a partition against all of its groups")
	for group := range c.counts.places {
		if values := c.counts.get(group); a.listed[group] == nil && values[0].coef > smallest {
			c.rep.Of(Reads).differ(versus{show(group), "listed", "not listed"},
				"%s: %s is %s in %s, and is not listed above %d", a.where, show(group), showValues(values), c.source, smallest)
			return
		}
	}
}
