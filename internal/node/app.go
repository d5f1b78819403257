package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/step"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/replication/ownership"
	"github.com/tally-kafka/tally/state"
)

const (
	lanesDefault = 4 // a commit costs a broker 3-4 ms of CPU however small it is, so lanes are few
	retryPause   = 50 * time.Millisecond
	lookSpacing  = 20 * time.Millisecond // between two looks at the input's end, however often they are asked for
)

// app is one counting job on this node.
type app struct {
	node    *Node
	spec    *spec.Spec
	program *spec.Program
	record  *ownership.App // what the cluster has agreed on; nil for one that is only examined
	heads   map[int32]head // of the changelog, as they were when the app was opened
	headsAt time.Time      // when they were read
	closed  bool           // what the cluster knows of an app that cannot be opened: see closedApp

	input, output, changelog, dead kafka.Topic
	repartition                    kafka.Topic // of an app of two stages

	id         string // random, made once, in every position record
	generation int
	// partitions is the number of input partitions at the app's first start; lanesN is L.
	partitions, lanesN int
	// repartitions is the number of partitions of the repartition topic, 0 for an app of one stage.
	// It is fixed by the first position records.
	repartitions int
	fresh        bool // no partition has a position record: this is the first start
	lanes        []*lane

	reset    *intent       // the reset that this generation began with in this process, nil for none
	start    []int64       // of a generation that a reset began: the first offsets that it counts
	allReady chan struct{} // of a reset: closed once every partition has a position of its generation

	nudge chan struct{} // asks for a look at the ends before its time
	rests atomic.Bool   // the next look comes later than usual, since nothing arrives
	// Of the goroutine that looks at the ends.
	warned    struct{ strays, grown bool }
	probed    map[state.Task]int64 // where a task's read position stood at the last look
	stood     map[state.Task]int64 // the same, of those that are at the end
	trimmed   map[int32]int64      // how far each partition of the repartition topic was trimmed
	trimmable map[int32]int64      // the positions at the last look, to which the next one trims
	trimmedAt time.Time

	mu            sync.Mutex
	limits        map[string]int       // max.message.bytes of the topics that the app writes
	ends          map[state.Task]int64 // last stable offsets of what each task reads
	endsAt        time.Time            // when the fetch that proved them was made
	changelogEnds map[int32]int64      // while this node has standbys
}

func (a *app) name() string { return a.spec.App }

// memory is the app's share of the node's, in bytes.
func (a *app) memory() int64 { return a.node.cfg.Memory / int64(a.node.appCount()) }

func newApp(n *Node, s *spec.Spec, rec *ownership.App) *app {
	return &app{
		node: n, spec: s, record: rec, program: spec.Compile(s), ends: map[state.Task]int64{},
		probed: map[state.Task]int64{}, stood: map[state.Task]int64{}, trimmed: map[int32]int64{}, nudge: make(chan struct{}, 1),
		allReady: make(chan struct{}),
	}
}

// open examines an app, makes the topics that are missing, and opens the stores that this node has
// of it. rec is what the cluster has agreed on.
func (n *Node) open(ctx context.Context, s *spec.Spec, rec *ownership.App) (*app, error) {
	a := newApp(n, s, rec)
	if err := a.resumeReset(ctx); err != nil {
		return nil, err
	}
	if err := a.findStart(); err != nil {
		return nil, err
	}
	if err := a.examine(ctx); err != nil {
		return nil, err
	}
	n.phase("examined")
	if err := a.refuseOldState(); err != nil {
		return nil, err
	}
	if err := a.makeTopics(ctx); err != nil {
		return nil, err
	}
	if a.reset != nil {
		if err := n.resetAt(ctx, step.ResetTopics); err != nil {
			return nil, err
		}
	}
	for k := range a.lanesN {
		a.lanes = append(a.lanes, newLane(a, k))
	}
	var looking sync.WaitGroup
	looking.Go(func() { a.findEnds(ctx) }) // so that no lag is ever said before the input's end is known
	err := a.openStores()
	n.phase("stores")
	looking.Wait()
	a.trimmedAt = n.cfg.Seam.Now() // the first trim comes an interval later
	n.phase("ends")
	return a, err
}

