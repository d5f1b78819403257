package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tally-kafka/tally/replication/ownership"
)

// Hello is how a node answers when it is asked who it is.
type Hello struct {
	NodeID      string `json:"node_id"`
	Name        string `json:"name"`
	Incarnation string `json:"incarnation"`
	StartedMs   int64  `json:"started_ms,omitempty"` // of the process, by its clock; 0: of before it was said
	Addr        string `json:"addr"`
	Release     string `json:"release"`
	Format      int    `json:"format"` // the newest that the program knows

	ClusterID string             `json:"cluster_id"` // "" while it is in none, or has not heard which
	Recovered ownership.Recovery `json:"recovered,omitzero"`
	ClusterAt int                `json:"cluster_at"` // the format that members of its cluster must know

	// Empty: it has never heard of a group. Forming: it is about to form one.
	Empty   bool     `json:"empty"`
	Forming bool     `json:"forming"`
	Seeds   []string `json:"seeds"` // its --join, in order
}

// hello is what this node answers.
func (c *Cluster) hello() Hello {
	// Forming before Empty: a node that has formed its cluster between the two is not empty.
	forming, state := c.forming.Load(), c.State()
	return Hello{
		NodeID: c.c.ID, Name: c.c.Name, Incarnation: c.c.Incarnation, StartedMs: unixMs(c.c.Started), Addr: c.c.Addr, Release: c.c.Release,
		Format: ownership.Format, ClusterID: c.ClusterID(), Recovered: state.Recovered, ClusterAt: state.Format,
		Forming: forming, Empty: c.raft.Empty(), Seeds: c.c.Seeds,
	}
}

// unixMs is 0 for a time that is not known.
func unixMs(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// serveHello tells another node who this one is, and hears who that is.
func (c *Cluster) serveHello(_ context.Context, from Hello) (any, error) {
	if err := c.leftBehind(&from); err != nil {
		c.failUnless(c.ctx, err)
	}
	return c.hello(), nil
}

// ask asks a node who it is, and says who asks. Earlier releases do not read that.
func ask(ctx context.Context, c Config, addr string, from Hello) (*Hello, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timing.Answer)
	defer cancel()
	var h Hello
	if err := c.Call(ctx, addr, "hello", from, &h); err != nil {
		return nil, err
	}
	if h.NodeID == "" || h.Incarnation == "" {
		return nil, fmt.Errorf("%s does not answer like a node of tally", addr)
	}
	return &h, nil
}

// answer is what a seed has said.
type answer struct {
	seed  string
	hello *Hello // nil: err
	err   error
}

// askSeeds asks all of these seeds at once.
func (c *Cluster) askSeeds(ctx context.Context, seeds []string) []answer {
	answers, self := make([]answer, len(seeds)), c.hello()
	var wg sync.WaitGroup
	for i, seed := range seeds {
		wg.Go(func() {
			h, err := ask(ctx, c.c, seed, self)
			answers[i] = answer{seed: seed, hello: h, err: err}
			if err == nil && h.NodeID != c.c.ID {
				c.raft.Hint(h.NodeID, h.Addr)
			}
		})
	}
	wg.Wait()
	return answers
}

// copied says that another process runs under this node's id.
func copied(c Config, h *Hello) error {
	return fmt.Errorf("node id %s is in use by node %s at %s, since the data dir %s is a copy of that one's: "+
		"remove node.json, %s and raft in it, and this is a new node", c.ID, h.Name, h.Addr, c.DataDir, pastFile)
}

// isCopy reports whether h comes from another process with this node's id.
func isCopy(c Config, h *Hello) bool { return h.NodeID == c.ID && h.Incarnation != c.Incarnation }
