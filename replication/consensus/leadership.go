package consensus

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/tally-kafka/tally/replication/ownership"
)

// notifyBuffer is how many changes of leadership Raft may be ahead of who is told of them. A full
// buffer would block Raft itself; the reader does nothing that waits.
const notifyBuffer = 64

// leading is the leadership that this node has, if it has one.
type leading struct {
	mu    sync.Mutex
	term  uint64
	ctx   context.Context // nil: none that has passed its barrier
	prior chan struct{}   // closed when the last OnLead has returned
}

// Leading returns the term and a context that ends with this node's leadership, once a barrier of
// that term has passed.
func (r *Raft) Leading() (term uint64, ctx context.Context, ok bool) {
	r.leading.mu.Lock()
	defer r.leading.mu.Unlock()
	if r.leading.ctx == nil || r.leading.ctx.Err() != nil {
		return 0, nil, false
	}
	return r.leading.term, r.leading.ctx, true
}

// Leader is the node that this one takes for the leader; "" for none.
func (r *Raft) Leader() (id, addr string) {
	a, i := r.raft.LeaderWithID()
	if i == "" {
		return "", ""
	}
	return string(i), r.addrs.of(string(i), string(a))
}

// leaders tells when this node takes another one for the leader.
type leaders struct {
	mu      sync.Mutex
	changed chan struct{}
	former  string // the last other node that it took for it since it led itself
}

// Former is the node that led before this one, as far as it knows, and that was not heard of any
// more when this one was elected; "" for none, as where it has handed over. It is asked once in a
// leadership.
func (r *Raft) Former() string {
	r.leaders.mu.Lock()
	defer r.leaders.mu.Unlock()
	id := r.leaders.former
	r.leaders.former = ""
	if r.trans.handed.Swap(false) {
		return ""
	}
	return id
}

// LeaderChanged is closed when this node next takes another one, or none, for the leader. Take it
// before Leader.
func (r *Raft) LeaderChanged() <-chan struct{} {
	r.leaders.mu.Lock()
	defer r.leaders.mu.Unlock()
	return r.leaders.changed
}

// watchLeaders listens to Raft, which drops what is not taken: the newest is looked up, not told.
func (r *Raft) watchLeaders() {
	seen := make(chan raft.Observation, 1)
	observer := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	r.raft.RegisterObserver(observer)
	r.run(func() {
		defer r.raft.DeregisterObserver(observer)
		for {
			select {
			case <-seen:
				id, _ := r.Leader()
				r.leaders.mu.Lock()
				if id != "" && id != r.c.ID {
					r.leaders.former = id
				}
				close(r.leaders.changed)
				r.leaders.changed = make(chan struct{})
				r.leaders.mu.Unlock()
			case <-r.done:
				return
			}
		}
	})
}

// watchLeadership drains what Raft says of it.
func (r *Raft) watchLeadership(notify <-chan bool) {
	end := func() {}
	defer func() { end() }()
	for {
		select {
		case lead := <-notify:
			end()
			end = func() {}
			r.trans.reach.end()
			if lead {
				r.trans.reach.lead()
				end = r.lead()
			}
		case <-r.done:
			return
		}
	}
}

// lead takes up a leadership: barrier first, then whoever waits for it. The returned func ends it.
func (r *Raft) lead() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	prior := r.leading.prior
	mine := make(chan struct{})
	r.leading.prior = mine // only watchLeadership is here
	r.run(func() {
		defer close(mine)
		if prior != nil {
			<-prior
		}
		if !r.establish(ctx) || r.c.OnLead == nil {
			return
		}
		term, _, ok := r.Leading()
		if ok {
			r.c.OnLead(ctx, term)
		}
	})
	return cancel
}

// barrierPause is between two tries to pass a barrier.
const barrierPause = 50 * time.Millisecond

// establish waits until all that earlier leaders have committed is applied here.
func (r *Raft) establish(ctx context.Context) bool {
	for ctx.Err() == nil {
		err := r.await(ctx, func() error { return r.raft.Barrier(r.c.Timing.Propose).Error() })
		if err != nil {
			if r.c.Seam.Sleep(ctx, barrierPause) != nil {
				return false
			}
			continue
		}
		r.leading.mu.Lock()
		r.leading.term, r.leading.ctx = r.raft.CurrentTerm(), ctx
		r.leading.mu.Unlock()
		r.spreadSoon() // members that do not know what is committed are not vouched for
		return ctx.Err() == nil
	}
	return false
}

// Read returns a state that has everything in it that was acknowledged before the call. It needs
// the leader, and a word from most voters that it still is. (An answer that was on its way when
// they were asked counts as one: that much Raft leaves open.)
func (r *Raft) Read(ctx context.Context) (*ownership.State, error) {
	if _, _, ok := r.Leading(); !ok {
		return nil, r.notLeader()
	}
	state := r.State()
	// Verified after the state was taken: a leader that is one now was one then.
	err := r.await(ctx, func() error { return r.raft.VerifyLeader().Error() })
	if err != nil {
		return nil, r.refusal(err)
	}
	return state, nil
}

// TransferLeadership gives the leadership to a voter, or to the one that is the farthest if id is
// "".
func (r *Raft) TransferLeadership(ctx context.Context, id string) error {
	err := r.await(ctx, func() error {
		if id == "" {
			return r.raft.LeadershipTransfer().Error()
		}
		for _, s := range r.Servers() {
			if s.ID == id {
				return r.raft.LeadershipTransferToServer(raft.ServerID(id), raft.ServerAddress(s.Addr)).Error()
			}
		}
		return fmt.Errorf("node %s is not in the group", id)
	})
	return r.refusal(err)
}
