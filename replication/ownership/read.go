package ownership

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// New is the state before the first command.
func New() *State {
	return &State{Format: 1, Members: map[string]*Member{}, Apps: map[string]*App{}}
}

// Lane returns a lane, and whether there is one.
func (s *State) Lane(ref LaneRef) (Lane, bool) {
	app := s.Apps[ref.App]
	if app == nil || ref.Lane < 0 || ref.Lane >= len(app.Lanes) {
		return Lane{}, false
	}
	return app.Lanes[ref.Lane], true
}

// OwnerOf is the member that a lane's grant is in force for: alive, and under the incarnation that
// was granted the lane. It is nil when nobody may run the lane, although Lane.Owner may still have
// the name of a process that has ended.
func (s *State) OwnerOf(l Lane) *Member {
	m := s.Members[l.Owner]
	if m == nil || !m.Alive || !l.Owns(m) {
		return nil
	}
	return m
}

// Owns reports whether the lane's grant is for this incarnation of a member.
func (l Lane) Owns(m *Member) bool { return l.Owner == m.ID && l.Incarnation == m.Incarnation }

// MemberNamed finds a member by its name, nil for none.
func (s *State) MemberNamed(name string) *Member {
	for _, m := range s.Members { // names are unique, so the order does not show
		if m.Name == name {
			return m
		}
	}
	return nil
}

// NameOf is what a person calls a member; of an id without a member it is the id.
func (s *State) NameOf(id string) string {
	if m := s.Members[id]; m != nil {
		return m.Name
	}
	return id
}

// SortedMembers are the members by name.
func (s *State) SortedMembers() []*Member {
	return slices.SortedFunc(maps.Values(s.Members), func(a, b *Member) int { return cmp.Compare(a.Name, b.Name) })
}

// SortedApps are the apps by name.
func (s *State) SortedApps() []*App {
	return slices.SortedFunc(maps.Values(s.Apps), func(a, b *App) int { return cmp.Compare(a.Name, b.Name) })
}

// Lanes goes over all lanes by app and number.
func (s *State) Lanes() iter.Seq2[LaneRef, Lane] {
	return func(yield func(LaneRef, Lane) bool) {
		for _, app := range s.SortedApps() {
			for i, l := range app.Lanes {
				if !yield(LaneRef{App: app.Name, Lane: i}, l) {
					return
				}
			}
		}
	}
}

// String is how a person names a lane.
func (r LaneRef) String() string { return fmt.Sprintf("lane %d of app %s", r.Lane, r.App) }

// Compare orders lanes by app and number.
func (r LaneRef) Compare(o LaneRef) int {
	return cmp.Or(cmp.Compare(r.App, o.App), cmp.Compare(r.Lane, o.Lane))
}

// Copies reports whether a member has a part in the lane: owns it, gives or takes it, or stands by.
func (l Lane) Copies(id string) bool {
	return l.Owner == id || l.From == id || l.Target == id || slices.Contains(l.Standbys, id)
}

// Equal reports whether two lanes say the same.
func (l Lane) Equal(o Lane) bool {
	return l.Owner == o.Owner && l.Incarnation == o.Incarnation && l.Epoch == o.Epoch && l.From == o.From &&
		l.Target == o.Target && l.Wanted == o.Wanted && l.Unfenced == o.Unfenced && slices.Equal(l.Standbys, o.Standbys)
}

// releases are the programs of members that know a format, without duplicates, in order.
func (s *State) releases(format int) (names []string) {
	for _, m := range s.Members {
		if m.Format >= format && !slices.Contains(names, m.Release) {
			names = append(names, m.Release)
		}
	}
	slices.Sort(names)
	return names
}

// Behind says which living members run a program that cannot obey a command, "" for none: they
// would halt at it.
func (s *State) Behind(c Command) string {
	needs := c.format()
	for _, m := range s.SortedMembers() {
		if m.Alive && m.Format < needs {
			return fmt.Sprintf("node %s runs tally %s, which knows format %d, and this needs format %d: bring that node to a newer release first",
				m.Name, m.Release, m.Format, needs)
		}
	}
	return ""
}

// takers says in words which members could take a lane that has this owner.
func (s *State) takers(owner string) string {
	var names []string
	for _, m := range s.SortedMembers() {
		if m.Alive && !m.Draining && m.ID != owner {
			names = append(names, m.Name)
		}
	}
	if len(names) == 0 {
		return "no other node can take it now"
	}
	return "these can take it: " + strings.Join(names, ", ")
}

// check finds what no sequence of commands can have made.
func (s *State) check() error {
	if s.Format < 1 || s.Members == nil || s.Apps == nil {
		return fmt.Errorf("it has no format, members or apps")
	}
	for _, id := range slices.Sorted(maps.Keys(s.Members)) {
		if m := s.Members[id]; m == nil || m.ID != id {
			return fmt.Errorf("the member at %q is another", id)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Apps)) {
		if a := s.Apps[name]; a == nil || a.Name != name || len(a.Lanes) == 0 {
			return fmt.Errorf("the app at %q is another, or has no lanes", name)
		}
	}
	return nil
}
