package consensus

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// Config says who this node is and what it is connected to. Zero limits and timings mean the
// defaults.
type Config struct {
	ID   string // of the node; Raft's server id
	Addr string // that the others reach this node at
	Dir  string // <data>/raft

	Listener net.Listener
	Dial     func(ctx context.Context, addr string) (net.Conn, error)

	// Halt is called once, from a goroutine of its own, when this process must end: an entry that
	// it cannot apply, or a disk that stalls (StalledError: then the process has to exit without
	// waiting for anything that is written).
	Halt func(error)
	// Refused is told of each write that the disk has refused: a *DiskError. The node lives on, and
	// takes part again when the disk does. Nil for nobody.
	Refused func(error)
	// OnLead is called in a goroutine of its own each time this node has become the leader and has
	// applied all that was committed before. It returns when ctx ends, with the leadership; it is
	// not called again before it has returned. Nil for none.
	OnLead func(ctx context.Context, term uint64)

	// Parted is told of a node whose log is of another recovery of the cluster than this node's,
	// and whose connection was refused; addr is where it says that it is reached, "" if it does
	// not. It does not wait. Nil for nobody.
	Parted func(id, addr string)

	Seam seam.Seam
	Log  *slog.Logger

	Timing Timing
	// ProposalsMax bounds the proposals that wait for an answer at once (64).
	ProposalsMax int
	// SnapshotEvery and TrailingLogs are in entries (8192 and 10240). A trailing log of fewer than
	// 10,000 makes a slow follower take one snapshot after the other (hashicorp/raft #697).
	SnapshotEvery, TrailingLogs uint64

	fault func(op string) error // of tests; see store
}

// Timing has the durations that bound a failover and the waits.
type Timing struct {
	Heartbeat time.Duration // without a word from the leader until an election (500 ms)
	Election  time.Duration // of a candidate until it tries again (500 ms)
	Lease     time.Duration // of a leader that hears of no quorum, until it steps down (250 ms)
	// Commit is between the rounds that repeat what is committed (250 ms). What was proposed is
	// told at once (see spread), so they are for changes of the group alone; at 50 ms, Raft's
	// default, they were half of what a leader at rest costs.
	Commit  time.Duration
	RPC     time.Duration // of one request to another node (2 s)
	Propose time.Duration // of a proposal until its outcome is unknown (5 s)
	Stall   time.Duration // of one write until the disk counts as stalled (5 s)
	Close   time.Duration // that Close waits for (5 s)
}

func (t Timing) orDefaults() Timing {
	return Timing{
		Heartbeat: cmp.Or(t.Heartbeat, 500*time.Millisecond),
		Election:  cmp.Or(t.Election, 500*time.Millisecond),
		Lease:     cmp.Or(t.Lease, 250*time.Millisecond),
		Commit:    cmp.Or(t.Commit, 250*time.Millisecond),
		RPC:       cmp.Or(t.RPC, 2*time.Second),
		Propose:   cmp.Or(t.Propose, 5*time.Second),
		Stall:     cmp.Or(t.Stall, 5*time.Second),
		Close:     cmp.Or(t.Close, 5*time.Second),
	}
}

func (c Config) orDefaults() (Config, error) {
	c.Timing = c.Timing.orDefaults()
	c.ProposalsMax = cmp.Or(c.ProposalsMax, 64)
	c.SnapshotEvery = cmp.Or(c.SnapshotEvery, 8192)
	c.TrailingLogs = cmp.Or(c.TrailingLogs, 10240)
	if c.ID == "" || c.Addr == "" || c.Dir == "" {
		return c, errors.New("consensus: a node id, an address and a directory are needed")
	}
	if c.Listener == nil || c.Dial == nil || c.Halt == nil || c.Log == nil || c.Seam.Now == nil {
		panic("consensus: Listener, Dial, Halt, Log and Seam must be set")
	}
	return c, nil
}