// examine checks everything that can be refused, and makes nothing.
func (n *Node) examine(ctx context.Context, s *spec.Spec, rec *ownership.App) (*app, error) {
	a := newApp(n, s, rec)
	return a, a.examine(ctx)
}

func (a *app) examine(ctx context.Context) (err error) {
	ends := a.readEnds(ctx)
	err = a.findTopics(ctx)
	found := <-ends
	if err != nil {
		return err
	}
	a.node.phase("topics, heads")
	if err := a.refuseOldChangelog(); err != nil {
		return err
	}
	if !missing(a.changelog) {
		if found.headsErr != nil {
			return found.headsErr
		}
		a.heads, a.headsAt = found.heads, found.headsAt
	}
	if err := a.fit(a.heads); err != nil {
		return err
	}
	if err := a.afterTheOutput(ctx); err != nil {
		return err
	}
	if err := a.fitStages(ctx, a.heads); err != nil {
		return err
	}
	if found.membersErr != nil {
		return found.membersErr
	}
	if err := a.checkGroup(ctx, a.heads); err != nil {
		return err
	}
	return a.watchForeign(ctx, a.heads)
}

// found is what can be asked for by the app's name alone, whether or not there is anything.
type found struct {
	heads      map[int32]head
	headsAt    time.Time // before they were read
	headsErr   error
	membersErr error // the consumer group is in use
}

// readEnds asks for it, beside what its caller asks for.
func (a *app) readEnds(ctx context.Context) <-chan found {
	answer := make(chan found, 1)
	go func() {
		var f found
		var asking sync.WaitGroup
		asking.Go(func() { f.membersErr = a.refuseMembers(ctx) })
		f.headsAt = a.node.cfg.Seam.Now()
		f.heads, f.headsErr = readHeads(ctx, a.node.admin, spec.ChangelogTopic(a.name()))
		asking.Wait()
		answer <- f
	}()
	return answer
}

// fit takes the app's identity from the position records and refuses a spec or a topic that is not
// the one they were written under.
func (a *app) fit(heads map[int32]head) error {
	a.id, a.fresh, a.generation = "", true, 1
	a.partitions = a.input.Partitions
	for p := range int32(a.changelog.Partitions) {
		rec := heads[p].record
		if rec == nil {
			continue
		}
		if err := a.fitRecord(rec); err != nil {
			return err
		}
		a.id, a.fresh, a.generation = rec.AppID, false, rec.Generation
		a.partitions, a.lanesN = rec.Partitions, rec.Lanes
		a.repartitions, a.repartition.ID = rec.Repartitions, rec.RepartitionTopicID
	}
	if a.fresh {
		a.id = a.node.cfg.Seam.NewID()
		switch {
		case a.reset != nil:
			a.id, a.generation, a.partitions = a.reset.AppID, a.reset.Generation, len(a.reset.Start)
		case a.record != nil: // all nodes begin with the same
			a.id, a.generation, a.partitions = a.record.ID, a.record.Generation, a.record.Partitions
			if err := a.fitSubmitted(); err != nil {
				return err
			}
		}
		if err := a.decideStages(a.partitions); err != nil {
			return err
		}
		a.lanesN = lanesOf(a.spec, max(a.partitions, a.repartitions))
		return a.refuseLanes(a.lanesN)
	}
	return nil
}

// afterTheOutput gives an app that begins anew, with nothing that says what it was, the generation
// behind the newest that its output tells of: it counts from its beginning once more, and what lies
// in the output, of an app that was deleted with its topics, is not its own.
func (a *app) afterTheOutput(ctx context.Context) error {
	if !a.fresh || a.reset != nil || a.record != nil {
		return nil
	}
	before, err := a.outputGeneration(ctx)
	a.generation = before + 1
	return err
}

