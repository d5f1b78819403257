package check

import (
	"time"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// copyOf is a node's copy of a lane, the owner's too.
type copyOf struct {
	lane laneOf
	node string
}

// settling is what a node has said of its copy of a lane, last, in Unix ms; 0: never.
type settling struct {
	settled   int64 // that it has all: it runs, or is a standby that is ready
	unsettled int64 // that it is on its way
	standby   bool  // as which it was settled
}

// settlings are those of the nodes that run, and of their starts that are over.
type settlings struct {
	now   map[copyOf]settling
	ended map[startOf]map[laneOf]settling
}

func newSettlings() *settlings {
	return &settlings{now: map[copyOf]settling{}, ended: map[startOf]map[laneOf]settling{}}
}

const (
	// settledLate is how long before its end a start has to have said that it has all, for that to
	// hold at its end.
	settledLate = 2 * time.Second
	// behindMost is how far behind a standby that calls itself ready may be, by the run's rate.
	behindMost = 5 * time.Second
)

// status takes what a node says of its lanes. Each app sends so many events a second.
func (s *settlings) status(h *history.Status, lanes map[string]int, rate int) {
	ms := time.Unix(0, h.Began).UnixMilli()
	for _, l := range h.Lanes {
		of := copyOf{laneOf{l.App, l.Lane}, h.Node}
		said := s.now[of]
		behind := time.Duration(0)
		if rate > 0 {
			behind = time.Duration(l.Lag) * time.Second * time.Duration(lanes[l.App]) / time.Duration(rate)
		}
		switch standby := l.Role == roleStandby; {
		case standby && l.Ready && behind <= behindMost, !standby && l.State == "running" && l.Owner == h.Node:
			said.settled, said.standby = ms, standby
		default:
			said.unsettled = ms
		}
		s.now[of] = said
	}
}

// process ends what a node's start has said.
func (s *settlings) process(p *history.Process) {
	ended := map[laneOf]settling{}
	for of, said := range s.now {
		if of.node != p.Name {
			continue
		}
		if !p.Ended.IsZero() {
			ended[of.lane] = said
		}
		delete(s.now, of)
	}
	if !p.Ended.IsZero() {
		s.ended[startOf{p.Name, p.Start}] = ended
	}
}

// settled reports whether a copy of a store of a node that died was neither read from a compacted
// changelog nor may have been: since before the first compaction it had all, as the node said
// every time, up to its end. What lies on the disk may be older than what it had: so one that was
// on its way at any time since then is not settled. A standby that ends while Kafka is made to
// compact may just read what is being compacted.
func (t *troubles) settled(s *history.Store, lane laneOf) bool {
	end := t.copied(s)
	said, known := t.settlings.ended[startOf{s.Node, s.Start}][lane]
	if !known || said.settled < end-settledLate.Milliseconds() || said.unsettled > said.settled {
		return false
	}
	if said.standby && t.compacting(end) {
		return false
	}
	return said.unsettled == 0 || said.unsettled < t.compactedFrom()
}
