package testkafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Kafka's request keys that tests cut most.
const (
	AnyKey             = -1
	KeyProduce         = 0
	KeyFetch           = 1
	KeyInitProducerID  = 22
	KeyEndTxn          = 26
	KeyTxnOffsetCommit = 28
)

// Action is what the proxy does with a request that a Fault chose. Each ends in a closed
// connection, as a broken network does.
type Action int

const (
	// DropAnswer lets the broker do the request, and the client never hears of it.
	DropAnswer Action = iota
	// DropRequest keeps it from the broker.
	DropRequest
	// HoldRequest keeps it from the broker until Hits.Deliver.
	HoldRequest
)

// Fault chooses requests by their key.
type Fault struct {
	Key    int16  // or AnyKey
	Client string // of this client id alone; "": of any
	Do     Action
	Skip   int    // lets so many of them pass first
	Times  int    // then hits so many; 0: all
	OnHit  func() // called at each hit, before the connection closes; may call Cut
}

// Hits counts what a Fault has done. Its methods may be called from any goroutine.
type Hits struct {
	p     *Proxy
	fault Fault
	seen  int
	hits  int
	held  [][]byte
}

// Count is the number of hits so far.
func (h *Hits) Count() int {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	return h.hits
}

// Remove ends the fault.
func (h *Hits) Remove() {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	h.p.faults = slices.DeleteFunc(h.p.faults, func(o *Hits) bool { return o == h })
}

// Proxy is a TCP proxy in front of one broker that understands where Kafka's requests and answers
// begin. It does not understand TLS.
type Proxy struct {
	target string
	listen net.Listener

	mu      sync.Mutex
	healed  *sync.Cond // broadcast when frozen or closed changes
	conns   map[net.Conn]struct{}
	faults  []*Hits
	commits func(producer int64, epoch int16) // nil: nobody wants to know
	delay   time.Duration
	frozen  bool
	cut     bool
	closed  bool
	workers sync.WaitGroup
}

// NewProxy listens on a free loopback port and forwards to target, which need not listen yet.
func NewProxy(target string) (*Proxy, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	p := &Proxy{target: target, listen: l, conns: map[net.Conn]struct{}{}}
	p.healed = sync.NewCond(&p.mu)
	p.workers.Go(p.accept)
	return p, nil
}

// Addr is where clients connect.
func (p *Proxy) Addr() string { return p.listen.Addr().String() }

// Fail adds a fault.
func (p *Proxy) Fail(f Fault) *Hits {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := &Hits{p: p, fault: f}
	p.faults = append(p.faults, h)
	return h
}

// OnCommit has fn called with each request to commit a transaction, before the broker gets it: who
// knows earlier of a commit knows of none.
func (p *Proxy) OnCommit(fn func(producer int64, epoch int16)) {
	p.set(func() { p.commits = fn })
}

// Delay holds each request and each answer back for d.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Freeze lets nothing through, while connections stay open: a network that lost its packets.
func (p *Proxy) Freeze() { p.set(func() { p.frozen = true }) }

// Cut closes all connections and each new one.
func (p *Proxy) Cut() {
	p.set(func() { p.cut = true })
	p.closeConns()
}

// Heal ends Freeze and Cut.
func (p *Proxy) Heal() { p.set(func() { p.frozen, p.cut = false, false }) }

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.healed.Broadcast()
}

func (p *Proxy) closeConns() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// Close ends the proxy and its connections, and waits for them.
func (p *Proxy) Close() {
	p.set(func() { p.closed = true })
	_ = p.listen.Close()
	p.closeConns()
	p.workers.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listen.Accept()
		if err != nil {
			return
		}
		p.workers.Go(func() { p.serve(client) })
	}
}

// serve is one connection: requests run in this goroutine, answers in another.
func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	broker, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil {
		return
	}
	defer broker.Close()
	if !p.track(client, broker) {
		return
	}
	defer p.untrack(client, broker)
	l := &link{p: p, doomed: map[uint32]*Hits{}}
	var answers sync.WaitGroup
	answers.Go(func() {
		l.pump(broker, client, l.answer)
		_, _ = client.Close(), broker.Close()
	})
	l.pump(client, broker, l.request)
	_, _ = client.Close(), broker.Close()
	answers.Wait()
}

func (p *Proxy) track(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut || p.closed {
		return false
	}
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
	return true
}

func (p *Proxy) untrack(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		delete(p.conns, c)
	}
}

