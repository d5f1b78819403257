package assign

import (
	"cmp"
	"slices"
)

// handOver goes on with the moves that were begun or asked for: who has caught up gets the lane,
// who has no copy begins one.
func (b *board) handOver() {
	for _, l := range b.runningFirst(func(l *lane) bool { return l.to.Target != "" }) {
		o, target := b.owner(l), b.member(l.to.Target)
		if l.app.Halted != "" || o == nil || target == nil || l.to.From != "" || !l.old.Owns(o.Member) {
			continue
		}
		copying := slices.Contains(l.to.Standbys, target.ID)
		switch {
		case copying && !b.caughtUp(target, l), !b.roomToMove(o, target):
		case copying:
			b.handOverTo(l, o, target)
		case target.live:
			b.copyTo(l, target)
			b.move(o, target)
		}
	}
}

// begin moves a lane to a member: at once, if that one has caught up with it.
func (b *board) begin(l *lane, o, target *member) {
	b.own(l, o, -1)
	b.own(l, target, 1)
	l.to.Target = target.ID
	if !slices.Contains(l.to.Standbys, target.ID) {
		b.copyTo(l, target)
	}
	if b.caughtUp(target, l) {
		b.handOverTo(l, o, target)
		return
	}
	b.move(o, target)
}

func (b *board) copyTo(l *lane, m *member) {
	l.to.Standbys = append(l.to.Standbys, m.ID)
	b.stand(l, m, 1)
}

// handOverTo grants the lane to its target. The old owner has the best copy of all, and takes the
// target's place.
func (b *board) handOverTo(l *lane, o, target *member) {
	for _, id := range l.to.Standbys {
		b.stand(l, b.member(id), -1)
	}
	at := slices.Index(l.to.Standbys, target.ID)
	if o.leaves() {
		l.to.Standbys = slices.Delete(l.to.Standbys, at, at+1)
	} else {
		l.to.Standbys[at] = o.ID
	}
	l.to.Owner, l.to.Incarnation, l.to.From, l.to.Target = target.ID, target.Incarnation, o.ID, ""
	if l.to.Wanted != target.ID {
		l.to.Wanted = ""
	}
	for _, id := range l.to.Standbys {
		b.stand(l, b.member(id), 1)
	}
	b.move(o, target)
}

// leaves reports whether a member shall have no lane, although it lives and reaches Kafka: it is
// drained, or its disk fails.
func (m *member) leaves() bool { return !m.fit && (m.Draining || m.ill) }

// goElsewhere gives up moves away from such a member where the one that shall get the lane comes no
// further with its copy, as one that cannot open the app, and another can make one: emptyDrained
// finds it. Where a person has asked for that move, too: the member is to be left.
func (b *board) goElsewhere() {
	for _, l := range b.lanes {
		o, target := b.owner(l), b.member(l.to.Target)
		if l.app.Halted != "" || o == nil || target == nil || !o.leaves() || l.to.From != "" || !b.stopped(target, l) {
			continue
		}
		if m := b.best(l, b.able()); m == nil || b.stopped(m, l) {
			continue
		}
		b.own(l, target, -1)
		b.own(l, o, 1)
		l.to.Target, l.to.Wanted = "", ""
	}
}

// emptyDrained begins to move lanes away from members that are to be drained, or whose disk fails:
// those that run, and then those that do not. What keeps these from running may be of that member
// alone; else they stop at the next one too, which holds nothing up.
func (b *board) emptyDrained() {
	leaves := func(l *lane) bool { o := b.owner(l); return o != nil && o.leaves() }
	for _, l := range b.runningFirst(leaves) {
		o := b.owner(l)
		if l.to.Target != "" || l.to.From != "" || !b.roomToMove(o) {
			continue
		}
		// Where the best has no room for a moment, that is waited for: another would have to copy
		// the lane first.
		if m := b.best(l, b.able()); m != nil && b.roomToMove(m) {
			b.begin(l, o, m)
		}
	}
}

// giveUp ends moves of the balance that would make shares less even by now, as after a person's
// move: else a lane that the person wants where it is would have to go for one that comes. So it
// ends those to a member that comes no further with its copy, which is to get others instead.
func (b *board) giveUp() {
	for _, l := range b.lanes {
		o, target := b.owner(l), b.member(l.to.Target)
		if l.app.Halted != "" || o == nil || target == nil || l.to.From != "" || l.to.Wanted == target.ID {
			continue
		}
		uneven, stopped := o.below() && target.above(), b.stopped(target, l) && !o.leaves()
		if !uneven && !stopped {
			continue
		}
		b.own(l, target, -1)
		b.own(l, o, 1)
		l.to.Target = ""
	}
}

// balance moves lanes from members above their share to members below it: first those that a member
// below follows already, then those that it has something of, then any. Lanes that a person has
// moved go last, and those that do not run stay where they are. A member that runs nothing of what
// it has got, as one whose rights at Kafka are wrong, gets no more.
func (b *board) balance() {
	if !slices.ContainsFunc(b.members, (*member).above) || !slices.ContainsFunc(b.members, (*member).below) {
		return
	}
	waiting := map[*member]bool{}
	for _, choice := range []func(m *member, l *lane) bool{
		func(m *member, l *lane) bool { return l.to.Wanted == "" && b.caughtUp(m, l) },
		func(m *member, l *lane) bool { return l.to.Wanted == "" && slices.Contains(l.to.Standbys, m.ID) },
		func(_ *member, l *lane) bool { return l.to.Wanted == "" },
		func(*member, *lane) bool { return true },
	} {
		for _, l := range b.lanes {
			if b.moving >= b.s.MovesMax {
				return
			}
			b.shed(l, waiting, choice)
		}
	}
}

func (m *member) above() bool { return m.fit && m.owned > m.quota }
func (m *member) below() bool { return m.fit && m.live && m.owned < m.quota && !m.barren }

// shed moves a lane to the best member of a choice. When none of them has room for a moment, the
// owner waits for that, rather than to move another lane to a worse one.
func (b *board) shed(l *lane, waiting map[*member]bool, choice func(*member, *lane) bool) {
	o := b.owner(l)
	if o == nil || !o.above() || waiting[o] || !b.resting(l) || !b.roomToMove(o) {
		return
	}
	var able []*member
	for _, m := range b.members {
		if m.below() && !m.fails[l.ref.App] && choice(m, l) {
			able = append(able, m)
		}
	}
	if len(able) == 0 {
		return
	}
	able = slices.DeleteFunc(able, func(m *member) bool { return !b.roomToMove(m) })
	if len(able) == 0 {
		waiting[o] = true
		return
	}
	b.begin(l, o, slices.MinFunc(able, func(x, y *member) int {
		return cmp.Or(
			cmp.Compare(b.spread[spot{l.ref.App, x}], b.spread[spot{l.ref.App, y}]),
			cmp.Compare(x.owned*y.Capacity, y.owned*x.Capacity),
		)
	}))
}
