package broker

import (
	"encoding/binary"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// kfake's compaction looks past the last stable offset: a record of an open transaction displaces
// the committed one of its key, and when the transaction is aborted the key is lost. So kfake's own
// timer is put off for ever, and compaction runs here, at moments when no transaction is open: new
// ones wait for it, and those that are open are let end. Retention is innocent, but hangs on the
// same timer; it runs here too.

const (
	tidyEvery       = 5 * time.Minute
	tidyNever       = "315360000000"  // ms: ten years
	compactGrowth   = 64 << 20        // compact when so much was written since, and the size has doubled
	compactPatience = 2 * time.Second // for open transactions to end
)

// tidier keeps the data dir from growing without end.
type tidier struct {
	cluster *kfake.Cluster
	dir     dir
	seam    seam.Seam
	gate    gate
	wait    time.Duration // for open transactions to end
	last    int64         // bytes of compacted topics after the last compaction
}

// tidy applies retention, and compacts when it is worth it. It says whether it compacted.
func (t *tidier) tidy() bool {
	t.cluster.ApplyRetention()
	if size, _ := t.compacted(); size < 2*t.last+compactGrowth {
		return false
	}
	return t.compact()
}

// compact waits for a moment without open transactions; new ones wait meanwhile.
func (t *tidier) compact() bool {
	t.gate.shut()
	defer t.gate.open()
	for deadline := t.seam.Now().Add(t.wait); ; {
		if _, quiet := t.compacted(); quiet {
			break
		}
		if t.seam.Now().After(deadline) {
			return false
		}
		c, stop := t.seam.Timer(2 * time.Millisecond)
		<-c
		stop()
	}
	t.gate.seal()
	t.cluster.Compact()
	t.last, _ = t.compacted()
	t.gate.setStarts(t.starts())
	return true
}

// starts are the first offsets of all partitions of compacted topics.
func (t *tidier) starts() map[partition]int64 {
	starts := map[partition]int64{}
	for topic := range t.topics() {
		info := t.cluster.TopicInfo(topic)
		if !isCompacted(info) {
			continue
		}
		for _, p := range t.cluster.PartitionInfos(topic) {
			starts[partition{info.TopicID, p.Partition}] = p.LogStartOffset
			starts[partition{topic, p.Partition}] = p.LogStartOffset
		}
	}
	return starts
}

// partition is named by its topic's id ([16]byte) or, from older clients, its name.
type partition struct {
	topic any
	index int32
}

func isCompacted(info *kfake.TopicInfo) bool {
	if info == nil {
		return false
	}
	policy := info.Configs["cleanup.policy"]
	return policy != nil && strings.Contains(*policy, "compact")
}

// compacted is the size of all compacted topics, and whether none has an open transaction.
func (t *tidier) compacted() (bytes int64, quiet bool) {
	quiet = true
	for topic := range t.topics() {
		if !isCompacted(t.cluster.TopicInfo(topic)) {
			continue
		}
		for _, p := range t.cluster.PartitionInfos(topic) {
			bytes += p.NumBytes
			quiet = quiet && p.LastStableOffset == p.HighWatermark
		}
	}
	return bytes, quiet
}

// topics are those that have data: kfake lists none, but has a directory for each partition.
func (t *tidier) topics() map[string]bool {
	topics := map[string]bool{}
	entries, _ := os.ReadDir(filepath.Join(t.dir.data(), "partitions"))
	for _, e := range entries {
		if i := strings.LastIndexByte(e.Name(), '-'); i > 0 {
			if name, err := url.PathUnescape(e.Name()[:i]); err == nil {
				topics[name] = true
			}
		}
	}
	return topics
}

// gate holds back what would begin a transaction while it is shut, and fetches too while it is
// sealed. The zero gate is open.
type gate struct {
	mu      sync.Mutex
	reopens chan struct{} // nil while open
	sealed  bool
	begun   map[int64]bool
	starts  map[partition]int64
}

func (g *gate) seal() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sealed = true
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

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.reopens)
	g.reopens, g.sealed = nil, false
}

// enter notes what a request does to its producer's transaction. It returns what to wait for before
// asking again, or nil when the request may pass.
func (g *gate) enter(kreq kmsg.Request) <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if req, ok := kreq.(*kmsg.FetchRequest); ok {
		if g.sealed {
			return g.reopens
		}
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

// guard puts the gate before the requests that begin transactions.
func (g *gate) guard(c *kfake.Cluster) {
	c.Control(func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		for wait := g.enter(kreq); wait != nil; wait = g.enter(kreq) {
			c.SleepControl(func() { <-wait })
		}
		return nil, nil, false
	})
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

// keepCompacted gives each new compacted topic endless retention: kfake applies retention to them
// too, where Kafka does so only for cleanup.policy=compact,delete.
func keepCompacted(c *kfake.Cluster) {
	c.ControlKey(int16(kmsg.CreateTopics), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		req := kreq.(*kmsg.CreateTopicsRequest)
		for i := range req.Topics {
			t := &req.Topics[i]
			if isCompactOnly(t.Configs) {
				t.Configs = append(t.Configs, endless("retention.ms"), endless("retention.bytes"))
			}
		}
		return nil, nil, false
	})
}

func isCompactOnly(configs []kmsg.CreateTopicsRequestTopicConfig) bool {
	for _, c := range configs {
		if c.Name == "cleanup.policy" && c.Value != nil {
			return *c.Value == "compact"
		}
	}
	return false
}

func endless(name string) kmsg.CreateTopicsRequestTopicConfig {
	v := "-1"
	c := kmsg.NewCreateTopicsRequestTopicConfig()
	c.Name, c.Value = name, &v
	return c
}
