package consensus

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/tally-kafka/tally/replication/ownership"
)

// NotLeaderError says that this node cannot take a proposal, and which can; ID is "" when it knows
// none. Nothing was changed.
type NotLeaderError struct{ ID, Addr string }

func (e *NotLeaderError) Error() string {
	if e.ID == "" {
		return "the cluster has no leader at the moment: most of its voters must run and reach each other"
	}
	return fmt.Sprintf("node %s at %s leads the cluster", e.ID, e.Addr)
}

// UncertainError says that a proposal may or may not be taken later: look at the state before it is
// made again.
type UncertainError struct {
	Err     error
	settled <-chan struct{}
}

func (e *UncertainError) Error() string {
	return fmt.Sprintf("whether the change is made is not known: %v", e.Err)
}

func (e *UncertainError) Unwrap() error { return e.Err }

// Settled is closed as soon as it is known what became of the proposal, and nil where that is never
// heard: until then nothing else is committed either, since the log has one order.
func (e *UncertainError) Settled() <-chan struct{} { return e.settled }

// Propose changes the state, at the leader alone. The error is nil when the command was committed
// and applied here, even if the Result says that it was refused; else a NotLeaderError (nothing has
// changed), an UncertainError, or ctx's end before anything was written. What an older program
// among the members could not obey is refused, and never written: while a cluster is upgraded node
// by node, the newer ones must not halt the others.
func (r *Raft) Propose(ctx context.Context, c ownership.Command) (ownership.Result, error) {
	if behind := r.State().Behind(c); behind != "" {
		return ownership.Result{Code: ownership.Bad, Refused: behind, Version: r.State().Version}, nil
	}
	data := ownership.Encode(c)
	var response any
	err := r.await(ctx, func() error {
		f := r.raft.Apply(data, r.c.Timing.Propose)
		if err := f.Error(); err != nil {
			return err
		}
		response = f.Response()
		return nil
	})
	if err != nil {
		return ownership.Result{}, r.refusal(err)
	}
	r.spreadSoon()
	switch got := response.(type) {
	case ownership.Result:
		return got, nil
	case error:
		return ownership.Result{}, got
	default:
		panic(fmt.Sprintf("consensus: the state machine answered with a %T", response))
	}
}

// await runs one request of Raft's, for Timing.Propose at most: futures of Raft can stay unanswered
// for ever (hashicorp/raft #498). A slot is held as long as the future is, so that their number
// stays bounded.
func (r *Raft) await(ctx context.Context, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, r.c.Timing.Propose)
	defer cancel()
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%d requests wait for an answer: %w", cap(r.slots), ctx.Err())
	case <-r.done:
		return raft.ErrRaftShutdown
	}
	answer, settled := make(chan error, 1), make(chan struct{})
	go func() {
		defer func() { <-r.slots }()
		defer close(settled)
		answer <- do()
	}()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return &UncertainError{fmt.Errorf("no answer from most voters: %w", context.Cause(ctx)), settled}
	case <-r.done:
		return &UncertainError{Err: raft.ErrRaftShutdown}
	}
}

// refusal sorts Raft's errors into those of this package.
func (r *Raft) refusal(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress),
		errors.Is(err, raft.ErrEnqueueTimeout), errors.As(err, new(*DiskError)): // then it has stepped down
		return r.notLeader()
	case errors.Is(err, raft.ErrLeadershipLost):
		return &UncertainError{Err: err}
	}
	return err
}

// notLeader names the leader, unless Raft still takes this node for it.
func (r *Raft) notLeader() error {
	id, addr := r.Leader()
	if id == r.c.ID {
		return &NotLeaderError{}
	}
	return &NotLeaderError{ID: id, Addr: addr}
}

// spreadSoon has spread look once more.
func (r *Raft) spreadSoon() {
	select {
	case r.followup <- struct{}{}:
	default: // one is due already
	}
}

// spread tells the other servers at once what was committed: the entry after a proposal carries it.
func (r *Raft) spread() {
	for {
		select {
		case <-r.followup:
		case <-r.done:
			return
		}
		_, ctx, ok := r.Leading()
		if !ok || len(r.Servers()) < 2 {
			continue
		}
		err := r.await(ctx, func() error { return r.raft.Barrier(r.c.Timing.Propose).Error() })
		if err != nil {
			r.c.Log.Debug("raft: the entry that spreads a commit", "err", err)
		}
	}
}
