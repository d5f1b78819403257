package assign

import (
	"cmp"
	"slices"

	"github.com/tally-kafka/tally/replication/ownership"
)

// grantFree finds owners for the lanes that nobody runs.
func (b *board) grantFree() {
	for _, l := range b.lanes {
		if l.app.Halted != "" || b.owner(l) != nil {
			continue
		}
		if l.to.Owner != "" {
			b.bereaved = true
			b.inherit(l)
			continue
		}
		if l.to.Unfenced && !b.fenced(l) {
			continue
		}
		if m := b.best(l, b.able()); m != nil {
			b.grant(l, m)
		}
		l.to.Unfenced = false
	}
}

// inherit gives a lane whose owner is gone to a standby that follows it, or to the owner's own next
// process, which has its copy. Where nobody has one, the lane is left to nobody: the leader fences
// it, so that no reader of the output waits for the dead owner's transaction while a new owner
// loads.
func (b *board) inherit(l *lane) {
	if m := b.best(l, b.followers(l)); m != nil {
		b.grant(l, m)
		return
	}
	if b.waitsForReports(l) {
		l.to = l.old // which cannot be changed without an owner
		return
	}
	if m := b.member(l.to.Owner); m != nil && m.live && m.fit {
		b.grant(l, m)
		return
	}
	if target := b.member(l.to.Target); target != nil {
		b.own(l, target, -1)
	}
	l.to = ownership.Lane{Epoch: l.to.Epoch, Standbys: l.to.Standbys, Wanted: l.to.Wanted, Unfenced: true}
}

// waitsForReports: a standby may follow the lane and has not said so to this leader. It does, or is
// found dead, within its time.
func (b *board) waitsForReports(l *lane) bool {
	may := func(id string) bool { m := b.member(id); return m != nil && m.alive && !m.live }
	return may(l.to.Owner) || slices.ContainsFunc(l.to.Standbys, may)
}

// followers are the standbys that follow a lane; those that are drained, if there are no others.
func (b *board) followers(l *lane) (fit []*member) {
	var unfit []*member
	for _, id := range l.to.Standbys {
		switch m := b.member(id); {
		case !b.follows(m, l):
		case m.fit:
			fit = append(fit, m)
		default:
			unfit = append(unfit, m)
		}
	}
	if len(fit) == 0 {
		return unfit
	}
	return fit
}

// able are the members that something can be granted to.
func (b *board) able() (able []*member) {
	for _, m := range b.members {
		if m.fit && m.live {
			able = append(able, m)
		}
	}
	return able
}

// best is the member that a free lane should go to: one that follows it, surely and without being
// far above its share; else one that has something of it, else the one with the most room. One that
// has come to its end with the lane is the last.
func (b *board) best(l *lane, among []*member) *member {
	if len(among) == 0 {
		return nil
	}
	return slices.MinFunc(among, func(x, y *member) int {
		return cmp.Or(
			-compareBool(b.follows(x, l), b.follows(y, l)),
			-compareBool(b.sure(x, l), b.sure(y, l)),
			compareBool(b.stopped(x, l), b.stopped(y, l)),
			compareBool(b.far(x, l), b.far(y, l)),
			cmp.Compare(b.behind(x, l), b.behind(y, l)),
			-compareBool(l.to.Target == x.ID, l.to.Target == y.ID),
			-compareBool(slices.Contains(l.to.Standbys, x.ID), slices.Contains(l.to.Standbys, y.ID)),
			cmp.Compare(x.owned*y.Capacity, y.owned*x.Capacity),
			cmp.Compare(b.spread[spot{l.ref.App, x}], b.spread[spot{l.ref.App, y}]),
		)
	})
}

// far reports whether one more lane would be too much for a member: of a lane that it follows, far
// above its share; of another, above it.
func (b *board) far(m *member, l *lane) bool {
	if b.follows(m, l) {
		return (m.owned+1)*100 > m.quota*(100+b.s.OverPercent)+99
	}
	return m.owned >= m.quota
}

// behind is the lag of a copy that follows. What is caught up is all the same.
func (b *board) behind(m *member, l *lane) int64 {
	if !b.follows(m, l) || b.near(m, l) {
		return 0
	}
	return m.health.Copies[l.ref].Lag
}

// unheard is who may answer as the lane's owner for a while yet: who hands the lane over, and says
// that it runs it still; or an owner that lives, and is only cut off from Kafka. While the first
// does, the second does not run the lane yet, and cannot speak for it. The next owner waits for its
// word, or for so long that it is the leader's no more; "" for nobody.
func (b *board) unheard(l *lane, next *member) string {
	m := b.member(l.old.From)
	if m != nil && m != next && m.live && m.health.Copies[l.ref].Running {
		return m.ID
	}
	if o := b.member(l.old.Owner); o != nil && o != next && o.live && l.old.Owns(o.Member) {
		return o.ID
	}
	return ""
}

// grant gives a free lane to a member. An owner that is only cut off from Kafka, or has started
// anew, still has its copy.
func (b *board) grant(l *lane, m *member) {
	last := b.member(l.to.Owner)
	for _, id := range l.to.Standbys {
		b.stand(l, b.member(id), -1)
	}
	if target := b.member(l.to.Target); target != nil {
		b.own(l, target, -1)
	}
	l.to.Standbys = slices.DeleteFunc(l.to.Standbys, func(id string) bool { return id == m.ID })
	if last != nil && last != m && last.alive && !last.Draining && !last.ill && !slices.Contains(l.to.Standbys, last.ID) {
		l.to.Standbys = append(l.to.Standbys, last.ID)
	}
	l.to.Owner, l.to.Incarnation, l.to.From, l.to.Unfenced = m.ID, m.Incarnation, b.unheard(l, m), false
	if l.to.Target == m.ID {
		l.to.Target = ""
	}
	if l.to.Target == "" && l.to.Wanted != m.ID {
		l.to.Wanted = ""
	}
	b.own(l, b.heir(l), 1)
	for _, id := range l.to.Standbys {
		b.stand(l, b.member(id), 1)
	}
}
