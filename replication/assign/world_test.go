package assign

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/replication/ownership"
)

// world is a cluster as the assignor sees it: the state, and nodes that do what the state says when
// they are told to.
type world struct {
	taken  map[ownership.LaneRef]string // from whom, who was only cut off from Kafka
	t      testing.TB
	s      *ownership.State
	health map[string]Health
	dead   map[string]bool // their processes have ended
	fenced map[ownership.LaneRef]uint64
	ill    map[ownership.LaneRef]bool // lanes that nobody gets to run
	paused bool
	closed map[string]string // by node: an app that it cannot open
	set    Settings
	starts map[string]int
}

func newWorld(t testing.TB) *world {
	return &world{
		t: t, s: ownership.New(), health: map[string]Health{}, dead: map[string]bool{},
		fenced: map[ownership.LaneRef]uint64{}, starts: map[string]int{}, closed: map[string]string{},
	}
}

// take obeys a command and returns why it was refused.
func (w *world) take(c ownership.Command) string {
	next, result := w.s.Take(c)
	w.s = next
	return result.Refused
}

func (w *world) start(m ownership.Member) {
	w.starts[m.ID]++
	m.Name, m.Addr, m.Format, m.Release = m.ID, m.ID+":7400", 1, "1.0"
	m.Incarnation = fmt.Sprint(m.ID, w.starts[m.ID])
	m.Capacity = max(1, m.Capacity)
	if refused := w.take(ownership.Command{Register: &ownership.Register{Member: m}}); refused != "" {
		w.t.Fatal(refused)
	}
	w.health[m.ID] = Health{Live: true, Incarnation: m.Incarnation}
	delete(w.dead, m.ID)
}

func (w *world) kill(id string) {
	w.dead[id] = true
	delete(w.health, id)
}

func (w *world) input() Input {
	in := Input{State: w.s, Health: w.health, Fenced: w.fenced, Paused: w.paused, Settings: w.set}
	for _, m := range w.s.SortedMembers() {
		if w.dead[m.ID] && m.Alive {
			in.Dead = append(in.Dead, ownership.Death{ID: m.ID, Incarnation: m.Incarnation})
		}
	}
	return in
}

// decide takes one decision, obeys it, and returns it.
func (w *world) decide() Decision {
	d := Decide(w.input())
	if d.Plan != nil {
		if refused := w.take(ownership.Command{Plan: d.Plan}); refused != "" {
			w.t.Fatalf("the plan is refused: %s\n%+v", refused, d.Plan)
		}
	}
	return d
}

// catchUp lets every live node do all that the state says.
func (w *world) catchUp() {
	w.health, _ = ideal(w.health, w.s)
	for ref := range w.ill {
		l, _ := w.s.Lane(ref)
		if h, ok := w.health[l.Owner]; ok {
			h.Copies[ref] = Copy{Stuck: true, Epoch: l.Epoch}
		}
	}
	for id, app := range w.closed {
		for ref, c := range w.health[id].Copies {
			if ref.App == app {
				w.health[id].Copies[ref] = Copy{Stuck: true, Epoch: c.Epoch}
			}
		}
	}
}

// fence ends the fences that were asked for.
func (w *world) fence(refs []ownership.LaneRef) {
	for _, ref := range refs {
		l, _ := w.s.Lane(ref)
		w.fenced[ref] = l.Epoch
	}
}

// settle lets everything happen until there is nothing to decide, and returns the plans.
func (w *world) settle() (plans []*ownership.Plan) {
	rounds := 64
	for range w.s.Lanes() {
		rounds += 8
	}
	for range rounds {
		w.catchUp()
		d := w.decide()
		w.fence(d.Fence)
		if d.Plan == nil && len(d.Fence) == 0 {
			return plans
		}
		if d.Plan != nil {
			plans = append(plans, d.Plan)
		}
	}
	w.t.Fatalf("it never comes to rest:\n%s", w.describe())
	return nil
}

func (w *world) describe() string {
	var b strings.Builder
	for ref, l := range w.s.Lanes() {
		fmt.Fprintf(&b, "%s/%d: %s\n", ref.App, ref.Lane, w.describeLane(l))
	}
	return b.String()
}

