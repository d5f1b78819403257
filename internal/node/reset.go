package node

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/step"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/txn"
)

// A reset deletes what an app has counted and starts it anew, in a new generation, in this order:
// intent on disk and in the log; the lanes drained; the old transactional ids fenced; the consumer
// group, the dead letters, the state, the repartition topic and last the changelog deleted; topics
// made; first position records; intent removed. A changelog that is not the one of the intent
// therefore means that all deletions are done, and who finds an intent knows where to go on. Topics
// are deleted by the ids that the intent has, so that a node which was given up for dead and lives
// on deletes nothing of what the one in its place has begun.

// planReset finds out what a reset would delete and where it would start, and writes nothing. was
// is the app as it runs here, nil at a start.
func (n *Node) planReset(ctx context.Context, was *app, s *spec.Spec, from string, asked time.Time) (*intent, error) {
	a := newApp(n, s, nil)
	if err := a.findSpecTopics(ctx); err != nil {
		return nil, err
	}
	if err := a.decideStages(a.input.Partitions); err != nil {
		return nil, err
	}
	if err := a.checkOutput(); err != nil {
		return nil, err
	}
	if err := a.refuseLanes(lanesOf(s, a.widest())); err != nil {
		return nil, err
	}
	if err := a.refuseMembers(ctx); err != nil {
		return nil, err
	}
	in := &intent{
		App: s.App, Node: n.dir.id.ID, KafkaCluster: n.kafkaCluster, AskedMs: asked.UnixMilli(), From: from, Spec: string(s.YAML()),
		InputID: a.input.ID,
	}
	owned, err := n.topics(ctx, spec.OwnTopics(a.name())...)
	if err != nil {
		return nil, err
	}
	changelog := owned[spec.ChangelogTopic(a.name())]
	in.ChangelogID, in.Doomed = changelog.ID, map[string]string{}
	for name, t := range owned {
		in.Doomed[name] = t.ID
	}
	if err := a.inherit(ctx, in, was, changelog); err != nil {
		return nil, err
	}
	in.Start, err = a.startOffsets(ctx, from, asked)
	return in, err
}

// inherit fills in what the new generation takes over from the old one.
func (a *app) inherit(ctx context.Context, in *intent, was *app, changelog kafka.Topic) error {
	lanes := lanesOf(a.spec, a.widest())
	if was != nil {
		in.AppID, in.Generation, lanes = was.id, was.generation, max(lanes, was.lanesN)
	}
	heads, err := a.headsIfAny(ctx, changelog)
	if err != nil {
		return err
	}
	for _, h := range heads {
		in.Epoch = max(in.Epoch, h.author.epoch)
		if rec := h.record; rec != nil {
			in.AppID, in.Generation = rec.AppID, max(in.Generation, rec.Generation)
			in.Fence = append(in.Fence, rec.TransactionalID)
			in.Epoch, lanes = max(in.Epoch, rec.Epoch), max(lanes, rec.Lanes)
		}
	}
	if in.Generation == 0 { // nothing but the output knows of the old generation
		if in.Generation, err = a.outputGeneration(ctx); err != nil {
			return err
		}
		in.Generation = max(in.Generation, 1)
	}
	if in.AppID == "" {
		in.AppID = a.node.cfg.Seam.NewID()
	}
	in.Generation++
	for k := range lanes {
		in.Fence = append(in.Fence, transactionalID(a.name(), k))
	}
	slices.Sort(in.Fence)
	in.Fence = slices.Compact(in.Fence)
	return nil
}

// headsIfAny are the heads of a changelog that may be missing or damaged: a reset is a way out of
// both.
func (a *app) headsIfAny(ctx context.Context, changelog kafka.Topic) (map[int32]head, error) {
	if missing(changelog) {
		return nil, nil
	}
	return a.node.soundHeads(ctx, changelog.Name)
}

// outputGeneration is the newest generation that the output's ends tell of; 0: of none.
func (a *app) outputGeneration(ctx context.Context) (newest int, err error) {
	if a.output.Name == "" || missing(a.output) {
		return 0, nil
	}
	var mu sync.Mutex
	err = a.node.admin.Tails(ctx, a.output.Name, func(int32) func(*kgo.Record) bool {
		return func(r *kgo.Record) bool {
			for _, h := range r.Headers {
				if g, err := strconv.Atoi(string(h.Value)); err == nil && h.Key == "tally.generation" {
					mu.Lock()
					newest = max(newest, g)
					mu.Unlock()
				}
			}
			return true
		}
	})
	return newest, err
}

