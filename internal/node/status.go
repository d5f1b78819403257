package node

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/processor"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/replication/assign"
	"github.com/tally-kafka/tally/replication/ownership"
	"github.com/tally-kafka/tally/state"
)

// contactTTL is how old the last contact with Kafka may be for a lane to be called its owner's: a
// node that is cut off cannot know whether it was fenced.
const contactTTL = 3 * time.Second

// Status is what this node knows by itself. It asks no broker and no other node.
func (n *Node) Status(context.Context) api.Status {
	_, leader, _ := n.cluster.Leader()
	st := n.cluster.State()
	s := api.Status{
		Cluster: st.ClusterID, Leader: leader, Node: n.cfg.Name, Version: n.cfg.Version, Kafka: n.kafkaStatus(),
	}
	s.Voters, _ = n.cluster.Voters(n.dir.id.ID)
	for _, u := range n.cluster.Unregistered() {
		if u.Voter {
			s.Unregistered = append(s.Unregistered, u.Addr)
		}
	}
	for _, m := range st.SortedMembers() {
		s.Nodes = append(s.Nodes, n.nodeStatus(m))
	}
	for _, a := range n.running() {
		s.Apps = append(s.Apps, a.status())
	}
	s.Apps = append(s.Apps, n.closedApps(st)...)
	return s
}

// closedApps are the apps of the cluster that are not open here, with the reason where a lane of
// them is this node's or nobody's: for a node that has just started, what it waits for.
func (n *Node) closedApps(st *ownership.State) (apps []api.AppStatus) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, rec := range st.SortedApps() {
		now, why := api.LaneAcquiring, n.waiting
		if h := n.hosts[rec.Name]; h != nil {
			if h.app != nil {
				continue
			}
			if why = h.why; h.fails {
				now = api.LaneStopped
			}
		}
		a := recorded(rec)
		for k, l := range rec.Lanes {
			if l.Owner == "" || l.Owner == n.dir.id.ID {
				a.Lanes = append(a.Lanes, api.LaneStatus{Lane: k, State: now, Reason: why, Position: map[string]int64{}})
			}
		}
		apps = append(apps, a)
	}
	return apps
}

// recorded is what an app's record alone tells.
func recorded(rec *ownership.App) api.AppStatus {
	a := api.AppStatus{App: rec.Name, AppID: rec.ID, Generation: rec.Generation, Stages: 1}
	if rec.Repartitions > 0 {
		a.Stages = 2
	}
	s, err := spec.Parse([]byte(rec.Spec), "the stored spec of app "+rec.Name)
	if err != nil {
		return a // of a release that is not this one
	}
	if a.Input = s.Input.Topic; s.Output != nil {
		a.Output = s.Output.Topic
	}
	return a
}

func (n *Node) nodeStatus(m *ownership.Member) api.NodeStatus {
	s := api.NodeStatus{Name: m.Name, ID: m.ID, Addr: m.Addr, Alive: m.Alive, Incarnation: m.Incarnation}
	_, s.Voter = n.cluster.Voters(m.ID)
	if m.ID == n.dir.id.ID {
		s.Pid, s.StartedMs, s.Problem = os.Getpid(), n.started.UnixMilli(), n.unfitness()
	}
	return s
}

// unfitness is why this node gets no lanes while another can have them, as far as it knows itself;
// "" for nothing.
func (n *Node) unfitness() string {
	if why := n.disk.trouble(); why != "" {
		return why
	}
	age := n.kafkaAge()
	n.mu.Lock()
	defer n.mu.Unlock()
	text := ""
	switch {
	case n.contactAt.IsZero() && n.trouble != nil:
		text = "it has not reached Kafka yet"
	case n.contactAt.IsZero() || age <= assign.KafkaAgeMax: // it has just begun to look, or all is well
		return ""
	default:
		text = fmt.Sprintf("it has not reached Kafka for %s", age.Round(100*time.Millisecond))
	}
	if n.trouble != nil {
		text += ": " + n.trouble.Error()
	}
	return text
}

func (n *Node) kafkaStatus() api.KafkaStatus {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := api.KafkaStatus{ClusterID: n.kafkaCluster, Brokers: n.kafka.Brokers, Embedded: n.embedded != nil}
	if n.trouble != nil {
		k.Error = n.trouble.Error()
	}
	return k
}

// NotReady says for each lane why it does not run.
func (n *Node) NotReady() []string {
	n.mu.Lock()
	waiting := n.waiting
	n.mu.Unlock()
	if waiting != "" {
		return []string{waiting}
	}
	var reasons []string
	if silent := n.silent(); silent > n.cfg.UnreachableAt {
		reasons = append(reasons, fmt.Sprintf("Kafka has not answered for %d s", int(silent.Seconds())))
	}
	for _, a := range n.running() {
		for _, l := range a.lanes {
			g, _ := l.granted()
			if st := l.snapshot(); g.part == partOwner && st.state != api.LaneRunning {
				reasons = append(reasons, strings.TrimSpace(fmt.Sprintf("app %s lane %d is %s %s", a.name(), l.k, st.state, st.reason)))
			}
		}
	}
	return append(reasons, n.notOpen()...)
}

