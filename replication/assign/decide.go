package assign

import (
	"slices"

	"github.com/tally-kafka/tally/replication/ownership"
)

// Decide makes a decision. It changes nothing of what it is given.
func Decide(in Input) Decision {
	b := newBoard(in)
	d := Decision{Fence: b.unfenced()}
	if in.Paused {
		d.Problems, d.Ownerless = b.problems(), b.ownerless()
		return d
	}
	b.tidy()
	b.count()
	b.shares()
	b.grantFree()
	b.shares() // again: who has inherited one of the lanes that cannot be shared evenly keeps it
	b.giveUp()
	b.handOver()
	b.goElsewhere()
	b.emptyDrained()
	if !b.bereaved { // who has just inherited is let alone until it runs
		b.balance()
	}
	b.fillStandbys()
	b.trimStandbys()
	b.improveStandbys()
	d.Plan = b.plan()
	d.Problems, d.Ownerless = b.problems(), b.ownerless()
	return d
}

// unfenced are the lanes that wait for the leader's fence.
func (b *board) unfenced() (refs []ownership.LaneRef) {
	for _, l := range b.lanes {
		if l.old.Unfenced && !b.fenced(l) {
			refs = append(refs, l.ref)
		}
	}
	return refs
}

func (b *board) fenced(l *lane) bool {
	epoch, ok := b.in.Fenced[l.ref]
	return ok && epoch == l.old.Epoch
}

// tidy takes out of the lanes what has ended: copies of the dead, moves that have come to an end or
// that cannot any more.
func (b *board) tidy() {
	for _, l := range b.lanes {
		l.to.Standbys = slices.DeleteFunc(slices.Clone(l.to.Standbys), func(id string) bool { return !b.member(id).alive })
		if l.app.Halted != "" {
			l.to.Unfenced = l.to.Unfenced && !b.fenced(l)
			continue
		}
		if m := b.member(l.to.Target); m == nil || !m.fit {
			l.to.Target = ""
		}
		if m := b.member(l.to.From); m == nil || !m.alive || b.owner(l) == nil || b.runs(l) || b.stuck(l) {
			l.to.From = ""
		}
		if m := b.member(l.to.Wanted); m == nil || !m.fit || (l.to.Target == "" && l.to.Owner != m.ID) {
			l.to.Wanted = ""
		}
	}
}

// plan is the difference between the lanes as they are and as they shall be.
func (b *board) plan() *ownership.Plan {
	p := &ownership.Plan{Base: b.in.State.Version}
	for _, m := range b.members {
		if m.Alive && !m.alive {
			p.Dead = append(p.Dead, ownership.Death{ID: m.ID, Incarnation: m.Incarnation})
		}
	}
	for _, l := range b.lanes {
		if !l.to.Equal(l.old) {
			p.Lanes = append(p.Lanes, ownership.LaneChange{LaneRef: l.ref, To: l.to})
		}
	}
	if len(p.Dead) == 0 && len(p.Lanes) == 0 {
		return nil
	}
	return p
}
