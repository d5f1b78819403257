package testkafka

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestBounceProof shows why Restart waits, on Kafka as it is: a coordinator that is killed while
// only its own log has that a transaction commits, and that is back within its session, has the
// transaction committed in one partition, and the next coordinator has it aborted in another. When
// this fails Kafka may have been mended, and Restart need not wait for as long as it does.
func TestBounceProof(t *testing.T) {
	if os.Getenv("TALLY_PROOF") == "" {
		return
	}
	t.Run("Bounce", func(t *testing.T) {
		if there, here := killedAtCommit(t, (*Cluster).Bounce); there != "commit" || here != "abort" {
			t.Errorf("%s and %s, not torn: Kafka is better than docs/disasters.md says", there, here)
		}
	})
	t.Run("Restart", func(t *testing.T) {
		if there, here := killedAtCommit(t, (*Cluster).Restart); there != "abort" || here != "abort" {
			t.Errorf("%s and %s: what no follower had is not there", there, here)
		}
	})
}

// killedAtCommit kills the coordinator of a transaction when only its own log has that it commits,
// and starts it again while it reaches one of the others and not the other. It says how the
// transaction has ended in a partition of each.
func killedAtCommit(t *testing.T, again func(*Cluster, context.Context, int) error) (reached, unreached string) {
	const id, topic = "torn", "torn"
	between := map[int]*Proxy{} // in front of each node, for the others
	c := Start(t, Options{Nodes: 3, Route: func(id int, l Listener, target string) (string, error) {
		if l != ForBrokers {
			return target, nil
		}
		p, err := NewProxy(target)
		between[id] = p
		return p.Addr(), err
	}})
	t.Cleanup(func() {
		for _, p := range between {
			p.Close()
		}
	})
	cl := client(t, c.Addrs(), kgo.TransactionalID(id), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	adm := kadm.NewClient(client(t, c.Addrs()))
	_, err := adm.CreateTopics(limit(t), 3, 3, nil, topic)
	must(t, err)
	coordinator, leaders := roles(t, adm, id, topic)
	written := transactionLog(t, c.node(coordinator))
	must(t, cl.BeginTransaction())
	for _, l := range leaders {
		must(t, cl.ProduceSync(limit(t), &kgo.Record{Topic: topic, Partition: l.partition, Value: []byte("a")}).FirstErr())
	}
	before := written()
	between[coordinator].Freeze() // no follower has from now on what it writes
	go func() { _ = cl.EndTransaction(t.Context(), kgo.TryCommit) }()
	poll(t, "the coordinator's own log has that the transaction commits", func() bool { return written() > before })
	cl.Close() // the producer is gone with its node
	c.Kill(coordinator)
	between[coordinator].Cut()
	between[coordinator].Heal()
	between[leaders[1].broker].Cut()
	must(t, again(c, t.Context(), coordinator))
	between[leaders[1].broker].Heal()
	next := client(t, c.Addrs(), kgo.TransactionalID(id))
	poll(t, "the next producer has the id", func() bool {
		_, _, err := next.ProducerID(limit(t))
		return err == nil
	})
	return marker(t, c, topic, leaders[0].partition), marker(t, c, topic, leaders[1].partition)
}

// led is a partition with the broker that leads it.
type led struct {
	partition int32
	broker    int
}

// roles are the broker that coordinates the transactions of id, and a partition of each other one.
func roles(t *testing.T, adm *kadm.Client, id, topic string) (coordinator int, others []led) {
	t.Helper()
	poll(t, "the transactions have a coordinator", func() bool {
		found := adm.FindTxnCoordinators(limit(t), id)[id]
		coordinator = int(found.NodeID)
		return found.Err == nil
	})
	poll(t, "each broker leads a partition", func() bool {
		others = nil
		meta, err := adm.Metadata(limit(t), topic)
		for _, p := range meta.Topics[topic].Partitions {
			if l := (led{p.Partition, int(p.Leader)}); l.broker > 0 && l.broker != coordinator {
				others = append(others, l)
			}
		}
		return err == nil && len(others) == 2
	})
	return coordinator, others
}

// transactionLog measures what a node has of the log of transactions.
func transactionLog(t *testing.T, n *node) func() int64 {
	return func() (size int64) {
		t.Helper()
		logs, err := filepath.Glob(filepath.Join(n.data(), "__transaction_state-*", "*.log"))
		must(t, err)
		for _, name := range logs {
			info, err := os.Stat(name)
			must(t, err)
			size += info.Size()
		}
		return size
	}
}

// marker is the end of the first transaction of a partition.
func marker(t *testing.T, c *Cluster, topic string, partition int32) (end string) {
	t.Helper()
	cl := client(t, c.Addrs(), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().AtStart()}}))
	poll(t, "the transaction has ended", func() bool {
		cl.PollFetches(limit(t)).EachRecord(func(r *kgo.Record) {
			if r.Attrs.IsControl() && end == "" {
				end = map[byte]string{0: "abort", 1: "commit"}[r.Key[3]]
			}
		})
		return end != ""
	})
	return end
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