// pass waits out delay and frost.
func (p *Proxy) pass() {
	p.mu.Lock()
	delay := p.delay
	p.mu.Unlock()
	if delay > 0 {
		time.Sleep(delay)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.frozen && !p.cut && !p.closed {
		p.healed.Wait()
	}
}

// Forgive removes all faults.
func (p *Proxy) Forgive() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = nil
}

// meets says whether a request with this header is of the kind that the fault is for.
func (f Fault) meets(key int16, client string) bool {
	return (f.Key == AnyKey || f.Key == key) && (f.Client == "" || f.Client == client)
}

// choose finds the fault that a request meets, and counts it.
func (p *Proxy) choose(frame []byte) *Hits {
	key, client := int16(binary.BigEndian.Uint16(frame)), clientOf(frame)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.faults {
		if !h.fault.meets(key, client) {
			continue
		}
		h.seen++
		if h.seen <= h.fault.Skip || (h.fault.Times > 0 && h.hits >= h.fault.Times) {
			continue
		}
		h.hits++
		if h.fault.Do == HoldRequest {
			h.hold(frame)
		}
		return h
	}
	return nil
}

// link is one connection through the proxy. doomed are the correlation ids of requests whose
// answers are dropped.
type link struct {
	p      *Proxy
	mu     sync.Mutex
	doomed map[uint32]*Hits
}

// frameMax bounds a request and an answer.
const frameMax = 128 << 20

var errDropped = errors.New("dropped by the proxy")

// pump copies frames, each four bytes of length and that many more, until one side ends or look
// refuses a frame.
func (l *link) pump(from io.Reader, to io.Writer, look func(frame []byte) error) {
	for {
		frame, err := readFrame(from)
		if err != nil {
			return
		}
		l.p.pass()
		if look(frame) != nil || writeFrame(to, frame) != nil {
			return
		}
	}
}

// readFrame reads a request or an answer, from its header on.
func readFrame(from io.Reader) ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(from, head); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head)
	if size > frameMax {
		return nil, fmt.Errorf("a frame has %d bytes", size)
	}
	frame := make([]byte, size)
	_, err := io.ReadFull(from, frame)
	return frame, err
}

func writeFrame(to io.Writer, frame []byte) error {
	_, err := to.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...))
	return err
}

// clientOf is the client id in a request's header: behind key, version and correlation id.
func clientOf(frame []byte) string {
	if len(frame) < 10 {
		return ""
	}
	if n := int(int16(binary.BigEndian.Uint16(frame[8:]))); n > 0 && len(frame) >= 10+n {
		return string(frame[10 : 10+n])
	}
	return ""
}

// tellCommit calls OnCommit's fn for a request to commit. One whose header has tags, which nobody
// sends, is not looked at.
func (p *Proxy) tellCommit(frame []byte) {
	p.mu.Lock()
	tell := p.commits
	p.mu.Unlock()
	if tell == nil || binary.BigEndian.Uint16(frame) != KeyEndTxn {
		return
	}
	var req kmsg.EndTxnRequest
	req.Version = int16(binary.BigEndian.Uint16(frame[2:]))
	at := 10 + len(clientOf(frame))
	if req.IsFlexible() {
		if len(frame) <= at || frame[at] != 0 {
			return
		}
		at++
	}
	if len(frame) > at && req.Version <= req.MaxVersion() && req.ReadFrom(frame[at:]) == nil && req.Commit {
		tell(req.ProducerID, req.ProducerEpoch)
	}
}

// request looks at a request's header: key, version, correlation id, client id.
func (l *link) request(frame []byte) error {
	if len(frame) < 8 {
		return errDropped
	}
	l.p.tellCommit(frame)
	h := l.p.choose(frame)
	if h == nil {
		return nil
	}
	if h.fault.Do != DropAnswer {
		h.tell()
		return errDropped
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doomed[binary.BigEndian.Uint32(frame[4:])] = h
	return nil
}

// answer looks at an answer's correlation id.
func (l *link) answer(frame []byte) error {
	if len(frame) < 4 {
		return errDropped
	}
	l.mu.Lock()
	h := l.doomed[binary.BigEndian.Uint32(frame)]
	l.mu.Unlock()
	if h == nil {
		return nil
	}
	h.tell()
	return errDropped
}

func (h *Hits) tell() {
	if h.fault.OnHit != nil {
		h.fault.OnHit()
	}
}
