package node

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/vbauerster/mpb/v8"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/broker"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/port"
	"github.com/tally-kafka/tally/processor"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/replication/cluster"
	"github.com/tally-kafka/tally/replication/consensus"
	"github.com/tally-kafka/tally/replication/seed"
	"github.com/tally-kafka/tally/state"
)

// Node is one running `tally run`.
type Node struct {
	cfg         Config
	dir         *dataDir
	incarnation string // drawn at each start of the process
	started     time.Time
	port        *port.Port
	server      *api.Server
	end         context.CancelCauseFunc // ends the node from within
	cluster     *cluster.Cluster
	clustered   chan struct{} // closed once cluster is set: it asks for reports before
	left        bool          // it has left its cluster for good, and ends; see quit
	// fresh is set where the data dir had nothing of a cluster before this start, not even of the
	// search for one. That is not cluster.Joined: who forms a cluster is fresh, and has not joined
	// it; who ended before there was one is not fresh any more, and may join it yet.
	fresh bool

	openFiles  int  // of all stores together
	addOffsets bool // transaction.version is below 2
	asksEpochs bool // the broker tells up to where it has an epoch's records (KIP-320)
	admin      *kafka.Admin
	blocks     *state.BlockCache
	places     *state.Places
	budget     *processor.Budget
	bars       *mpb.Progress // of restores, on a terminal; else nil
	seeds      *seed.Keeper  // checkpoints for other nodes
	seedPace   *seed.Pace    // of those of other nodes
	disk       *disk
	listed     listing // apps for who asks, while they are not open

	mu sync.Mutex
	// These three are written by connect alone, under mu, since the status is asked for meanwhile;
	// what starts after connect reads them without.
	kafka        kafka.Config
	kafkaCluster string // Kafka's cluster id
	embedded     *broker.Running

	hosts     map[string]*host     // by app
	watched   map[string]time.Time // when apps were watched for others when they were submitted here
	adopted   []string             // apps that the data dir has run outside this cluster; see adopt.go
	waiting   string               // why there are no apps yet, "" when all have started
	up        bool                 // they have, once: what comes later is said of each app
	trouble   error                // of the last contact with Kafka
	contactAt time.Time            // of the last good one
	resting   time.Duration        // that the last one's age grows by no fault of Kafka's; see kafkaAge

	troubleSaid time.Time // when trouble was last logged
}

// Run runs a node until ctx ends, then stops it cleanly: its lanes are handed to other nodes where
// there are any, every lane commits what it has folded, every store is flushed, within
// DrainTimeout. It returns an error when the node cannot start: a spec or a data dir that does not
// fit, a missing topic, a port in use, a cluster that refuses it. An unreachable broker is waited
// for, and so are the other nodes.
func Run(ctx context.Context, cfg Config) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	n, err := start(ctx, cfg.withDefaults(), end)
	if err != nil {
		return err
	}
	return n.live(ctx)
}

// live is what a node does from its start to its end.
func (n *Node) live(ctx context.Context) error {
	defer n.dir.close()
	serving := make(chan error, 1)
	go func() { serving <- n.server.Serve(n.port.HTTP()) }()
	err := n.run(ctx)
	n.depart()
	err = errors.Join(err, n.stopServing(), n.cluster.Close(), n.port.Close())
	if n.left {
		err = errors.Join(err, n.dir.forgetCluster())
	}
	return errors.Join(err, <-serving)
}

// start takes what belongs to this machine alone: the port, the data dir, the name; and begins to
// look for its cluster. end ends the node from within.
func start(ctx context.Context, cfg Config, end context.CancelCauseFunc) (_ *Node, err error) {
	n := &Node{
		cfg: cfg, started: cfg.Seam.Now(), incarnation: cfg.Seam.NewID(), waiting: "starting",
		budget: processor.NewBudget(cfg.CommitsPerSecond), hosts: map[string]*host{}, clustered: make(chan struct{}), watched: map[string]time.Time{}, end: end,
		disk: newDisk(), listed: listing{made: map[string]listedApp{}},
	}
	if cfg.TTY {
		n.bars = mpb.New(mpb.WithOutput(cfg.Out), mpb.WithWidth(50))
	}
	if n.openFiles, err = openFiles(cfg.OpenFiles); err != nil {
		return nil, err
	}
	if n.dir, err = openDataDir(cfg.DataDir, cfg.Seam); err != nil {
		return nil, err
	}
	n.phase("data dir")
	n.seeds = seed.NewKeeper(seed.Config{Seam: cfg.Seam, Log: cfg.Log, Pace: seed.NewPace(cfg.Seam, cfg.SeedRate)})
	n.seedPace = seed.NewPace(cfg.Seam, cfg.SeedRate)
	if err := errors.Join(n.dir.dropCheckpoints(), n.startCluster(ctx)); err != nil {
		n.dir.close()
		return nil, err
	}
	n.phase("port, Raft open")
	return n, nil
}

