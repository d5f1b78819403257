package assign

import (
	"cmp"
	"slices"
)

// extraMax bounds the copies of a lane above those that are asked for: of a move, and of a standby
// that is replaced.
const extraMax = 2

// fillStandbys finds standbys for the lanes that lack some.
func (b *board) fillStandbys() {
	for _, l := range b.lanes {
		if l.app.Halted != "" || b.owner(l) == nil {
			continue
		}
		for lack := b.asked(l) - b.fitStandbys(l); lack > 0; lack-- {
			m := b.bestStandby(l)
			if m == nil {
				break
			}
			b.copyTo(l, m)
		}
	}
}

func (b *board) fitStandbys(l *lane) (n int) {
	for _, id := range l.to.Standbys {
		if b.member(id).fit {
			n++
		}
	}
	return n
}

// bestStandby is who should copy a lane next: in a zone that has none of it, standing by least
// often for the same owner, and then with the fewest copies. Nil when nobody can.
func (b *board) bestStandby(l *lane) (best *member) {
	o := b.owner(l)
	for _, m := range b.members {
		if !m.fit || !m.live || l.to.Copies(m.ID) {
			continue
		}
		if best == nil || cmp.Or(
			cmp.Compare(b.crowding(l, m, l.to.Standbys), b.crowding(l, best, l.to.Standbys)),
			cmp.Compare(b.pairs[pair{o, m}]*best.Capacity, b.pairs[pair{o, best}]*m.Capacity),
			cmp.Compare(m.standbys*best.Capacity, best.standbys*m.Capacity),
			cmp.Compare(m.owned*best.Capacity, best.owned*m.Capacity),
		) < 0 {
			best = m
		}
	}
	return best
}

// crowding says how badly the zone of a member suits a lane: 2 is the owner's own, 1 that of one of
// these standbys.
func (b *board) crowding(l *lane, m *member, standbys []string) int {
	if m.Zone == "" {
		return 0
	}
	if o := b.owner(l); o != nil && o.Zone == m.Zone {
		return 2
	}
	for _, id := range standbys {
		if id != m.ID && b.member(id).Zone == m.Zone {
			return 1
		}
	}
	return 0
}

// crowd is how badly the zones of all standbys suit a lane, without the one at an index (-1: none)
// and with a further member (nil: none).
func (b *board) crowd(l *lane, without int, with *member) (sum int) {
	var seen []string
	for i, id := range l.to.Standbys {
		if i != without {
			sum += b.crowding(l, b.member(id), seen)
			seen = append(seen, id)
		}
	}
	if with != nil {
		sum += b.crowding(l, with, seen)
	}
	return sum
}

// trimStandbys gives up the copies above those that are asked for, the worst first, once the others
// follow the lane.
func (b *board) trimStandbys() {
	for _, l := range b.lanes {
		if l.app.Halted != "" || l.to.Target != "" || l.to.From != "" || b.owner(l) == nil {
			continue
		}
		asked := b.asked(l)
		for len(l.to.Standbys) > asked && b.trimmable(l, asked) {
			b.trim(l)
		}
	}
}

// trimmable: no copy that is asked for is still being made, unless there are too many by far.
func (b *board) trimmable(l *lane, asked int) bool {
	if len(l.to.Standbys) > asked+extraMax {
		return true
	}
	following, cut := 0, false
	for _, id := range l.to.Standbys {
		m := b.member(id)
		switch {
		case m.fit && !b.follows(m, l):
			return false
		case m.fit:
			following++
		case !m.reaches && !m.Draining: // it may come back to its copy
			cut = true
		}
	}
	return following >= asked && (asked > 0 || !cut)
}

func (b *board) trim(l *lane) {
	worst := b.worstStandby(l, nil)
	b.stand(l, b.member(l.to.Standbys[worst]), -1)
	l.to.Standbys = slices.Delete(l.to.Standbys, worst, worst+1)
}

// worstStandby is the index of the standby that should be given up first, when another member comes
// (nil: none does): one that cannot stand by, one that does not follow, one whose zone is that of
// another, the one with the most copies.
func (b *board) worstStandby(l *lane, comes *member) (worst int) {
	for i := range l.to.Standbys {
		x, y := b.member(l.to.Standbys[i]), b.member(l.to.Standbys[worst])
		if cmp.Or(
			-compareBool(x.fit, y.fit),
			-compareBool(b.follows(x, l), b.follows(y, l)),
			-cmp.Compare(b.crowd(l, i, comes), b.crowd(l, worst, comes)),
			cmp.Compare(x.standbys*y.Capacity, y.standbys*x.Capacity),
		) > 0 {
			worst = i
		}
	}
	return worst
}

// improveStandbys begins further copies of lanes at rest where those would be in a better zone, or
// on members with fewer. The worse copy goes when the new one follows.
func (b *board) improveStandbys() {
	if b.bereaved {
		return
	}
	least := b.leastStandbys()
	for _, l := range b.lanes {
		if b.moving >= b.s.MovesMax || least == nil {
			return
		}
		if !b.resting(l) || len(l.to.Standbys) == 0 || len(l.to.Standbys) != b.asked(l) || !b.allFollow(l) {
			continue
		}
		if b.crowd(l, -1, nil) == 0 && !relieves(b.member(l.to.Standbys[b.worstStandby(l, nil)]), least) {
			continue
		}
		if m := b.betterStandby(l); m != nil {
			b.copyTo(l, m)
			b.move(m)
			least = b.leastStandbys()
		}
	}
}

// betterStandby is a member whose copy would be better than the worst that the lane has, nil for
// none.
func (b *board) betterStandby(l *lane) (best *member) {
	now, least := b.crowd(l, -1, nil), 0
	for _, m := range b.members {
		if !m.fit || !m.live || l.to.Copies(m.ID) || !b.roomToMove(m) {
			continue
		}
		worst := b.worstStandby(l, m)
		then := b.crowd(l, worst, m)
		if then > now || (then == now && !relieves(b.member(l.to.Standbys[worst]), m)) {
			continue
		}
		if best == nil || then < least || (then == least && m.standbys*best.Capacity < best.standbys*m.Capacity) {
			best, least = m, then
		}
	}
	return best
}

func (b *board) allFollow(l *lane) bool {
	return !slices.ContainsFunc(l.to.Standbys, func(id string) bool { return !b.follows(b.member(id), l) })
}

// leastStandbys is the member with the fewest copies by capacity, nil when there is none to ask.
func (b *board) leastStandbys() (least *member) {
	for _, m := range b.members {
		if m.fit && m.live && (least == nil || m.standbys*least.Capacity < least.standbys*m.Capacity) {
			least = m
		}
	}
	return least
}

// relieves reports whether x has at least as many copies as y, by capacity, after x has given one
// to y: so a copy never goes back.
func relieves(x, y *member) bool {
	return (x.standbys-1)*y.Capacity >= (y.standbys+1)*x.Capacity
}
