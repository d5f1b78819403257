package node

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/processor"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/replication"
	"github.com/tally-kafka/tally/state"
	"github.com/tally-kafka/tally/txn"
)

// lane is one lane on this node: its store, its processor, and what it is doing now. All changes of
// what it is doing are in run and stay.
type lane struct {
	app   *app
	k     int
	tasks []state.Task
	proc  *processor.Lane

	// Of the goroutine that runs the lane alone.
	epoch     uint64      // of the grant that it runs under; changed under mu
	grantedAt time.Time   // when that grant was first heard of; changed under mu
	acquired  string      // the cluster of who acquired the lane last, as far as was read; "" unknown
	opened    bool        // the lane was this node's when the app was opened
	barriers  uint64      // the highest epoch of a barrier of another process that was read
	stays     int         // how often the lane was to be acquired
	strange   bool        // the store has taken what others counted since, and was not verified
	rebuilt   bool        // the store is made from the changelog alone, since one was set aside
	copied    bool        // the store began as a copy from another node, and was not verified
	unseeded  bool        // a copy was wrong: no other is taken until a store was verified
	damages   []time.Time // when the last damagesMax stores were set aside
	meter     meter
	follows   bool // the store was verified once and has followed since
	// cuts are the positions below which the input was cut off and that are to be read on from.
	cuts      map[txn.TopicPartition]int64
	had       bool   // this node has run the lane, or another of its cluster was granted it
	takeovers int    // how often a --takeover has insisted on the lane
	overruled uint64 // the highest epoch of another cluster that it insisted against
	ready     ready

	seedAfter time.Time // when the lane may be seeded again

	// released gets the epochs of grants to this node of which the one before has said that it is
	// done with the lane.
	released chan uint64
	// told is the epoch of the last grant whose owner was told that this node is done, or is being
	// told.
	told atomic.Uint64

	mu     sync.Mutex
	status laneStatus
	store  *state.Store // nil: not open
	loaded bool         // the store has been caught up to a barrier once
	torn   atomic.Bool  // a standby's store shows a moment within a transaction
	// following is the playback of a standby; nil for none.
	following *replication.Playback
	// free is the highest epoch of a grant to this node under which no node before it has a part in
	// the lane any more: it has said so, or was fenced.
	free uint64
	// endOfStay ends the stay that the lane is in; nil without one.
	endOfStay context.CancelCauseFunc
}

// laneStatus is what others see.
type laneStatus struct {
	state   string // of the api's Lane constants
	reason  string
	damage  string // what was set aside and where, "" for nothing
	epoch   uint64
	fenceMs int64
	aborted int64
	restore *api.Restore

	committing time.Time // since when a commit is under way; zero for none
}

func newLane(a *app, k int) *lane {
	l := &lane{app: a, k: k, status: laneStatus{state: api.LaneAcquiring}, released: make(chan uint64, 1)}
	l.tasks = a.tasks(k)
	l.opened = l.soonRuns()
	l.acquired = a.heads[l.tasks[0].Partition].author.cluster
	l.proc = processor.New(l.processorConfig(), l.tasks)
	return l
}

// highestEpoch is the highest epoch that the ends of lane k's changelog partitions tell of: its
// grants have later ones.
func (a *app) highestEpoch(k int) (epoch uint64) {
	for _, t := range a.tasks(k) {
		if rec := a.heads[t.Partition].record; rec != nil {
			epoch = max(epoch, rec.Epoch)
		}
		epoch = max(epoch, a.heads[t.Partition].author.epoch)
	}
	if a.reset != nil {
		epoch = max(epoch, a.reset.Epoch)
	}
	return epoch
}

// epochOfOthers is the highest epoch under which another process had written to lane k's changelog
// partitions when the app was opened here: a grant that is not above it is of a Raft that knows
// less than Kafka, and would look overtaken.
func (a *app) epochOfOthers(k int) (epoch uint64) {
	for _, t := range a.tasks(k) {
		if by := a.heads[t.Partition].author; by.offset >= 0 && by.incarnation != a.node.incarnation {
			epoch = max(epoch, by.epoch)
		}
	}
	return epoch
}

func (l *lane) transactionalID() string { return transactionalID(l.app.name(), l.k) }

func transactionalID(app string, lane int) string { return fmt.Sprintf("%s.lane-%d", app, lane) }

func (l *lane) processorConfig() processor.Config {
	cfg, a := l.app.node.cfg, l.app
	limits := cfg.Limits
	limits.TxnBytes = or(limits.TxnBytes, max(a.memory()/4/int64(a.lanesN), 512<<10))
	return processor.Config{
		Spec: a.spec, Program: a.program, Lane: l.k,
		Partitions: a.input.Partitions, Changelog: a.changelog.Name, Dead: a.dead.Name,
		Repartition: a.repartition.Name, Repartitions: a.repartitions,
		Partitioners: [...]func([]byte, int) int32{kafka.PartitionMurmur2, kafka.PartitionCRC32},
		RecordBytes:  a.recordBytes(), Limits: limits, Pace: cfg.Pace, Budget: a.node.budget,
		Seam: cfg.Seam, Step: cfg.Step, Log: cfg.Log,
	}
}