func (w *world) describeLane(l ownership.Lane) string {
	words := []string{"nobody"}
	if l.Owner != "" {
		words[0] = l.Owner
	}
	if l.Owner != "" && w.s.OwnerOf(l) == nil {
		words[0] += " (gone)"
	}
	words = append(words, fmt.Sprint("epoch ", l.Epoch))
	if len(l.Standbys) > 0 {
		words = append(words, "standbys "+strings.Join(l.Standbys, ","))
	}
	for _, part := range []struct{ word, value string }{{"from", l.From}, {"target", l.Target}, {"wanted", l.Wanted}} {
		if part.value != "" {
			words = append(words, part.word+" "+part.value)
		}
	}
	if l.Unfenced {
		words = append(words, "unfenced")
	}
	return strings.Join(words, " ")
}

// loads are the lanes and the copies of each member.
func (w *world) loads() (owned, standbys map[string]int) {
	owned, standbys = map[string]int{}, map[string]int{}
	for _, l := range w.s.Lanes() {
		owned[l.Owner]++
		for _, id := range l.Standbys {
			standbys[id]++
		}
	}
	return owned, standbys
}

// show is a decision in lines.
func (w *world) show(d Decision, before *ownership.State) string {
	var b strings.Builder
	if d.Plan == nil {
		b.WriteString("no plan\n")
	} else {
		for _, dead := range d.Plan.Dead {
			fmt.Fprintf(&b, "%s is dead\n", dead.ID)
		}
		for _, c := range d.Plan.Lanes {
			old, _ := before.Lane(c.LaneRef)
			now, _ := w.s.Lane(c.LaneRef)
			fmt.Fprintf(&b, "%s/%d: %s -> %s\n", c.App, c.Lane, w.describeLane(old), w.describeLane(now))
		}
	}
	for _, ref := range d.Fence {
		fmt.Fprintf(&b, "fence %s/%d\n", ref.App, ref.Lane)
	}
	return b.String()
}

func (w *world) app(name string, lanes, standbys int) {
	expect, generation := 0, 1
	if old := w.s.Apps[name]; old != nil {
		expect, generation = old.Generation, old.Generation
	}
	refused := w.take(ownership.Command{PutApp: &ownership.PutApp{Expect: expect, App: ownership.App{
		Name: name, ID: "id-" + name, Generation: generation, Partitions: lanes, Standbys: standbys,
		Lanes: make([]ownership.Lane, lanes),
	}}})
	if refused != "" {
		w.t.Fatal(refused)
	}
}

func (w *world) setKafkaAge(id string, age time.Duration) {
	h := w.health[id]
	h.KafkaAge = age
	w.health[id] = h
}

func (w *world) setBehind(id string, d time.Duration) {
	h := w.health[id]
	h.Behind = d
	w.health[id] = h
}

func (w *world) setDisk(id, why string) {
	h := w.health[id]
	h.Disk = why
	w.health[id] = h
}

// setCopy says what a node has of a lane.
func (w *world) setCopy(id string, ref ownership.LaneRef, c Copy) {
	h := w.health[id]
	copies := map[ownership.LaneRef]Copy{ref: c}
	for other, old := range h.Copies {
		if other != ref {
			copies[other] = old
		}
	}
	h.Copies, h.Version = copies, w.s.Version
	w.health[id] = h
}

// stick lets a node come no further with a lane, under a grant; 0 is that of the state.
func (w *world) stick(id string, ref ownership.LaneRef, epoch uint64) {
	l, _ := w.s.Lane(ref)
	w.setCopy(id, ref, Copy{Stuck: true, Epoch: cmp.Or(epoch, l.Epoch)})
}

// alive are the members that can own lanes.
func (w *world) alive() (ids []string) {
	for _, m := range w.s.SortedMembers() {
		if m.Alive && !m.Draining && !w.dead[m.ID] {
			ids = append(ids, m.ID)
		}
	}
	slices.Sort(ids)
	return ids
}
