package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/step"
	"github.com/tally-kafka/tally/txn"
)

const trialPartitions = 3

// brokerFaults are refusals by the broker itself, of requests that it does not carry out.
type brokerFaults struct {
	on  atomic.Bool
	app string

	mu    sync.Mutex
	rng   *rand.Rand
	count map[string]int // of the faults that hit
}

func newBrokerFaults(p *place, seed uint64) *brokerFaults {
	f := &brokerFaults{app: p.app, rng: rand.New(rand.NewPCG(seed, 2)), count: map[string]int{}}
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
	hit := f.rng.IntN(1000) < permille
	f.mu.Unlock()
	if hit {
		f.note(what.Name() + " refused")
	}
	return hit
}

func (f *brokerFaults) note(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count[what]++
}

// fired says which of the faults that matter most has never hit: without it the trial would have
// shown nothing.
func (f *brokerFaults) fired() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, what := range []string{"EndTxn refused", "EndTxn answered badly", "OffsetFetch of the past", "Produce refused"} {
		if f.count[what] == 0 {
			return fmt.Errorf("%s: never", what)
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
}

func newWire(f *brokerFaults, seed uint64, p *past) *wire {
	return &wire{faults: f, rng: rand.New(rand.NewPCG(seed, 3)), conns: map[*wireConn]struct{}{}, past: p}
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
	c, err := seam.World().Dial(ctx, network, addr)
	if err != nil {
		return nil, err
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
	answerBad       // the request is carried out, and the answer says UNKNOWN_SERVER_ERROR
)

// draw is what happens to a request, and how long it takes.
func (w *wire) draw(key kmsg.Key) (fate, time.Duration) {
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

var errCut = errors.New("the wire is cut")

func (c *wireConn) Write(b []byte) (int, error) {
	if len(b) < 12 {
		return 0, fmt.Errorf("a request of %d bytes", len(b))
	}
	a := ask{key: int16(binary.BigEndian.Uint16(b[4:])), version: int16(binary.BigEndian.Uint16(b[6:]))}
	var delay time.Duration
	a.fate, delay = c.wire.draw(kmsg.Key(a.key))
	pause(delay)
	if a.fate == neverSent {
		_ = c.Conn.Close()
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
	if a.fate == answerLost {
		c.wire.faults.note(kmsg.Key(a.key).Name() + " answer lost")
		return nil, errCut
	}
	c.wire.mu.Lock()
	past := c.wire.past
	c.wire.mu.Unlock()
	key := kmsg.Key(a.key)
	if a.fate == answerBad || past != nil && (key == kmsg.ListOffsets || key == kmsg.OffsetFetch) {
		what := " of the past"
		if a.fate == answerBad {
			what = " answered badly"
		}
		c.wire.faults.note(key.Name() + what)
		var err error
		if frame, err = rewritten(frame, a, past); err != nil {
			return nil, err
		}
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...), nil
}

// rewritten decodes an answer, changes it, and encodes it again.
func rewritten(frame []byte, a ask, past *past) ([]byte, error) {
	req := kmsg.RequestForKey(a.key)
	req.SetVersion(a.version)
	resp := req.ResponseKind()
	head := 4
	if resp.IsFlexible() {
		head = 5 // an empty list of tags
	}
	if err := resp.ReadFrom(frame[head:]); err != nil {
		return nil, err
	}
	switch r := resp.(type) {
	case *kmsg.EndTxnResponse:
		if r.ErrorCode == 0 { // it was carried out
			r.ErrorCode = kerr.UnknownServerError.Code
		}
	case *kmsg.ListOffsetsResponse:
		past.listOffsets(r)
	case *kmsg.OffsetFetchResponse:
		past.offsetFetch(r)
	}
	return resp.AppendTo(append([]byte(nil), frame[:head]...)), nil
}

func (p *past) listOffsets(r *kmsg.ListOffsetsResponse) {
	for _, t := range r.Topics {
		for i := range t.Partitions {
			part := &t.Partitions[i]
			if end, ok := p.ends[t.Topic][part.Partition]; ok {
				part.Offset = min(part.Offset, end)
			}
		}
	}
}

func (p *past) offsetFetch(r *kmsg.OffsetFetchResponse) {
	for _, g := range r.Groups {
		for _, t := range g.Topics {
			for i := range t.Partitions {
				part := &t.Partitions[i]
				if at, ok := p.group[txn.TopicPartition{Topic: p.name(t.Topic, t.TopicID), Partition: part.Partition}]; ok {
					part.Offset = min(part.Offset, at)
				}
			}
		}
	}
}

// inputs sends events, some of them in transactions of another producer, and remembers those that
// are there to be counted.
type inputs struct {
	p      *place
	byItem bool // without the key
	plain  *kgo.Client
	txn    *kgo.Client
	mu     sync.Mutex // held while events are sent, so that whoever has it knows of all that are there
	rng    *rand.Rand

	sent  map[int32][]*kgo.Record // by partition, in order of offset
	asked int
	known atomic.Int32 // partitions, asked for without mu too
}

func newInputs(p *place, seed uint64, partitions int32, byItem bool) *inputs {
	in := &inputs{p: p, byItem: byItem, rng: rand.New(rand.NewPCG(seed, 4)), sent: map[int32][]*kgo.Record{}}
	in.grow(partitions)
	return in
}

// grow makes clients that know so many partitions. The caller holds mu, if others know of in.
func (in *inputs) grow(partitions int32) {
	in.plain, in.txn = in.client(), in.client(kgo.TransactionalID(in.p.app+".producer"))
	for part := range partitions {
		in.sent[part] = in.sent[part][:len(in.sent[part]):len(in.sent[part])]
	}
	in.known.Store(partitions)
}

func (in *inputs) client(opts ...kgo.Opt) *kgo.Client {
	cfg := kafka.Config{Brokers: in.p.addrs, Seam: seam.World()}
	cl, err := cfg.Client(append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	in.p.must(err)
	in.p.t.Cleanup(cl.Close)
	return cl
}

func (in *inputs) partitions() int32 { return in.known.Load() }

// one sends an event of a word that no other has: what other partitions have cannot stand in for
// it.
func (in *inputs) one() *kgo.Record {
	in.mu.Lock()
	defer in.mu.Unlock()
	e := in.event(in.rng.Int32N(in.partitions()))
	in.asked++
	e.Value = fmt.Appendf(nil, "a b asked%d", in.asked)
	in.p.must(in.plain.ProduceSync(in.p.ctx(), e).FirstErr())
	in.remember([]*kgo.Record{e})
	return e
}

func (in *inputs) send() {
	in.more()
	in.mu.Lock()
	wait := time.Duration(in.rng.IntN(15)) * time.Millisecond
	in.mu.Unlock()
	pause(wait)
}

func (in *inputs) more() {
	in.mu.Lock()
	defer in.mu.Unlock()
	var events []*kgo.Record
	for range 1 + in.rng.IntN(12) {
		events = append(events, in.event(in.rng.Int32N(in.partitions())))
	}
	switch in.rng.IntN(10) {
	case 0:
		in.produce(kgo.TryAbort, events)
	case 1:
		in.produce(kgo.TryCommit, events)
		in.remember(events)
	default:
		in.p.must(in.plain.ProduceSync(in.p.ctx(), events...).FirstErr())
		in.remember(events)
	}
}

// toAll sends an event to each partition. The caller holds mu.
func (in *inputs) toAll() {
	var events []*kgo.Record
	for part := range in.partitions() {
		events = append(events, in.event(part))
	}
	in.p.must(in.plain.ProduceSync(in.p.ctx(), events...).FirstErr())
	in.remember(events)
}

func (in *inputs) event(part int32) *kgo.Record {
	words := []string{"a", "b", "c", "d e", "a a b", "", "E", "bad \xff"}
	r := &kgo.Record{Topic: in.p.in, Partition: part, Value: []byte(words[in.rng.IntN(len(words))])}
	if k := in.rng.IntN(6); k > 0 {
		r.Key = []byte{'k', byte('0' + k)}
	}
	return r
}

func (in *inputs) produce(end kgo.TransactionEndTry, events []*kgo.Record) {
	in.p.must(in.txn.BeginTransaction())
	in.p.must(in.txn.ProduceSync(in.p.ctx(), events...).FirstErr())
	in.p.must(in.txn.EndTransaction(in.p.ctx(), end))
}

func (in *inputs) remember(events []*kgo.Record) {
	for _, e := range events {
		in.sent[e.Partition] = append(in.sent[e.Partition], e)
	}
}

// What follows is the recount; the caller holds mu.

func readable(e *kgo.Record) bool { return utf8.Valid(e.Value) }

func (in *inputs) groupOf(key []byte, item string) string {
	if in.byItem {
		return fmt.Sprintf("[%q]", item)
	}
	if key == nil {
		return fmt.Sprintf("[null,%q]", item)
	}
	return fmt.Sprintf("[%q,%q]", key, item)
}

// tally calls one for each item of the partition's events below the offset.
func (in *inputs) tally(part int32, below int64, one func(group string)) {
	for _, e := range in.sent[part] {
		if e.Offset < below && readable(e) {
			for _, word := range strings.Fields(strings.ToLower(string(e.Value))) {
				one(in.groupOf(e.Key, word))
			}
		}
	}
}

// recount is what the counts must be at these positions; nil is the end.
func (in *inputs) recount(at map[int32]int64) map[string]string {
	n := map[string]int{}
	for part := range in.sent {
		below, ok := at[part]
		if !ok {
			below = 1 << 62
		}
		in.tally(part, below, func(group string) { n[group]++ })
	}
	counts := map[string]string{}
	for group, c := range n {
		counts[group] = fmt.Sprintf(`{"count":%d}`, c)
	}
	return counts
}

// between is how many events of a partition lie from one offset up to another.
func (in *inputs) between(part int32, from, to int64) (n int) {
	for _, e := range in.sent[part] {
		if e.Offset >= from && e.Offset < to {
			n++
		}
	}
	return n
}

func (in *inputs) total() (n int64) {
	for _, events := range in.sent {
		n += int64(len(events))
	}
	return n
}

func (in *inputs) unreadable() (n int64) {
	for part := range in.sent {
		n += in.unreadableIn(part)
	}
	return n
}

func (in *inputs) unreadableIn(part int32) (n int64) {
	for _, e := range in.sent[part] {
		if !readable(e) {
			n++
		}
	}
	return n
}
