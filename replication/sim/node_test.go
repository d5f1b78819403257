package sim

import (
	"fmt"
	"slices"

	"github.com/tally-kafka/tally/replication/assign"
	"github.com/tally-kafka/tally/replication/ownership"
)

// node is one machine: its disk outlives its processes.
type node struct {
	s           *sim
	id          string
	incarnation string
	started     int // processes so far
	up          bool
	paused      bool     // its process stands still, and goes on later as if nothing had been
	deferred    []func() // what has come meanwhile
	cut         bool     // from the other nodes
	kafkaless   bool     // cut off from Kafka
	kafkaAt     int64    // last reached

	state    *ownership.State // on its disk
	applied  int
	learning int64 // when the last entry on its way arrives
	pings    int

	owned    map[ownership.LaneRef]*run
	copies   map[ownership.LaneRef]*copied
	released map[ownership.LaneRef]uint64
	said     map[ownership.LaneRef]bool // it has reported that it follows the lane, in this process
}

// run is one life of a lane on its owner: of one grant.
type run struct {
	epoch    uint64
	producer int
	position int
	waiting  bool // for the word of the last owner
	running  bool
	stuck    bool // it has fenced, and does not get to run
	inTxn    bool
	ended    bool
}

// copied is a standby's copy.
type copied struct {
	position int
	ready    bool
	ended    bool
}

// at runs something in this process later: not if it has ended by then, and later if it is paused.
func (n *node) at(delay int64, run func()) {
	process := n.started
	var try func()
	try = func() {
		switch {
		case !n.up || n.started != process:
		case n.paused:
			n.deferred = append(n.deferred, try)
		default:
			run()
		}
	}
	n.s.at(delay, try)
}

func (n *node) start() {
	n.started++
	n.incarnation = fmt.Sprint(n.id, n.started)
	n.up, n.paused, n.deferred = true, false, nil
	n.owned = map[ownership.LaneRef]*run{}
	n.copies = map[ownership.LaneRef]*copied{}
	n.released = map[ownership.LaneRef]uint64{}
	n.said = map[ownership.LaneRef]bool{}
	n.kafkaAt = n.s.now
	n.s.say("%s starts", n.incarnation)
	n.reconcile() // with the log on its disk
	n.learn()
	n.register()
	n.ping()
	n.follow()
}

func (n *node) crash() {
	n.s.say("%s crashes", n.incarnation)
	n.up, n.paused, n.deferred = false, false, nil
	if l := n.s.lead; l != nil && l.on != n && !n.cut && n.s.rng.IntN(10) < 7 {
		l.on.at(n.s.between(1, 5), func() { l.gone(n.id, n.incarnation) }) // a closed connection
	}
}

func (n *node) pause() {
	n.s.say("%s is paused", n.incarnation)
	n.paused = true
}

func (n *node) resume() {
	if !n.paused {
		return
	}
	n.s.say("%s goes on", n.incarnation)
	n.paused = false
	late := n.deferred
	n.deferred = nil
	for _, run := range late {
		n.s.at(n.s.between(0, 3), run)
	}
}

// learn lets the entries that a node lacks arrive in their order.
func (n *node) learn() {
	if !n.up || n.cut || n.applied == len(n.s.log) {
		return
	}
	n.learning = max(n.learning, n.s.now+n.s.wire())
	end := len(n.s.log)
	n.at(n.learning-n.s.now, func() {
		if n.cut {
			return
		}
		for n.applied < end {
			n.apply(n.s.log[n.applied])
		}
		n.reconcile()
	})
}

func (n *node) apply(data []byte) {
	next, _, err := n.state.Apply(data)
	if err != nil {
		n.s.wrong("%s cannot apply an entry: %v", n.id, err)
		return
	}
	n.state = next
	n.applied++
	if want := n.s.states[n.applied]; string(next.Snapshot()) != string(want.Snapshot()) {
		n.s.wrong("%s has another state than its peers after entry %d:\n%s\n%s", n.id, n.applied, next.Snapshot(), want.Snapshot())
	}
}

