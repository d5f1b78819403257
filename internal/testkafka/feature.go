package testkafka

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const transactionVersion = "transaction.version"

// SetTransactionVersion raises or lowers the cluster's feature transaction.version, which is 2 in a
// new cluster, as kafka-features does, and waits until every running node says so.
func (c *Cluster) SetTransactionVersion(ctx context.Context, version int) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Addrs()...), kgo.DisableClientMetrics())
	if err != nil {
		return err
	}
	defer cl.Close()
	now, err := transactionVersionOf(ctx, cl)
	if err != nil || now == version {
		return err
	}
	req := kmsg.NewPtrUpdateFeaturesRequest()
	req.TimeoutMillis = 10_000
	f := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
	f.Feature, f.MaxVersionLevel, f.UpgradeType = transactionVersion, int16(version), 1
	if now > version {
		f.UpgradeType = 2 // a downgrade that loses nothing
	}
	req.FeatureUpdates = append(req.FeatureUpdates, f)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return fmt.Errorf("set %s to %d: %w", transactionVersion, version, err)
	}
	return c.awaitTransactionVersion(ctx, version)
}

func (c *Cluster) awaitTransactionVersion(ctx context.Context, version int) error {
	for _, n := range c.nodes {
		if n.run.ended() {
			continue
		}
		cl, err := kgo.NewClient(kgo.SeedBrokers(fmt.Sprintf("127.0.0.1:%d", n.port)), kgo.DisableClientMetrics())
		if err != nil {
			return err
		}
		defer cl.Close()
		for {
			now, err := transactionVersionOf(ctx, cl.SeedBrokers()[0])
			if err == nil && now == version {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("node %d has %s %d, not %d: %w", n.id, transactionVersion, now, version, ctx.Err())
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	return nil
}

// transactionVersionOf is 0 where the feature is not finalized.
func transactionVersionOf(ctx context.Context, r kmsg.Requestor) (int, error) {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "testkafka", "1"
	resp, err := req.RequestWith(ctx, r)
	if err != nil {
		return 0, err
	}
	for _, f := range resp.FinalizedFeatures {
		if f.Name == transactionVersion {
			return int(f.MaxVersionLevel), nil
		}
	}
	return 0, kerr.ErrorForCode(resp.ErrorCode)
}