func (n *Node) stopServing() error {
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.DrainTimeout)
	defer cancel()
	return n.server.Shutdown(ctx)
}

// clusterID is the id under which this node commits.
func (n *Node) clusterID() string { return n.cluster.State().ClusterID }

func (n *Node) run(ctx context.Context) error {
	if err := n.connect(ctx); err != nil {
		return n.unlessEnded(ctx, err)
	}
	n.phase("Kafka")
	defer n.disconnect()
	// Pebble takes memtables and large batches out of its block cache. Those of all lanes are
	// seldom half of this; they are three eighths of the memory if all lanes wait for flushes at
	// one time, and reads are slow then. More leaves the collector no room (see limitSlack in
	// cmd/tally): an event of 5 x 10^7 groups on the disk takes 33 us with seven sixteenths, and
	// 21 with five.
	n.blocks = state.NewBlockCache(n.cfg.Memory * 5 / 16)
	defer n.blocks.Unref()
	n.places = state.NewPlaces(runtime.GOMAXPROCS(0) / 2) // the other half is left to the lanes
	if err := n.join(ctx); err != nil {
		return n.unlessEnded(ctx, err)
	}
	n.phase("registered")
	if err := n.submitSpecs(ctx); err != nil {
		return n.refused(ctx, n.unlessEnded(ctx, err))
	}
	if err := n.dropDeleted(); err != nil {
		return err
	}
	n.sayStandbys()
	n.phase("specs")
	return n.unfit(context.WithoutCancel(ctx), n.unlessEnded(ctx, n.runApps(ctx)))
}

// unlessEnded is nil when the user has ended ctx: whatever failed then, the end was asked for.
func (n *Node) unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause // the node has ended itself
	}
	return nil
}

// submitAtStart submits, and waits for a leader as long as there is none: the other nodes may be
// starting too.
func (n *Node) submitAtStart(ctx context.Context, s *spec.Spec) error {
	for {
		_, err := n.submit(ctx, s, standbyCount{n: n.cfg.Standbys})
		if errors.As(err, new(*haltedError)) { // who ends the reset may be this node, with the spec that it was given
			n.cfg.Log.Warn("the spec was not submitted", "app", s.App, "reason", err)
			return nil
		}
		if !undecided(err) || ctx.Err() != nil {
			return err
		}
		n.setWaiting(err.Error())
		n.cfg.Log.Warn("submitting again", "app", s.App, "error", err)
		if err := n.cfg.Seam.Sleep(ctx, n.cfg.Seam.Jitter(retryPause)); err != nil {
			return err
		}
	}
}

// undecided reports whether the cluster could not decide, or it is not known whether it has: asking
// again is right for what may be done twice.
func undecided(err error) bool {
	var none *cluster.NoLeaderError
	var unsure *consensus.UncertainError
	return errors.As(err, &none) || errors.As(err, &unsure)
}

// connect finds or starts the broker and waits until it answers, saying so while it does not.
func (n *Node) connect(ctx context.Context) error {
	cfg, err := kafka.Load(n.cfg.Brokers, n.cfg.KafkaConfig, n.cfg.Env, n.cfg.Seam)
	if err != nil {
		return err
	}
	if len(cfg.Brokers) == 0 && n.cfg.KafkaConfig == "" {
		running, err := broker.Ensure(ctx, broker.Options{DataDir: n.cfg.DataDir, Seam: n.cfg.Seam, Log: n.cfg.Log})
		if err != nil {
			return fmt.Errorf("the embedded broker: %w", err)
		}
		cfg.Brokers = []string{running.Addr}
		n.guarded(func() { n.embedded = running })
		n.sayEmbedded()
	}
	cfg.Log, cfg.ClientID = n.cfg.Log, "tally-"+n.cfg.Name
	n.guarded(func() { n.kafka = cfg })
	for _, w := range n.kafka.Warnings {
		n.cfg.Log.Warn(w)
	}
	if n.admin, err = kafka.NewAdmin(n.kafka); err != nil {
		return err
	}
	if err := n.patiently(ctx, n.cfg.UnreachableAt, n.introduce); err != nil {
		n.admin.Close()
		return err
	}
	// contactAt stays: a node that hosts no app yet must not look to the leader as one that can
	// take lanes.
	var before error
	n.guarded(func() { before, n.trouble = n.trouble, nil })
	if before != nil {
		n.cfg.Log.Info("Kafka answers again")
	}
	return nil
}

