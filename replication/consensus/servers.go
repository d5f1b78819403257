package consensus

import (
	"context"
	"slices"

	"github.com/hashicorp/raft"
)

// Server is a node of the group: it gets the log, and votes if it is a voter.
type Server struct {
	ID    string
	Addr  string
	Voter bool
}

// Servers are the nodes of the group as this node's log has them, without a wait; the newest change
// may not be committed.
func (r *Raft) Servers() []Server {
	f := r.raft.GetConfiguration()
	if f.Error() != nil { // only ever of a Raft that was never started
		return nil
	}
	var servers []Server
	for _, s := range f.Configuration().Servers {
		servers = append(servers, Server{
			ID: string(s.ID), Addr: r.addrs.of(string(s.ID), string(s.Address)), Voter: s.Suffrage == raft.Voter,
		})
	}
	return servers
}

// Each change of the group is for the leader alone, and waits until it is committed. Raft takes one
// at a time.

// AddNonvoter adds a node that gets the log and has no vote; of one that is there already it only
// changes the address. An address that Raft's configuration has for another node passes to it.
func (r *Raft) AddNonvoter(ctx context.Context, id, addr string) error {
	if err := r.vacate(ctx, id, addr); err != nil {
		return err
	}
	return r.setAddr(ctx, id, addr)
}

// vacate sees to it that Raft's configuration, which must not have an address twice, has no other
// node at an address. That one gets the address where it is now or, where that is taken too or not
// known, "id@address": a word of its own, of which addresses reads the address, since it is all
// that a node knows of the others until somebody leads after a cold start.
func (r *Raft) vacate(ctx context.Context, id, addr string) error {
	f := r.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return err
	}
	servers := f.Configuration().Servers
	at := func(addr string) int {
		return slices.IndexFunc(servers, func(s raft.Server) bool { return string(s.Address) == addr })
	}
	i := at(addr)
	if i < 0 || string(servers[i].ID) == id {
		return nil
	}
	other := string(servers[i].ID)
	now := r.addrs.of(other, addr)
	if at(now) >= 0 {
		now = joinTarget(other, now)
	}
	return r.setAddr(ctx, other, now)
}

// setAddr adds a node, or changes the address of one that is there.
func (r *Raft) setAddr(ctx context.Context, id, addr string) error {
	return r.change(ctx, func() raft.IndexFuture {
		return r.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(addr), 0, r.c.Timing.Propose)
	})
}

// Promote gives a node of the group a vote, and its address as AddNonvoter does.
func (r *Raft) Promote(ctx context.Context, id, addr string) error {
	if err := r.vacate(ctx, id, addr); err != nil {
		return err
	}
	return r.change(ctx, func() raft.IndexFuture {
		return r.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(addr), 0, r.c.Timing.Propose)
	})
}

// Demote takes a node's vote.
func (r *Raft) Demote(ctx context.Context, id string) error {
	return r.change(ctx, func() raft.IndexFuture {
		return r.raft.DemoteVoter(raft.ServerID(id), 0, r.c.Timing.Propose)
	})
}

// Remove takes a node out of the group.
func (r *Raft) Remove(ctx context.Context, id string) error {
	return r.change(ctx, func() raft.IndexFuture {
		return r.raft.RemoveServer(raft.ServerID(id), 0, r.c.Timing.Propose)
	})
}

func (r *Raft) change(ctx context.Context, do func() raft.IndexFuture) error {
	return r.refusal(r.await(ctx, func() error { return do().Error() }))
}
