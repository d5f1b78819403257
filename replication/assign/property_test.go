package assign

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tally-kafka/tally/replication/ownership"
)

// tb lets a world fail a rapid check.
type tb struct {
	testing.TB
	r *rapid.T
}

func (t tb) Fatal(args ...any)                 { t.r.Fatal(args...) }
func (t tb) Fatalf(format string, args ...any) { t.r.Fatalf(format, args...) }

// Of any history of joins, deaths, drains, moves, half-done copies and lanes that do not get to
// run: each plan is taken, keeps the limits and grants as it may; and once things settle, the lanes
// that run are balanced, all have their standbys, none is on its way, and nothing more is decided.
func TestAnyHistory(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(tb{t, r})
		for _, id := range drawSome(r, "first", 1) {
			w.start(drawMember(r, id))
		}
		w.app("p", rapid.IntRange(1, 12).Draw(r, "lanes"), rapid.IntRange(0, 2).Draw(r, "standbys"))
		for range rapid.IntRange(1, 25).Draw(r, "steps") {
			w.happen(r)
		}
		w.recover()
		w.sicken(r)
		w.settle()
		w.checkRest(r)
	})
}

// Of any history, and then nodes that cannot open one app each: all comes to rest, and a node that
// is drained keeps no lane that another can open and copy.
func TestAnyHistoryOfClosedApps(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(tb{t, r})
		for _, id := range drawSome(r, "first", 1) {
			w.start(drawMember(r, id))
		}
		for _, app := range []string{"p", "q"} {
			w.app(app, rapid.IntRange(1, 12).Draw(r, "lanes"), rapid.IntRange(0, 2).Draw(r, "standbys"))
		}
		for range rapid.IntRange(1, 25).Draw(r, "steps") {
			w.happen(r)
		}
		w.recover()
		for range rapid.IntRange(1, 3).Draw(r, "closed") {
			w.closed[rapid.SampledFrom(ids).Draw(r, "node")] = rapid.SampledFrom([]string{"p", "q"}).Draw(r, "app")
		}
		w.settle()
		w.take(ownership.Command{Drain: &ownership.Drain{ID: rapid.SampledFrom(ids).Draw(r, "drained"), Draining: true}})
		w.settle()
		for ref, l := range w.s.Lanes() {
			o := w.s.OwnerOf(l)
			if o == nil || !o.Draining || w.closed[o.ID] == ref.App {
				continue
			}
			for _, id := range w.alive() {
				if w.closed[id] != ref.App {
					r.Fatalf("%v stays with %s, which is drained, and %s can take it:\n%s", ref, o.ID, id, w.describe())
				}
			}
		}
	})
}

var ids = []string{"a", "b", "c", "d", "e"}

func drawSome(r *rapid.T, label string, least int) []string {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(ids), least, -1, rapid.ID[string]).Draw(r, label)
}

func drawMember(r *rapid.T, id string) ownership.Member {
	return ownership.Member{
		ID: id, Zone: rapid.SampledFrom([]string{"", "x", "y"}).Draw(r, "zone"),
		Capacity: rapid.SampledFrom([]int{1, 1, 1, 2, 5}).Draw(r, "capacity"),
	}
}

func (w *world) happen(r *rapid.T) {
	id := rapid.SampledFrom(ids).Draw(r, "id")
	ref := ownership.LaneRef{App: rapid.SampledFrom([]string{"p", "q"}).Draw(r, "app"), Lane: rapid.IntRange(0, 11).Draw(r, "lane")}
	known := w.s.Members[id] != nil && !w.dead[id]
	switch kind := rapid.IntRange(0, 19).Draw(r, "kind"); {
	case kind == 0:
		w.start(drawMember(r, id))
	case kind == 1 && known && len(w.alive()) > 1:
		w.kill(id)
	case kind == 2:
		w.take(ownership.Command{Drain: &ownership.Drain{ID: id, Draining: rapid.Bool().Draw(r, "draining")}})
	case kind == 3:
		w.take(ownership.Command{MoveLane: &ownership.MoveLane{LaneRef: ref, Target: id}})
	case kind == 4 && known:
		w.setKafkaAge(id, time.Duration(rapid.IntRange(0, 3).Draw(r, "age"))*time.Second)
	case kind == 5 && known:
		w.health[id] = Health{}
	case kind == 6:
		w.paused = rapid.Bool().Draw(r, "paused")
	case kind == 7:
		halted := rapid.SampledFrom([]string{"", "why"}).Draw(r, "halted")
		w.take(ownership.Command{HaltApp: &ownership.HaltApp{Name: ref.App, Halted: halted}})
	case kind == 8:
		w.app(ref.App, max(1, len(w.appLanes(ref.App))), rapid.IntRange(0, 2).Draw(r, "standbys"))
	case kind == 9 && known:
		w.setDisk(id, rapid.SampledFrom([]string{"", "full"}).Draw(r, "disk"))
	case kind < 13:
		w.progress(r)
	default:
		w.checkedDecide(r)
	}
}