// recordBytes is the smaller limit of the topics that a group's records go to.
func (a *app) recordBytes() int {
	n := recordLimit(a.changelog)
	if a.spec.Output != nil {
		n = min(n, recordLimit(a.output))
	}
	if a.repartitions > 0 {
		n = min(n, recordLimit(a.repartition))
	}
	return n
}

func (l *lane) identity() state.Identity {
	a := l.app
	return state.Identity{
		KafkaCluster: a.node.kafkaCluster, App: a.name(), AppID: a.id, Lane: l.k,
		InputTopicID: a.input.ID, ChangelogTopicID: a.changelog.ID,
		Generation: a.generation, Fingerprint: a.spec.Fingerprint(),
	}
}

// openStore opens the lane's store. A damaged one is set aside under a name that says when, and the
// changelog makes a new one.
func (l *lane) openStore() error {
	dir := l.dir()
	store, err := state.Open(dir, l.identity(), l.storeOptions())
	if errors.Is(err, state.ErrDamaged) {
		if err = l.setAside(err); err != nil {
			return err
		}
		store, err = state.Open(dir, l.identity(), l.storeOptions())
	}
	if l.unborn(err) || l.outlived(err) {
		if err = os.RemoveAll(dir); err == nil {
			store, err = state.Open(dir, l.identity(), l.storeOptions())
		}
	}
	if err != nil {
		return fmt.Errorf("lane %d of app %s: %w", l.k, l.app.name(), err)
	}
	l.mu.Lock()
	l.store = store
	l.mu.Unlock()
	l.shareMemory() // another app may have come while it was opened
	return nil
}

func (l *lane) cacheBytes() int64 { return cacheShare(l.app.memory(), l.app.lanesN) }

// cacheShare is the cache of one of an app's lanes, within what a store takes: with much memory and
// one lane there is more than a cache can use.
func cacheShare(memory int64, lanes int) int64 {
	return min(max(memory*3/8/int64(lanes), state.CacheBytesMin), state.CacheBytesMax)
}

func (l *lane) shareMemory() {
	l.mu.Lock()
	store := l.store
	l.mu.Unlock()
	if store != nil {
		store.SetCacheBytes(l.cacheBytes())
	}
}

// unborn reports whether a store is refused only because it is of an earlier try of this app's
// first start, which died before its first position record and with it took the app id that it had
// drawn. There is nothing in such a store.
func (l *lane) unborn(err error) bool {
	var identity *state.IdentityError
	return l.app.fresh && errors.As(err, &identity) && identity.Field == "app_id"
}

// outlived reports whether a store is refused only because it is of an earlier life of this app,
// and nobody asks for it any more: of an earlier generation, whose reset another node has carried
// out; or of another app of its name, which was deleted while this node was away, and this one
// submitted.
func (l *lane) outlived(err error) bool {
	var identity *state.IdentityError
	if l.app.record == nil || !errors.As(err, &identity) {
		return false
	}
	switch have := identity.Have; identity.Field {
	case "kafka_cluster", "app", "lane":
		return false
	case "generation":
		return have.Generation < l.app.generation || l.replaced(have)
	default:
		return l.replaced(have)
	}
}

// replaced reports whether a store is of another app of this one's name. The cluster and the
// position records agree on the id of the present one.
func (l *lane) replaced(have state.Identity) bool {
	return have.AppID != l.app.id && l.app.record.ID == l.app.id
}

func (l *lane) dir() string { return l.app.node.dir.laneDir(l.app.name(), l.k) }

func (l *lane) storeOptions() state.Options {
	n := l.app.node
	lanes := int64(l.app.lanesN)
	var compare func(a, b []byte) int
	if l.app.program.Grows() {
		compare = l.app.program.CompareEncoded
	}
	return state.Options{
		Compare: compare,
		Seam:    n.cfg.Seam, Step: n.cfg.Step, Log: n.cfg.Log, BlockCache: n.blocks, Places: n.places, FS: n.cfg.StateFS,
		OpenFiles:     min(max(n.openFiles/n.appCount()/l.app.lanesN, 1), 500),
		CacheBytes:    l.cacheBytes(),
		MemTableBytes: min(max(l.app.memory()/32/lanes, 512<<10), 16<<20),
	}
}

func (l *lane) closeStore() error {
	l.dropReady()
	l.mu.Lock()
	store := l.store
	l.store, l.loaded = nil, false
	l.mu.Unlock()
	if store == nil {
		return nil
	}
	err := store.Close()
	if diskFails(err) {
		l.app.node.diskFailed(err)
	}
	if diskFails(err) || errors.Is(err, state.ErrDamaged) {
		l.log().Warn("the store could not be written to its end; the next start reads the rest from the changelog", "error", err)
		return nil
	}
	return err
}

