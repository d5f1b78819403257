package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/testkafka"
	"github.com/tally-kafka/tally/processor"
	"github.com/tally-kafka/tally/state"
	"github.com/tally-kafka/tally/txn"
)

// TestBandCountsExactly runs three nodes over random events while a seeded schedule moves lanes,
// drains, stops, kills, cuts off and hangs nodes, and starts them again, also where they cannot
// reach the others. Whatever any node serves is the exact count up to the position that it names,
// and that is committed; a node that calls itself a lane's owner has all that was committed a TTL
// ago; the epochs of barriers and position records never fall, and each is of the process that was
// granted it; lanes that are handed over replay nothing; in the end outputs, dead letters, offsets,
// position records, the counts at each node and a recount say the same.
//
// PROPERTY_SEED chooses the seed; without it 1 runs.
func TestBandCountsExactly(t *testing.T) {
	seed := uint64(1)
	if text := os.Getenv("PROPERTY_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	w := newBandTrial(t, seed, nil)
	stop := w.background(w.input.send, w.observe, w.claims, w.noteGrants)
	defer stop()
	w.inTurn(w.schedule([]times{{3, w.move}, {2, w.drain}, {1, w.restart}}))
	w.settle()
	w.replayedNothing()
	w.inTurn(w.schedule([]times{{1, w.move}, {2, w.kill}, {1, w.killAll}, {1, w.returnAlone}, {1, w.cutOff}, {2, w.hang}}))
	w.settle()
}

// runFaulty is the band of a simulation: everything in one schedule, and faults at every kind of
// request beside it. A lane that is handed over may then replay something.
func (w *bandTrial) runFaulty() {
	stop := w.background(w.input.send, w.observe, w.claims, w.noteGrants)
	defer stop()
	all := w.schedule([]times{
		{2, w.move}, {1, w.drain}, {1, w.restart}, {1, w.kill}, {1, w.killAll}, {1, w.returnAlone}, {1, w.cutOff}, {1, w.hang},
	})
	for i := range 2 {
		w.sim.allow(w.trial, i+1, 2)
		w.inTurn(all[i*len(all)/2 : (i+1)*len(all)/2])
		w.sim.fill(w.trial)
		w.faults.on.Store(false)
		w.settle()
		w.faults.on.Store(true)
	}
}

// bandTrial is one run. Of the trial it uses the input, and what holds the topics against it.
type bandTrial struct {
	*trial
	net   *bandNet
	addrs []string
	band  []*member // by number; one that is down stays until it is started again

	past    []committedAt // of claims alone
	noting  sync.Mutex
	granted map[laneEpoch]string // the incarnation of each grant that a node was seen to know of
}

type laneEpoch struct {
	lane  int
	epoch uint64
}

func newBandTrial(t *testing.T, seed uint64, sim *simulation) *bandTrial {
	w := &bandTrial{granted: map[laneEpoch]string{}}
	w.trial = &trial{place: onFake(t), rng: rand.New(rand.NewPCG(seed, 7)), began: time.Now(), sim: sim, done: newLedger()}
	w.topic(w.in, trialPartitions)
	w.topic(w.out, trialPartitions)
	w.limits = processor.Limits{TxnEvents: 5 + w.rng.IntN(40), PollRecords: 3 + w.rng.IntN(40)}
	w.faults = newBrokerFaults(w.place, seed)
	w.tellAtEnd()
	w.input = newInputs(w.place, seed, trialPartitions, false)
	w.sim.enlarge(w.trial)
	for range 3 {
		w.addrs = append(w.addrs, testkafka.FreeAddr(t))
	}
	w.net = newBandNet(w.addrs)
	w.band = make([]*member, len(w.addrs))
	for i := range w.band {
		w.launchAt(i, t.TempDir())
	}
	w.whole()
	return w
}

// launchAt starts a node of the band.
func (w *bandTrial) launchAt(i int, dir string) {
	w.t.Helper()
	cfg := w.config(inDir(dir), running(w.spec(wordcount)), listening(w.addrs[i]), joined(w.addrs), named(nodeName(i)), standbys(1))
	cfg.Limits = w.limits
	cfg.Seam = w.sim.clock(w.trial)
	cfg.Seam.Dial = w.net.dialFrom(i)
	if w.sim != nil {
		wire := newWire(w.faults, w.rng.Uint64(), nil)
		wire.under, wire.kafka = cfg.Seam.Dial, w.place.addrs
		cfg.Seam.Dial = wire.dial
	}
	m := w.launchMember(cfg)
	w.watched.Lock()
	defer w.watched.Unlock()
	w.band[i] = m
}

// up are the nodes that run.
func (w *bandTrial) up() (up []*member) {
	w.watched.Lock()
	defer w.watched.Unlock()
	for _, m := range w.band {
		if m == nil {
			continue
		}
		select {
		case err := <-m.ended:
			m.ended <- err
		default:
			up = append(up, m)
		}
	}
	return up
}

// whole waits until every lane runs at one node and is followed by another.
func (w *bandTrial) whole() (app api.AppStatus) {
	w.t.Helper()
	w.until(func() error {
		st, err := w.up()[0].client.Status(w.ctx())
		if err != nil {
			return err
		}
		if len(st.Apps) != 1 || len(st.Apps[0].Lanes) == 0 {
			return fmt.Errorf("apps: %+v", st.Apps)
		}
		app = st.Apps[0]
		for _, l := range app.Lanes {
			if l.State != api.LaneRunning || l.From != "" || l.Target != "" || len(l.Copies) == 0 || !l.Copies[0].Ready {
				return fmt.Errorf("lane %+v", l)
			}
		}
		return nil
	})
	return app
}

type times struct {
	n  int
	do func()
}

func (w *bandTrial) schedule(actions []times) (all []func()) {
	for _, a := range actions {
		for range a.n {
			all = append(all, a.do)
		}
	}
	w.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// inTurn does one thing after the other, and leaves the nodes some time with each.
func (w *bandTrial) inTurn(all []func()) {
	w.t.Helper()
	for _, do := range all {
		if w.t.Failed() {
			w.t.FailNow()
		}
		do()
		pause(w.ms(300))
	}
}

func (w *bandTrial) say(format string, args ...any) {
	w.t.Logf("%5d ms: %s", time.Since(w.began).Milliseconds(), fmt.Sprintf(format, args...))
}

// anyNode is the number of a node, one that owns a lane if it can be.
func (w *bandTrial) anyNode() int {
	app := w.whole()
	owner := app.Lanes[w.rng.IntN(len(app.Lanes))].Owner
	for i := range w.addrs {
		if nodeName(i) == owner {
			return i
		}
	}
	panic("a lane of no node")
}

func (w *bandTrial) move() {
	w.done.add("move", 1)
	app := w.whole()
	l := app.Lanes[w.rng.IntN(len(app.Lanes))]
	to := l.Standbys[0]
	w.say("move lane %d from %s to %s", l.Lane, l.Owner, to)
	if _, err := w.up()[0].client.Move(w.ctx(), w.app, l.Lane, api.MoveRequest{To: to}); err != nil {
		w.say("%v", err) // the leader was quicker
		return
	}
	w.until(func() error {
		if now := w.whole().Lanes[l.Lane]; now.Owner != to && now.Epoch == l.Epoch {
			return fmt.Errorf("lane %+v", now)
		}
		return nil
	})
}

func (w *bandTrial) drain() {
	w.done.add("drain", 1)
	node := nodeName(w.anyNode())
	w.say("drain %s", node)
	_, err := w.up()[0].client.Drain(w.ctx(), node, api.DrainRequest{})
	w.must(err)
	w.until(func() error {
		for _, l := range w.whole().Lanes {
			if l.Owner == node {
				return fmt.Errorf("lane %+v", l)
			}
		}
		return nil
	})
	_, err = w.up()[0].client.Drain(w.ctx(), node, api.DrainRequest{Undo: true})
	w.must(err)
}

func (w *bandTrial) restart() {
	w.done.add("restart", 1)
	i := w.anyNode()
	w.say("stop %s", nodeName(i))
	w.band[i].end()
	w.launchAt(i, w.band[i].dir)
}

// cut parts a node from everybody, and has it wait for nobody when it ends: it may end by itself on
// a cut that comes while it is starting.
func (w *bandTrial) cut(i int) {
	node := w.band[i].node
	node.guarded(func() { node.cfg.HandOverMax, node.cfg.DepartMax = time.Millisecond, time.Millisecond })
	w.net.set(i, linkCut)
}

// die ends a node as kill -9 would.
func (w *bandTrial) die(i int) {
	w.cut(i) // before anything of it ends
	w.fall(i)
}

// fall ends a node that is cut off.
func (w *bandTrial) fall(i int) {
	m := w.band[i]
	for _, a := range m.node.running() {
		for _, l := range a.lanes {
			l.mu.Lock()
			store := l.store
			l.mu.Unlock()
			if store != nil {
				_ = store.Abandon()
			}
		}
	}
	m.end()
	w.net.set(i, linkUp)
}

func (w *bandTrial) kill() {
	w.done.add("kill", 1)
	i := w.anyNode()
	w.say("kill %s", nodeName(i))
	w.die(i)
	pause(w.ms(1500))
	w.launchAt(i, w.band[i].dir)
}

// killAll leaves the cluster with nothing but its logs, in which every lane is a dead process's.
// The nodes come back and agree on them for a while before any can tell the leader of its new
// process.
func (w *bandTrial) killAll() {
	w.done.add("kill all", 1)
	w.whole()
	w.say("kill all")
	for i := range w.band {
		w.cut(i)
	}
	var dying sync.WaitGroup
	for i := range w.band {
		dying.Go(func() { w.fall(i) })
	}
	dying.Wait()
	for i, m := range w.band {
		w.net.set(i, linkRaft)
		w.launchAt(i, m.dir)
	}
	w.until(func() error {
		if len(w.band[0].node.cluster.State().Apps) == 0 {
			return errors.New("the log is not read")
		}
		return nil
	})
	pause(300*time.Millisecond + w.ms(500)) // less than a TTL: the leader has not given up the old ones
	for i := range w.band {
		w.net.set(i, linkUp)
	}
}

// returnAlone kills a node, and when others have its lanes it starts where it reaches Kafka alone:
// all that it knows of the cluster is its own log.
func (w *bandTrial) returnAlone() {
	w.done.add("return alone", 1)
	i := w.anyNode()
	w.say("kill %s, which comes back and reaches nobody", nodeName(i))
	w.die(i)
	w.taken(i)
	pause(200 * time.Millisecond) // the new owners commit
	w.net.set(i, linkAlone)
	w.launchAt(i, w.band[i].dir)
	pause(1500 * time.Millisecond)
	w.net.set(i, linkUp)
}

// taken waits until others run the lanes of a node.
func (w *bandTrial) taken(i int) {
	w.t.Helper()
	w.until(func() error {
		st, err := w.besides(i).client.Status(w.ctx())
		if err != nil || len(st.Apps) != 1 {
			return fmt.Errorf("status: %v", err)
		}
		for _, l := range st.Apps[0].Lanes {
			if l.Owner == nodeName(i) || l.State != api.LaneRunning {
				return fmt.Errorf("lane %+v", l)
			}
		}
		return nil
	})
}

// besides is another node that runs.
func (w *bandTrial) besides(i int) *member {
	for _, m := range w.up() {
		if m.node.cfg.Name != nodeName(i) {
			return m
		}
	}
	panic("no other node runs")
}

// cutOff cuts a node from the others; it reaches Kafka.
func (w *bandTrial) cutOff() {
	w.done.add("cut off", 1)
	i := w.anyNode()
	w.say("%s reaches no other node", nodeName(i))
	w.net.set(i, linkAlone)
	pause(time.Second + w.ms(1500))
	w.net.set(i, linkUp)
}

// hang lets nothing through to a node or from it, and ends no connection: it does not know.
func (w *bandTrial) hang() {
	w.done.add("hang", 1)
	i := w.anyNode()
	w.say("%s hears nothing", nodeName(i))
	w.net.set(i, linkHung)
	defer w.net.set(i, linkUp)                         // also when the trial fails meanwhile: a node that hangs does not end
	w.taken(i)                                         // which takes longer when it has led
	pause(claimAge + 500*time.Millisecond + w.ms(300)) // others commit, and a claimAge goes by
}

// observe asks every node for all that there is, and holds it against the input.
func (w *bandTrial) observe() {
	for _, m := range w.up() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		got, at, err := m.scan(ctx, api.ReadOptions{})
		cancel()
		w.runs(m)
		if err != nil || len(at) != trialPartitions {
			continue // it is starting, stopping, cut off or dead
		}
		w.serves(m, got, at)
	}
	pause(w.sim.rest(2 * time.Millisecond))
}

// runs wants no lane to stop for good.
func (w *bandTrial) runs(m *member) {
	for _, a := range m.node.running() {
		for _, l := range a.lanes {
			if st := l.snapshot(); st.state == api.LaneStopped {
				w.t.Errorf("lane %d has stopped at %s: %s", l.k, m.node.cfg.Name, st.reason)
			}
		}
	}
}

// noteGrants looks what Raft has granted, as far as each node knows.
func (w *bandTrial) noteGrants() {
	w.noting.Lock()
	for _, m := range w.up() {
		for ref, l := range m.node.cluster.State().Lanes() {
			at := laneEpoch{ref.Lane, l.Epoch}
			if before := w.granted[at]; before != "" && l.Incarnation != "" && before != l.Incarnation {
				w.t.Errorf("epoch %d of lane %d was granted to the process %s, and to %s", l.Epoch, ref.Lane, before, l.Incarnation)
			}
			if l.Incarnation != "" {
				w.granted[at] = l.Incarnation
			}
		}
	}
	w.noting.Unlock()
	pause(w.sim.rest(time.Millisecond))
}

// claimAge is the age of what an owner must have: a node that hears nothing may be called the owner
// for a TTL, and not know meanwhile that its last transaction was committed.
const claimAge = 1500 * time.Millisecond

// committedAt is what was committed at a time.
type committedAt struct {
	at      time.Time
	offsets txn.Offsets
}

// claims holds who calls itself an owner against what was committed a claimAge ago.
func (w *bandTrial) claims() {
	offsets, err := w.groupOffsets()
	if err != nil {
		return
	}
	w.past = append(w.past, committedAt{time.Now(), offsets})
	for len(w.past) > 1 && time.Since(w.past[1].at) > claimAge {
		w.past = w.past[1:]
	}
	if time.Since(w.past[0].at) > claimAge {
		for _, m := range w.up() {
			for _, a := range m.node.running() {
				for _, l := range a.lanes {
					w.claim(m, l, w.past[0].offsets)
				}
			}
		}
	}
	pause(20 * time.Millisecond)
}

func (w *bandTrial) claim(m *member, l *lane, committed txn.Offsets) {
	for _, t := range l.tasks {
		before := l.role()
		at := l.position(t)
		if before != api.RoleOwner || l.role() != api.RoleOwner {
			continue
		}
		w.input.mu.Lock()
		missing := w.input.between(t.Partition, at, committed[l.place(t)])
		w.input.mu.Unlock()
		w.done.add(checkClaims, 1)
		if missing > 0 {
			w.t.Errorf("%s answers as the owner of lane %d up to %d, and %d was committed a while before",
				m.node.cfg.Name, l.k, at, committed[l.place(t)])
		}
	}
}

// settle waits until all is counted, and compares everything with a recount.
func (w *bandTrial) settle() {
	w.t.Helper()
	w.whole()
	w.input.mu.Lock() // nobody sends meanwhile
	defer w.input.mu.Unlock()
	w.input.toAll()
	want := w.input.recount(nil)
	for _, m := range w.up() {
		w.until(func() error {
			got, _, err := m.scan(w.ctx(), api.ReadOptions{})
			if err == nil && !maps.Equal(got, want) {
				err = fmt.Errorf("%s serves\n%s", m.node.cfg.Name, difference(got, want))
			}
			return err
		})
	}
	w.until(func() error {
		app := w.whole()
		dead := w.input.unreadable()
		if sum := app.Processed + app.Filtered + app.Skipped + app.Dead; sum != w.input.total() || app.Dead != dead || app.Lag != 0 {
			return fmt.Errorf("%d processed, %d dead, lag %d; %d were sent, %d of them not readable", app.Processed, app.Dead, app.Lag, w.input.total(), dead)
		}
		return nil
	})
	w.checkRecords()
	w.checkEpochs()
	w.checkBarriers()
	w.checkOutputs()
	w.checkDead()
	w.done.add(checkRecount, 1)
}

// checkBarriers: those of a partition never go back to an earlier grant, and each is of the process
// that was granted it.
func (w *bandTrial) checkBarriers() {
	w.t.Helper()
	lanes := int32(len(w.whole().Lanes))
	w.noting.Lock()
	defer w.noting.Unlock()
	last := map[int32]state.Barrier{}
	for _, r := range w.read(w.app + ".changelog") {
		if kind, _, _, err := state.DecodeKey(r.Key); err != nil || kind != state.KindBarrier {
			continue
		}
		now, err := state.DecodeBarrier(r.Value)
		w.must(err)
		before := last[r.Partition]
		if now.Epoch < before.Epoch || now.Epoch == before.Epoch && now.Incarnation != before.Incarnation {
			w.t.Fatalf("partition %d: node %s has acquired it under epoch %d, behind node %s under epoch %d",
				r.Partition, now.NodeName, now.Epoch, before.NodeName, before.Epoch)
		}
		last[r.Partition] = now
		if to := w.granted[laneEpoch{int(r.Partition % lanes), now.Epoch}]; to != "" && to != now.Incarnation {
			w.t.Fatalf("partition %d: node %s has acquired it as the process %s under epoch %d, which was granted to %s",
				r.Partition, now.NodeName, now.Incarnation, now.Epoch, to)
		}
	}
}

// replayedNothing: lanes that were handed over cost no transaction, and no wait for the word.
func (w *bandTrial) replayedNothing() {
	w.t.Helper()
	if n := w.uncommitted(w.app + ".changelog"); n > 0 {
		w.t.Errorf("%d changelog records were written and never committed", n)
	}
	for i, m := range w.band {
		noWaitInVain(w.t, nodeName(i), m.tally)
	}
}
