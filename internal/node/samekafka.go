package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tally-kafka/tally/replication/ownership"
)

// callKafka is the node call by which one that joins hears which Kafka the leader has reached.
const callKafka = "kafka"

// kafkaWord answers it.
type kafkaWord struct {
	ClusterID string `json:"cluster_id"` // "" while it has reached none
}

// leaderWait bounds that call: the log of the first app decides later, if it is not answered.
const leaderWait = time.Second

// otherKafkaError says that this node's Kafka is not the one that its cluster counts on. The node
// ends: it would make topics there, and hold lanes whose events nobody counts.
type otherKafkaError struct{ text string }

func (e *otherKafkaError) Error() string { return e.text }

// checkKafka refuses a node whose Kafka is not the one that the cluster's apps count on, or, as
// long as there is no app, the one that the leader has reached.
func (n *Node) checkKafka(ctx context.Context, st *ownership.State) error {
	for _, a := range st.SortedApps() {
		if err := n.sameKafka(st, a); err != nil || a.KafkaCluster != "" {
			return err
		}
	}
	return n.checkLeadersKafka(ctx)
}

// sameKafka refuses an app that counts on another Kafka than this node's.
func (n *Node) sameKafka(st *ownership.State, a *ownership.App) error {
	if a.KafkaCluster == "" || a.KafkaCluster == n.kafkaCluster {
		return nil
	}
	next := "start it with --brokers of the other nodes"
	if len(st.Members) == 1 {
		next = fmt.Sprintf("start it with the brokers of that one, or with another --data-dir than %s", n.cfg.DataDir)
	}
	return &otherKafkaError{fmt.Sprintf("app %s of this cluster counts on the Kafka with cluster id %s, and the brokers of this node (%s) are of %s: %s",
		a.Name, a.KafkaCluster, strings.Join(n.kafka.Brokers, ","), n.kafkaCluster, next)}
}

// checkLeadersKafka asks the leader. One that does not say, as it is of an older release or has not
// reached its Kafka yet, is no reason to end.
func (n *Node) checkLeadersKafka(ctx context.Context) error {
	id, name, addr := n.cluster.Leader()
	if id == "" || id == n.dir.id.ID {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, leaderWait)
	defer cancel()
	var word kafkaWord
	if err := n.call(ctx, addr, callKafka, struct{}{}, &word); err != nil || word.ClusterID == "" || word.ClusterID == n.kafkaCluster {
		return nil
	}
	return &otherKafkaError{fmt.Sprintf("node %s, which leads this cluster, has reached the Kafka with cluster id %s, and the brokers of this node (%s) are of %s: "+
		"start all nodes of a cluster with --brokers of one Kafka", name, word.ClusterID, strings.Join(n.kafka.Brokers, ","), n.kafkaCluster)}
}

// tellKafka answers callKafka.
func (n *Node) tellKafka(context.Context, []byte) (any, error) {
	return kafkaWord{ClusterID: n.reachedKafka()}, nil
}

// reachedKafka is the cluster id of this node's Kafka, "" before it has been reached.
func (n *Node) reachedKafka() (id string) {
	n.guarded(func() { id = n.kafkaCluster })
	return id
}

// vetKafka says why a new app must not run on its Kafka: a cluster has one, that of its apps, or of
// the leader, which asks this, as long as there is none.
func (n *Node) vetKafka(st *ownership.State, rec *ownership.App) (why string) {
	if rec.KafkaCluster == "" {
		return ""
	}
	mine := n.reachedKafka()
	for _, other := range st.SortedApps() {
		if id := other.KafkaCluster; id != "" {
			mine = id
			break
		}
	}
	if mine == "" || mine == rec.KafkaCluster {
		return ""
	}
	return fmt.Sprintf("app %s was submitted at a node whose brokers are of the Kafka with cluster id %s, and this cluster counts on that of %s: "+
		"submit it at another node, and start that one with --brokers of the others", rec.Name, rec.KafkaCluster, mine)
}

// kafkaOf is the Kafka that the cluster is to know of an app. One that there is goes on without it
// while a living node is of a release that could not read it: its reset must not wait for that.
func kafkaOf(st *ownership.State, rec ownership.App, before *ownership.App) string {
	put := ownership.Command{PutApp: &ownership.PutApp{App: rec}}
	if before != nil && st.Behind(put) != "" {
		return before.KafkaCluster
	}
	return rec.KafkaCluster
}

// unfit takes a node that has never run out of the cluster again where err says that it is of
// another Kafka: it has become a member before it knew that, and the others are not to count on it.
// It gives err back.
func (n *Node) unfit(ctx context.Context, err error) error {
	if !n.fresh && !n.cluster.Joined() || !errors.As(err, new(*otherKafkaError)) {
		return err
	}
	return n.quit(ctx, err)
}

// refused takes a node that ends since its specs cannot run out of the cluster again that it has
// just come to: else that would have a dead member, for a slip in a command. Those that form a
// cluster stay in it, and find it at their next start. It gives err back.
func (n *Node) refused(ctx context.Context, err error) error {
	if err == nil || !n.cluster.Joined() {
		return err
	}
	return n.quit(context.WithoutCancel(ctx), err)
}

// quit ends the membership of a node that ends on err, which it gives back. The data dir is a new
// node's again then.
func (n *Node) quit(ctx context.Context, err error) error {
	left := n.withdraw(ctx)
	if n.left = left == nil; !n.left {
		n.cfg.Log.Warn("this node stays a member of the cluster that it does not fit", "error", left)
	}
	return err
}

// withdraw leaves the cluster for good. What this node was to do of lanes is taken from it first.
func (n *Node) withdraw(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.HandOverMax)
	defer cancel()
	if err := n.decide(ctx, ownership.Command{Drain: &ownership.Drain{ID: n.dir.id.ID, Draining: true}}); err != nil {
		return err
	}
	for {
		err := n.cluster.Leave(ctx, true)
		if err == nil || n.cfg.Seam.Sleep(ctx, retryPause) != nil {
			return err
		}
	}
}
