package lead

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tally-kafka/tally/replication/ownership"
)

// schedule is one random life of a cluster, of a seed.
type schedule struct {
	*cluster
	t      *testing.T
	rand   *rand.Rand // has the lock around it
	starts int
	term   uint64
	stop   func()            // ends the present leadership
	wake   map[string]func() // of those that hang
	// ok are the lanes whose last fence has ended well, with the epoch they had.
	ok  map[ownership.LaneRef]uint64
	all map[ownership.Death]*member
}

// TestSchedules: kills, hangs, restarts, drains and new leaderships in random order. Nobody that
// the leader vouches for is declared dead, nothing is granted before its fence has ended, and in
// the end the cluster comes to rest. SCHEDULES=FIRST+COUNT says which seeds.
func TestSchedules(t *testing.T) {
	first, count := uint64(1), 40
	if testing.Short() { // with -race, under which a schedule costs ten times as much
		count = 8
	}
	if os.Getenv("TALLY_PROOF") != "" {
		count = 1500
	}
	if s := os.Getenv("SCHEDULES"); s != "" { // FIRST+COUNT
		if _, err := fmt.Sscanf(s, "%d+%d", &first, &count); err != nil {
			t.Fatal(err)
		}
	}
	for seed := first; seed < first+uint64(count) && !t.Failed(); seed++ {
		synctest.Test(t, func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("failed after %d schedules; again with SCHEDULES=%d+1", seed-first+1, seed)
				}
			}()
			runSchedule(t, seed)
		})
	}
}

func runSchedule(t *testing.T, seed uint64) {
	s := &schedule{
		cluster: newCluster(t, Config{FenceTimeout: 2 * time.Second}), t: t, rand: rand.New(rand.NewPCG(seed, 7)),
		wake: map[string]func(){}, ok: map[ownership.LaneRef]uint64{}, all: map[ownership.Death]*member{},
	}
	s.fence = s.randomFence
	s.before = func(ownership.Plan) (*ownership.Result, error) {
		s.mu.Lock()
		d := time.Duration(s.rand.IntN(20)) * time.Millisecond
		s.mu.Unlock()
		<-time.After(d)
		return nil, nil
	}
	s.taken = s.check
	nodes := 3 + s.draw(3)
	for i := range nodes {
		s.begin(fmt.Sprintf("n%d", i))
	}
	s.put("app", 1+s.draw(20), s.draw(3))
	s.lead()
	for range 25 {
		s.step(nodes)
		<-time.After(time.Duration(s.draw(2000)) * time.Millisecond)
	}
	<-time.After(15 * time.Second)
	s.livingAreAlive(nodes)
	for i := range nodes {
		s.heal(fmt.Sprintf("n%d", i))
	}
	s.until(func() bool { return s.allOwned() })
	<-time.After(30 * time.Second) // for the last moves, and a pause
	synctest.Wait()
	n := s.log()
	<-time.After(30 * time.Second)
	synctest.Wait()
	if s.log() != n {
		t.Errorf("%d entries at rest, the last one %+v", s.log()-n, s.entry(s.log()-1))
	}
	if !s.allOwned() {
		t.Errorf("not all lanes have owners: %q", s.cluster.lead.Problems())
	}
	s.end()
	s.stop()
}

func (s *schedule) draw(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rand.IntN(n)
}

// livingAreAlive compares the log with the processes, when nothing has happened for long.
func (s *schedule) livingAreAlive(nodes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range nodes {
		id := fmt.Sprintf("n%d", i)
		m, record := s.members[id], s.state.Members[id]
		lives := m != nil && m.hang == nil && m.incarnation == record.Incarnation
		if record.Alive != lives {
			s.t.Errorf("%s is alive: the log says %v, and it is %v", id, record.Alive, lives)
		}
	}
}

// step does something.
func (s *schedule) step(nodes int) {
	id := fmt.Sprintf("n%d", 1+s.draw(nodes-1))
	s.mu.Lock()
	runs := s.members[id] != nil
	s.mu.Unlock()
	switch what := s.draw(10); {
	case what == 0:
		s.stop()
		<-time.After(time.Duration(s.draw(300)) * time.Millisecond)
		s.lead()
	case what == 1 && s.wake[id] == nil:
		s.take(ownership.Command{Drain: &ownership.Drain{ID: id, Draining: s.draw(2) == 0}})
	case !runs || s.wake[id] != nil:
		s.heal(id)
	case what < 3:
		s.begin(id) // beside the old process, which goes on pinging
	case what < 6:
		s.kill(id)
	case what < 9:
		s.wake[id] = s.hang(id)
	default:
		s.hangMost(nodes)
	}
}

