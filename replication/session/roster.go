package session

import (
	"errors"
	"fmt"
	"time"

	"github.com/tally-kafka/tally/replication/ownership"
)

// roster is what the leader knows and judges of its members. It has no clock and no goroutine: each
// step is told the time.
type roster struct {
	ttl       time.Duration // of a cluster of several
	rest      int           // see patience
	pauseMax  time.Duration
	behindMax time.Duration // that a member may lack what the log has
	copiesMax int

	leading  bool
	term     uint64
	state    *ownership.State // the newest that was looked at
	versions []version        // when the newest ones were first seen, oldest first
	sessions map[string]*entry
	deaths   []death   // of members found dead within the last TTL, that the log has too
	paused   time.Time // since when nothing is assigned; zero: it is
}

// entry is one member's session. It is of one incarnation, the one in the log.
type entry struct {
	incarnation, addr string

	alive bool // in the log
	seen  time.Time
	conn  uint64 // that the last ping came over; 0: it has ended, or there was none
	lost  time.Time
	why   string // it is lost
	// waited: a pause has passed without a word of it, so it is no reason for another.
	waited bool
	// lacking is since when it lacks what the log has had for a while; zero: it has all.
	lacking time.Time
	// condemned: a proposal to declare it dead is under way, so it is not vouched for.
	condemned bool

	report Report // without its copies
	// heard: a whole report has come.
	heard  bool
	copies map[ownership.LaneRef]Copy
	next   map[ownership.LaneRef]Copy // a first report that has not ended; nil: none
	shown  map[ownership.LaneRef]Copy // copies as they were handed out; nil: they have changed since
}

// version is one of the log's state, and when this leadership saw it first; zero: it had it
// already.
type version struct {
	number uint64
	at     time.Time
}

// errConnection is for a line that no member sends: the connection is closed.
var errConnection = errors.New("session: ")

// lead begins a leadership: nothing is known of anybody, and all have a fresh TTL.
func (r *roster) lead(term uint64) {
	r.leading, r.term = true, term
	r.state, r.versions, r.sessions, r.deaths, r.paused = nil, nil, map[string]*entry{}, nil, time.Time{}
}

func (r *roster) resign() { r.leading = false }

// patience is a duration as it is now: longer while the log has one member, this node. Nobody could
// take over from it, so it need not prove four times a second that it lives.
func (r *roster) patience(d time.Duration) time.Duration {
	if r.alone() {
		return d * time.Duration(max(r.rest, 1))
	}
	return d
}

func (r *roster) alone() bool { return r.leading && r.state != nil && len(r.state.Members) == 1 }

// observe takes a new state of the log.
func (r *roster) observe(s *ownership.State, now time.Time) {
	if r.state == s || !r.leading || (r.state != nil && s.Version < r.state.Version) {
		return
	}
	rested := r.alone()
	v := version{number: s.Version}
	if r.state != nil {
		v.at = now
	}
	r.versions = append(r.versions, v)
	r.state = s
	defer r.begin(rested, now)
	for id, m := range s.Members {
		e := r.sessions[id]
		if e == nil || e.incarnation != m.Incarnation {
			e = &entry{incarnation: m.Incarnation, seen: now, copies: map[ownership.LaneRef]Copy{}}
			r.sessions[id] = e
		} else if m.Alive && !e.alive { // registered again
			e.seen, e.lost, e.waited = now, time.Time{}, false
		}
		e.alive, e.addr = m.Alive, m.Addr
	}
	for id := range r.sessions {
		if s.Members[id] == nil {
			delete(r.sessions, id)
		}
	}
}

// hasSeen dates the last that is known of a member.
func (r *roster) hasSeen(id string, at time.Time) {
	if e := r.sessions[id]; e != nil && !r.alone() {
		e.seen = at
	}
}

// behind reports whether a member that has this version lacks one that the log has had for
// behindMax. What an earlier leadership wrote has been there for long enough.
func (r *roster) behind(has uint64, now time.Time) bool {
	for len(r.versions) > 1 && now.Sub(r.versions[1].at) >= r.behindMax {
		r.versions = r.versions[1:]
	}
	due := r.versions[0]
	return has < due.number && now.Sub(due.at) >= r.behindMax
}

// lacks keeps whether a member was told that it is behind.
func (r *roster) lacks(id string, behind bool, now time.Time) {
	switch e := r.sessions[id]; {
	case e == nil:
	case !behind:
		e.lacking = time.Time{}
	case e.lacking.IsZero():
		e.lacking = now
	}
}

// begin ends the patience with a lone member: its last ping may be older than the others' may be.
func (r *roster) begin(rested bool, now time.Time) {
	if !rested || r.alone() {
		return
	}
	for _, e := range r.sessions {
		e.seen = now
	}
}

// ping takes one line of a connection. changed says that somebody should look: a copy has begun or
// ended to run or to be ready, a member is back, or it has caught up with the log.
func (r *roster) ping(conn uint64, p ping, now time.Time) (known, changed bool, err error) {
	e := r.sessions[p.ID]
	if e == nil || e.incarnation != p.Incarnation {
		return false, false, nil
	}
	if conn < e.conn {
		return false, false, fmt.Errorf("%wnode %s pings over a newer connection", errConnection, p.ID)
	}
	e.conn, e.seen = conn, now
	if !e.lost.IsZero() && !e.condemned {
		e.lost, e.waited, changed = time.Time{}, false, true
	}
	if !e.heard && e.next == nil && !p.Full {
		// A member that was forgotten and is back within one connection: what it has said was said
		// in another session, and it begins again when it hears that it is not known.
		return false, changed, nil
	}
	took, err := r.take(e, p)
	return e.alive && !e.condemned, changed || took, err
}

