package node

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/step"
	"github.com/tally-kafka/tally/txn"
)

const trialPartitions = 3

// brokerFaults are refusals by the broker itself, of requests that it does not carry out.
type brokerFaults struct {
	on    atomic.Bool
	app   string
	every bool // kind of request is hit, not the few that matter most

	mu    sync.Mutex
	rng   *rand.Rand
	sent  map[kmsg.Key]int // requests of the nodes
	drawn map[fault]int    // faults that were meant to hit
	count map[fault]int    // faults that hit
}

// fault is a kind of request and what happens to it.
type fault struct {
	key  kmsg.Key
	what string
}

func (f fault) String() string { return f.key.Name() + " " + f.what }

func newBrokerFaults(p *place, seed uint64) *brokerFaults {
	f := &brokerFaults{app: p.app, rng: rand.New(rand.NewPCG(seed, 2)),
		sent: map[kmsg.Key]int{}, drawn: map[fault]int{}, count: map[fault]int{}}
	control := func(key kmsg.Key, answer func(kmsg.Request) kmsg.Response) {
		p.fake.ControlKey(int16(key), func(r kmsg.Request) (kmsg.Response, error, bool) {
			p.fake.KeepControl()
			resp := answer(r)
			return resp, nil, resp != nil
		})
	}
	control(kmsg.EndTxn, f.endTxn)
	p.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Count: -1, When: f.produce})
	control(kmsg.TxnOffsetCommit, f.txnOffsetCommit)
	control(kmsg.InitProducerID, refuseRevival)
	return f
}

func (f *brokerFaults) hits(what kmsg.Key, id string, permille int) bool {
	if !f.on.Load() || !strings.HasPrefix(id, f.app+".lane-") {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.every {
		permille = f.rate(what)
	}
	hit := f.rng.IntN(1000) < permille
	if hit {
		f.drawn[fault{what, refused}]++
		f.count[fault{what, refused}]++
	}
	return hit
}

// note says that a fault has hit.
func (f *brokerFaults) note(key kmsg.Key, what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count[fault{key, what}]++
}

// saw counts a request of a node.
func (f *brokerFaults) saw(key kmsg.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent[key]++
}

// meant says that a fault is to hit.
func (f *brokerFaults) meant(key kmsg.Key, what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drawn[fault{key, what}]++
}

// fired says which of the faults that matter most has never hit: without it the trial would have
// shown nothing.
func (f *brokerFaults) fired() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, must := range []fault{
		{kmsg.EndTxn, refused}, {kmsg.EndTxn, answerBad.String()}, {kmsg.OffsetFetch, ofThePast}, {kmsg.Produce, refused},
	} {
		if f.count[must] == 0 {
			return fmt.Errorf("%v: never", must)
		}
	}
	return nil
}

// refuseRevival is Kafka's answer where kfake lets a fenced producer come back: a node never asks
// to go on with an old id and epoch.
func refuseRevival(r kmsg.Request) kmsg.Response {
	req := r.(*kmsg.InitProducerIDRequest)
	if req.TransactionalID == nil || req.ProducerID < 0 {
		return nil
	}
	resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
	resp.ErrorCode = kerr.ProducerFenced.Code
	return resp
}

func (f *brokerFaults) endTxn(r kmsg.Request) kmsg.Response {
	req := r.(*kmsg.EndTxnRequest)
	if !f.hits(kmsg.EndTxn, req.TransactionalID, 40) {
		return nil
	}
	resp := req.ResponseKind().(*kmsg.EndTxnResponse)
	resp.ErrorCode = kerr.UnknownServerError.Code
	return resp
}

// produce decides whether one partition's records of a request are refused; the others are taken.
func (f *brokerFaults) produce(r kmsg.Request) bool {
	req := r.(*kmsg.ProduceRequest)
	return req.TransactionID != nil && f.hits(kmsg.Produce, *req.TransactionID, 15)
}