func (w *world) appLanes(name string) []ownership.Lane {
	if a := w.s.Apps[name]; a != nil {
		return a.Lanes
	}
	return nil
}

// progress lets some nodes do some of what the state says.
func (w *world) progress(r *rapid.T) {
	for ref, l := range w.s.Lanes() {
		for _, id := range append([]string{l.Owner}, l.Standbys...) {
			if h, ok := w.health[id]; !ok || !h.Live {
				continue
			}
			switch rapid.IntRange(0, 4).Draw(r, "progress") {
			case 1:
				w.setCopy(id, ref, Copy{Ready: true, Lag: rapid.Int64Range(0, 9000).Draw(r, "lag"), Epoch: l.Epoch})
			case 2:
				w.setCopy(id, ref, Copy{Running: l.Owner == id, Ready: l.Owner != id, Epoch: l.Epoch})
			case 3:
				w.stick(id, ref, l.Epoch)
			}
		}
	}
}

// checkedDecide takes a decision and checks all that must hold of any.
func (w *world) checkedDecide(r *rapid.T) {
	in, before := w.input(), w.s
	snapshot := before.Snapshot()
	again := Decide(in)
	d := w.decide()
	if !reflect.DeepEqual(again, d) {
		r.Fatalf("two decisions of one input:\n%+v\n%+v", again, d)
	}
	if string(before.Snapshot()) != string(snapshot) {
		r.Fatal("the decision has changed its input")
	}
	if rapid.Bool().Draw(r, "fences end") {
		w.fence(d.Fence)
	}
	if d.Plan == nil {
		return
	}
	if in.Paused {
		r.Fatal("a plan while reassignment is paused")
	}
	for _, c := range d.Plan.Lanes {
		w.checkChange(r, in, c, before)
		w.checkWord(r, in, c, before)
	}
	w.checkLimits(r, d.Plan, before)
}

// checkChange checks one change of a plan: grants go to who may have them.
func (w *world) checkChange(r *rapid.T, in Input, c ownership.LaneChange, before *ownership.State) {
	old, _ := before.Lane(c.LaneRef)
	granted := c.To.Owner != "" && (c.To.Owner != old.Owner || c.To.Incarnation != old.Incarnation)
	if !granted {
		return
	}
	h := in.Health[c.To.Owner]
	if !h.Live || h.Incarnation != c.To.Incarnation {
		r.Fatalf("%v is granted to %s, who has not reported", c.LaneRef, c.To.Owner)
	}
	if old.Unfenced && in.Fenced[c.LaneRef] != old.Epoch {
		r.Fatalf("%v is granted before its fence has ended", c.LaneRef)
	}
	follows, from := h.Copies[c.LaneRef].Ready, c.To.From
	// Who gave it to an owner that is gone or cut off, and has not heard of that, is waited for.
	unheard := from != "" && from == old.From && from != old.Owner && in.Health[from].Copies[c.LaneRef].Running
	if unheard {
		from = ""
	}
	last := in.Health[old.Owner]
	cutOff := last.Live && last.Incarnation == old.Incarnation && last.KafkaAge > 1500*time.Millisecond && c.To.Owner != old.Owner
	if w.taken == nil {
		w.taken = map[ownership.LaneRef]string{}
	}
	if delete(w.taken, c.LaneRef); cutOff && from == old.Owner {
		w.taken[c.LaneRef], from = from, ""
	}
	switch owner := before.OwnerOf(old); {
	case cutOff && owner != nil && c.To.From != old.Owner && !unheard:
		r.Fatalf("%v is taken from %s, who may answer as its owner still, and nobody waits for its word", c.LaneRef, old.Owner)
	case from != "" && from != old.Owner:
		r.Fatalf("%v is handed over by %s, and %s owned it", c.LaneRef, from, old.Owner)
	case from != "" && (!follows || h.Copies[c.LaneRef].Lag > 5000 || h.Version != before.Version):
		r.Fatalf("%v is handed over to %s, who has not caught up", c.LaneRef, c.To.Owner)
	case old.Owner != "" && owner != nil && from == "" && w.alivePrecisely(in, old.Owner):
		r.Fatalf("%v is taken from %s, who lives, without a hand-over", c.LaneRef, old.Owner)
	case old.Owner != "" && from == "" && !follows && c.To.Owner != old.Owner:
		r.Fatalf("%v goes from the dead to %s, who does not follow it, without a fence", c.LaneRef, c.To.Owner)
	}
}

