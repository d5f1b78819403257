package sim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/tally-kafka/tally/replication/ownership"
)

// sim is one schedule. Times are milliseconds of its own clock.
type sim struct {
	rng    *rand.Rand
	mutant string // what is wrong on purpose, "" for nothing
	now    int64
	queue  events
	seq    int

	log    [][]byte
	states []*ownership.State // after each entry; states[0] before the first
	nodes  []*node
	kafka  kafka
	lead   *lead // the leader of the newest term, nil while there is none
	term   int
	calm   bool // no more faults

	fences map[fence]bool   // that have ended
	cutOff map[string]int64 // when a leader last had a node for cut off from Kafka
	// taken are the lanes whose owner waits for the word of one that was cut off from Kafka: nobody
	// has asked that one to hand them over.
	taken   map[ownership.LaneRef]bool
	ill     map[ownership.LaneRef]bool // nobody gets to run them: a person has to mend something
	moves   int                        // of lanes, as the log shows
	fault   string
	history []string
}

// fence is one of a lane while it had an epoch.
type fence struct {
	ref   ownership.LaneRef
	epoch uint64
}

type event struct {
	at  int64
	seq int
	run func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || (e[i].at == e[j].at && e[i].seq < e[j].seq)
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// at runs something later.
func (s *sim) at(delay int64, run func()) {
	s.seq++
	heap.Push(&s.queue, event{s.now + delay, s.seq, run})
}

// until plays all that happens until a time, or until something is wrong.
func (s *sim) until(end int64) {
	for s.fault == "" && len(s.queue) > 0 && s.queue[0].at <= end {
		e := heap.Pop(&s.queue).(event)
		s.now = e.at
		e.run()
	}
	s.now = end
}

// between draws a time.
func (s *sim) between(least, most int64) int64 { return least + s.rng.Int64N(most-least+1) }

// oneIn is true once in n times, while there are faults.
func (s *sim) oneIn(n int) bool { return !s.calm && s.rng.IntN(n) == 0 }

// wire is how long a message takes: mostly short, now and then long enough to be overtaken by many.
func (s *sim) wire() int64 {
	if s.oneIn(25) {
		return s.between(30, 400)
	}
	return s.between(1, 10)
}

func (s *sim) say(format string, args ...any) {
	s.history = append(s.history, fmt.Sprintf("%6d ", s.now)+fmt.Sprintf(format, args...))
}

// wrong ends the schedule.
func (s *sim) wrong(format string, args ...any) {
	if s.fault == "" {
		s.fault = fmt.Sprintf(format, args...)
		s.say("WRONG: %s", s.fault)
	}
}

// schedule is what has happened, for a person.
func (s *sim) schedule() string {
	return strings.Join(s.history, "\n")
}

func (s *sim) truth() *ownership.State { return s.states[len(s.states)-1] }

// propose sends a command to the log of whoever leads. It may be lost, and then it is asked again
// by who still wants it.
func (s *sim) propose(from *node, c ownership.Command) {
	data := ownership.Encode(c)
	s.at(s.wire(), func() {
		if from.cut || s.lead == nil || !s.lead.on.up || s.oneIn(50) {
			return
		}
		s.append(data)
	})
}

// append adds an entry to the log, and lets each node learn of it in its own time.
func (s *sim) append(data []byte) {
	before, entry := s.truth(), data
	if s.mutant == "stale plans obeyed" {
		data = rebased(data, before)
	}
	after, result, err := before.Apply(data)
	if err != nil {
		s.wrong("an entry that cannot be applied: %v", err)
		return
	}
	s.log = append(s.log, data)
	s.states = append(s.states, after)
	text := string(data)
	if result.Refused != "" {
		text = "refused (" + result.Refused + "): " + text
	}
	s.say("entry %d: %s", len(s.log), text)
	s.checkBase(entry, before, after)
	s.checkEntry(before, after)
	for _, n := range s.nodes {
		n.learn()
	}
}
