package assign

import (
	"cmp"
	"maps"
	"slices"

	"github.com/tally-kafka/tally/replication/ownership"
)

// board is a decision in the making: the members, the lanes as they shall be, and the counts that
// both imply.
type board struct {
	in      Input
	s       Settings
	members []*member // by id
	byID    map[string]*member
	lanes   []*lane // of all apps, by app and number
	moving  int     // lanes on the move
	// bereaved: a lane has lost its owner in this decision.
	bereaved bool
	pairs    map[pair]int
	spread   map[spot]int
}

type member struct {
	*ownership.Member
	health   Health
	alive    bool // after the deaths of this decision
	live     bool // and has reported under its present incarnation
	reaches  bool // Kafka, as far as is known
	ill      bool // it says that its disk fails, or the log does not reach it
	fit      bool // to own lanes and to stand by
	quota    int  // lanes that it shall own
	owned    int  // lanes that it owns or that move to it
	standbys int
	moving   int             // lanes that it gives or takes now
	running  int             // lanes that it owns and runs
	stuck    int             // lanes that it owns and does not get to run
	barren   bool            // it runs none, and has tried with several: the balance gives it no more to try with
	fails    map[string]bool // apps of which a copy here comes no further: the balance gives it none of theirs
}

type lane struct {
	ref     ownership.LaneRef
	app     *ownership.App
	old, to ownership.Lane
}

// pair is an owner and one that stands by for it: a dead node's lanes should go to many.
type pair struct{ owner, standby *member }

// spot is a node and an app: the lanes of an app should be on many nodes.
type spot struct {
	app string
	on  *member
}

func newBoard(in Input) *board {
	b := &board{in: in, s: in.Settings.withDefaults(), byID: map[string]*member{}, pairs: map[pair]int{}, spread: map[spot]int{}}
	for _, id := range slices.Sorted(maps.Keys(in.State.Members)) {
		m := &member{Member: in.State.Members[id], health: in.Health[id]}
		m.alive = m.Alive && !slices.Contains(in.Dead, ownership.Death{ID: id, Incarnation: m.Incarnation})
		m.live = m.alive && m.health.Live && m.health.Incarnation == m.Incarnation
		m.ill = m.live && (m.health.Disk != "" || m.health.Behind > b.s.BehindMax)
		b.members = append(b.members, m)
		b.byID[id] = m
	}
	b.judgeReach()
	b.judgeFit()
	for ref, l := range in.State.Lanes() {
		b.lanes = append(b.lanes, &lane{ref: ref, app: in.State.Apps[ref.App], old: l, to: l})
	}
	return b
}

// judgeReach finds who is cut off from Kafka: who has not reached it for long, while most have just
// now. Where Kafka itself is gone, to move lanes would help nobody; its last answers to the nodes
// are then up to a look at it apart, so that the first who is late tells nothing yet.
func (b *board) judgeReach() {
	var live, sure int
	for _, m := range b.members {
		if m.live {
			live++
			if m.health.KafkaAge <= b.s.KafkaAgeMax/2 {
				sure++
			}
		}
	}
	for _, m := range b.members {
		m.reaches = !m.live || m.health.KafkaAge <= b.s.KafkaAgeMax || 2*sure < live || sure == 0
	}
}

// judgeFit finds who shall own lanes. When all that are left are to be drained, these do; when the
// disks of all fail, nothing would be better for a move.
func (b *board) judgeFit() {
	for _, fit := range []func(m *member) bool{
		func(m *member) bool { return !m.Draining && !m.ill },
		func(m *member) bool { return !m.ill },
		func(*member) bool { return true },
	} {
		some := false
		for _, m := range b.members {
			m.fit = m.alive && m.reaches && fit(m)
			some = some || m.fit
		}
		if some {
			return
		}
	}
}

func (b *board) member(id string) *member { return b.byID[id] }

// owner is who may run the lane now, as far as its process lives and reaches Kafka.
func (b *board) owner(l *lane) *member {
	m := b.byID[l.to.Owner]
	if m == nil || !m.alive || !l.to.Owns(m.Member) || !m.reaches {
		return nil
	}
	return m
}

// heir is who the lane shall be with: the one that it moves to, or its owner.
func (b *board) heir(l *lane) *member {
	if l.to.Target != "" {
		return b.byID[l.to.Target]
	}
	return b.owner(l)
}

// follows reports whether a member has a copy of the lane that was once at the end.
func (b *board) follows(m *member, l *lane) bool {
	return m != nil && m.live && m.reaches && m.health.Copies[l.ref].Ready
}

// near is follows, and close to the end.
func (b *board) near(m *member, l *lane) bool {
	return b.follows(m, l) && m.health.Copies[l.ref].Lag <= b.s.ReadyLagMax
}

// stopped: a member's copy of the lane comes no further.
func (b *board) stopped(m *member, l *lane) bool { return m.live && m.health.Copies[l.ref].Stuck }

// sure: what a member says of its copy is of the present state. Else it may have been of an earlier
// copy, which it has given up since.
func (b *board) sure(m *member, l *lane) bool {
	return b.follows(m, l) && m.health.Version >= b.in.State.Version && slices.Contains(l.old.Standbys, m.ID)
}

// caughtUp is near and sure: a lane that runs elsewhere may be handed over.
func (b *board) caughtUp(m *member, l *lane) bool { return b.near(m, l) && b.sure(m, l) }

// runs reports whether the owner has begun to run the lane under the grant of the state.
func (b *board) runs(l *lane) bool { return b.ownerSays(l).Running }

