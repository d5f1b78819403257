package testkafka

import (
	"context"
	"fmt"
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
	cl, err := kgo.NewClient(kgo.SeedBrokers(fmt.Sprintf("127.0.0.1:%d", n.port)),
		kgo.RequestRetries(0), kgo.DisableClientMetrics())
	if err != nil {
		return err
	}
	defer cl.Close()
	seed := cl.SeedBrokers()[0]
	resp, err := seed.Request(ctx, kmsg.NewPtrMetadataRequest())
	if err != nil {
		return err
	}
	if have, want := len(resp.(*kmsg.MetadataResponse).Brokers), c.running(); have < want {
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