func (a *app) refuseLanes(lanes int) error {
	if lanes <= a.widest() {
		return nil
	}
	return fmt.Errorf("app %s: lanes: %d, but the input %s has %d partitions: at most one lane a partition",
		a.name(), lanes, a.input.Name, a.input.Partitions)
}

func (a *app) fitRecord(rec *state.PositionRecord) error {
	if a.id != "" && rec.AppID != a.id {
		return fmt.Errorf("the changelog %s holds position records of two apps, ids %s and %s: it was written by two apps of one name; use another app name",
			a.changelog.Name, a.id, rec.AppID)
	}
	stored, err := spec.Parse([]byte(rec.Spec), "the stored spec of app "+a.name())
	if err != nil {
		return err
	}
	diff := spec.Fit(stored, a.spec)
	if now := lanesOf(a.spec, max(rec.Partitions, rec.Repartitions)); now != rec.Lanes {
		diff = append(diff, spec.Difference{Field: "lanes", Stored: fmt.Sprint(rec.Lanes), Now: fmt.Sprint(now)})
	}
	if len(diff) > 0 {
		return &MisfitError{App: a.name(), Diff: dedupe(diff)}
	}
	if err := a.sameTopic("input topic", a.input.Name, rec.InputTopicID, a.input.ID); err != nil {
		return err
	}
	return a.sameTopic("changelog", a.changelog.Name, rec.ChangelogTopicID, a.changelog.ID)
}

// fitSubmitted refuses a spec that does not fit the one which the cluster has agreed on, of an app
// that has counted nothing yet: its lanes may be about to count by that one.
func (a *app) fitSubmitted() error {
	if a.record.Halted != "" {
		return nil // a reset gives it another spec
	}
	agreed, err := spec.Parse([]byte(a.record.Spec), "the submitted spec of app "+a.name())
	if err != nil {
		return err
	}
	diff := spec.Fit(agreed, a.spec)
	if now := lanesOf(a.spec, max(a.record.Partitions, a.record.Repartitions)); now != len(a.record.Lanes) {
		diff = append(diff, spec.Difference{Field: "lanes", Stored: fmt.Sprint(len(a.record.Lanes)), Now: fmt.Sprint(now)})
	}
	if len(diff) > 0 {
		return &MisfitError{App: a.name(), Diff: dedupe(diff)}
	}
	return nil
}

func (a *app) sameTopic(what, name, stored, now string) error {
	if stored == now {
		return nil
	}
	return &ReplacedError{App: a.name(), Topic: what + " " + name, Stored: stored, Now: now}
}

// lanesOf is what a spec says of L. The default looks at the partitions of the app's first start,
// of the input or the repartition topic, so that a topic that grew since then does not change it.
func lanesOf(s *spec.Spec, partitions int) int {
	if s.Lanes > 0 {
		return s.Lanes
	}
	return min(partitions, lanesDefault)
}

// dedupe keeps one difference a field.
func dedupe(diff []spec.Difference) []spec.Difference {
	seen := map[string]bool{}
	var out []spec.Difference
	for _, d := range diff {
		if !seen[d.Field] {
			seen[d.Field] = true
			out = append(out, d)
		}
	}
	return out
}

// checkGroup refuses a consumer group that others have used. Where an earlier start has got as far
// as a barrier, the offsets are left to compareOffsets, behind the fence: its first transaction may
// still be open, and the answer would be held up until that has timed out.
func (a *app) checkGroup(ctx context.Context, heads map[int32]head) error {
	if !a.fresh || missing(a.input) || acquiredBefore(heads) {
		return nil
	}
	offsets, err := a.node.admin.GroupOffsets(ctx, a.name(), a.input.Name)
	if err != nil {
		return err
	}
	for p, o := range offsets {
		if now, err := readHeads(ctx, a.node.admin, spec.ChangelogTopic(a.name())); err == nil && acquiredBefore(now) {
			return nil // another node of the cluster has begun the app just now
		}
		return &OffsetsError{Group: a.name(), Topic: a.input.Name, Partition: p, Offset: o, Record: -1, Broker: a.node.kafka.Brokers[0]}
	}
	return nil // the repartition topic's offsets are compared behind the fence
}