// stuck reports whether the owner does not get to run the lane under that grant, and the last owner
// is done with it. It runs when a person has mended what is wrong, or at nobody: it is not waited
// for.
func (b *board) stuck(l *lane) bool { return b.ownerSays(l).Stuck }

// ownerSays is what the owner says of the lane, if that is of the grant of the state; else nothing.
func (b *board) ownerSays(l *lane) Copy {
	m := b.owner(l)
	if m == nil || !m.live || m.health.Copies[l.ref].Epoch < l.old.Epoch {
		return Copy{}
	}
	return m.health.Copies[l.ref]
}

// runningFirst are those of some lanes that run, and then the others: what is to leave a node that
// may end soon, or a few at a time, is first what somebody would miss.
func (b *board) runningFirst(some func(*lane) bool) []*lane {
	var run, rest []*lane
	for _, l := range b.lanes {
		switch {
		case !some(l):
		case b.runs(l):
			run = append(run, l)
		default:
			rest = append(rest, l)
		}
	}
	return append(run, rest...)
}

// resting lanes run, and nothing is being done to them.
func (b *board) resting(l *lane) bool {
	return l.app.Halted == "" && l.to.Target == "" && l.to.From == "" && b.runs(l)
}

// count makes the counts from the lanes as they are.
func (b *board) count() {
	for _, l := range b.lanes {
		if l.app.Halted != "" {
			continue
		}
		if m := b.heir(l); m != nil {
			b.own(l, m, 1)
		}
		for _, id := range l.to.Standbys {
			b.stand(l, b.byID[id], 1)
			b.countFailing(l, b.byID[id])
		}
		b.countMove(l)
		switch said := b.ownerSays(l); {
		case said.Running:
			b.owner(l).running++
		case said.Stuck:
			b.owner(l).stuck++
		}
	}
	for _, m := range b.members {
		m.barren = m.running == 0 && m.stuck >= b.s.MovesPerNode
	}
}

func (b *board) own(l *lane, m *member, n int) {
	m.owned += n
	b.spread[spot{l.ref.App, m}] += n
}

func (b *board) stand(l *lane, m *member, n int) {
	m.standbys += n
	if o := b.owner(l); o != nil {
		b.pairs[pair{o, m}] += n
	}
}

func (b *board) countFailing(l *lane, m *member) {
	if !b.stopped(m, l) {
		return
	}
	if m.fails == nil {
		m.fails = map[string]bool{}
	}
	m.fails[l.ref.App] = true
}

// countMove counts a lane that is being handed over, or copied to be. A copy that comes no further
// holds no other lane up.
func (b *board) countMove(l *lane) {
	o := b.owner(l)
	switch target := b.byID[l.to.Target]; {
	case o == nil:
	case l.to.From != "":
		b.move(o, b.byID[l.to.From])
	case target != nil && slices.Contains(l.to.Standbys, target.ID) && !b.caughtUp(target, l):
		if !b.stopped(target, l) {
			b.move(o, target)
		}
	case target == nil && len(l.to.Standbys) > b.asked(l):
		for _, id := range l.to.Standbys {
			if m := b.byID[id]; m.fit && !b.follows(m, l) && !b.stopped(m, l) {
				b.move(m)
			}
		}
	}
}

// move counts one move with these members in it.
func (b *board) move(members ...*member) {
	b.moving++
	for _, m := range members {
		m.moving++
	}
}

// roomToMove reports whether one more move between these members is within the limits.
func (b *board) roomToMove(members ...*member) bool {
	return b.moving < b.s.MovesMax &&
		!slices.ContainsFunc(members, func(m *member) bool { return m.moving >= b.s.MovesPerNode })
}

// asked is how many standbys a lane can and shall have.
func (b *board) asked(l *lane) int {
	others := 0
	for _, m := range b.members {
		if m.fit && m.ID != l.to.Owner {
			others++
			if others == l.app.Standbys {
				break
			}
		}
	}
	return min(others, l.app.Standbys)
}

// shares gives each member that is fit its quota by capacity. Of those that could have one more, it
// goes to the ones that have it, and first to those of whose lanes a person wants more there: lanes
// stay where they are.
func (b *board) shares() {
	lanes, capacity := 0, 0
	wanted := map[*member]int{}
	for _, l := range b.lanes {
		if l.app.Halted == "" {
			lanes++
			wanted[b.byID[l.to.Wanted]]++ // of nil, too
		}
	}
	var fit []*member
	for _, m := range b.members {
		if m.fit {
			fit = append(fit, m)
			capacity += m.Capacity
		}
	}
	left := lanes
	for _, m := range fit {
		m.quota = lanes * m.Capacity / capacity
		left -= m.quota
	}
	if len(fit) == 0 {
		return
	}
	// Who has its share exactly gets none of the rest: it would be a whole lane above it.
	fit = slices.DeleteFunc(fit, func(m *member) bool { return lanes*m.Capacity%capacity == 0 })
	slices.SortStableFunc(fit, func(x, y *member) int {
		return cmp.Or(
			-compareBool(x.owned > x.quota, y.owned > y.quota),
			-compareBool(wanted[x] > x.quota, wanted[y] > y.quota),
			-cmp.Compare(lanes*x.Capacity%capacity, lanes*y.Capacity%capacity),
		)
	})
	for _, m := range fit[:left] {
		m.quota++
	}
}

func compareBool(x, y bool) int {
	switch {
	case x == y:
		return 0
	case x:
		return 1
	}
	return -1
}