// notOpen says why apps of the cluster are not open here.
func (n *Node) notOpen() (reasons []string) {
	st := n.cluster.State()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, name := range appNames(st) {
		if h := n.hosts[name]; h == nil || h.app == nil {
			why := "it is being opened"
			if h != nil {
				why = or(h.why, why)
			}
			reasons = append(reasons, fmt.Sprintf("app %s is not open: %s", name, why))
		}
	}
	return reasons
}

// Apps are the apps that run here, by name.
func (n *Node) Apps() []*api.App {
	apps := n.running()
	views := make([]*api.App, len(apps))
	for i, a := range apps {
		views[i] = a.view()
	}
	return views
}

// running are the apps that are open here, by name.
func (n *Node) running() []*app {
	n.mu.Lock()
	defer n.mu.Unlock()
	var apps []*app
	for _, h := range n.hosts {
		if h.app != nil {
			apps = append(apps, h.app)
		}
	}
	slices.SortFunc(apps, func(a, b *app) int { return cmp.Compare(a.name(), b.name()) })
	return apps
}

// silent is for how long Kafka has not answered.
func (n *Node) silent() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cfg.Seam.Since(n.contactAt)
}

// inTouch reports whether Kafka has answered within the TTL.
func (n *Node) inTouch() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cfg.Seam.Age(n.contactAt) <= contactTTL
}

func (a *app) status() api.AppStatus {
	s := api.AppStatus{App: a.name(), AppID: a.id, Generation: a.generation, Input: a.input.Name, Output: a.output.Name, Stages: 1}
	if a.repartitions > 0 {
		s.Stages = 2
	}
	var all []state.PositionRecord
	for _, l := range a.lanes {
		if !l.here() {
			continue
		}
		ls, records := l.statusView()
		s.Lanes = append(s.Lanes, ls)
		if ls.Role != api.RoleStandby {
			all = append(all, records...)
		}
	}
	for i, l := range s.Lanes { // after all of the input's: what has left that lag is in this one
		if l.Role != api.RoleStandby {
			s.Lanes[i].RepartitionLag = a.lanes[l.Lane].repartitionLag()
		}
	}
	s.SumLanes()
	s.Lag += a.newPartitionsLag()
	s.Strays, s.StrayExample = a.strays(all)
	return s
}

// strays is how many events the better of the two known partitioners leaves unexplained, with one
// of them in words. Each event that one partitioner explains is right under that one.
func (a *app) strays(records []state.PositionRecord) (n int64, example string) {
	var hints state.Hints
	for _, rec := range records {
		hints.Murmur2 += rec.Hints.Murmur2
		hints.CRC32 += rec.Hints.CRC32
	}
	if n = min(hints.Murmur2, hints.CRC32); n == 0 {
		return 0, ""
	}
	for _, l := range a.lanes {
		if s := l.proc.StrayExample(processor.Better(hints)); s != nil {
			return n, fmt.Sprintf("key %s in partition %d at offset %d", keyText(s.Key, s.Null), s.Partition, s.Offset)
		}
	}
	for _, rec := range records { // none since the start: one of an earlier run
		if rec.Hints.Example != nil {
			return n, fmt.Sprintf("key %s in partition %d", keyText(rec.Hints.Example, false), rec.Partition)
		}
	}
	return n, ""
}

func keyText(key []byte, null bool) string {
	if null {
		return "null"
	}
	return strconv.Quote(string(key))
}

func (l *lane) snapshot() laneStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

// statusView is the lane's status, with the position records that it was made of.
func (l *lane) statusView() (api.LaneStatus, []state.PositionRecord) {
	l.mu.Lock()
	st, store, loaded := l.status, l.store, l.loaded
	l.mu.Unlock()
	txns, _ := l.proc.Progress()
	s := api.LaneStatus{
		Lane: l.k, Owner: l.app.node.cfg.Name, Epoch: st.epoch, State: st.state, Reason: st.reason,
		FenceMs: st.fenceMs, Position: map[string]int64{}, Transactions: txns, Aborted: st.aborted, Restore: st.restore,
	}
	if s.Reason == "" {
		s.Reason = l.waits(st)
	}
	var records []state.PositionRecord
	for _, t := range l.tasks {
		if store == nil || !loaded {
			continue
		}
		pos, _ := store.Position(t)
		records = append(records, pos.Record)
		at := l.position(t)
		s.Position[fmt.Sprintf("%s/%d", l.app.source(t).Name, t.Partition)] = at
		lag, asOf := l.app.lag(t, at)
		if t.Stage != state.SecondStage {
			s.Lag += lag
		}
		s.AsOfMs = asOf.UnixMilli()
		laneCounted(&s, pos.Record)
	}
	if g, _ := l.granted(); g.part == partStandby {
		s.Role, s.Ready, s.Lag = api.RoleStandby, loaded, l.changelogLag()
	}
	return s, records
}

