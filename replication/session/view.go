package session

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tally-kafka/tally/replication/ownership"
)

func (r *roster) view(now time.Time) View {
	v := View{Term: r.term, Sessions: make(map[string]Session, len(r.sessions)), Paused: r.pauseReason()}
	for id, e := range r.sessions {
		v.Sessions[id] = e.show(now)
		if e.alive && !e.lost.IsZero() && v.Paused == "" {
			v.Dead = append(v.Dead, ownership.Death{ID: id, Incarnation: e.incarnation})
		}
	}
	slices.SortFunc(v.Dead, func(a, b ownership.Death) int { return cmp.Compare(a.ID, b.ID) })
	return v
}

func (e *entry) show(now time.Time) Session {
	if e.shown == nil {
		e.shown = maps.Clone(e.copies)
	}
	s := Session{
		Incarnation: e.incarnation,
		Live:        e.alive && e.heard && e.lost.IsZero(),
		Age:         now.Sub(e.seen),
		Report:      e.report,
		Copies:      e.shown,
	}
	if !e.lost.IsZero() {
		s.Lost = e.why
	}
	if !e.lacking.IsZero() {
		s.Behind = now.Sub(e.lacking)
	}
	return s
}

func (r *roster) pauseReason() string {
	if r.paused.IsZero() {
		return ""
	}
	gone := r.gone()
	all, lost := gone, gone
	for _, e := range r.sessions {
		if e.alive {
			all++
			if !e.lost.IsZero() {
				lost++
			}
		}
	}
	return fmt.Sprintf("%d of %d nodes were lost at once: lanes stay where they are until more are back, or for %v",
		lost, all, r.pauseMax)
}