// hangMost lets more than half of the members do nothing.
func (s *schedule) hangMost(nodes int) {
	for i := range nodes/2 + 1 {
		id := fmt.Sprintf("n%d", i+1)
		s.mu.Lock()
		runs := s.members[id] != nil
		s.mu.Unlock()
		if runs && s.wake[id] == nil {
			s.wake[id] = s.hang(id)
		}
	}
}

// heal wakes a member up, or starts a new process where there is none.
func (s *schedule) heal(id string) {
	if wake := s.wake[id]; wake != nil {
		delete(s.wake, id)
		wake()
		return
	}
	s.mu.Lock()
	runs := s.members[id] != nil
	s.mu.Unlock()
	if !runs {
		s.begin(id)
	}
	s.take(ownership.Command{Drain: &ownership.Drain{ID: id}})
}

func (s *schedule) lead() {
	s.term++
	s.stop = s.run(s.term)
}

// begin starts a process, which registers again when the leader does not know it.
func (s *schedule) begin(id string) {
	s.starts++
	m := s.start(id, strconv.Itoa(s.starts))
	s.mu.Lock()
	s.all[ownership.Death{ID: id, Incarnation: m.incarnation}] = m
	s.mu.Unlock()
	record := *s.read().Members[id]
	s.done.Go(func() {
		for {
			select {
			case <-m.session.Unknown():
			case <-m.ctx.Done():
				return
			}
			if now := s.read().Members[id]; now.Incarnation == record.Incarnation && !now.Alive && m.ctx.Err() == nil {
				s.take(ownership.Command{Register: &ownership.Register{Member: record}})
			}
		}
	})
}

// randomFence is fast, slow, or fails.
func (s *schedule) randomFence(ctx context.Context, ref ownership.LaneRef) error {
	s.mu.Lock()
	before, _ := s.state.Lane(ref)
	d := time.Duration(s.rand.IntN(50)) * time.Millisecond
	switch s.rand.IntN(10) {
	case 0:
		d = time.Duration(s.rand.IntN(5000)) * time.Millisecond
	case 1:
		s.mu.Unlock()
		return errors.New("no broker answers")
	}
	s.mu.Unlock()
	<-time.After(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	after, _ := s.state.Lane(ref)
	if after.Owner != "" || after.Epoch != before.Epoch {
		s.t.Errorf("%s has become %+v during its fence, from %+v", ref, after, before)
	}
	s.ok[ref] = after.Epoch
	return nil
}

// check looks at each entry of the log. The lock is held.
func (s *schedule) check(before, after *ownership.State, cmd ownership.Command) {
	if cmd.Plan == nil {
		return
	}
	s.checkNumber(before, cmd.Plan.Dead)
	for _, d := range cmd.Plan.Dead {
		m := s.members[d.ID]
		if m != nil && m.incarnation == d.Incarnation && m.session.Renewed() {
			s.t.Errorf("%v is declared dead and counts itself as renewed", d)
		}
		if m != nil && m.incarnation == d.Incarnation && m.hang == nil && time.Since(m.woken) > time.Second {
			s.t.Errorf("%v is declared dead and is well", d)
		}
	}
	for ref, l := range after.Lanes() {
		was, ok := before.Lane(ref)
		if ok && was.Unfenced && l.Owner != "" && (was.Epoch != s.ok[ref] || l.Epoch <= was.Epoch) {
			s.t.Errorf("%s is granted with %+v, and its last fence was at epoch %d", ref, l, s.ok[ref])
		}
	}
}

// checkNumber: more than half of the members are not declared dead at once, unless that was waited
// for. The lock is held.
func (s *schedule) checkNumber(before *ownership.State, dead []ownership.Death) {
	alive := 0
	for _, m := range before.Members {
		if m.Alive {
			alive++
		}
	}
	fresh := 0
	for _, d := range dead {
		if m := s.all[d]; !m.since.IsZero() && time.Since(m.since) < 9*time.Second {
			fresh++
		}
	}
	if 2*fresh > alive {
		s.t.Errorf("%d of %d are declared dead at once, and were not waited for", fresh, alive)
	}
}