func (f *brokerFaults) txnOffsetCommit(r kmsg.Request) kmsg.Response {
	req := r.(*kmsg.TxnOffsetCommitRequest)
	if !f.hits(kmsg.TxnOffsetCommit, req.TransactionalID, 20) {
		return nil
	}
	resp := req.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
	for _, t := range req.Topics {
		rt := kmsg.TxnOffsetCommitResponseTopic{Topic: t.Topic, TopicID: t.TopicID}
		for _, part := range t.Partitions {
			rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
			rp.Partition, rp.ErrorCode = part.Partition, kerr.UnknownServerError.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// pause is a part of the schedule, not a wait for something.
func pause(d time.Duration) { _ = seam.World().Sleep(context.Background(), d) }

// wire is one node's network. It delays, cuts connections before or after a request was carried
// out, turns the answer of an EndTxn that was carried out into an error, and tells the past.
type wire struct {
	faults *brokerFaults

	mu    sync.Mutex
	rng   *rand.Rand
	down  bool
	slow  bool // ends of transactions are often long on their way
	conns map[*wireConn]struct{}
	past  *past // nil: the present

	under func(ctx context.Context, network, addr string) (net.Conn, error)
	kafka []string // the brokers' addresses; other connections are left alone
}

func newWire(f *brokerFaults, seed uint64, p *past) *wire {
	return &wire{faults: f, rng: rand.New(rand.NewPCG(seed, 3)), conns: map[*wireConn]struct{}{}, past: p, under: seam.World().Dial}
}

// step ends the past a while after the node's barrier: a deposed broker learns of it soon.
func (w *wire) step(n step.Name) {
	if n != step.Barrier {
		return
	}
	time.AfterFunc(150*time.Millisecond, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.past = nil
	})
}

func (w *wire) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	w.mu.Lock()
	down := w.down
	w.mu.Unlock()
	if down {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	c, err := w.under(ctx, network, addr)
	if err != nil || w.kafka != nil && !slices.Contains(w.kafka, addr) {
		return c, err
	}
	wc := &wireConn{Conn: c, wire: w, asked: map[uint32]ask{}}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns[wc] = struct{}{}
	if w.down {
		_ = c.Close()
	}
	return wc, nil
}

func (w *wire) cut(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down = down; down {
		for c := range w.conns {
			_ = c.Conn.Close()
		}
		clear(w.conns)
	}
}

func (w *wire) slowDown() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slow = true
}

type fate uint8

const (
	answered   fate = iota
	neverSent       // the connection breaks before the request is out
	answerLost      // it breaks when the answer comes
	answerBad       // the request is carried out, and the answer says that it was not
)

// What else happens to a request.
const (
	refused   = "refused" // by the broker, and not carried out
	delayed   = "delayed"
	ofThePast = "of the past"
)

func (f fate) String() string {
	return [...]string{"answered", "never sent", "answer lost", "answered badly"}[f]
}

// draw is what happens to a request, and how long it takes.
func (w *wire) draw(key kmsg.Key) (fate, time.Duration) {
	w.faults.saw(key)
	w.mu.Lock()
	defer w.mu.Unlock()
	var delay time.Duration
	switch n := w.rng.IntN(100); {
	case n < 60 && w.slow && key == kmsg.EndTxn:
		delay = time.Duration(20+w.rng.IntN(200)) * time.Millisecond
	case n < 20 && (key == kmsg.EndTxn || key == kmsg.InitProducerID):
		delay = time.Duration(w.rng.IntN(30)) * time.Millisecond
	case n < 5:
		delay = time.Duration(w.rng.IntN(10)) * time.Millisecond
	}
	if !w.faults.on.Load() {
		return answered, delay
	}
	if w.faults.every {
		return w.faults.fateOf(key, w.rng), delay
	}
	n := w.rng.IntN(1000)
	switch key {
	case kmsg.EndTxn:
		switch {
		case n < 20:
			return neverSent, delay
		case n < 40:
			return answerLost, delay
		case n < 100:
			return answerBad, delay
		}
	case kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.InitProducerID:
		if n < 5 {
			return answerLost, delay
		}
	}
	return answered, delay
}

type ask struct {
	key, version int16
	fate         fate
}

// wireConn is a connection whose frames the wire knows. franz-go writes one request a Write.
type wireConn struct {
	net.Conn
	wire *wire

	mu    sync.Mutex
	asked map[uint32]ask
	rest  []byte // of the answer that is being read
}

var errCut = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}

