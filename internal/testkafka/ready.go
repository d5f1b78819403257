package testkafka

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// probe asks every given node for the whole cluster's metadata, and one of them for coordinators of
// transactions and of groups, which makes Kafka create and load those topics.
func (c *Cluster) probe(ctx context.Context, nodes []*node) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, n := range nodes {
		if err := c.probeNode(ctx, n); err != nil {
			return fmt.Errorf("node %d: %w", n.id, err)
		}
	}
	return nil
}

func (c *Cluster) probeNode(ctx context.Context, n *node) error {
	cl, err := n.client()
	if err != nil {
		return err
	}
	defer cl.Close()
	seed := cl.SeedBrokers()[0]
	ids, err := membersOf(ctx, seed)
	if err != nil {
		return err
	}
	if have, want := len(ids), c.running(); have < want {
		return fmt.Errorf("it knows %d of %d brokers", have, want)
	}
	for _, kind := range []int8{0, 1} { // group, transaction
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorType = kind
		req.CoordinatorKeys = []string{"testkafka-ready"}
		resp, err := seed.Request(ctx, req)
		if err != nil {
			return err
		}
		for _, k := range resp.(*kmsg.FindCoordinatorResponse).Coordinators {
			if err := kerr.ErrorForCode(k.ErrorCode); err != nil {
				return fmt.Errorf("find coordinator: %w", err)
			}
		}
	}
	return nil
}

// client asks this node alone, once.
func (n *node) client() (*kgo.Client, error) {
	return kgo.NewClient(kgo.SeedBrokers(fmt.Sprintf("127.0.0.1:%d", n.port)),
		kgo.RequestRetries(0), kgo.DisableClientMetrics())
}

// running counts the nodes that have not been killed; a restarted node waits for no dead one.
func (c *Cluster) running() int {
	count := 0
	for _, n := range c.nodes {
		if n.run != nil && !n.run.ended() {
			count++
		}
	}
	return count
}

// awaitFenced waits until another node says that this one is out of the cluster, which it learns in
// the same step as who leads instead. Without a majority of others nobody could decide that.
func (c *Cluster) awaitFenced(ctx context.Context, id int) error {
	var others []*node
	for _, n := range c.nodes {
		if n.id != id && n.run != nil && !n.run.ended() {
			others = append(others, n)
		}
	}
	if len(others) <= len(c.nodes)/2 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	for {
		for _, n := range others {
			if ids, err := n.members(ctx); err == nil && !slices.Contains(ids, int32(id)) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the others have not fenced node %d: %w", id, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// members are the ids of those that this node knows to be in the cluster.
func (n *node) members(ctx context.Context) (ids []int32, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	cl, err := n.client()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	return membersOf(ctx, cl.SeedBrokers()[0])
}

func membersOf(ctx context.Context, seed *kgo.Broker) (ids []int32, err error) {
	resp, err := seed.Request(ctx, kmsg.NewPtrMetadataRequest())
	if err != nil {
		return nil, err
	}
	for _, b := range resp.(*kmsg.MetadataResponse).Brokers {
		ids = append(ids, b.NodeID)
	}
	return ids, nil
}
