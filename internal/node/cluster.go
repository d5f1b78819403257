package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/port"
	"github.com/tally-kafka/tally/internal/token"
	"github.com/tally-kafka/tally/replication/cluster"
	"github.com/tally-kafka/tally/replication/consensus"
	"github.com/tally-kafka/tally/replication/ownership"
	"github.com/tally-kafka/tally/txn"
)

// callReleased is the node call by which a node tells a lane's next owner that it is done with it.
const callReleased = "released"

// startCluster opens the port and takes up this node's place in its cluster, as far as that goes
// without others: join waits for the rest.
func (n *Node) startCluster(ctx context.Context) (err error) {
	cfg := n.cfg
	n.port, err = port.Listen(port.Config{
		Seam: cfg.Seam, Log: cfg.Log, Listen: cfg.Listen, Advertise: cfg.Advertise, Certs: cfg.Certs, Tokens: cfg.Tokens, Node: cfg.Name,
	})
	if err != nil {
		return err
	}
	cfg.Log.Info(n.port.Reach())
	n.fresh = n.dir.neverInCluster()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	options := api.Options{Seam: cfg.Seam, Log: cfg.Log, Registry: registry, Hosts: n.port.Covers, Trusts: n.port.Trusts}
	if cfg.Tokens != "" {
		if options.Tokens, err = token.Open(cfg.Tokens, token.Options{Seam: cfg.Seam, Log: cfg.Log}); err != nil {
			return errors.Join(err, n.port.Close())
		}
	}
	n.cluster, err = cluster.Start(ctx, cluster.Config{
		ID: n.dir.id.ID, Name: cfg.Name, Incarnation: n.incarnation, Started: n.started, Addr: n.port.Advertise(), Zone: cfg.Zone,
		Release: cfg.Version, Seeds: cfg.Join, DataDir: cfg.DataDir,
		RaftListener: n.port.Raft(), DialRaft: n.port.DialRaft, SessionListener: n.port.Sessions(), DialSession: n.port.DialSession,
		Call: n.call, Report: n.report, Fence: n.fenceLane, Vet: n.vet, Halt: n.halted, DiskFailed: n.diskFailed, Seam: cfg.Seam, Log: cfg.Log,
	})
	if err != nil {
		return errors.Join(err, n.port.Close())
	}
	close(n.clustered)
	options.Cluster, options.Control = view{n}, control{n}
	options.Calls = map[string]api.Call{
		callReleased: n.takeReleased, callCheckpoint: n.offerCheckpoint, callCheckpointDone: n.checkpointDone,
		callKafka: n.tellKafka,
	}
	options.Pieces = n.openPiece
	for name, handler := range n.cluster.Calls() {
		options.Calls[name] = api.Call(handler)
	}
	n.server = api.NewServer(n, options)
	return nil
}

// call asks another node.
func (n *Node) call(ctx context.Context, addr, call string, in, out any) error {
	return n.callFor(ctx, 0, addr, call, in, out)
}

// callFor is call where an answer may take so much longer.
func (n *Node) callFor(ctx context.Context, wait time.Duration, addr, call string, in, out any) error {
	return api.NewCaller(n.port.Client(), n.port.URL, wait)(ctx, addr, call, in, out)
}

// halted ends the node: it cannot follow the cluster's log any more. A disk that stalls is not
// waited for.
func (n *Node) halted(err error) {
	n.cfg.Log.Error("the node ends", "error", err)
	if errors.As(err, new(*consensus.StalledError)) {
		n.cfg.Exit(1)
	}
	n.end(err)
}

// join waits until the cluster has this node as a member.
func (n *Node) join(ctx context.Context) error {
	n.setWaiting("the cluster does not have this node as a member yet")
	if err := n.cluster.Wait(ctx); err != nil {
		return err
	}
	return n.unfit(ctx, n.checkKafka(ctx, n.cluster.State()))
}

// decide changes what Raft keeps; a refusal is an error.
func (n *Node) decide(ctx context.Context, cmd ownership.Command) error {
	res, err := n.cluster.Propose(ctx, cmd)
	if err == nil && res.Refused != "" {
		err = errors.New(res.Refused)
	}
	return err
}