func (n *Node) sayEmbedded() {
	fmt.Fprintf(n.cfg.Out, "embedded broker at %s (for trying out; its data is in %s/broker); to send it something:\n  python examples/python/produce.py %s\n",
		n.embedded.Addr, strings.TrimRight(n.cfg.DataDir, "/"), n.embedded.Addr)
	for _, w := range n.embedded.Warnings {
		n.cfg.Log.Warn(w)
	}
}

// introduce asks the broker who it is and what it can do.
func (n *Node) introduce(ctx context.Context) error {
	offered, version, err := n.admin.Abilities(ctx)
	if err != nil {
		return err
	}
	if err := n.enough(offered); err != nil {
		return err
	}
	id, err := n.admin.ClusterID(ctx)
	if err != nil {
		return err
	}
	n.guarded(func() { n.kafkaCluster = id })
	n.asksEpochs = offered[kmsg.OffsetForLeaderEpoch.Int16()] >= 2
	if n.addOffsets = version < 2; n.addOffsets {
		n.cfg.Log.Warn("the broker's transaction.version is below 2: a late EndTxn can end a later transaction (KAFKA-17754); run kafka-features --bootstrap-server "+n.kafka.Brokers[0]+" upgrade --feature transaction.version=2",
			"transaction.version", version)
	}
	return nil
}

// patiently repeats a call until it succeeds, says every few seconds why it does not, and gives up
// only for what a person must mend. bound is what one call may take.
func (n *Node) patiently(ctx context.Context, bound time.Duration, call func(context.Context) error) error {
	for {
		tryCtx, cancel := context.WithTimeout(ctx, bound)
		err := call(tryCtx)
		cancel()
		// A topic that was missing and exists now: it is looked at again.
		if err == nil || ctx.Err() != nil || !unanswered(err) && !topicsChange(err) {
			return err
		}
		if !topicsChange(err) { // else another node was quicker
			n.reached(err)
			n.setWaiting("Kafka does not answer: " + err.Error())
		}
		if n.cfg.Seam.Sleep(ctx, n.cfg.Seam.Jitter(500*time.Millisecond)) != nil {
			return err // says more than that the time is over
		}
	}
}

// topicsChange reports whether topics come or go just now, as when several nodes open one app at
// once.
func topicsChange(err error) bool {
	return errors.Is(err, kafka.ErrTopicExists) || errors.Is(err, kafka.ErrNoTopic)
}

// unanswered reports whether a call may succeed by itself a little later. What the system says of
// the disk looks like its word on the network.
func unanswered(err error) bool {
	return !diskFails(err) && (kafka.Retriable(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errNotReached))
}

var errNotReached = errors.New("this node has not reached Kafka yet")

// openTimeout bounds one try to open an app, of which the watch for another node is a part.
const openTimeout = 20 * time.Second

// runApps hosts the cluster's apps until ctx ends and their lanes have drained, or most of
// DrainTimeout has passed. It returns an error when an app cannot be opened at the start that this
// node was told to run, or that it alone could run.
func (n *Node) runApps(ctx context.Context) error {
	lanes, kill := context.WithCancel(context.Background())
	defer kill()
	hosting, drain := context.WithCancel(context.Background())
	defer drain()
	atStart := appNames(n.cluster.State())
	opened := make(chan outcome, len(atStart))
	go n.keepContact(hosting)
	go n.watchDisk(hosting)
	var keeping sync.WaitGroup
	keeping.Go(func() { n.seeds.Run(hosting) })
	defer keeping.Wait()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		n.keepApps(lanes, hosting, atStart, opened)
	}()
	err := n.awaitOpened(ctx, len(atStart), opened)
	if err == nil && ctx.Err() == nil {
		n.guarded(func() { n.waiting, n.up = "", true })
		n.sayRunning(atStart)
		<-ctx.Done()
		n.handOver(n.cfg.HandOverMax)
	}
	n.cfg.Log.Info("stopping: committing what is folded")
	drain()
	if n.within(n.cfg.DrainTimeout*4/10, drained) { // the rest is for the stores and the API
		return err
	}
	n.cfg.Log.Warn("a lane did not drain in time; what it had folded is not committed, and is read again at the next start")
	kill()
	// A lane's goroutine may still be in its store. Leaving the stores as they are is what a kill
	// -9 does, and costs the next start what was not flushed.
	n.within(n.cfg.DrainTimeout/10, drained)
	return err
}