func (n *node) registered() bool {
	m := n.state.Members[n.id]
	return m != nil && m.Alive && m.Incarnation == n.incarnation
}

// register asks for the incarnation to be made alive, until it is.
func (n *node) register() {
	if n.registered() {
		return
	}
	n.s.propose(n, ownership.Command{Register: &ownership.Register{Member: ownership.Member{
		ID: n.id, Name: n.id, Incarnation: n.incarnation, Addr: n.id + ":1", Release: "1", Format: 1, Capacity: 1,
	}}})
	n.at(500, n.register)
}

// reconcile makes the node do what the state says that it has.
func (n *node) reconcile() {
	seen := map[ownership.LaneRef]bool{}
	for ref, l := range n.state.Lanes() {
		seen[ref] = true
		n.reconcileOwner(ref, l)
		n.reconcileCopy(ref, l)
	}
}

func (n *node) reconcileOwner(ref ownership.LaneRef, l ownership.Lane) {
	r := n.owned[ref]
	mine := l.Owner == n.id && (l.Incarnation == n.incarnation || n.s.mutant == "own log obeyed")
	switch {
	case mine && (r == nil || r.epoch != l.Epoch):
		if r != nil {
			r.ended = true
		}
		n.take(ref, l)
	case !mine && r != nil:
		delete(n.owned, ref)
		if !r.inTxn {
			n.release(ref, r)
		} else {
			r.ended = true // its last transaction ends first
		}
	}
}

func (n *node) reconcileCopy(ref ownership.LaneRef, l ownership.Lane) {
	c := n.copies[ref]
	switch standby := slices.Contains(l.Standbys, n.id); {
	case standby && c == nil:
		c = &copied{}
		n.copies[ref] = c
		n.at(n.s.between(20, 800), func() {
			if !c.ended && !n.kafkaless {
				c.position, c.ready = n.s.kafka.lane(ref).position(), true
			}
		})
	case !standby && c != nil:
		c.ended = true
		delete(n.copies, ref)
	}
}

// follow keeps the copies near the end.
func (n *node) follow() {
	for ref, c := range n.copies {
		if !n.kafkaless {
			c.position, c.ready = n.s.kafka.lane(ref).position(), c.ready || n.s.calm
		}
	}
	if !n.kafkaless {
		n.kafkaAt = n.s.now
	}
	n.at(100, n.follow)
}

// take begins a grant: at once, or when the last owner has said that it is done.
func (n *node) take(ref ownership.LaneRef, l ownership.Lane) {
	r := &run{epoch: l.Epoch}
	n.owned[ref] = r
	if l.From == "" || n.released[ref] >= l.Epoch {
		n.acquire(ref, r)
		return
	}
	r.waiting = true
	n.at(2000, func() { n.stopWaiting(ref, r) })
}

func (n *node) stopWaiting(ref ownership.LaneRef, r *run) {
	if r.waiting && !r.ended {
		r.waiting = false
		n.acquire(ref, r)
	}
}

// release tells the new owner that the last transaction has ended.
func (n *node) release(ref ownership.LaneRef, r *run) {
	r.ended = true
	l, _ := n.state.Lane(ref)
	for _, other := range n.s.nodes {
		if other.id != l.Owner || other == n || n.cut || other.cut || n.s.oneIn(20) {
			continue
		}
		other.at(n.s.wire(), func() {
			other.released[ref] = max(other.released[ref], l.Epoch)
			if r := other.owned[ref]; r != nil && r.epoch <= l.Epoch {
				other.stopWaiting(ref, r)
			}
		})
	}
}

// call is a request to Kafka and its answer. A node that is cut off tries again; an answer may be
// lost.
func (n *node) call(r *run, request func() func(), lost func()) {
	if r.ended && !r.inTxn {
		return
	}
	if n.kafkaless {
		n.at(200, func() { n.call(r, request, lost) })
		return
	}
	drop := n.s.oneIn(40)
	// The request is on the wire: it arrives whatever becomes of the process.
	process := n.started
	n.s.at(n.s.wire(), func() {
		answer := request()
		if n.started != process {
			return
		}
		if drop {
			answer = lost
		}
		n.at(n.s.wire(), answer)
	})
}