// startOffsets are the first offsets to be counted, by partition.
func (a *app) startOffsets(ctx context.Context, text string, asked time.Time) ([]int64, error) {
	start := make([]int64, a.input.Partitions)
	from, err := api.ParseFrom(text, asked)
	if err != nil || missing(a.input) {
		return start, err
	}
	admin, topic := a.node.admin, a.input.Name
	ends, err := admin.EndOffsets(ctx, topic, true)
	if err != nil {
		return nil, err
	}
	at := ends
	switch latest := from.Spec && a.spec.Input.Start == spec.StartLatest; {
	case from.Latest || latest:
	case !from.At.IsZero():
		at, err = admin.OffsetsAt(ctx, topic, from.At.UnixMilli())
	default:
		at, err = admin.StartOffsets(ctx, topic)
	}
	if err != nil {
		return nil, err
	}
	for p := range start {
		if start[p] = at[int32(p)]; start[p] < 0 { // no event is as young as that
			start[p] = ends[int32(p)]
		}
	}
	return start, nil
}

// resumeReset carries out a reset that was begun, up to where the app's topics are made. Each part
// of it may have been done before.
func (a *app) resumeReset(ctx context.Context) error {
	n := a.node
	in, err := n.dir.loadIntent(a.name())
	if err != nil || in == nil {
		return err
	}
	if in.KafkaCluster != "" && in.KafkaCluster != n.kafkaCluster {
		return fmt.Errorf("a reset of app %s was begun on the Kafka with cluster id %s, and this is %s: start with the brokers of that one, or remove %s to forget the reset",
			a.name(), in.KafkaCluster, n.kafkaCluster, n.dir.intentFile(a.name()))
	}
	if err := a.findInput(ctx); err != nil {
		return err
	}
	reached, err := a.reached(ctx, in)
	if err != nil {
		return err
	}
	changed := in.Spec != string(a.spec.YAML()) && !in.updated(a.record) || in.InputID != a.input.ID
	if !in.planned() || changed && !reached.counted {
		if in, err = a.planAgain(ctx, in, reached); err != nil {
			return err
		}
		reached = progress{}
	}
	if !reached.deleted {
		n.cfg.Log.Info("reset: deleting what was counted", "app", a.name(), "generation", in.Generation)
		if err := a.deleteOld(ctx, in); err != nil {
			return err
		}
	}
	a.reset = in
	return nil
}

// findStart takes the generation's first offsets from the reset that it begins or began with, on
// whichever node that was.
func (a *app) findStart() (err error) {
	if a.reset != nil {
		a.start = a.reset.Start
		return nil
	}
	a.start, err = startOf(a.record)
	return err
}

// progress is how far a reset has come.
type progress struct {
	deleted bool // all that is to be deleted is; what is there is the new generation's
	counted bool // the new generation has position records
}

// reached tells how far a reset has come. It refuses to go on with one that time has overtaken.
func (a *app) reached(ctx context.Context, in *intent) (progress, error) {
	var r progress
	changelog, err := a.find(ctx, spec.ChangelogTopic(a.name()))
	if err != nil || missing(changelog) {
		return r, err
	}
	a.changelog = changelog // watchForeign reads on there
	heads, err := a.headsIfAny(ctx, changelog)
	if err != nil {
		return r, err
	}
	anew := in.planned() && changelog.ID != in.ChangelogID
	for _, h := range heads {
		if h.record != nil && in.planned() && h.record.Generation == in.Generation {
			r.counted = true
		}
		if by := h.author; by.offset >= 0 && by.cluster != a.node.clusterID() && by.atMs > in.AskedMs {
			return r, a.overtaken(in, by)
		}
		if h.record != nil && anew && h.record.Generation != in.Generation {
			return r, a.overtaken(in, h.author)
		}
	}
	if r.deleted = anew || r.counted; r.deleted {
		return r, nil
	}
	return r, a.watchForeign(ctx, heads)
}

func (a *app) overtaken(in *intent, by author) error {
	return fmt.Errorf("a reset of app %s to generation %d was begun here at %s, and since then node %s has counted: remove %s to forget the reset, or remove it and reset the app again",
		a.name(), in.Generation, time.UnixMilli(in.AskedMs).UTC().Format(time.RFC3339), by.name, a.node.dir.intentFile(a.name()))
}

// planAgain plans a reset of which nothing is counted yet: it was noted while no node ran, or the
// spec or the input is another one now.
func (a *app) planAgain(ctx context.Context, in *intent, r progress) (*intent, error) {
	again, err := a.node.planReset(ctx, nil, a.spec, in.From, time.UnixMilli(in.AskedMs))
	if err != nil {
		return nil, err
	}
	if in.planned() { // what it had inherited may be deleted by now
		again.AppID, again.Generation, again.Epoch = in.AppID, in.Generation, max(in.Epoch, again.Epoch)
		again.Fence = slices.Concat(in.Fence, again.Fence)
	}
	return again, a.node.keepIntent(ctx, again)
}