// laneCounted adds what a task's position record says that it has counted.
func laneCounted(s *api.LaneStatus, rec state.PositionRecord) {
	s.Groups += rec.Groups
	s.LastCommitMs = max(s.LastCommitMs, rec.AtMs)
	s.NotMurmur2 += rec.Hints.Murmur2
	s.NotCRC32 += rec.Hints.CRC32
	if rec.Stage == state.SecondStage {
		return // partials, of events that the first stage has counted
	}
	s.Processed += rec.Processed
	s.Filtered += rec.Filtered
	s.Skipped += rec.Skipped
	s.Dead += rec.Dead
	s.Gaps += rec.Gaps
}

// queryView is how a query sees the lane.
func (l *lane) queryView() api.LaneView {
	l.mu.Lock()
	st, store, loaded := l.status, l.store, l.loaded
	l.mu.Unlock()
	v := api.LaneView{
		Lane: l.k, Node: l.app.node.cfg.Name, Epoch: st.epoch, Role: func() api.Role { return roleSince(st, l.role(), l.snapshot()) },
		Input: func(p int32) int64 { return l.position(l.app.stateTask(p)) },
		Lag:   l.lagOfCounters,
		Hurry: l.hurry,
		AsOfMs: func() int64 {
			_, asOf := l.app.lag(state.Task{}, 0)
			return asOf.UnixMilli()
		},
	}
	for _, t := range l.tasks {
		if t == l.app.stateTask(t.Partition) {
			v.Tasks = append(v.Tasks, t)
		} else {
			v.Inputs = append(v.Inputs, t.Partition)
		}
	}
	if l.app.repartitions > 0 {
		v.Read = func(p int32) int64 { return l.position(state.Task{Partition: p}) }
		v.Sent, v.InputLag = l.proc.Sent, l.inputLag
	}
	switch torn := l.torn.Load(); {
	case loaded && (!torn || st.state != api.LaneStandby):
		v.Store = store
	case loaded:
		v.Why = "this copy is within a large transaction"
	default:
		v.Why = st.state
		if st.reason != "" {
			v.Why += ": " + st.reason
		}
	}
	return v
}

// here reports whether this node has something to do with the lane, or nobody else has.
func (l *lane) here() bool {
	g, _ := l.granted()
	if g.part != partNone {
		return true
	}
	a := l.app.node.cluster.State().Apps[l.app.name()]
	return a == nil || l.k >= len(a.Lanes) || a.Lanes[l.k].Owner == ""
}

// roleSince is the role in which an answer may be given whose epoch and store were taken then, when
// the lane is now in a role, which was asked for before now: a standby's does not become an owner's
// on the way, which would give it the epoch of another owner, and neither does an owner's under one
// grant become one under the next.
func roleSince(then laneStatus, role api.Role, now laneStatus) api.Role {
	switch {
	case role == api.RoleLost || role == api.RoleStandby:
		return role
	case then.state == api.LaneStandby:
		return api.RoleStandby
	case now.epoch != then.epoch:
		return api.RoleUnsure
	}
	return role
}

// role says how far this copy can be trusted to be the newest.
func (l *lane) role() api.Role {
	switch st := l.snapshot(); {
	case st.state == api.LaneLost:
		return api.RoleLost
	case st.state == api.LaneStandby:
		return api.RoleStandby
	case st.state == api.LaneRunning && l.stillOwns(st.epoch) && l.app.node.inTouch() && l.app.node.cluster.Renewed():
		return api.RoleOwner
	default:
		return api.RoleUnsure
	}
}

// stillOwns reports whether nobody else has been given the lane since it began to run under an
// epoch here. Who has given it away may need long to end its last transaction, and nobody waits for
// that for ever.
func (l *lane) stillOwns(epoch uint64) bool {
	g, _ := l.granted()
	return g.part == partOwner && g.epoch <= epoch
}

// repartitionLag is how much of the repartition topic is not counted yet.
func (l *lane) repartitionLag() (lag int64) {
	for _, t := range l.tasks {
		if t.Stage == state.SecondStage {
			of, _ := l.app.lag(t, l.position(t))
			lag += of
		}
	}
	return lag
}

// lagOfCounters is how far the task that has a partition's counters is behind what it reads.
func (l *lane) lagOfCounters(partition int32) int64 {
	t := l.app.stateTask(partition)
	lag, _ := l.app.lag(t, l.position(t))
	return lag
}

// inputLag is how far the first of two stages is behind the end of an input partition.
func (l *lane) inputLag(partition int32) int64 {
	t := state.Task{Partition: partition}
	lag, _ := l.app.lag(t, l.position(t))
	return lag
}

// position is the read position of a task: what is below it is counted and visible, or, in the
// first of two stages, sent.
func (l *lane) position(t state.Task) int64 {
	l.mu.Lock()
	store := l.store
	l.mu.Unlock()
	at := l.proc.Position(t)
	if store == nil {
		return at
	}
	pos, _ := store.Position(t)
	return max(at, pos.Record.Input)
}