// acquire: fence, read the position, run. A record of a later epoch says that the grant is old, or
// that the log is.
func (n *node) acquire(ref ownership.LaneRef, r *run) {
	p := n.s.kafka.lane(ref)
	again := func() { n.at(n.s.between(50, 200), func() { n.acquire(ref, r) }) }
	n.call(r, func() func() {
		producer := p.fence()
		return func() {
			r.producer = producer
			n.readPosition(ref, r, again)
		}
	}, again)
}

func (n *node) readPosition(ref ownership.LaneRef, r *run, again func()) {
	p := n.s.kafka.lane(ref)
	called := n.s.now
	n.call(r, func() func() {
		position, last := p.position(), p.last()
		return func() {
			p.ops = append(p.ops, &op{client: n.client(), call: called, back: n.s.now, read: true, end: position})
			if r.ended {
				return
			}
			if last.epoch > r.epoch {
				n.s.propose(n, ownership.Command{RaiseEpoch: &ownership.RaiseEpoch{LaneRef: ref, Floor: last.epoch}})
				n.at(500, again)
				return
			}
			if r.stuck = n.s.ill[ref]; r.stuck {
				n.at(500, again)
				return
			}
			r.position = position
			n.at(n.s.between(5, 60), func() {
				r.running = !r.ended
				n.transact(ref, r)
			})
		}
	}, again)
}

func (n *node) client() int { return slices.Index(n.s.nodes, n) }

// transact counts some events and commits them, again and again.
func (n *node) transact(ref ownership.LaneRef, r *run) {
	if r.ended || n.owned[ref] != r {
		return
	}
	r.inTxn = true
	t := txn{r.position, r.position + 1 + n.s.rng.IntN(5), r.epoch, n.incarnation}
	producer := r.producer
	n.at(n.s.between(5, 60), func() {
		o := &op{client: n.client(), call: n.s.now, start: t.start, end: t.end}
		p := n.s.kafka.lane(ref)
		n.call(r, func() func() {
			done := n.s.commit(ref, producer, t)
			o.back = n.s.now + 500 // unless an answer comes: the process may end before
			p.ops = append(p.ops, o)
			return func() { n.transacted(ref, r, o, map[bool]outcome{true: committed, false: refused}[done]) }
		}, func() { n.transacted(ref, r, o, unknown) })
	})
}

// transacted is the end of a transaction. After any but a known commit the lane is acquired again.
func (n *node) transacted(ref ownership.LaneRef, r *run, o *op, outcome outcome) {
	o.outcome, o.back = outcome, n.s.now
	r.inTxn = false
	switch {
	case r.ended:
		r.running = false
		n.release(ref, r)
	case outcome == committed:
		r.position = o.end
		n.at(n.s.between(20, 120), func() { n.transact(ref, r) })
	default:
		r.running = false
		n.at(n.s.between(50, 200), func() { n.acquire(ref, r) })
	}
}

// ping reports to the leader, four times a second.
func (n *node) ping() {
	n.at(250, n.ping)
	l := n.s.lead
	if l == nil || n.cut || l.on.cut && l.on != n || n.s.oneIn(50) {
		return
	}
	n.pings++
	h := assign.Health{
		Live: true, Incarnation: n.incarnation, Copies: map[ownership.LaneRef]assign.Copy{},
		KafkaAge: millis(n.s.now - n.kafkaAt), Version: n.state.Version,
	}
	for ref, c := range n.copies {
		n.said[ref] = n.said[ref] || c.ready
		h.Copies[ref] = assign.Copy{Ready: c.ready, Lag: int64(n.s.kafka.lane(ref).position() - c.position)}
	}
	for ref, r := range n.owned {
		h.Copies[ref] = assign.Copy{Running: r.running, Stuck: r.stuck, Epoch: r.epoch}
	}
	number := n.pings
	l.on.at(n.s.wire(), func() { l.report(n, number, h) })
}