// checkWord: an owner waits for the word of the one before until it says that it needs it no more.
func (w *world) checkWord(r *rapid.T, in Input, c ownership.LaneChange, before *ownership.State) {
	old, _ := before.Lane(c.LaneRef)
	if old.From == "" || c.To.From != "" || c.To.Owner != old.Owner || c.To.Incarnation != old.Incarnation {
		return
	}
	said := in.Health[old.Owner].Copies[c.LaneRef]
	if !w.dead[old.From] && before.Members[old.From].Alive && w.alivePrecisely(in, old.Owner) &&
		((!said.Running && !said.Stuck) || said.Epoch < old.Epoch) {
		r.Fatalf("%v waits no more for %s, and %s has not said that it is done: %+v", c.LaneRef, old.From, old.Owner, said)
	}
}

// alivePrecisely: not found dead, and reaching Kafka.
func (w *world) alivePrecisely(in Input, id string) bool {
	return !w.dead[id] && in.Health[id].KafkaAge <= 1500*time.Millisecond
}

// checkLimits checks that no more moves are begun than may be under way.
func (w *world) checkLimits(r *rapid.T, p *ownership.Plan, before *ownership.State) {
	perNode, all, begun := map[string]int{}, 0, 0
	for ref, l := range w.s.Lanes() {
		if l.From == "" || l.From == w.taken[ref] || w.s.OwnerOf(l) == nil { // whoever waits for the word is gone
			continue
		}
		all++
		perNode[l.Owner]++
		perNode[l.From]++
		if old, _ := before.Lane(ref); old.From != l.From || old.Owner != l.Owner {
			begun++
		}
	}
	if begun == 0 {
		return
	}
	if all > 8 {
		r.Fatalf("%d lanes are handed over at a time: %+v", all, p)
	}
	for id, n := range perNode {
		if n > 2 {
			r.Fatalf("%s has %d lanes handed over at a time: %+v", id, n, p)
		}
	}
}

// recover ends what keeps lanes from being assigned.
func (w *world) recover() {
	w.paused = false
	for _, app := range w.s.SortedApps() {
		w.take(ownership.Command{HaltApp: &ownership.HaltApp{Name: app.Name}})
	}
	for _, m := range w.s.SortedMembers() {
		if !w.dead[m.ID] && m.Alive {
			w.health[m.ID] = Health{Live: true, Incarnation: m.Incarnation}
		}
	}
}

// sicken lets some lanes never run again, whoever has them.
func (w *world) sicken(r *rapid.T) {
	w.ill = map[ownership.LaneRef]bool{}
	if !rapid.Bool().Draw(r, "some do not run") {
		return
	}
	for ref := range w.s.Lanes() {
		if rapid.IntRange(0, 3).Draw(r, "ill") == 0 {
			w.ill[ref] = true
		}
	}
}

// checkRest checks a cluster that has come to rest.
func (w *world) checkRest(r *rapid.T) {
	able := w.alive()
	if len(able) == 0 { // all that live are to be drained
		return
	}
	w.checkShares(r, able)
	for ref, l := range w.s.Lanes() {
		asked := min(len(able)-1, w.s.Apps[ref.App].Standbys)
		if len(l.Standbys) != asked || l.Target != "" || l.From != "" || w.s.OwnerOf(l) == nil {
			r.Fatalf("%v is not at rest with %d standbys:\n%s", ref, asked, w.describe())
		}
	}
	w.checkStandbyZones(r, able)
}

