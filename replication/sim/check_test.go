package sim

import (
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/tally-kafka/tally/replication/ownership"
)

// checkBase: a plan is taken only in the state that it was made for. Whoever made it has not seen
// what has come since: a lane asked to be moved, or another leader's plan.
func (s *sim) checkBase(entry []byte, before, after *ownership.State) {
	c, _, err := ownership.Decode(entry)
	if err == nil && c.Plan != nil && after != before && c.Plan.Base != before.Version {
		s.wrong("a plan for version %d is taken at version %d", c.Plan.Base, before.Version)
	}
}

// checkEntry checks what an entry of the log has done to the lanes.
func (s *sim) checkEntry(before, after *ownership.State) {
	for ref, l := range after.Lanes() {
		old, _ := before.Lane(ref)
		s.taken[ref] = l.From != "" && (s.taken[ref] && l.From == old.From || s.cutOffNow(l.From))
		if l.Epoch < old.Epoch {
			s.wrong("%v: its epoch falls from %d to %d", ref, old.Epoch, l.Epoch)
		}
		if l.Owner == old.Owner && l.Incarnation == old.Incarnation || l.Owner == "" {
			continue
		}
		s.moves++
		if after.OwnerOf(l) == nil {
			s.wrong("%v is granted to %s, who is not alive", ref, l.Incarnation)
		}
		s.checkGrant(ref, old, l, after.OwnerOf(old) == nil || s.cutOffNow(old.Owner))
	}
	s.checkLimits(before, after)
}

// cutOffNow reports whether a leader has a node for cut off from Kafka, or has had a moment ago.
func (s *sim) cutOffNow(id string) bool {
	at, known := s.cutOff[id]
	return known && s.now-at < 1000
}

// checkGrant: who gets a lane from another follows it, or it was fenced while nobody had it. Who
// gave it to an owner that is gone or cut off, and has not heard of that, is waited for still, and
// that is no handover of its.
func (s *sim) checkGrant(ref ownership.LaneRef, old, l ownership.Lane, gone bool) {
	n := s.nodes[slices.IndexFunc(s.nodes, func(n *node) bool { return n.id == l.Owner })]
	c := n.copies[ref]
	// After a death the last that a standby said will do, although it may have given up that copy
	// since: that costs time alone. A lane that runs elsewhere is worth more care.
	follows := c != nil && c.ready || !n.up || n.incarnation != l.Incarnation // its process has ended since
	from := l.From
	if gone && from == old.From && from != old.Owner {
		from = ""
	}
	switch {
	case from != "" && from != old.Owner:
		s.wrong("%v is handed over by %s, and %s owned it", ref, from, old.Owner)
	case from != "" && !follows:
		s.wrong("%v is handed over to %s, who does not follow it", ref, l.Owner)
	case old.Owner != "" && old.Owner != l.Owner && !follows && !n.said[ref]:
		s.wrong("%v goes from %s to %s, who does not follow it, without a fence", ref, old.Owner, l.Owner)
	case old.Unfenced && !s.fences[fence{ref, old.Epoch}]:
		s.wrong("%v is granted before its fence has ended", ref)
	}
}

func (s *sim) checkLimits(before, after *ownership.State) {
	all, begun, perNode := 0, false, map[string]int{}
	for ref, l := range after.Lanes() {
		if l.From == "" || s.taken[ref] || after.OwnerOf(l) == nil { // whoever waits for the word is gone
			continue
		}
		old, _ := before.Lane(ref)
		begun = begun || old.From == ""
		all++
		perNode[l.From]++
		perNode[l.Owner]++
	}
	for _, n := range s.nodes {
		if begun && (all > 8 || perNode[n.id] > 2) {
			s.wrong("%d lanes are handed over at a time, of them %d of %s", all, perNode[n.id], n.id)
			return
		}
	}
}

// checkRest checks the cluster after a long time without faults.
func (s *sim) checkRest() {
	entries := len(s.log)
	s.until(s.now + 4000)
	if len(s.log) != entries {
		s.wrong("the log goes on without a cause: %d entries in 4 s", len(s.log)-entries)
	}
	owned, lanes := map[string]int{}, 0
	state := s.truth()
	for ref, l := range state.Lanes() {
		lanes++
		owned[l.Owner]++
		asked := min(state.Apps[ref.App].Standbys, len(s.nodes)-1)
		switch {
		case state.OwnerOf(l) == nil || l.From != "" || l.Target != "" || len(l.Standbys) != asked:
			s.wrong("%v is not at rest: %+v", ref, l)
		case s.ill[ref]:
		case s.now-s.kafka.lane(ref).lastAt > 2000:
			s.wrong("%v is owned by %s, and commits nothing", ref, l.Incarnation)
		case s.kafka.lane(ref).last().by != l.Incarnation:
			s.wrong("%v is owned by %s, and %s commits", ref, l.Incarnation, s.kafka.lane(ref).last().by)
		}
	}
	s.checkShares(owned, lanes)
}

// checkShares: each node has its share. A lane that nobody gets to run stays where it is: who has
// too many has only such ones, and who runs none of its own may have too few.
func (s *sim) checkShares(owned map[string]int, lanes int) {
	runs := map[string]bool{}
	for ref, l := range s.truth().Lanes() {
		runs[l.Owner] = runs[l.Owner] || !s.ill[ref]
	}
	above, below := "", ""
	for _, n := range s.nodes {
		off := owned[n.id]*len(s.nodes) - lanes
		if off >= len(s.nodes) && runs[n.id] {
			above = n.id
		}
		if off <= -len(s.nodes) && (runs[n.id] || owned[n.id] == 0) {
			below = n.id
		}
		if len(s.ill) == 0 && (off >= len(s.nodes) || off <= -len(s.nodes)) {
			s.wrong("%s owns %d of %d lanes", n.id, owned[n.id], lanes)
		}
	}
	if above != "" && below != "" {
		s.wrong("%s owns %d of %d lanes, and gives %s none, which owns %d", above, owned[above], lanes, below, owned[below])
	}
}

// chain is a lane as its clients see it: a position that a commit moves from its start to its end,
// and that a reader gets. A commit without an answer may have happened or not.
var chain = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{0} },
	Step: func(state, input, output any) []any {
		position, o := state.(int), input.(*op)
		switch {
		case o.read && position == o.end, !o.read && o.outcome == refused:
			return []any{position}
		case o.read, o.outcome == committed && position != o.start:
			return nil
		case o.outcome == committed:
			return []any{o.end}
		case position == o.start:
			return []any{position, o.end}
		}
		return []any{position}
	},
}).ToModel()

// checkLinear: what the clients of each lane saw is what they could see of one that does one thing
// at a time.
func (s *sim) checkLinear() {
	for ref, p := range s.kafka {
		var history []porcupine.Operation
		for _, o := range p.ops {
			history = append(history, porcupine.Operation{ClientId: o.client, Input: o, Call: 2 * o.call, Return: min(2*o.back+1, math.MaxInt64)})
		}
		if r := porcupine.CheckOperationsTimeout(chain, history, 10*time.Second); r != porcupine.Ok {
			s.wrong("%v: what its clients saw is not linearizable (%s)", ref, r)
			return
		}
	}
}