func (l *lane) stamp() state.PositionRecord {
	a, n := l.app, l.app.node
	return state.PositionRecord{
		AppID: a.id, Generation: a.generation, InputTopicID: a.input.ID, ChangelogTopicID: a.changelog.ID,
		Fingerprint: a.spec.Fingerprint(), Spec: string(a.spec.YAML()), Lanes: a.lanesN, Partitions: a.partitions,
		Repartitions: a.repartitions, RepartitionTopicID: a.repartition.ID, TransactionalID: l.transactionalID(), ClusterID: n.clusterID(), Node: n.dir.id.ID,
		NodeName: n.cfg.Name, Incarnation: n.incarnation, Epoch: l.epoch,
	}
}

func (l *lane) sessionConfig(id string) txn.Config {
	a, n := l.app, l.app.node
	sources := map[string][16]byte{}
	for _, t := range a.sources() {
		sources[t.Name] = topicID(t.ID)
	}
	heldBack := ""
	if a.repartitions > 0 {
		heldBack = a.input.Name
	}
	return txn.Config{
		HeldBack: heldBack,
		Kafka:    n.kafka, TransactionalID: id, Group: a.name(), Sources: sources,
		AddOffsets: n.addOffsets, BatchBytes: a.batchBytes, Seam: n.cfg.Seam, Step: n.cfg.Step,
		FetchBytes:          int32(min(max(a.memory()/64, 256<<10), 1<<20)),
		FetchPartitionBytes: int32(min(max(a.memory()/256, 64<<10), 300<<10)),
		DecompressBytes:     int(min(max(a.memory()/4, 64<<20), 1<<30)),
	}
}

// batchBytes bounds a produced batch by what its topic takes.
func (a *app) batchBytes(topic string) int32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	limit, known := a.limits[topic] // once a stay has failed; until then what the start has read
	switch {
	case known:
	case topic == a.output.Name:
		limit = recordLimit(a.output)
	case topic == a.dead.Name:
		limit = recordLimit(a.dead)
	case topic == a.repartition.Name:
		limit = recordLimit(a.repartition)
	default:
		limit = recordLimit(a.changelog)
	}
	most := batchMost
	if topic == a.dead.Name {
		most = deadMost
	}
	return int32(min(max(limit-1024, limit/2, 512), most)) // 512: the client takes no less
}

const (
	// batchMost is as large as a batch gets, however much its topic takes.
	batchMost = 8 << 20
	// deadMost is for dead letters, each of which holds an event of any size: the client writes no
	// request above 100 MB.
	deadMost = 90 << 20
)

// readLimits reads again how large a batch each written topic takes: it may have been changed since
// the start, and then whole batches are refused of which no record is at fault.
func (a *app) readLimits(ctx context.Context) error {
	limits := map[string]int{}
	for _, t := range []kafka.Topic{a.output, a.changelog, a.dead, a.repartition} {
		if t.Name == "" {
			continue
		}
		now, ok, err := a.node.admin.Topic(ctx, t.Name)
		if err != nil {
			return err
		}
		if !ok {
			now = t
		}
		limits[t.Name] = recordLimit(now)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.limits = limits
	return nil
}

// topicID decodes Kafka's base64 form; zero where the broker gave none.
func topicID(id string) (b [16]byte) {
	raw, err := base64.RawURLEncoding.DecodeString(id)
	if err == nil {
		copy(b[:], raw)
	}
	return b
}

func (l *lane) playback() *replication.Playback {
	n := l.app.node
	return replication.New(replication.Config{
		Kafka: n.kafka, Changelog: l.app.changelog.Name, Tasks: l.tasks, Store: l.store,
		Progress: l.restoring, Barrier: l.noteBarrier, Torn: l.torn.Store, ChunkBytes: max(l.app.memory()/8/int64(l.app.lanesN), 1<<20), IngestBytes: n.cfg.IngestBytes,
		Seam: n.cfg.Seam, Step: n.cfg.Step,
	})
}

// noteBarrier keeps of whom the last barrier is, and the highest epoch of those of other processes:
// an owner that has committed nothing yet has no position record.
func (l *lane) noteBarrier(b state.Barrier) {
	if b.Task.Partition == l.tasks[0].Partition {
		l.acquired = b.ClusterID
	}
	if b.Incarnation != l.app.node.incarnation {
		l.barriers = max(l.barriers, b.Epoch)
	}
}

// startOffset resolves where the source of a task without a position record begins.
func (l *lane) startOffset(ctx context.Context, t state.Task) (int64, error) {
	a, partition := l.app, t.Partition
	if t.Stage == state.SecondStage {
		return 0, nil // the topic was made for this generation, and is trimmed behind positions alone
	}
	if int(partition) < len(a.start) {
		return a.start[partition], nil
	}
	if int(partition) >= a.partitions {
		return 0, nil // added after the app's first start: every event in it is to be counted
	}
	if a.spec.Input.Start == spec.StartLatest {
		ends, err := a.node.admin.EndOffsets(ctx, a.input.Name, true)
		return ends[partition], err
	}
	starts, err := a.node.admin.StartOffsets(ctx, a.input.Name)
	return starts[partition], err
}
