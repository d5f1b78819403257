package sim

import (
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tally-kafka/tally/replication/ownership"
)

func newSim(seed uint64, mutant string) *sim {
	s := &sim{
		rng: rand.New(rand.NewPCG(seed, 7)), mutant: mutant, kafka: kafka{},
		states: []*ownership.State{ownership.New()}, fences: map[fence]bool{},
		cutOff: map[string]int64{}, taken: map[ownership.LaneRef]bool{}, ill: map[ownership.LaneRef]bool{},
	}
	for i := range 3 + s.rng.IntN(3) {
		s.nodes = append(s.nodes, &node{s: s, id: string(rune('a' + i)), state: ownership.New()})
	}
	return s
}

// play runs a schedule: half a minute of faults, and then a time without any.
func (s *sim) play() {
	s.tryElectSoon()
	for i, n := range s.nodes {
		delay := s.between(0, 300)
		if i >= 3 {
			delay = s.between(0, 15_000) // a later one joins
		}
		s.at(delay, n.start)
	}
	s.at(2000, s.putApp)
	s.at(4000, s.disturb)
	s.watchLeader()
	s.until(20_000)
	s.heal()
	s.until(50_000)
	s.checkRest()
	if s.fault == "" {
		s.checkLinear()
	}
}

func (s *sim) tryElectSoon() { s.at(500, s.tryElect) }

// putApp adds the app, once there is a leader.
func (s *sim) putApp() {
	if s.lead == nil {
		s.at(200, s.putApp)
		return
	}
	s.append(ownership.Encode(ownership.Command{PutApp: &ownership.PutApp{App: ownership.App{
		Name: "p", ID: "i", Generation: 1, Partitions: 8, Standbys: s.rng.IntN(3), Lanes: make([]ownership.Lane, 1+s.rng.IntN(8)),
	}}}))
}

// watchLeader has a new leader elected when the old one is not there.
func (s *sim) watchLeader() {
	if l := s.lead; l != nil && (!l.on.up || l.on.paused || l.on.cut || l.on.started != l.process) {
		s.elect()
	}
	s.at(100, s.watchLeader)
}

// disturb makes one fault after another.
func (s *sim) disturb() {
	if s.calm {
		return
	}
	s.at(s.between(50, 1500), s.disturb)
	n := s.nodes[s.rng.IntN(len(s.nodes))]
	if n.started == 0 {
		return
	}
	switch s.rng.IntN(11) {
	case 0, 1:
		if n.up {
			n.crash()
			s.at(s.between(50, 4000), func() { n.revive() })
		}
	case 2, 3:
		if n.up && !n.paused {
			n.pause()
			s.at(s.between(50, 6000), n.resume)
		}
	case 4:
		n.cut = true
		s.say("%s is cut off from the nodes", n.id)
		s.at(s.between(50, 5000), func() { n.cut = false; n.learn() })
	case 5:
		n.kafkaless = true
		s.say("%s is cut off from Kafka", n.id)
		s.at(s.between(50, 5000), func() { n.kafkaless = false })
	case 6:
		if s.lead != nil {
			s.elect()
		}
	case 7:
		s.propose(n, ownership.Command{Drain: &ownership.Drain{ID: n.id, Draining: s.rng.IntN(2) == 0}})
	case 8, 9:
		s.propose(n, ownership.Command{MoveLane: &ownership.MoveLane{
			LaneRef: ownership.LaneRef{App: "p", Lane: s.rng.IntN(4)}, Target: n.id,
		}})
	case 10:
		ref := ownership.LaneRef{App: "p", Lane: s.rng.IntN(8)}
		s.say("nobody gets to run %v any more", ref)
		s.ill[ref] = true
		if s.rng.IntN(2) == 0 {
			s.at(s.between(50, 8000), func() { delete(s.ill, ref) })
		}
	}
}

func (n *node) revive() {
	if !n.up {
		n.start()
	}
}

// heal ends all faults, but for what a person has to mend: that of some schedules only.
func (s *sim) heal() {
	s.say("all faults end")
	s.calm = true
	if s.rng.IntN(2) == 0 {
		clear(s.ill)
	}
	for _, n := range s.nodes {
		n.cut, n.kafkaless = false, false
		n.resume()
		n.revive()
		n.learn()
	}
	s.undrain()
}

// undrain ends the drains, once there is a leader.
func (s *sim) undrain() {
	if s.lead == nil {
		s.at(200, s.undrain)
		return
	}
	for _, m := range s.truth().SortedMembers() {
		if m.Draining {
			s.append(ownership.Encode(ownership.Command{Drain: &ownership.Drain{ID: m.ID}}))
		}
	}
	s.at(1000, func() {
		if s.now < 40_000 {
			s.undrain()
		}
	})
}

