package assign

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tally-kafka/tally/replication/ownership"
)

// Foreseen is what a command would come to, if all else stays as it is.
type Foreseen struct {
	Lines []string        `json:"lines"`           // for people
	Moves []ForeseenOwner `json:"moves,omitempty"` // lanes that would have another owner
	// Refused says why the command would be, "" if it would not. Then nothing else is set.
	Refused string `json:"refused,omitempty"`
}

// ForeseenOwner is a lane's owner now and then, by node id; "" for nobody.
type ForeseenOwner struct {
	ownership.LaneRef
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// DryRunDrain says what a drain of a member would come to.
func DryRunDrain(in Input, id string) Foreseen {
	return dryRun(in, ownership.Command{Drain: &ownership.Drain{ID: id, Draining: true}})
}

// DryRunMove says what a move of a lane would come to: to the node that a lane is moving away from,
// that its move is taken back.
func DryRunMove(in Input, ref ownership.LaneRef, target string) Foreseen {
	if l, ok := in.State.Lane(ref); ok && l.Target != "" && l.Owner == target {
		return dryRunBack(in, ref, l)
	}
	f := dryRun(in, ownership.Command{MoveLane: &ownership.MoveLane{LaneRef: ref, Target: target}})
	if f.Refused == "" {
		if lacks := newBoard(in).lacks(target); lacks != "" {
			return Foreseen{Refused: fmt.Sprintf("%s cannot move to node %s: %s", ref, in.State.NameOf(target), lacks)}
		}
	}
	return f
}

// Keep is the plan by which a lane stays with its owner, as one does that a person has moved there:
// a move that is under way is given up, and the balance takes other lanes first. It is a plan, and
// no command of its own, since nodes of all releases obey a plan alike. The lane has to have an
// owner that is alive.
func Keep(s *ownership.State, ref ownership.LaneRef) ownership.Command {
	l, _ := s.Lane(ref)
	l.Target, l.Wanted = "", l.Owner
	l.Standbys = slices.DeleteFunc(slices.Clone(l.Standbys), func(id string) bool { return !s.Members[id].Alive }) // a plan has none
	return ownership.Command{Plan: &ownership.Plan{Base: s.Version, Lanes: []ownership.LaneChange{{LaneRef: ref, To: l}}}}
}

// dryRunBack says what it would come to if a lane's move were taken back, which keeps the lane
// where it is. It is refused where the lane would not stay: the leader would begin anew.
func dryRunBack(in Input, ref ownership.LaneRef, l ownership.Lane) Foreseen {
	owner, target := in.State.NameOf(l.Owner), in.State.NameOf(l.Target)
	if lacks := newBoard(in).lacks(l.Owner); lacks != "" {
		return Foreseen{Refused: fmt.Sprintf("%s is on its way to node %s, and node %s cannot keep it: %s", ref, target, owner, lacks)}
	}
	f := dryRun(in, Keep(in.State, ref))
	for _, m := range f.Moves {
		if m.LaneRef == ref {
			return Foreseen{Refused: fmt.Sprintf("%s is on its way to node %s, and would not stay on node %s, which would have "+
				"more than its share, and no other lane to give but those that were moved there: move one of these away from it first",
				ref, target, owner)}
		}
	}
	if f.Refused == "" {
		back := fmt.Sprintf("%s: its move to %s is taken back", ref, target)
		f.Lines = append([]string{back}, slices.DeleteFunc(f.Lines, func(line string) bool { return line == unchanged })...)
	}
	return f
}

// lacks says why a member that the state would let have a lane would not be given it, or would give
// it back at once; "" when it can have it.
func (b *board) lacks(id string) string {
	switch m := b.byID[id]; {
	case !m.live:
		return "it has not reported to the leader yet"
	case !m.reaches:
		return fmt.Sprintf("it has not reached Kafka for %s", round(m.health.KafkaAge))
	case m.deaf():
		return b.deafness(m)
	case m.Draining:
		return "it is being drained"
	case !m.fit:
		return "its disk fails: " + m.health.Disk
	}
	return ""
}

const unchanged = "nothing would change"

func dryRun(in Input, c ownership.Command) (f Foreseen) {
	s, result := in.State.Take(c)
	if result.Refused != "" {
		return Foreseen{Refused: result.Refused}
	}
	after := settle(in, s)
	for ref, l := range after.Lanes() {
		old, _ := in.State.Lane(ref)
		if old.Owner != l.Owner {
			f.Moves = append(f.Moves, ForeseenOwner{LaneRef: ref, From: old.Owner, To: l.Owner})
		}
		if old.Owner != l.Owner || !slices.Equal(old.Standbys, l.Standbys) {
			f.Lines = append(f.Lines, difference(in, ref, old, l))
		}
	}
	if len(f.Lines) == 0 {
		f.Lines = []string{unchanged}
	}
	return f
}

// settle plays the plans out in which every copy catches up and every owner runs.
func settle(in Input, s *ownership.State) *ownership.State {
	rounds := 16
	for range s.Lanes() {
		rounds += 4 // a copy, a hand-over, its end, a copy less; of one lane at a time
	}
	in.Dead = nil
	health := in.Health
	for range rounds {
		in.State = s
		in.Health, in.Fenced = ideal(health, s)
		plan := Decide(in).Plan
		if plan == nil {
			break
		}
		next, result := s.Take(ownership.Command{Plan: plan})
		if result.Refused != "" {
			panic("assign: a plan of its own state is refused: " + result.Refused)
		}
		s = next
	}
	return s
}

// ideal is the health of members of which each has done all that the state says. A lane that does
// not get to run does not run then, whoever has it.
func ideal(now map[string]Health, s *ownership.State) (map[string]Health, map[ownership.LaneRef]uint64) {
	health, fenced := map[string]Health{}, map[ownership.LaneRef]uint64{}
	for id, h := range now {
		h.Copies, h.Version = map[ownership.LaneRef]Copy{}, s.Version
		health[id] = h
	}
	stuck := stuckLanes(now)
	for ref, l := range s.Lanes() {
		if l.Unfenced {
			fenced[ref] = l.Epoch
		}
		if h, ok := health[l.Owner]; ok {
			h.Copies[ref] = Copy{Running: !stuck[ref], Stuck: stuck[ref], Epoch: l.Epoch}
		}
		for _, id := range l.Standbys {
			if h, ok := health[id]; ok {
				h.Copies[ref] = Copy{Ready: true, Epoch: l.Epoch}
			}
		}
	}
	return health, fenced
}

// stuckLanes are those that somebody does not get to run, and nobody has run since.
func stuckLanes(now map[string]Health) map[ownership.LaneRef]bool {
	stuck, ran := map[ownership.LaneRef]bool{}, map[ownership.LaneRef]uint64{}
	for _, h := range now {
		for ref, c := range h.Copies {
			if c.Running {
				ran[ref] = max(ran[ref], c.Epoch)
			}
		}
	}
	for _, h := range now {
		for ref, c := range h.Copies {
			if c.Stuck && c.Epoch > ran[ref] {
				stuck[ref] = true
			}
		}
	}
	return stuck
}

func difference(in Input, ref ownership.LaneRef, old, l ownership.Lane) string {
	text := fmt.Sprintf("%s: ", ref)
	if old.Owner == l.Owner {
		text += fmt.Sprintf("stays on %s", in.State.NameOf(l.Owner))
	} else {
		text += fmt.Sprintf("%s -> %s, which %s", nameOr(in, old.Owner), nameOr(in, l.Owner), warmth(in, ref, l.Owner))
	}
	if !slices.Equal(old.Standbys, l.Standbys) {
		text += fmt.Sprintf("; standbys %s -> %s", names(in, old.Standbys), names(in, l.Standbys))
	}
	return text
}

func warmth(in Input, ref ownership.LaneRef, id string) string {
	switch {
	case in.Health[id].Copies[ref].Ready:
		return "follows it already"
	case id == "":
		return "can be nobody"
	}
	return "copies it first"
}

func nameOr(in Input, id string) string {
	if id == "" {
		return "nobody"
	}
	return in.State.NameOf(id)
}

func names(in Input, ids []string) string {
	if len(ids) == 0 {
		return "none"
	}
	var words []string
	for _, id := range ids {
		words = append(words, in.State.NameOf(id))
	}
	return strings.Join(words, ",")
}
