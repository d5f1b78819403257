package sim

import (
	"github.com/tally-kafka/tally/replication/ownership"
)

// kafka is what Kafka knows of each lane: the newest producer epoch, and the transactions that it
// has committed.
type kafka map[ownership.LaneRef]*partition

type partition struct {
	producer int // epoch: whoever asked for one last is the only one that can commit
	txns     []txn
	lastAt   int64 // of the newest transaction
	ops      []*op // what clients saw, for the check of linearizability
}

type txn struct {
	start, end int
	epoch      uint64
	by         string // node and incarnation
}

// op is one call of a client: the read of a position, or a commit.
type op struct {
	client     int
	call, back int64
	read       bool
	start, end int // of a commit; a read has its answer in end
	outcome    outcome
}

type outcome int

const (
	unknown outcome = iota
	committed
	refused
)

func (k kafka) lane(ref ownership.LaneRef) *partition {
	if k[ref] == nil {
		k[ref] = &partition{}
	}
	return k[ref]
}

func (p *partition) position() int {
	if len(p.txns) == 0 {
		return 0
	}
	return p.txns[len(p.txns)-1].end
}

func (p *partition) last() txn {
	if len(p.txns) == 0 {
		return txn{}
	}
	return p.txns[len(p.txns)-1]
}

// fence makes a new producer epoch: all before it can commit no more.
func (p *partition) fence() int {
	p.producer++
	return p.producer
}

// commit is the end of a transaction.
func (s *sim) commit(ref ownership.LaneRef, producer int, t txn) bool {
	p := s.kafka.lane(ref)
	if producer != p.producer {
		return false
	}
	last := p.last()
	switch {
	case t.start != p.position():
		s.wrong("%v: a transaction of %s starts at %d, and the last one ended at %d", ref, t.by, t.start, p.position())
	case t.epoch < last.epoch:
		s.wrong("%v: epoch %d of %s after epoch %d of %s", ref, t.epoch, t.by, last.epoch, last.by)
	case t.epoch == last.epoch && t.by != last.by:
		s.wrong("%v: epoch %d belongs to %s and to %s", ref, t.epoch, last.by, t.by)
	}
	p.txns = append(p.txns, t)
	p.lastAt = s.now
	return true
}
