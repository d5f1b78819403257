package ownership

import (
	"math"
	"slices"
)

func (s *State) noLane(ref LaneRef) *refusal {
	app := s.Apps[ref.App]
	if app == nil {
		return s.noApp(ref.App)
	}
	return refuse(NotFound, "no %s: it has the lanes 0 to %d", ref, len(app.Lanes)-1)
}

// setLane puts a lane into a copy of its app.
func (s *State) setLane(ref LaneRef, l Lane) {
	app := *s.Apps[ref.App]
	app.Lanes = slices.Clone(app.Lanes)
	app.Lanes[ref.Lane] = l
	s.setApp(app)
}

func (s *State) raiseEpoch(r *RaiseEpoch) (bool, *refusal) {
	l, ok := s.Lane(r.LaneRef)
	switch {
	case !ok:
		return false, s.noLane(r.LaneRef)
	case r.Floor == math.MaxUint64:
		return false, refuse(Bad, "%s: no epoch is above %d", r.LaneRef, r.Floor)
	case l.Epoch > r.Floor:
		return false, nil
	}
	l.Epoch = r.Floor + 1
	s.setLane(r.LaneRef, l)
	return true, nil
}

func (s *State) moveLane(m *MoveLane) (bool, *refusal) {
	l, ok := s.Lane(m.LaneRef)
	if !ok {
		return false, s.noLane(m.LaneRef)
	}
	if m.Target != "" {
		if no := s.movable(m, l); no != nil {
			return false, no
		}
	}
	moved := l
	moved.Target, moved.Wanted = m.Target, m.Target
	if moved.Equal(l) {
		return false, nil
	}
	s.setLane(m.LaneRef, moved)
	return true, nil
}

// movable says why a lane cannot move to a member, and what would do.
func (s *State) movable(m *MoveLane, l Lane) *refusal {
	target, app := s.Members[m.Target], s.Apps[m.App]
	switch {
	case target == nil:
		return s.noMember(m.Target)
	case app.Halted != "":
		return refuse(Unfit, "app %s is halted (%s): its lanes move when it runs again", m.App, app.Halted)
	case s.OwnerOf(l) == nil:
		return refuse(Unfit, "%s has no owner now, and gets one without being asked: look again", m.LaneRef)
	case l.Owner == m.Target:
		return refuse(Unfit, "%s is on node %s already; %s", m.LaneRef, target.Name, s.takers(l.Owner))
	case !target.Alive:
		return refuse(Unfit, "node %s is not alive, so %s cannot move to it; %s", target.Name, m.LaneRef, s.takers(l.Owner))
	case target.Draining:
		return refuse(Unfit, "node %s is drained, so %s cannot move to it; %s", target.Name, m.LaneRef, s.takers(l.Owner))
	}
	return nil
}

// plan obeys what the leader has decided, as a whole or not at all. A leader that was deposed, or
// that has not seen the last change, has another base.
func (s *State) plan(p *Plan) (bool, *refusal) {
	if p.Base != s.Version {
		return false, refuse(Stale, "a plan for version %d, and this is version %d", p.Base, s.Version)
	}
	changed, no := s.bury(p.Dead)
	if no != nil || len(p.Lanes) == 0 {
		return changed, no
	}
	return true, s.change(p.Lanes)
}

func (s *State) bury(dead []Death) (bool, *refusal) {
	for _, d := range dead {
		m := s.Members[d.ID]
		if m == nil {
			return false, s.noMember(d.ID)
		}
		if !m.Alive || m.Incarnation != d.Incarnation {
			return false, refuse(Stale, "node %s is %s under incarnation %s: incarnation %s cannot be declared dead",
				m.Name, aliveWord(m), m.Incarnation, d.Incarnation)
		}
		buried := *m
		buried.Alive = false
		s.setMember(buried)
	}
	return len(dead) > 0, nil
}