// outcome is what the first try to open an app came to.
type outcome struct {
	app string
	err error
}

// awaitOpened waits for the first tries to open the apps of the start.
func (n *Node) awaitOpened(ctx context.Context, apps int, opened <-chan outcome) error {
	for range apps {
		select {
		case o := <-opened:
			deleted := n.cluster.State().Apps[o.app] == nil
			if o.err != nil && !deleted && !passing(o.err) && n.refuses(o.app) {
				return o.err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// passing reports whether an app could not be opened only because another node has it in hand, or
// has just changed it: it is opened later.
func passing(err error) bool { return errors.As(err, new(*haltedError)) || errors.Is(err, errRecord) }

// refuses reports whether an app that cannot be opened ends the node.
func (n *Node) refuses(app string) bool {
	for _, s := range n.cfg.Specs {
		if s.App == app {
			return true
		}
	}
	return len(n.cluster.State().Members) == 1
}

func (n *Node) sayRunning(apps []string) {
	what := "no app yet; give it one with `tally submit FILE`"
	if len(apps) > 0 {
		what = "app " + strings.Join(apps, ", app ")
	}
	fmt.Fprintf(n.cfg.Out, "node %s runs %s; ask it at %s\n", n.cfg.Name, what, n.port.URL(n.port.Advertise()))
}

// within waits for done, at most for d, and reports whether it came.
func (n *Node) within(d time.Duration, done <-chan struct{}) bool {
	wait, stop := n.cfg.Seam.Timer(d)
	defer stop()
	select {
	case <-done:
		return true
	case <-wait:
		return false
	}
}

// lookedTogether are as many apps as look at their ends in one LagInterval: each look is two
// questions to a broker, and many small apps must not cost it more than their events do.
const lookedTogether = 10

func (n *Node) lagInterval() time.Duration {
	return n.cfg.LagInterval * time.Duration(max(n.appCount()/lookedTogether, 1))
}

func (n *Node) watchEnds(ctx context.Context, a *app) {
	for {
		a.lookAtEnds(ctx)
		if n.cfg.Seam.Sleep(ctx, lookSpacing) != nil {
			return
		}
		idle := a.standsStill()
		a.rests.Store(idle && n.alone())
		if n.pause(ctx, n.lagInterval(), idle, a.nudge) != nil {
			return
		}
	}
}

func (n *Node) disconnect() {
	n.admin.Close()
	if n.embedded == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.DrainTimeout)
	defer cancel()
	if err := n.embedded.StopIfOurs(ctx); err != nil {
		n.cfg.Log.Warn("stop the embedded broker", "error", err)
	}
}

// reached keeps what the last contact with Kafka said, and says it every few seconds while it is
// bad.
func (n *Node) reached(err error) {
	now := n.cfg.Seam.Now()
	n.mu.Lock()
	before, say := n.trouble, err != nil && now.Sub(n.troubleSaid) >= n.cfg.UnreachableAt
	n.trouble = err
	if err == nil {
		n.contactAt = now
	}
	n.resting = 0
	if say {
		n.troubleSaid = now
	}
	n.mu.Unlock()
	log := n.cfg.Log.With("brokers", strings.Join(n.kafka.Brokers, ","))
	switch {
	case say && unanswered(err):
		log.Warn("Kafka does not answer; trying on", "error", err)
	case say:
		log.Warn("Kafka answers with an error; trying on", "error", err)
	case err == nil && before != nil:
		log.Info("Kafka answers again")
	}
}

func (n *Node) setWaiting(why string) {
	n.guarded(func() {
		if !n.up {
			n.waiting = why
		}
	})
}

func (n *Node) guarded(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}