// deleteOld deletes all that the old generation left, the changelog last.
func (a *app) deleteOld(ctx context.Context, in *intent) error {
	n := a.node
	for _, part := range []struct {
		done step.Name
		do   func() error
	}{
		{step.ResetFenced, func() error { return a.fenceOld(ctx, in) }},
		{step.ResetOffsets, func() error { return n.admin.DeleteGroup(ctx, a.name()) }},
		{step.ResetDead, func() error { return n.deleteOld(ctx, in, spec.DeadTopic(a.name())) }},
		{step.ResetState, func() error { return os.RemoveAll(n.dir.stateDir(a.name())) }},
		{step.ResetRepartition, func() error { return n.deleteOld(ctx, in, spec.RepartitionTopic(a.name())) }},
		{step.ResetChangelog, func() error { return n.deleteOld(ctx, in, spec.ChangelogTopic(a.name())) }},
	} {
		if err := part.do(); err != nil {
			return fmt.Errorf("reset of app %s: %w", a.name(), n.kafka.Explain(err))
		}
		if err := n.resetAt(ctx, part.done); err != nil {
			return err
		}
	}
	return nil
}

// fenceOld ends every session of the old generation, wherever it runs, and its open transactions:
// they would hold up the deletion, and one that commits later would be of two generations.
func (a *app) fenceOld(ctx context.Context, in *intent) error {
	for _, id := range in.Fence {
		s, err := txn.Fence(ctx, txn.Config{
			Kafka: a.node.kafka, TransactionalID: id, Group: a.name(),
			BatchBytes: func(string) int32 { return 1 << 20 }, Seam: a.node.cfg.Seam, Step: a.node.cfg.Step,
		})
		if err != nil {
			return err
		}
		s.Close()
	}
	return nil
}

// deleteOld deletes a topic of the old generation, and none that has its name since.
func (n *Node) deleteOld(ctx context.Context, in *intent, name string) error {
	t, there, err := n.admin.Topic(ctx, name)
	if err != nil || !there {
		return err
	}
	if in.Doomed != nil && t.ID != in.Doomed[name] {
		return nil
	}
	return n.deleteTopic(ctx, t)
}

// deleteTopic returns when the topic is no longer to be seen.
func (n *Node) deleteTopic(ctx context.Context, t kafka.Topic) (err error) {
	if t.ID == "" { // of a Kafka that has no ids
		err = n.admin.DeleteTopics(ctx, t.Name)
	} else {
		err = n.admin.DeleteTopicID(ctx, t.ID)
	}
	for err == nil {
		now, there, err := n.admin.Topic(ctx, t.Name)
		if err != nil || !there || now.ID != t.ID {
			return err
		}
		if err := n.cfg.Seam.Sleep(ctx, retryPause); err != nil {
			return fmt.Errorf("topic %s was deleted but is still there: %w", t.Name, err)
		}
	}
	return err
}

// refuseOldChangelog refuses to go on with the changelog that was just deleted, of which some
// broker has not heard yet.
func (a *app) refuseOldChangelog() error {
	in := a.reset
	if in == nil || in.ChangelogID == "" || missing(a.changelog) || a.changelog.ID != in.ChangelogID {
		return nil
	}
	return fmt.Errorf("the changelog %s of the old generation is still to be seen: %w", a.changelog.Name, kerr.UnknownTopicOrPartition)
}

// resetAt is the end of a step. It fails when the node is stopping: the next start goes on from
// here.
func (n *Node) resetAt(ctx context.Context, s step.Name) error {
	n.cfg.Step.At(s)
	return ctx.Err()
}

// awaitPositions waits, after a reset, until every partition has a position record of the new
// generation, whichever node writes it. Then the intent is no longer needed: they say all that it
// said.
func (a *app) awaitPositions(ctx context.Context) {
	for !a.allPositions(ctx) {
		if a.node.cfg.Seam.Sleep(ctx, retryPause) != nil {
			return
		}
	}
	a.node.cfg.Step.At(step.ResetDone)
	if err := a.node.dir.dropIntent(a.name(), a.generation); err != nil {
		a.node.cfg.Log.Warn("the reset is done, but what it was to do stays on disk; that does no harm", "app", a.name(), "error", err)
	}
	a.node.cfg.Log.Info("reset: done", "app", a.name(), "generation", a.generation)
	close(a.allReady)
}

func (a *app) allPositions(ctx context.Context) bool {
	heads, err := readHeads(ctx, a.node.admin, a.changelog.Name)
	if err != nil {
		return false
	}
	for _, h := range heads {
		if h.record == nil || h.record.Generation != a.generation {
			return false
		}
	}
	return true
}