// change takes new values of lanes. The members are as they are after the deaths.
func (s *State) change(changes []LaneChange) *refusal {
	fresh := map[string][]Lane{} // by app: the lanes in a slice of our own
	done := map[LaneRef]bool{}
	for _, c := range changes {
		old, ok := s.Lane(c.LaneRef)
		if !ok {
			return s.noLane(c.LaneRef)
		}
		if done[c.LaneRef] {
			return refuse(Bad, "a plan that changes %s twice", c.LaneRef)
		}
		done[c.LaneRef] = true
		to, no := s.changed(c, old)
		if no != nil {
			return no
		}
		if fresh[c.App] == nil {
			fresh[c.App] = slices.Clone(s.Apps[c.App].Lanes)
		}
		fresh[c.App][c.Lane] = to
	}
	s.setLanes(fresh)
	return nil
}

// setLanes gives apps other lanes. The order of the map does not show: each app is set once.
func (s *State) setLanes(fresh map[string][]Lane) {
	for name, lanes := range fresh {
		app := *s.Apps[name]
		app.Lanes = lanes
		s.setApp(app)
	}
}

// changed is a lane's new value with its epoch, or why it cannot be.
func (s *State) changed(c LaneChange, old Lane) (Lane, *refusal) {
	to := c.To
	to.Standbys = slices.Clone(to.Standbys)
	to.Epoch = old.Epoch
	if to.Owner != old.Owner || to.Incarnation != old.Incarnation {
		if old.Epoch == math.MaxUint64 {
			return to, refuse(Bad, "%s: no epoch is above %d", c.LaneRef, old.Epoch)
		}
		to.Epoch++
	}
	if no := s.grantable(c.LaneRef, to, old); no != nil {
		return to, no
	}
	return to, s.copyable(c.LaneRef, to)
}

// grantable checks the owner's side of a lane.
func (s *State) grantable(ref LaneRef, to, old Lane) *refusal {
	if to.Owner == "" {
		switch {
		case to.Incarnation != "" || to.From != "" || to.Target != "":
			return refuse(Bad, "%s: a lane without owner has an incarnation, or is moved", ref)
		case old.Owner != "" && !to.Unfenced:
			return refuse(Bad, "%s: it had an owner, and would be granted again without a fence", ref)
		case old.Owner == "" && to.Unfenced && !old.Unfenced:
			return refuse(Bad, "%s: nobody has owned it since it was fenced", ref)
		}
		return nil
	}
	switch app := s.Apps[ref.App]; {
	case s.OwnerOf(to) == nil:
		return refuse(Stale, "%s: node %s is not alive under incarnation %s", ref, s.NameOf(to.Owner), to.Incarnation)
	case app.Halted != "":
		return refuse(Stale, "%s: the app is halted (%s)", ref, app.Halted)
	case to.Unfenced:
		return refuse(Bad, "%s: it has an owner, and that one fences it", ref)
	case to.From == to.Owner || to.Target == to.Owner:
		return refuse(Bad, "%s: it would move from node %[2]s to node %[2]s", ref, s.NameOf(to.Owner))
	}
	return nil
}

// copyable checks the members that have a part in a lane beside its owner.
func (s *State) copyable(ref LaneRef, to Lane) *refusal {
	for i, id := range to.Standbys {
		switch m := s.Members[id]; {
		case m == nil:
			return s.noMember(id)
		case !m.Alive:
			return refuse(Stale, "%s: node %s is not alive, and cannot stand by", ref, m.Name)
		case id == to.Owner || slices.Contains(to.Standbys[:i], id):
			return refuse(Bad, "%s: node %s would have two copies of it", ref, m.Name)
		}
	}
	if m := s.Members[to.Target]; to.Target != "" && (m == nil || !m.Alive) {
		return refuse(Stale, "%s: node %s is not alive, and cannot get it", ref, s.NameOf(to.Target))
	}
	if to.From != "" && s.Members[to.From] == nil {
		return s.noMember(to.From)
	}
	return nil
}
