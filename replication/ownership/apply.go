package ownership

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// LanesMax bounds the lanes of one app, and so a state's size.
const LanesMax = 1 << 16

// Apply obeys one entry of the log and returns the state after it. A command that cannot be taken
// changes nothing, and the result says why; so does one that says what is so already, without a
// word. An error is for the node to halt on: no other node may have understood what this one did
// not.
func (s *State) Apply(data []byte) (*State, Result, error) {
	c, format, err := Decode(data)
	if err != nil {
		var unknown *UnknownError
		if errors.As(err, &unknown) {
			unknown.Releases = s.releases(unknown.Format)
		}
		return s, Result{}, err
	}
	next, result := s.Take(c)
	if next != s && next.Format < format {
		next.Format = format
	}
	return next, result, nil
}

// refusal is why a command is not taken.
type refusal struct {
	code Code
	text string
}

func refuse(code Code, format string, args ...any) *refusal {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

// Take is Apply of a command that was decoded. The state that it returns is a new one, or s itself
// when nothing has changed.
func (s *State) Take(c Command) (*State, Result) {
	next := *s // shares the maps, which no command changes in place
	changed, no := next.take(c)
	if no != nil {
		return s, Result{Version: s.Version, Refused: no.text, Code: no.code}
	}
	if !changed {
		return s, Result{Version: s.Version}
	}
	next.Version++
	return &next, Result{Version: next.Version}
}

func (s *State) take(c Command) (changed bool, no *refusal) {
	if n := c.count(); n != 1 {
		return false, refuse(Bad, "a command with %d parts: it must have one", n)
	}
	switch {
	case c.Found != nil:
		return s.found(c.Found)
	case c.Register != nil:
		return s.register(c.Register.Member)
	case c.Forget != nil:
		return s.forget(c.Forget.ID)
	case c.Drain != nil:
		return s.drain(c.Drain)
	case c.PutApp != nil:
		return s.putApp(c.PutApp)
	case c.DropApp != nil:
		return s.dropApp(c.DropApp.Name)
	case c.HaltApp != nil:
		return s.haltApp(c.HaltApp)
	case c.Plan != nil:
		return s.plan(c.Plan)
	case c.RaiseEpoch != nil:
		return s.raiseEpoch(c.RaiseEpoch)
	case c.MoveLane != nil:
		return s.moveLane(c.MoveLane)
	}
	panic("ownership: a command that has no case")
}

func (s *State) found(f *Found) (bool, *refusal) {
	switch {
	case f.ClusterID == "":
		return false, refuse(Bad, "a cluster needs an id")
	case s.ClusterID == f.ClusterID:
		return false, nil
	case s.ClusterID != "":
		return false, refuse(Taken, "this is cluster %s already", s.ClusterID)
	}
	s.ClusterID = f.ClusterID
	return true, nil
}

func (s *State) register(m Member) (bool, *refusal) {
	if no := registerable(m); no != nil {
		return false, no
	}
	if other := s.MemberNamed(m.Name); other != nil && other.ID != m.ID {
		return false, refuse(Taken, "another node of this cluster is named %s (at %s, %s): "+
			"start this one with another --node; one that has lost its disk starts at its old address%s", m.Name, other.Addr, aliveWord(other), goneAdvice(other))
	}
	if m.Format < s.Format {
		return false, refuse(Unfit, "node %s runs tally %s, which knows format %d, and this cluster is at format %d: "+
			"start the release of the other nodes", m.Name, m.Release, m.Format, s.Format)
	}
	m.Alive, m.Draining = true, false
	if old := s.Members[m.ID]; old != nil && old.Incarnation == m.Incarnation {
		m.Draining = old.Draining
	}
	if old := s.Members[m.ID]; old != nil && *old == m {
		return false, nil
	}
	s.setMember(m)
	return true, nil
}

func registerable(m Member) *refusal {
	for _, field := range []struct{ name, value string }{
		{"id", m.ID}, {"name", m.Name}, {"incarnation", m.Incarnation}, {"address", m.Addr},
	} {
		if field.value == "" {
			return refuse(Bad, "a node without %s cannot be registered", field.name)
		}
	}
	if m.Capacity < 1 || m.Format < 1 {
		return refuse(Bad, "node %s has capacity %d and format %d: both are at least 1", m.Name, m.Capacity, m.Format)
	}
	return nil
}

func aliveWord(m *Member) string {
	if m.Alive {
		return "alive"
	}
	return "not alive"
}

// goneAdvice is what there is to do where a member's name is wanted for another machine.
func goneAdvice(m *Member) string {
	if m.Alive {
		return ""
	}
	return fmt.Sprintf("; if that one is gone for good, run `tally node forget %s` at a node of the cluster first", m.Name)
}

// setMember puts a member into a map of its own.
func (s *State) setMember(m Member) {
	s.Members = maps.Clone(s.Members)
	s.Members[m.ID] = &m
}

func (s *State) forget(id string) (bool, *refusal) {
	m := s.Members[id]
	if m == nil {
		return false, s.noMember(id)
	}
	for ref, l := range s.Lanes() {
		if l.Copies(id) {
			return false, refuse(NotEmpty, "node %s still has a part in %s", m.Name, ref)
		}
	}
	s.Members = maps.Clone(s.Members)
	delete(s.Members, id)
	return true, nil
}

func (s *State) noMember(id string) *refusal {
	var names []string
	for _, m := range s.SortedMembers() {
		names = append(names, m.Name)
	}
	return refuse(NotFound, "no node %s in this cluster; it has: %s", id, orNone(names))
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func (s *State) drain(d *Drain) (bool, *refusal) {
	m := s.Members[d.ID]
	switch {
	case m == nil:
		return false, s.noMember(d.ID)
	case m.Draining == d.Draining:
		return false, nil
	case d.Draining && m.Alive && !s.othersTake(d.ID):
		return false, refuse(Unfit, "node %s is the last that can own lanes: start another one before it is drained", m.Name)
	}
	drained := *m
	drained.Draining = d.Draining
	s.setMember(drained)
	return true, nil
}

// othersTake reports whether a member beside this one can own lanes.
func (s *State) othersTake(id string) bool {
	for _, m := range s.Members {
		if m.ID != id && m.Alive && !m.Draining {
			return true
		}
	}
	return false
}

func (s *State) putApp(p *PutApp) (bool, *refusal) {
	if no := puttable(&p.App); no != nil {
		return false, no
	}
	app, old := p.App, s.Apps[p.App.Name]
	if no := s.expected(p, old); no != nil {
		return false, no
	}
	app.Lanes = slices.Clone(app.Lanes)
	app.Intent = slices.Clone(app.Intent)
	if old != nil {
		for i := range min(len(app.Lanes), len(old.Lanes)) {
			epoch := max(app.Lanes[i].Epoch, old.Lanes[i].Epoch)
			app.Lanes[i] = old.Lanes[i]
			app.Lanes[i].Epoch = epoch
		}
	}
	if app.Halted != "" {
		takeOwners(app.Lanes)
	}
	s.setApp(app)
	return true, nil
}

func puttable(a *App) *refusal {
	switch {
	case a.Name == "" || a.ID == "":
		return refuse(Bad, "an app needs a name and an id")
	case a.Generation < 1 || a.Partitions < 1 || a.Repartitions < 0 || a.Standbys < 0:
		return refuse(Bad, "app %s: generation %d, partitions %d, repartitions %d and standbys %d cannot be",
			a.Name, a.Generation, a.Partitions, a.Repartitions, a.Standbys)
	case len(a.Lanes) < 1 || len(a.Lanes) > LanesMax:
		return refuse(Bad, "app %s has %d lanes: an app has 1 to %d", a.Name, len(a.Lanes), LanesMax)
	}
	for i, l := range a.Lanes {
		if !l.Equal(Lane{Epoch: l.Epoch}) {
			return refuse(Bad, "lane %d of app %s comes with more than an epoch", i, a.Name)
		}
	}
	return nil
}

// expected compares with the app that there is.
func (s *State) expected(p *PutApp, old *App) *refusal {
	name := p.App.Name
	switch {
	case old == nil && p.Expect == 0:
		return nil
	case old == nil:
		return refuse(NotFound, "no app %s in this cluster", name)
	case p.Expect == 0:
		return refuse(Taken, "there is an app %s already, of generation %d", name, old.Generation)
	case p.Expect != old.Generation:
		return refuse(Stale, "app %s is at generation %d, not at %d: look again", name, old.Generation, p.Expect)
	case p.App.Generation < old.Generation:
		return refuse(Bad, "app %s is at generation %d, and cannot go back to %d", name, old.Generation, p.App.Generation)
	case p.App.Generation == old.Generation && p.App.ID != old.ID:
		return refuse(Bad, "app %s has the id %s: another needs a new generation", name, old.ID)
	case len(p.App.Lanes) != len(old.Lanes) && slices.ContainsFunc(old.Lanes, func(l Lane) bool { return l.Owner != "" }):
		return refuse(Unfit, "app %s has %d lanes, and they run: halt it before it gets %d", name, len(old.Lanes), len(p.App.Lanes))
	}
	return nil
}

// takeOwners leaves the lanes to nobody, in place.
func takeOwners(lanes []Lane) {
	for i, l := range lanes {
		if l.Owner == "" {
			continue
		}
		lanes[i] = Lane{Epoch: l.Epoch + 1, Standbys: l.Standbys, Unfenced: true}
	}
}

// setApp puts an app into a map of its own.
func (s *State) setApp(a App) {
	s.Apps = maps.Clone(s.Apps)
	s.Apps[a.Name] = &a
}

func (s *State) noApp(name string) *refusal {
	var names []string
	for _, a := range s.SortedApps() {
		names = append(names, a.Name)
	}
	return refuse(NotFound, "no app %s in this cluster; it has: %s", name, orNone(names))
}

func (s *State) dropApp(name string) (bool, *refusal) {
	if s.Apps[name] == nil {
		return false, s.noApp(name)
	}
	s.Apps = maps.Clone(s.Apps)
	delete(s.Apps, name)
	return true, nil
}

func (s *State) haltApp(h *HaltApp) (bool, *refusal) {
	old := s.Apps[h.Name]
	if old == nil {
		return false, s.noApp(h.Name)
	}
	if old.Halted == h.Halted && slices.Equal(old.Intent, h.Intent) {
		return false, nil
	}
	app := *old
	app.Halted, app.Intent = h.Halted, slices.Clone(h.Intent)
	if app.Halted != "" {
		app.Lanes = slices.Clone(old.Lanes)
		takeOwners(app.Lanes)
	}
	s.setApp(app)
	return true, nil
}
