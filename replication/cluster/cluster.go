package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/replication/consensus"
	"github.com/tally-kafka/tally/replication/lead"
	"github.com/tally-kafka/tally/replication/ownership"
	"github.com/tally-kafka/tally/replication/session"
)

// Cluster is this node's place in its cluster. It is safe for use by many goroutines.
type Cluster struct {
	c       Config
	raft    *consensus.Raft
	past    past
	forming atomic.Bool // this node is about to form the cluster; see formNow
	newcome atomic.Bool // see Joined

	partedFrom chan partedNode // see parted

	leader *lead.Lead      // as the leader
	table  *session.Table  // as the leader
	member *session.Member // of whoever leads
	inside *lobby
	led    chan struct{} // this node has begun to lead

	endLife context.CancelFunc // of live

	place   sync.Mutex // held while this node registers, or leaves
	leaving bool       // for good: it does not register again
	// clockSaid is set once this node's clock was said to be far off.
	clockSaid bool

	joins sync.Mutex // held by the leader for one change of the group at a time: join, leave, vote
	puts  sync.Mutex // held by the leader for one app at a time
	// unsure is closed when the last app that was put, or halted, is so in the log or will not be;
	// nil when that is known. Guarded by puts.
	unsure      <-chan struct{}
	unsureTerm  uint64 // of the leadership in which it was put
	unsureSince time.Time

	mu         sync.Mutex
	failure    error
	failed     chan struct{} // closed with failure
	wasIn      bool          // registered once
	registered chan struct{} // closed with wasIn
	waitsFor   error         // for a person; nil for nothing
	said       time.Time     // when that was logged last
	// departing are those, by node id, that have told this leader of their end. One of an earlier
	// leadership or incarnation does no harm: see departs.
	departing map[string]departure

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Start takes up the node's place. It does not wait until the node has one: Calls must be answered
// meanwhile, and Wait says how it came out.
func Start(ctx context.Context, c Config) (*Cluster, error) {
	c, err := c.orDefaults()
	if err != nil {
		return nil, err
	}
	was, err := readPast(c.DataDir)
	if err != nil {
		return nil, err
	}
	if err := notACopy(ctx, c, was); err != nil {
		return nil, err
	}
	cl := &Cluster{
		c: c, past: was, led: make(chan struct{}, 1), failed: make(chan struct{}), registered: make(chan struct{}),
		departing: map[string]departure{}, partedFrom: make(chan partedNode, partedMax),
	}
	cl.ctx, cl.cancel = context.WithCancel(context.Background())
	if err := cl.open(); err != nil {
		cl.cancel()
		return nil, err
	}
	cl.holdSessions()
	alive, end := context.WithCancel(cl.ctx)
	cl.endLife = end
	cl.run(func(context.Context) { cl.live(alive) })
	cl.run(cl.tellParted)
	return cl, nil
}

// open opens Raft. A node alone may lead before Open has returned; it does nothing before that.
func (c *Cluster) open() (err error) {
	opened := make(chan struct{})
	c.raft, err = consensus.Open(consensus.Config{
		ID: c.c.ID, Addr: c.c.Addr, Dir: filepath.Join(c.c.DataDir, "raft"), Listener: c.c.RaftListener, Dial: c.c.DialRaft,
		OnLead: func(ctx context.Context, term uint64) {
			select {
			case <-opened:
				c.lead(ctx, term)
			case <-ctx.Done(): // Open has failed
			}
		},
		Halt: c.fail, Parted: c.parted, Refused: c.c.DiskFailed, Seam: c.c.Seam, Log: c.c.Log, Timing: c.c.Raft,
	})
	if err != nil {
		return err
	}
	if err := c.past.check(c.c, c.raft.Empty()); err != nil {
		return errors.Join(err, c.raft.Close())
	}
	c.makeSessions()
	close(opened)
	return nil
}

// notACopy asks at the address that the data dir had before, so that a copy of it does not vote in
// the name of the node that it was copied from.
func notACopy(ctx context.Context, c Config, was past) error {
	if was.Addr == "" || was.Addr == c.Addr {
		return nil
	}
	h, err := ask(ctx, c, was.Addr, Hello{})
	var refused interface{ Forbidden() bool }
	switch {
	case err == nil && isCopy(c, h):
		return copied(c, h)
	case errors.As(err, &refused) && refused.Forbidden():
		return fmt.Errorf("a node of tally runs at %s, where the node of the data dir %s was reached before, and does not say who it is (%w): "+
			"if the data dir is a copy of that one's, remove node.json, %s and raft in it, and this is a new node; "+
			"if it is not, start this one once while that one is stopped", was.Addr, c.DataDir, err, pastFile)
	}
	return nil
}

// Joined reports whether this process came to a cluster that was there, and was in none before.
// Those that form one have not joined it.
func (c *Cluster) Joined() bool { return c.newcome.Load() }

func (c *Cluster) run(f func(context.Context)) {
	c.wg.Go(func() { f(c.ctx) })
}

// live is the node's life in the cluster: form or find one, then stay registered.
func (c *Cluster) live(ctx context.Context) {
	join := ""
	if c.raft.Empty() {
		var err error
		if join, err = c.form(ctx); err != nil {
			c.failUnless(ctx, err)
			return
		}
		c.newcome.Store(join != "")
	} else {
		first, cancel := context.WithTimeout(ctx, firstLook)
		silent, err := c.checkSeeds(first, c.c.Seeds)
		cancel()
		if err != nil {
			c.failUnless(ctx, err)
			return
		}
		c.run(func(context.Context) { c.checkRest(ctx, silent) })
	}
	c.run(c.remember)
	c.stayRegistered(ctx, join)
}

// firstLook is how long a node that is in a cluster already waits for what its seeds are, so that
// it takes no lanes in its own when it was told to be in another. One that does not run refuses at
// once.
const firstLook = 250 * time.Millisecond

// checkSeeds asks each of these seeds once, and returns those that have not answered, or why this
// node cannot be where one of them is.
func (c *Cluster) checkSeeds(ctx context.Context, seeds []string) (silent []string, err error) {
	for _, a := range c.askSeeds(ctx, seeds) {
		if a.err != nil {
			silent = append(silent, a.seed)
			continue
		}
		if err := c.checkSeed(a.seed, a.hello); err != nil {
			return nil, err
		}
	}
	return silent, nil
}

// checkRest asks the others until all have answered. An address of --join that has passed to
// another cluster ends no node that is in its own.
func (c *Cluster) checkRest(ctx context.Context, silent []string) {
	for len(silent) > 0 {
		var err error
		if silent, err = c.checkSeeds(ctx, silent); err != nil {
			if errors.As(err, new(*otherClusterError)) && c.WasIn() {
				c.c.Log.Warn("a seed is not of this cluster any more: take it out of --join", "err", err)
				return
			}
			c.failUnless(ctx, err)
		}
		if c.c.Seam.Sleep(ctx, c.c.Timing.Say) != nil {
			return
		}
	}
}

func (c *Cluster) checkSeed(seed string, h *Hello) error {
	switch {
	case isCopy(c.c, h):
		return copied(c.c, h)
	case c.foreign(h.ClusterID):
		return c.otherCluster(fmt.Sprintf("seed %s (node %s)", seed, h.Name), h.ClusterID)
	}
	return c.leftBehind(h)
}

// otherClusterError says that another node is of another cluster.
type otherClusterError struct{ text string }

func (e *otherClusterError) Error() string { return e.text }

func (c *Cluster) otherCluster(who, theirs string) error {
	return &otherClusterError{fmt.Sprintf("this node is of cluster %s, and %s of cluster %s: start it with another --join or --data-dir; "+
		"or, to give up its place in cluster %s, remove node.json, %s, raft, apps and state in %s, and it joins as a new node",
		c.ClusterID(), who, theirs, c.ClusterID(), pastFile, c.c.DataDir)}
}

// remember writes down the cluster's id once it is known, and this node's address.
func (c *Cluster) remember(ctx context.Context) {
	for {
		changed := c.raft.Changed()
		if id := c.State().ClusterID; id != "" {
			if c.past.ClusterID != "" && c.past.ClusterID != id {
				c.failUnless(ctx, fmt.Errorf("the data dir %s was in cluster %s, and its log is of cluster %s", c.c.DataDir, c.past.ClusterID, id))
				return
			}
			now := past{ClusterID: id, NodeID: c.c.ID, Addr: c.c.Addr}
			if now == c.past {
				return
			}
			if err := now.write(c.c.DataDir); err != nil {
				c.failUnless(ctx, err)
			}
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// fail ends the node's part; Wait returns the first such error, and Halt gets it.
func (c *Cluster) fail(err error) {
	c.mu.Lock()
	first := c.failure == nil
	if first {
		c.failure = err
		close(c.failed)
	}
	c.mu.Unlock()
	if first {
		c.c.Halt(err)
	}
}

// failUnless is fail, but for an error that comes of Close.
func (c *Cluster) failUnless(ctx context.Context, err error) {
	if ctx.Err() == nil {
		c.fail(err)
	}
}

// Failure is why the node has no part in the cluster any more, nil while it has.
func (c *Cluster) Failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failure
}

// WasIn reports whether this process was registered once: what its log says was news then.
func (c *Cluster) WasIn() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wasIn
}

// Wait returns when this node is registered, or with the reason why it cannot be, which Halt gets
// too.
func (c *Cluster) Wait(ctx context.Context) error {
	select {
	case <-c.registered:
		return nil
	case <-c.failed:
		return c.Failure()
	case <-c.ctx.Done():
		return errors.New("the node is being stopped")
	case <-ctx.Done():
		if w := c.waiting(); w != nil {
			return fmt.Errorf("%w: %w", ctx.Err(), w)
		}
		return ctx.Err()
	}
}

// State is what this node knows of the cluster; it may be behind. It never changes.
func (c *Cluster) State() *ownership.State { return c.raft.State() }

// Changed is closed at the next change of State; take it before State.
func (c *Cluster) Changed() <-chan struct{} { return c.raft.Changed() }

// ClusterID is "" until this node has heard which cluster it is in.
func (c *Cluster) ClusterID() string {
	if id := c.State().ClusterID; id != "" {
		return id
	}
	return c.past.ClusterID
}

// Leader is the node that leads the cluster, as far as this one knows; "" for none.
func (c *Cluster) Leader() (id, name, addr string) {
	id, addr = c.raft.Leader()
	if id == "" {
		return "", "", ""
	}
	return id, c.State().NameOf(id), addr
}

// Registered reports whether the log has this process as an alive member: nothing that was granted
// to an earlier process of this node counts before.
func (c *Cluster) Registered() bool {
	m := c.State().Members[c.c.ID]
	return m != nil && m.Alive && m.Incarnation == c.c.Incarnation
}

// Calls are what other nodes may ask, by name.
func (c *Cluster) Calls() map[string]Handler {
	return map[string]Handler{
		"hello":   decoded(c.serveHello),
		"join":    decoded(c.serveJoin),
		"propose": decoded(c.servePropose),
		"leave":   decoded(c.serveLeave),
		"depart":  decoded(c.serveDepart),
		"forget":  decoded(c.serveForget),
		"dry_run": decoded(c.serveDryRun),
		"health":  func(context.Context, []byte) (any, error) { return c.serveHealth(), nil },
	}
}

// Close ends this node's part without a word to the others.
func (c *Cluster) Close() error {
	c.cancel()
	err := c.raft.Close()
	c.wg.Wait()
	return err
}

// Recover makes a stopped node the only voter of its cluster, for when most voters are lost for
// good. addr "" means the address that the node had last. The result is to be shown to a person.
func Recover(dataDir, id, addr string, s seam.Seam, log *slog.Logger) (consensus.Recovered, error) {
	was, err := readPast(dataDir)
	if err == nil {
		err = was.ofNode(dataDir, id)
	}
	if err != nil {
		return consensus.Recovered{}, err
	}
	if addr = cmp.Or(addr, was.Addr); addr == "" {
		return consensus.Recovered{}, fmt.Errorf("%s has no %s, which says where its node is reached: say it with --advertise HOST:PORT", dataDir, pastFile)
	}
	return consensus.Recover(filepath.Join(dataDir, "raft"), id, addr, s, log)
}
