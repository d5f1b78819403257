package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/replication/assign"
	"github.com/tally-kafka/tally/replication/consensus"
	"github.com/tally-kafka/tally/replication/ownership"
	"github.com/tally-kafka/tally/replication/session"
)

// Call makes one call to another node: in and out are encoded as JSON.
type Call func(ctx context.Context, addr, call string, in, out any) error

// Handler answers one call.
type Handler func(ctx context.Context, body []byte) (any, error)

// Config says who this node is and what it is connected to.
type Config struct {
	ID          string // random, of the data dir
	Name        string // unique in the cluster
	Incarnation string // random, of this process
	// Started is when this process was: of two that cannot form a cluster together the later one
	// ends. Zero: when it calls Start.
	Started  time.Time
	Addr     string // HOST:PORT that the others reach this node at
	Zone     string
	Release  string // of the program
	Capacity int    // 0: 1
	// Seeds are what --join names: all the nodes that form the cluster, or any of a cluster that
	// there is. Empty: this node is a cluster of one.
	Seeds   []string
	DataDir string

	RaftListener    net.Listener
	DialRaft        func(ctx context.Context, addr string) (net.Conn, error)
	SessionListener net.Listener
	DialSession     func(ctx context.Context, addr string) (net.Conn, error)
	Call            Call
	// Report is what this node says of itself with each ping. Who it is is filled in here; Version
	// is of the state that its copies obey, 0 for the newest one before the call. Nil: no copies.
	Report func() session.Report
	// Fence ends what the last owner of a lane may have open at Kafka. The leader calls it for a
	// lane that the log shows without owner.
	Fence func(ctx context.Context, app string, lane int) error
	// Vet says why an app must not be put into the state, "" if it may. The leader asks, for one
	// app at a time, when the state has all that was put before. Nil: any app may.
	Vet func(*ownership.State, *ownership.App) (why string)
	// Assign has the assignor's limits.
	Assign assign.Settings

	// Halt is called once when this process has to end; with a *consensus.StalledError at once,
	// without waiting for the disk.
	Halt func(error)
	// DiskFailed is told of each write of the log that the disk has refused. Nil for nobody.
	DiskFailed func(error)

	Seam seam.Seam
	Log  *slog.Logger

	Timing Timing
	Raft   consensus.Timing
}

// Timing has the pauses and patience of this package; zero values mean the defaults.
type Timing struct {
	Ask       time.Duration // between two rounds of asking seeds (200 ms)
	Answer    time.Duration // that one node is given to answer (1 s)
	Say       time.Duration // between two lines on what is waited for (3 s)
	Retry     time.Duration // of a registration or a proposal without leader (100 ms)
	Propose   time.Duration // that a proposal looks for a leader (5 s)
	Voters    time.Duration // between two looks at the voters (1 s)
	Yield     time.Duration // without Kafka until a leader gives way to a voter that reaches it (5 s)
	DeadVoter time.Duration // until a dead voter is replaced (10 min)
	BareVoter time.Duration // the same while one more death would leave no majority (5 s)
	Unknown   time.Duration // until a server that never registered is taken out (1 min)
	// TTL and Ping are of the sessions (see there for the defaults).
	TTL, Ping time.Duration
}

func (t Timing) orDefaults() Timing {
	return Timing{
		Ask:       cmp.Or(t.Ask, 200*time.Millisecond),
		Answer:    cmp.Or(t.Answer, time.Second),
		Say:       cmp.Or(t.Say, 3*time.Second),
		Retry:     cmp.Or(t.Retry, 100*time.Millisecond),
		Propose:   cmp.Or(t.Propose, 5*time.Second),
		Voters:    cmp.Or(t.Voters, time.Second),
		Yield:     cmp.Or(t.Yield, 5*time.Second),
		DeadVoter: cmp.Or(t.DeadVoter, 10*time.Minute),
		BareVoter: cmp.Or(t.BareVoter, 5*time.Second),
		Unknown:   cmp.Or(t.Unknown, time.Minute),
		TTL:       t.TTL,
		Ping:      t.Ping,
	}
}

// SeedsMax bounds the seeds, all of which vote.
const SeedsMax = 7

func (c Config) orDefaults() (Config, error) {
	c.Timing = c.Timing.orDefaults()
	c.Capacity = cmp.Or(c.Capacity, 1)
	if c.Call == nil || c.Halt == nil || c.Log == nil || c.Seam.Now == nil || c.RaftListener == nil || c.DialRaft == nil ||
		c.SessionListener == nil || c.DialSession == nil || c.Fence == nil {
		panic("cluster: the listeners and dials, Call, Fence, Halt, Log and Seam must be set")
	}
	if c.ID == "" || c.Name == "" || c.Incarnation == "" || c.Addr == "" || c.DataDir == "" {
		return c, errors.New("cluster: a node needs an id, a name, an incarnation, an address and a data dir")
	}
	c.Started = cmp.Or(c.Started, c.Seam.Now())
	var err error
	c.Seeds, err = SeedList(c.Seeds)
	return c, err
}

// SeedList is the list in an order that does not depend on who wrote it. It refuses more than
// SeedsMax, and one that no node could ever answer at, with what a person is to be told.
func SeedList(seeds []string) ([]string, error) {
	if len(seeds) > SeedsMax {
		return nil, fmt.Errorf("--join names %d nodes: give 1 to %d, the others join by naming any of them", len(seeds), SeedsMax)
	}
	var list []string
	for _, s := range seeds {
		s = strings.TrimSpace(s)
		if err := checkSeedAddr(s); err != nil {
			return nil, err
		}
		list = append(list, strings.ToLower(s))
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

func checkSeedAddr(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 0 || n > 65535 {
		return fmt.Errorf("--join %q is not HOST:PORT, with a port up to 65535: say for example 10.0.0.1:7400", addr)
	}
	if ip := net.ParseIP(host); host == "" || port == "0" || ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("--join %s is no address that could be dialed: say the node's name or IP address, and its port", addr)
	}
	return nil
}

// member is what this node registers.
func (c *Config) member() ownership.Member {
	return ownership.Member{
		ID: c.ID, Name: c.Name, Incarnation: c.Incarnation, Addr: c.Addr, Zone: c.Zone, Release: c.Release,
		Format: ownership.Format, Capacity: c.Capacity,
	}
}

// decoded makes a Handler of a function with a request of its own type.
func decoded[In any](f func(context.Context, In) (any, error)) Handler {
	return func(ctx context.Context, body []byte) (any, error) {
		var in In
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, fmt.Errorf("a call whose body cannot be read: %w", err)
		}
		return f(ctx, in)
	}
}
