package broker

import (
	"encoding/binary"
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// partition is named by its topic's id ([16]byte) or, from older clients, its name.
type partition struct {
	topic any
	index int32
}

// gate holds back what would begin a transaction while it is shut, and while it is sealed all that
// reads or changes a partition. The zero gate is open.
type gate struct {
	mu      sync.Mutex
	reopens chan struct{} // nil while open
	sealed  bool
	begun   map[int64]bool
	starts  map[partition]int64
}

func (g *gate) seal(sealed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sealed = sealed
}

func (g *gate) setStarts(starts map[partition]int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.starts = starts
}

// lift raises the offsets of a fetch to the start of a compacted log. kfake moves that start up to
// the first record that compaction left, and calls what lies below out of range; in Kafka it stays,
// and a reader below only finds a gap.
func (g *gate) lift(req *kmsg.FetchRequest) {
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			for _, name := range []any{t.TopicID, t.Topic} {
				if start, ok := g.starts[partition{name, p.Partition}]; ok {
					p.FetchOffset = max(p.FetchOffset, start)
				}
			}
		}
	}
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reopens = make(chan struct{})
}

// open opens it, if it is not open.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reopens != nil {
		close(g.reopens)
	}
	g.reopens, g.sealed = nil, false
}

// enter notes what a request does to its producer's transaction. It returns what to wait for before
// asking again, or nil when the request may pass.
func (g *gate) enter(kreq kmsg.Request) <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sealed && touches(kreq) {
		return g.reopens
	}
	if req, ok := kreq.(*kmsg.FetchRequest); ok {
		g.lift(req)
		return nil
	}
	id, ends := producerOf(kreq)
	switch {
	case id < 0:
	case ends:
		delete(g.begun, id)
	case g.reopens != nil && !g.begun[id]:
		return g.reopens
	default:
		if g.begun == nil {
			g.begun = map[int64]bool{}
		}
		g.begun[id] = true
	}
	return nil
}

// guard holds requests back at the gate.
func (g *gate) guard(c *kfake.Cluster) guard {
	return func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		for wait := g.enter(kreq); wait != nil; wait = g.enter(kreq) {
			c.SleepControl(func() { <-wait })
		}
		return nil, nil, false
	}
}

// touches says whether a request reads or changes a partition's records, or the set of partitions.
func touches(kreq kmsg.Request) bool {
	switch kmsg.Key(kreq.Key()) {
	case kmsg.Produce, kmsg.Fetch, kmsg.ShareFetch, kmsg.DeleteRecords,
		kmsg.InitProducerID, kmsg.AddPartitionsToTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn, kmsg.WriteTxnMarkers,
		kmsg.CreateTopics, kmsg.DeleteTopics, kmsg.CreatePartitions:
		return true
	}
	return false
}

// producerOf names the transactional producer that a request belongs to, or -1, and whether the
// request ends the producer's transaction. An InitProducerID ends what it names, and may end what
// it does not name: that producer's id then stays noted as begun until the process ends, which only
// makes the gate let it pass.
func producerOf(kreq kmsg.Request) (id int64, ends bool) {
	switch req := kreq.(type) {
	case *kmsg.EndTxnRequest:
		return req.ProducerID, true
	case *kmsg.InitProducerIDRequest:
		return req.ProducerID, true
	case *kmsg.TxnOffsetCommitRequest:
		return req.ProducerID, false
	case *kmsg.AddPartitionsToTxnRequest:
		return req.ProducerID, false
	case *kmsg.ProduceRequest:
		const producerAt = 43 // in a record batch
		if req.TransactionID == nil {
			return -1, false
		}
		for _, t := range req.Topics {
			for _, p := range t.Partitions {
				if len(p.Records) >= producerAt+8 {
					return int64(binary.BigEndian.Uint64(p.Records[producerAt:])), false
				}
			}
		}
	}
	return -1, false
}