// whileState returns when the cluster's state, as this node has it, is not so any more, or when ctx
// ends.
func (n *Node) whileState(ctx context.Context, so func(*ownership.State) bool) {
	for {
		changed := n.cluster.Changed() // before the state: a change between the two closes it
		if !so(n.cluster.State()) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// appNames are the names of the cluster's apps, sorted.
func appNames(st *ownership.State) []string { return slices.Sorted(maps.Keys(st.Apps)) }

// epochError says that a lane's records know an epoch that is not below that of its grant: Raft was
// restored from older data or formed anew. The grant has to be raised above it.
type epochError struct {
	floor uint64
	grant uint64
}

func (e *epochError) Error() string {
	return fmt.Sprintf("the lane's records have epoch %d, and its grant epoch %d", e.floor, e.grant)
}

// raiseGrant asks for a grant above the epoch that the lane's records know. One that is over by now
// is not raised: the epoch is that of its successor.
func (l *lane) raiseGrant(ctx context.Context, behind *epochError) error {
	if now, _ := l.granted(); now.part != partOwner || now.epoch != behind.grant {
		return errors.New("the lane is another's by now")
	}
	l.log().Warn("asking for a later grant", "error", behind)
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	return l.app.node.decide(ctx, ownership.Command{RaiseEpoch: &ownership.RaiseEpoch{
		LaneRef: l.ref(), Floor: behind.floor,
	}})
}

// fenceLane ends whatever transaction is open under a lane's transactional id. The leader calls it
// while the log shows the lane ownerless. A lane that another cluster has taken is left to that.
func (n *Node) fenceLane(ctx context.Context, app string, lane int) error {
	n.mu.Lock()
	cfg, connected := n.kafka, n.kafkaCluster != ""
	n.mu.Unlock()
	if !connected {
		return errNotReached
	}
	if taken, err := n.isStrangers(ctx, app, lane); taken || err != nil {
		return err
	}
	s, err := txn.Fence(ctx, txn.Config{
		Kafka: cfg, TransactionalID: transactionalID(app, lane), Group: app,
		BatchBytes: func(string) int32 { return 1 << 20 }, Seam: n.cfg.Seam, Step: n.cfg.Step,
	})
	if err != nil {
		return err
	}
	s.Close()
	return nil
}

// takeReleased hears that another node is done with a lane.
func (n *Node) takeReleased(_ context.Context, body []byte) (any, error) {
	var word releasedWord
	if err := json.Unmarshal(body, &word); err != nil {
		return nil, fmt.Errorf("the word that a lane is free: %w", err)
	}
	for _, a := range n.running() {
		if a.name() == word.App && word.Lane >= 0 && word.Lane < len(a.lanes) {
			a.lanes[word.Lane].hearReleased(word.Epoch)
			return struct{}{}, nil
		}
	}
	return nil, fmt.Errorf("%s is not open here yet", word.LaneRef)
}

// hearReleased keeps the newest word. One of an earlier grant may lie there unread, since that was
// over before anybody asked.
func (l *lane) hearReleased(epoch uint64) {
	l.freed(epoch) // also when the lane waits for it no more
	for {
		select {
		case l.released <- epoch:
			return
		case before := <-l.released:
			epoch = max(epoch, before)
		}
	}
}

// handOver gives the leadership away, asks the cluster to move this node's lanes to others, and
// waits until it has none, nobody can take them, or d is over.
func (n *Node) handOver(d time.Duration) {
	st := n.cluster.State()
	if n.others(st) == 0 || n.cluster.Failure() != nil { // whom it refuses may have been replaced: the lanes are another process's
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	// First, so that a leader that stays sees the moves through, and no lane waits for an election.
	if err := n.cluster.Leave(ctx, false); err != nil {
		n.cfg.Log.Warn("the leadership cannot be handed over; the others elect a leader when this node is gone", "error", err)
	}
	if n.owned(st) == 0 || n.takers(st, n.dir.id.ID) == 0 {
		return
	}
	n.cfg.Log.Info("stopping: handing the lanes over", "lanes", n.owned(st))
	if err := n.decide(ctx, ownership.Command{Drain: &ownership.Drain{ID: n.dir.id.ID, Draining: true}}); err != nil {
		n.cfg.Log.Warn("the lanes cannot be handed over; others take them when this node is gone", "error", err)
		return
	}
	n.whileState(ctx, func(st *ownership.State) bool { return n.owned(st) > 0 && n.takers(st, n.dir.id.ID) > 0 })
	if ctx.Err() != nil {
		n.cfg.Log.Warn("not all lanes were handed over in time; others take the rest when this node is gone", "lanes", n.owned(n.cluster.State()))
	}
}

// depart is the last that the cluster hears of this process: whether it has got as far as being a
// member, or as having lanes, or not.
func (n *Node) depart() {
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.DepartMax)
	defer cancel()
	if err := n.cluster.Depart(ctx); err != nil {
		n.cfg.Log.Warn(fmt.Sprintf("this node ends with its vote, which the others may miss: start it again, or, if it is gone for good, "+
			"run `tally node forget %s` at another node once those have a leader", n.cfg.Name), "after", n.cfg.DepartMax, "error", err)
	}
}

// others is how many members besides this node are alive.
func (n *Node) others(st *ownership.State) (alive int) {
	for id, m := range st.Members {
		if m.Alive && id != n.dir.id.ID {
			alive++
		}
	}
	return alive
}

// owned is how many lanes this process owns.
func (n *Node) owned(st *ownership.State) (lanes int) {
	for _, l := range st.Lanes() {
		if l.Owner == n.dir.id.ID && l.Incarnation == n.incarnation {
			lanes++
		}
	}
	return lanes
}