// rebased is a plan whose base is always the present version.
func rebased(data []byte, s *ownership.State) []byte {
	c, _, err := ownership.Decode(data)
	if err != nil || c.Plan == nil {
		return data
	}
	c.Plan.Base = s.Version
	return ownership.Encode(c)
}

// TestSchedules plays schedules from SIM_SEED on, SIM_SCHEDULES of them. A failing one prints
// itself, and comes again with its seed.
func TestSchedules(t *testing.T) {
	count := uint64(40)
	if testing.Short() { // with -race, for which few schedules do: a lead has hardly a goroutine
		count = 8
	}
	first, count := fromEnv("SIM_SEED", 1), fromEnv("SIM_SCHEDULES", count)
	if os.Getenv("TALLY_PROOF") == "1" {
		count = max(count, 5000)
	}
	moves := playAll(t, first, count)
	if moves < int64(count) {
		t.Errorf("only %d lanes were moved in %d schedules: the faults do too little", moves, count)
	}
}

func playAll(t *testing.T, first, count uint64) (moves int64) {
	var next, sum atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !t.Failed() {
				i := uint64(next.Add(1) - 1)
				if i >= count {
					return
				}
				s := newSim(first+i, "")
				s.play()
				sum.Add(int64(s.moves))
				if s.fault != "" {
					t.Errorf("failed after %d schedules: SIM_SEED=%d SIM_SCHEDULES=1: %s\n%s", i+1, first+i, s.fault, s.schedule())
				}
			}
		})
	}
	wg.Wait()
	return sum.Load()
}

func fromEnv(name string, otherwise uint64) uint64 {
	n, err := strconv.ParseUint(os.Getenv(name), 10, 64)
	if err != nil {
		return otherwise
	}
	return n
}

// The same seed is the same schedule, to the last word.
func TestScheduleComesAgain(t *testing.T) {
	a, b := newSim(3, ""), newSim(3, "")
	a.play()
	b.play()
	if a.schedule() != b.schedule() || len(a.history) < 50 {
		t.Errorf("two runs of a seed differ, or are short (%d and %d lines)", len(a.history), len(b.history))
	}
}

// The model of a lane takes what can be, and nothing else.
func TestChainIsStrict(t *testing.T) {
	commit := func(call, back int64, start, end int, outcome outcome) *op {
		return &op{call: call, back: back, start: start, end: end, outcome: outcome}
	}
	read := func(call, back int64, position int) *op {
		return &op{call: call, back: back, read: true, end: position}
	}
	for name, c := range map[string]struct {
		ops []*op
		ok  bool
	}{
		"one after another":       {[]*op{commit(0, 1, 0, 5, committed), read(2, 3, 5), commit(4, 5, 5, 6, committed)}, true},
		"an old read":             {[]*op{commit(0, 1, 0, 5, committed), read(2, 3, 0)}, false},
		"an old read in time":     {[]*op{commit(0, 9, 0, 5, committed), read(2, 3, 0)}, true},
		"two from one start":      {[]*op{commit(0, 1, 0, 5, committed), commit(2, 3, 0, 4, committed)}, false},
		"no answer, and it was":   {[]*op{commit(0, 1, 0, 5, unknown), read(2, 3, 5)}, true},
		"no answer, it was not":   {[]*op{commit(0, 1, 0, 5, unknown), read(2, 3, 0)}, true},
		"it was not, and it was":  {[]*op{commit(0, 1, 0, 5, unknown), read(2, 3, 0), read(4, 5, 5)}, false},
		"a refused one moves not": {[]*op{commit(0, 1, 0, 5, refused), read(2, 3, 5)}, false},
	} {
		s := newSim(1, "")
		s.kafka.lane(ownership.LaneRef{App: "p"}).ops = c.ops
		s.checkLinear()
		if (s.fault == "") != c.ok {
			t.Errorf("%s: %q", name, s.fault)
		}
	}
}

// What is wrong on purpose is found within some schedules: else they prove nothing.
func TestMutantsAreFound(t *testing.T) {
	for mutant, want := range map[string]string{
		"own log obeyed":     "epoch",
		"late fence":         "fence",
		"stale plans obeyed": "a plan for version",
	} {
		t.Run(strings.ReplaceAll(mutant, " ", "-"), func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(300) {
				s := newSim(seed, mutant)
				s.play()
				if s.fault != "" {
					t.Logf("seed %d: %s", seed, s.fault)
					if !strings.Contains(s.fault, want) {
						t.Errorf("it was found by another check: %s", s.fault)
					}
					return
				}
			}
			t.Error("300 schedules do not find it")
		})
	}
}