func (a *app) refuseMembers(ctx context.Context) error {
	members, _, err := a.node.admin.GroupMembers(ctx, a.name())
	if plural := "s"; err == nil && members > 0 {
		if members == 1 {
			plural = ""
		}
		err = fmt.Errorf("the consumer group %s has %d member%s: it is another program's, and tally keeps its positions in the group of the app's name; use another app name",
			a.name(), members, plural)
	}
	return err
}

func acquiredBefore(heads map[int32]head) bool {
	for _, h := range heads {
		if h.author.offset >= 0 {
			return true
		}
	}
	return false
}

// refuseOldState refuses, before a topic is made, a state that is there although its changelog is
// not: it is of another Kafka, or of a changelog that was deleted. What differs stands in the
// store.
func (a *app) refuseOldState() error {
	if !missing(a.changelog) {
		return nil // openStores compares
	}
	for k := range a.lanesN {
		dir := a.node.dir.laneDir(a.name(), k)
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		l := newLane(a, k)
		if err := l.openStore(); err != nil {
			return err
		}
		if err := l.closeStore(); err != nil {
			return err
		}
		// A store of no topic was none: the leftover of a creation that was cut off.
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// openStores opens the stores that are on this disk, beside each other, so that what is wrong with
// a data dir shows at the start. Others are made when the lane is granted. After an error none is
// open.
func (a *app) openStores() error {
	errs := make([]error, len(a.lanes))
	var opening sync.WaitGroup
	for k, l := range a.lanes {
		if _, err := os.Stat(l.dir()); err != nil {
			continue
		}
		opening.Go(func() {
			soon := l.soonRuns()
			if soon {
				l.prepareFence()
			}
			if errs[k] = l.openStore(); errs[k] == nil && soon {
				l.readAhead()
			}
		})
	}
	opening.Wait()
	for _, err := range errs {
		if err != nil { // the first one: they are mostly of one cause
			return errors.Join(err, a.closeStores())
		}
	}
	return nil
}

func (a *app) closeStores() error {
	var errs []error
	for _, l := range a.lanes {
		errs = append(errs, l.closeStore())
	}
	return errors.Join(errs...)
}

// run does with every lane what its grants say, until ctx ends or drain is closed.
func (a *app) run(ctx context.Context, drain <-chan struct{}) {
	var lanes sync.WaitGroup
	for _, l := range a.lanes {
		lanes.Go(func() { l.serve(ctx, drain) })
	}
	lanes.Wait()
}

func (a *app) view() *api.App {
	return &api.App{
		Name: a.name(), ID: a.id, Generation: a.generation, Spec: a.spec, Program: a.program,
		Input: a.input.Name, Source: a.source(a.stateTask(0)).Name, Repartitions: a.repartitions, Lanes: a.laneViews, Look: a.look,
		LaneCount: a.lanesN, Partitions: a.partitions, Standbys: a.standbys(),
		Partitioners: partitioners(),
	}
}

// partitioners are the ways in which clients place a key, in the order of state.Hints' fields.
func partitioners() []func([]byte, int) int32 {
	return []func([]byte, int) int32{kafka.PartitionMurmur2, kafka.PartitionCRC32}
}

// standbys is how many each lane is to have. The number may change while the app is open.
func (a *app) standbys() int {
	if now := a.node.cluster.State().Apps[a.name()]; now != nil {
		return now.Standbys
	}
	return a.record.Standbys
}

func (a *app) laneViews() []api.LaneView {
	var views []api.LaneView
	for _, l := range a.lanes {
		if l.here() {
			views = append(views, l.queryView())
		}
	}
	return views
}