// take applies what a line says of the copies.
func (r *roster) take(e *entry, p ping) (changed bool, err error) {
	if p.Full {
		e.next = map[ownership.LaneRef]Copy{}
	}
	copies := e.copies
	if e.next != nil {
		copies = e.next
	}
	for _, c := range p.Copies {
		changed = changed || !sameButLag(copies[c.LaneRef], c)
		copies[c.LaneRef] = c
	}
	for _, ref := range p.Gone {
		delete(copies, ref)
		changed = true
	}
	if len(copies) > r.copiesMax {
		return false, fmt.Errorf("%wnode %s reports more than %d copies", errConnection, p.ID, r.copiesMax)
	}
	if len(p.Copies) > 0 || len(p.Gone) > 0 {
		e.shown = nil
	}
	if !p.More { // before, its version would say more than its copies
		changed = changed || (e.report.Version < r.state.Version && p.Version >= r.state.Version) || e.report.Disk != p.Disk
		e.report = p.Report
		e.report.Copies = nil
	}
	if e.next != nil && !p.More {
		e.copies, e.next, e.heard, e.shown, changed = e.next, nil, true, nil, true
	}
	return changed && e.next == nil, nil
}

// hungUp says whose connection this was, if it was a member's last one.
func (r *roster) hungUp(conn uint64) (id string, ok bool) {
	for id, e := range r.sessions {
		if e.conn == conn {
			e.conn = 0
			return id, r.leading
		}
	}
	return "", false
}

// silent reports whether a member may have no process: it has no connection, and is not lost yet.
func (r *roster) silent(id, incarnation string) (addr string, ok bool) {
	e := r.sessions[id]
	if !r.leading || e == nil || e.incarnation != incarnation || e.conn != 0 || !e.alive || !e.lost.IsZero() {
		return "", false
	}
	return e.addr, true
}

// refused: a member without a connection has refused another one.
func (r *roster) refused(id, incarnation string, now time.Time) (changed bool) {
	if _, ok := r.silent(id, incarnation); !ok {
		return false
	}
	e := r.sessions[id]
	e.lost, e.why = now, "its address refuses connections"
	r.suspect(now)
	return true
}

// tick judges who has been silent for too long. slip is how much later than it should it comes.
func (r *roster) tick(now time.Time, slip time.Duration) (changed bool) {
	if !r.leading {
		return false
	}
	for _, e := range r.sessions {
		e.seen = e.seen.Add(slip)
		if e.seen.After(now) {
			e.seen = now
		}
		if e.alive && e.lost.IsZero() && now.Sub(e.seen) > r.patience(r.ttl) {
			e.lost, e.why, changed = now, fmt.Sprintf("no ping for %v", r.patience(r.ttl)), true
		}
	}
	return r.suspect(now) || changed
}

// suspect begins and ends a pause: more than half of the members gone within one TTL, or before the
// log has the first of them, are more likely this node's fault than theirs.
func (r *roster) suspect(now time.Time) (changed bool) {
	for r.paused.IsZero() && len(r.deaths) > 0 && now.Sub(r.deaths[0].at) > r.ttl {
		r.deaths = r.deaths[1:]
	}
	gone := r.gone()
	all, lost, recent := gone, 0, false
	for _, e := range r.sessions {
		if !e.alive {
			continue
		}
		all++
		if e.lost.IsZero() || e.waited {
			continue
		}
		lost++
		recent = recent || now.Sub(e.lost) <= r.ttl
	}
	switch {
	case r.paused.IsZero() && recent && 2*(lost+gone) > all:
		r.paused = now
	case !r.paused.IsZero() && 2*(lost+gone) <= all:
		r.paused = time.Time{}
	case !r.paused.IsZero() && now.Sub(r.paused) >= r.pauseMax:
		r.waitedFor(now, all-gone)
	default:
		return false
	}
	return true
}

// death is one that the log has.
type death struct {
	id string
	at time.Time
}

// gone is how many members the deaths are of that are not back: one that ends again and again, as
// when it is started with a wrong spec in a loop, is one.
func (r *roster) gone() int {
	ids := map[string]bool{}
	for _, d := range r.deaths {
		if e := r.sessions[d.id]; e == nil || !e.alive {
			ids[d.id] = true
		}
	}
	return len(ids)
}

// waitedFor ends a pause for those that have been lost for as long as it may last. Where those that
// were lost during it are more than half as well, it goes on for them.
func (r *roster) waitedFor(now time.Time, all int) {
	r.paused, r.deaths = time.Time{}, nil
	rest, first := 0, now
	for _, e := range r.sessions {
		switch {
		case !e.alive || e.lost.IsZero():
		case now.Sub(e.lost) >= r.pauseMax:
			e.waited = true
		default:
			rest++
			if e.lost.Before(first) {
				first = e.lost
			}
		}
	}
	if 2*rest > all {
		r.paused = first
	}
}

// condemn withdraws the leader's word from members that are about to be declared dead; false when
// one of them is back.
func (r *roster) condemn(deaths []ownership.Death) bool {
	for _, d := range deaths {
		e := r.sessions[d.ID]
		if !r.leading || e == nil || e.incarnation != d.Incarnation || e.lost.IsZero() {
			return false
		}
	}
	for _, d := range deaths {
		r.sessions[d.ID].condemned = true
	}
	return true
}

// settle ends a condemnation: the log has its answer.
func (r *roster) settle(deaths []ownership.Death, now time.Time) {
	for _, d := range deaths {
		e := r.sessions[d.ID]
		if e == nil || e.incarnation != d.Incarnation {
			continue
		}
		e.condemned = false
		if !e.alive && !e.waited {
			r.deaths = append(r.deaths, death{d.ID, now})
		}
	}
}
