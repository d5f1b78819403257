package sim

import (
	"maps"
	"slices"
	"time"

	"github.com/tally-kafka/tally/replication/assign"
	"github.com/tally-kafka/tally/replication/ownership"
)

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

const ttl = 1250

// lead is one node's leadership of one term. It goes on until it learns that it has ended.
type lead struct {
	s       *sim
	on      *node
	process int
	term    int
	ended   bool
	began   int64
	ticked  int64
	seen    map[string]*seen
	fenced  map[ownership.LaneRef]uint64
	fencing map[ownership.LaneRef]bool
	pending bool // a plan is on its way
	paused  int64
}

type seen struct {
	at     int64
	number int
	health assign.Health
	gone   string // the incarnation whose connection is closed
}

// elect finds a new leader after a while, if most nodes are there.
func (s *sim) elect() {
	if s.lead != nil {
		old := s.lead
		s.lead = nil
		old.on.at(s.between(0, 4000), func() { old.ended = true }) // it learns of it late
	}
	s.at(s.between(600, 1400), s.tryElect)
}

func (s *sim) tryElect() {
	if s.lead != nil {
		return
	}
	var able []*node
	for _, n := range s.nodes {
		if n.up && !n.paused && !n.cut {
			able = append(able, n)
		}
	}
	if 2*len(able) <= len(s.nodes) {
		s.at(200, s.tryElect)
		return
	}
	s.term++
	n := able[s.rng.IntN(len(able))]
	l := &lead{
		s: s, on: n, process: n.started, term: s.term, began: s.now, ticked: s.now, seen: map[string]*seen{},
		fenced: map[ownership.LaneRef]uint64{}, fencing: map[ownership.LaneRef]bool{},
	}
	s.lead = l
	s.say("%s leads term %d", n.incarnation, s.term)
	n.at(1, l.tick)
}

func (l *lead) report(n *node, number int, h assign.Health) {
	if l.ended {
		return
	}
	last := l.seen[n.id]
	if last == nil || last.health.Incarnation != h.Incarnation || last.number < number {
		l.seen[n.id] = &seen{at: l.s.now, number: number, health: h}
	}
	m := l.on.state.Members[n.id]
	if m == nil || !m.Alive || m.Incarnation != h.Incarnation {
		n.at(l.s.wire(), n.register) // its answer says that it is not known
	}
}

func (l *lead) gone(id, incarnation string) {
	if v := l.seen[id]; v != nil && v.health.Incarnation == incarnation {
		v.gone = incarnation
	}
}

// tick is one look of the leader.
func (l *lead) tick() {
	if l.ended || l.on.started != l.process {
		return
	}
	if slip := l.s.now - l.ticked - 50; slip > 100 {
		l.began += slip
		for _, v := range l.seen {
			v.at += slip
		}
	}
	l.ticked = l.s.now
	if l.on.applied == len(l.s.log) || l.s.lead != l {
		l.decide()
	}
	l.on.at(50, l.tick)
}

func (l *lead) decide() {
	in := l.input()
	for id, h := range in.Health {
		if h.KafkaAge > 1500*time.Millisecond {
			l.s.cutOff[id] = l.s.now
		}
	}
	d := assign.Decide(in)
	for _, ref := range d.Fence {
		l.fence(ref)
	}
	if d.Plan == nil || l.pending {
		return
	}
	l.pending = true
	data := ownership.Encode(ownership.Command{Plan: d.Plan})
	// A leader that was deposed cannot add to the log. Here its plan of an old state comes through
	// all the same: the base must be enough to refuse it.
	l.s.at(l.s.wire(), func() {
		l.pending = false
		if l.s.lead == l || d.Plan.Base != l.s.truth().Version {
			l.s.append(data)
		}
	})
}

func (l *lead) input() assign.Input {
	state := l.on.state
	in := assign.Input{State: state, Health: map[string]assign.Health{}, Fenced: l.fenced}
	alive := 0
	for _, id := range slices.Sorted(maps.Keys(state.Members)) {
		m, v := state.Members[id], l.seen[id]
		if !m.Alive {
			continue
		}
		alive++
		if v == nil || v.health.Incarnation != m.Incarnation {
			v = &seen{at: l.began}
		}
		switch {
		case v.gone == m.Incarnation || l.s.now-v.at > ttl:
			in.Dead = append(in.Dead, ownership.Death{ID: id, Incarnation: m.Incarnation})
		case v.health.Live:
			in.Health[id] = v.health
		}
	}
	l.suspectItself(&in, alive)
	return in
}

// suspectItself pauses reassignment for ten seconds when more than half are gone at once.
func (l *lead) suspectItself(in *assign.Input, alive int) {
	if 2*len(in.Dead) <= alive {
		l.paused = 0
		return
	}
	if l.paused == 0 {
		l.paused = l.s.now
	}
	in.Paused = l.s.now-l.paused < 10_000
}

// fence fences a lane that the log shows with nobody.
func (l *lead) fence(ref ownership.LaneRef) {
	at, _ := l.on.state.Lane(ref)
	if l.fencing[ref] || l.on.kafkaless {
		return
	}
	l.fencing[ref] = true
	if l.s.mutant == "late fence" {
		l.fenced[ref] = at.Epoch
	}
	l.s.at(l.s.wire(), func() {
		now, _ := l.s.truth().Lane(ref)
		if now.Owner != "" && l.s.lead == l {
			l.s.wrong("%v: a fence of the leader hits its owner %s", ref, now.Owner)
		}
		l.s.kafka.lane(ref).fence()
		l.on.at(l.s.wire(), func() {
			l.fencing[ref] = false
			l.fenced[ref] = at.Epoch
			l.s.fences[fence{ref, at.Epoch}] = true
		})
	})
}