func (c *wireConn) Write(b []byte) (int, error) {
	if len(b) < 12 {
		return 0, fmt.Errorf("a request of %d bytes", len(b))
	}
	a := ask{key: int16(binary.BigEndian.Uint16(b[4:])), version: int16(binary.BigEndian.Uint16(b[6:]))}
	var delay time.Duration
	key := kmsg.Key(a.key)
	a.fate, delay = c.wire.draw(key)
	if delay > 0 {
		c.wire.faults.meant(key, delayed)
		pause(delay)
		c.wire.faults.note(key, delayed)
	}
	if a.fate != answered {
		c.wire.faults.meant(key, a.fate.String())
	}
	if a.fate == neverSent {
		_ = c.Conn.Close()
		c.wire.faults.note(key, a.fate.String())
		return 0, errCut
	}
	c.mu.Lock()
	c.asked[binary.BigEndian.Uint32(b[8:])] = a
	c.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *wireConn) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		head := make([]byte, 4)
		if _, err := io.ReadFull(c.Conn, head); err != nil {
			return 0, err
		}
		frame := make([]byte, binary.BigEndian.Uint32(head))
		if _, err := io.ReadFull(c.Conn, frame); err != nil {
			return 0, err
		}
		var err error
		if c.rest, err = c.answer(frame); err != nil {
			_ = c.Conn.Close()
			return 0, err
		}
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// answer gives a frame back with its length, as the client is to see it.
func (c *wireConn) answer(frame []byte) ([]byte, error) {
	id := binary.BigEndian.Uint32(frame)
	c.mu.Lock()
	a := c.asked[id]
	delete(c.asked, id)
	c.mu.Unlock()
	key := kmsg.Key(a.key)
	if a.fate == answerLost {
		c.wire.faults.note(key, a.fate.String())
		return nil, errCut
	}
	c.wire.mu.Lock()
	past := c.wire.past
	c.wire.mu.Unlock()
	if key != kmsg.ListOffsets && key != kmsg.OffsetFetch {
		past = nil
	}
	if a.fate == answerBad || past != nil {
		what := ofThePast
		if a.fate == answerBad {
			what = a.fate.String()
		}
		changed, did, err := rewritten(frame, a, past)
		if err != nil {
			return nil, err
		}
		if frame = changed; did {
			c.wire.faults.note(key, what)
		}
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...), nil
}

// rewritten decodes an answer, changes it, and encodes it again. It reports whether it says
// anything else now.
func rewritten(frame []byte, a ask, past *past) (out []byte, did bool, err error) {
	req := kmsg.RequestForKey(a.key)
	req.SetVersion(a.version)
	resp := req.ResponseKind()
	head := 4
	if resp.IsFlexible() {
		head = 5 // an empty list of tags
	}
	if err := resp.ReadFrom(frame[head:]); err != nil {
		return nil, false, err
	}
	switch r := resp.(type) {
	case *kmsg.ListOffsetsResponse:
		did = past.listOffsets(r)
	case *kmsg.OffsetFetchResponse:
		did = past.offsetFetch(r)
	}
	if a.fate == answerBad {
		did = spoil(resp)
	}
	return resp.AppendTo(append([]byte(nil), frame[:head]...)), did, nil
}

// listOffsets takes ends back to what they were, and reports whether one was another.
func (p *past) listOffsets(r *kmsg.ListOffsetsResponse) (fell bool) {
	if p == nil {
		return false
	}
	for _, t := range r.Topics {
		for i := range t.Partitions {
			part := &t.Partitions[i]
			if end, ok := p.ends[t.Topic][part.Partition]; ok && end < part.Offset {
				part.Offset, fell = end, true
			}
		}
	}
	return fell
}

// offsetFetch is the same of a group's offsets.
func (p *past) offsetFetch(r *kmsg.OffsetFetchResponse) (fell bool) {
	if p == nil {
		return false
	}
	for _, g := range r.Groups {
		for _, t := range g.Topics {
			for i := range t.Partitions {
				part := &t.Partitions[i]
				at, ok := p.group[txn.TopicPartition{Topic: p.name(t.Topic, t.TopicID), Partition: part.Partition}]
				if ok && at < part.Offset {
					part.Offset, fell = at, true
				}
			}
		}
	}
	return fell
}

// TestPastIsCounted: an answer is one of the past where that has lowered an offset in it, and not
// where all was as it is.
func TestPastIsCounted(t *testing.T) {
	p := &past{ends: map[string]map[int32]int64{"in": {0: 5}}, group: txn.Offsets{{Topic: "in"}: 5}}
	for offset, fell := range map[int64]bool{4: false, 5: false, 6: true} {
		ends := kmsg.NewPtrListOffsetsResponse()
		end := kmsg.NewListOffsetsResponseTopicPartition()
		end.Offset = offset
		ends.Topics = []kmsg.ListOffsetsResponseTopic{{Topic: "in", Partitions: []kmsg.ListOffsetsResponseTopicPartition{end}}}
		group := kmsg.NewPtrOffsetFetchResponse()
		at := kmsg.NewOffsetFetchResponseGroupTopicPartition()
		at.Offset = offset
		group.Groups = []kmsg.OffsetFetchResponseGroup{{Group: "app", Topics: []kmsg.OffsetFetchResponseGroupTopic{
			{Topic: "in", Partitions: []kmsg.OffsetFetchResponseGroupTopicPartition{at}}}}}
		for resp, version := range map[kmsg.Response]int16{ends: 7, group: 9} {
			resp.SetVersion(version)
			a := ask{key: resp.Key(), version: version}
			_, did, err := rewritten(resp.AppendTo(make([]byte, 5)), a, p)
			if err != nil || did != fell {
				t.Errorf("%s of %d, where it was 5: it fell: %t (%v)", kmsg.Key(a.key).Name(), offset, did, err)
			}
		}
	}
}