// checkShares: each member has its share. A lane that does not run stays where it is: who has too
// many has only such ones, and who has none that runs may have too few.
func (w *world) checkShares(r *rapid.T, able []string) {
	owned, _ := w.loads()
	lanes, capacity, run := 0, 0, map[string]bool{}
	for ref, l := range w.s.Lanes() {
		lanes++
		run[l.Owner] = run[l.Owner] || !w.ill[ref]
	}
	for _, id := range able {
		capacity += w.s.Members[id].Capacity
	}
	var above, below string
	for _, m := range w.s.SortedMembers() {
		share := float64(lanes*m.Capacity) / float64(capacity)
		if !slices.Contains(able, m.ID) {
			share = 0
		}
		off := float64(owned[m.ID]) - share
		if share == 0 && off != 0 || len(w.ill) == 0 && (off >= 1 || off <= -1) {
			r.Fatalf("%s owns %d lanes of a share of %.2f:\n%s", m.ID, owned[m.ID], share, w.describe())
		}
		if off >= 1 && run[m.ID] {
			above = m.ID
		}
		if off <= -1 && (run[m.ID] || owned[m.ID] == 0) {
			below = m.ID
		}
	}
	if above != "" && below != "" {
		r.Fatalf("%s has more than its share, and could give %s some:\n%s", above, below, w.describe())
	}
}

// checkStandbyZones: no lane with one standby has it in the owner's zone while another zone has a
// node.
func (w *world) checkStandbyZones(r *rapid.T, able []string) {
	for ref, l := range w.s.Lanes() {
		zone := w.s.Members[l.Owner].Zone
		if w.ill[ref] || len(l.Standbys) != 1 || zone == "" || w.s.Members[l.Standbys[0]].Zone != zone {
			continue
		}
		for _, id := range able {
			if w.s.Members[id].Zone != zone {
				r.Fatalf("%v has its standby in its owner's zone, and %s is in another:\n%s", ref, id, w.describe())
			}
		}
	}
}

// A death costs only the lanes of the dead: they go to their standbys, which are many, and every
// other lane stays where it is, but for what the balance needs in the end.
func TestDeathMovesOnlyItsLanes(t *testing.T) {
	w := newWorld(t)
	for i := range 10 {
		w.start(ownership.Member{ID: fmt.Sprintf("n%d", i)})
	}
	w.app("p", 100, 1)
	w.settle()
	before := w.s
	w.kill("n3")
	d := w.decide()
	promoted := map[string]int{}
	for _, c := range d.Plan.Lanes {
		old, _ := before.Lane(c.LaneRef)
		switch {
		case old.Owner == "n3" && c.To.Owner != old.Standbys[0]:
			t.Errorf("%v does not go to its standby", c.LaneRef)
		case old.Owner == "n3":
			promoted[c.To.Owner]++
		case old.Owner != c.To.Owner:
			t.Errorf("%v is moved, whose owner lives", c.LaneRef)
		}
	}
	if len(promoted) < 8 {
		t.Errorf("the lanes of the dead go to few: %v", promoted)
	}
	w.settle()
	if moved := movedOwners(before, w.s); moved > 12 {
		t.Errorf("%d lanes have another owner in the end, of 10 that had to move", moved)
	}
}

func movedOwners(before, after *ownership.State) (moved int) {
	for ref, l := range after.Lanes() {
		if old, _ := before.Lane(ref); old.Owner != l.Owner {
			moved++
		}
	}
	return moved
}

func grown(b *testing.B, nodes, lanes int) *world {
	w := newWorld(b)
	for i := range nodes {
		w.start(ownership.Member{ID: fmt.Sprintf("n%03d", i), Zone: fmt.Sprint("z", i%3)})
	}
	w.app("p", lanes, 1)
	w.decide()
	w.catchUp()
	return w
}

// BenchmarkDeath is a plan after one node has died.
func BenchmarkDeath(b *testing.B) {
	for _, size := range []struct{ nodes, lanes int }{{50, 1000}, {100, 10_000}} {
		b.Run(fmt.Sprintf("nodes=%d/lanes=%d", size.nodes, size.lanes), func(b *testing.B) {
			w := grown(b, size.nodes, size.lanes)
			w.kill("n007")
			in := w.input()
			for b.Loop() {
				if d := Decide(in); len(d.Plan.Lanes) < size.lanes/size.nodes {
					b.Fatal("too few changes")
				}
			}
		})
	}
}

// BenchmarkRest is a look that finds nothing to do.
func BenchmarkRest(b *testing.B) {
	w := grown(b, 100, 10_000)
	w.settle()
	in := w.input()
	for b.Loop() {
		if d := Decide(in); d.Plan != nil {
			b.Fatal("a plan at rest")
		}
	}
}
