package node

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/processor"
	"github.com/tally-kafka/tally/txn"
)

// TestNodeCountsExactly runs whole nodes over random events while a seeded schedule of faults runs:
// transactions whose end is lost or refused, produce and offset errors, cut networks, kills without
// a drain, wiped state, nodes that take over while the old one goes on trying, old answers of a
// deposed broker, expired offsets, stops and starts. What any node serves is at all times the exact
// count of the input up to the position that it names, and that position is committed. In the end
// outputs, dead letters, offsets and position records say the same as a recount.
//
// Each seed runs an app of one stage and one of two, whose input grows meanwhile.
//
// PROPERTY_SEED chooses the seed; without it a fixed one runs, and one that is drawn and printed.
func TestNodeCountsExactly(t *testing.T) {
	seeds := []uint64{1, rand.Uint64() % 1e6}
	if text := os.Getenv("PROPERTY_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seeds = []uint64{seed}
	}
	if testing.Short() {
		seeds = seeds[:1]
	}
	for _, seed := range seeds {
		for _, stages := range []int{1, 2} {
			t.Run(fmt.Sprintf("seed=%d/stages=%d", seed, stages), func(t *testing.T) { newTrial(t, seed, stages, nil).run() })
		}
	}
}

func (w *trial) run() {
	stop := w.background(w.input.send, w.observe, w.ask)
	defer stop()
	all := w.schedule()
	for i, a := range all {
		w.sim.allow(w, i+1, len(all))
		w.act(a)
		if i%6 == 5 {
			w.sim.fill(w)
			w.settle()
		}
	}
	for more := 0; w.sim == nil && w.faults.fired() != nil && more < 10; more++ { // on a busy machine
		w.act(action{"take over", w.takeOver})
		w.act(action{"take over", w.takeOver})
		w.settle()
	}
	if w.sim == nil { // which wants it of all its seeds together
		w.must(w.faults.fired())
	}
	w.faults.mu.Lock() // a node that is at its end asks on
	defer w.faults.mu.Unlock()
	w.t.Logf("faults: %v", w.faults.count)
}

// trial is one run: a broker, the nodes on it, and all that was sent.
type trial struct {
	*place
	rng     *rand.Rand // of the schedule
	began   time.Time
	text    string // of the spec
	every   bool
	two     *secondTrial // nil: one stage
	limits  processor.Limits
	sim     *simulation // nil: the trial is none of a simulation
	done    *ledger
	faults  *brokerFaults
	input   *inputs
	members []*member // the newest is last; those before it were taken over and go on trying
	idle    []string  // data dirs of nodes that have ended
	watched sync.Mutex

	takeOvers int
}

func newTrial(t *testing.T, seed uint64, stages int, sim *simulation) *trial {
	w := &trial{place: onFake(t), rng: rand.New(rand.NewPCG(seed, 1)), sim: sim, done: newLedger()}
	emit := []string{"latest", "every"}[w.rng.IntN(2)]
	w.every = emit == "every"
	lanes := 1 + w.rng.IntN(3)
	w.text = replaced(wordcount, "output: {topic: $OUT}", fmt.Sprintf("output: {topic: $OUT, emit: %s}\nlanes: %d", emit, lanes))
	partitions := trialPartitions
	if stages == 2 {
		partitions = w.secondStage(lanes)
	}
	w.limits = processor.Limits{TxnEvents: 5 + w.rng.IntN(40), PollRecords: 3 + w.rng.IntN(40)}
	w.topic(w.in, partitions)
	w.topic(w.out, trialPartitions)
	t.Logf("seed %d: emit %s, %d lanes, at most %d events a transaction", seed, emit, lanes, w.limits.TxnEvents)
	w.faults = newBrokerFaults(w.place, seed)
	w.tellAtEnd()
	w.input = newInputs(w.place, seed, int32(partitions), w.two != nil)
	w.sim.enlarge(w)
	w.launch(t.TempDir())
	w.ready()
	w.faults.on.Store(true)
	w.began = time.Now()
	return w
}

// tellAtEnd says of a trial that has failed after how many faults it has.
func (w *trial) tellAtEnd() {
	w.t.Cleanup(func() {
		if !w.t.Failed() {
			return
		}
		n := w.done.acts()
		w.faults.mu.Lock()
		defer w.faults.mu.Unlock()
		for _, hit := range w.faults.count {
			n += hit
		}
		w.t.Logf("failed after %d faults", n)
	})
}

// background runs each step again and again, beside the schedule, until stop is called.
func (w *trial) background(steps ...func()) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, step := range steps {
		running.Go(func() {
			for ctx.Err() == nil && !w.t.Failed() {
				step()
			}
		})
	}
	return func() { cancel(); running.Wait() }
}

func (w *trial) newest() *member {
	w.watched.Lock()
	defer w.watched.Unlock()
	return w.members[len(w.members)-1]
}

// newestOrNone is for those who look on while nodes end and start.
func (w *trial) newestOrNone() *member {
	w.watched.Lock()
	defer w.watched.Unlock()
	if len(w.members) == 0 {
		return nil
	}
	return w.members[len(w.members)-1]
}

func (w *trial) ms(most int) time.Duration { return time.Duration(w.rng.IntN(most)) * time.Millisecond }

// action is one thing of the schedule.
type action struct {
	name string
	do   func()
}

// schedule has every action a few times, in an order that is drawn; a multiple of six.
func (w *trial) schedule() []action {
	var all []action
	for _, a := range []struct {
		times int
		action
	}{
		{4, action{"crash", w.crash}}, {5, action{"take over", w.takeOver}}, {2, action{"stop", w.stopStart}},
		{2, action{"outage", w.outage}}, {2, action{"offsets expire", w.expireOffsets}}, {2, action{"nothing", func() {}}},
		{1, action{"grow", w.grow}},
	} {
		for range a.times {
			all = append(all, a.action)
		}
	}
	w.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// act does one thing and leaves the nodes some time with what it has done.
func (w *trial) act(a action) {
	w.t.Helper()
	if w.t.Failed() {
		w.t.FailNow()
	}
	w.t.Logf("%5d ms: %s", time.Since(w.began).Milliseconds(), a.name)
	w.done.add(a.name, 1)
	a.do()
	pause(w.ms(500)) // how far the nodes get is part of what is drawn
}

// crash ends the newest node as kill -9 would, and starts one on its data dir, on it without its
// state, or on that of another.
func (w *trial) crash() {
	m := w.newest()
	m.kill()
	pause(w.ms(40))
	switch w.rng.IntN(3) {
	case 0:
		w.relaunch(m.dir)
	case 1:
		m.wipe()
		w.relaunch(m.dir)
	case 2:
		w.relaunch(w.otherDir())
	}
}

// takeOver starts a node on another data dir, every other time while brokers tell it what was true
// some time ago, and leaves the old one trying: its transactions are slow, so that the fence meets
// one in any of its steps.
func (w *trial) takeOver() {
	w.faults.on.Store(false) // what ends the old one is the fence, or two would take turns
	defer w.faults.on.Store(true)
	w.ready()
	var past *past
	if w.takeOvers++; w.takeOvers%2 == 0 {
		past = w.past()
		w.input.more() // the past must differ from the present
		pause(w.ms(60))
	}
	w.newest().wire.slowDown()
	w.launchIn(w.otherDir(), past)
	w.ready()
}

func (w *trial) stopStart() {
	m := w.newest()
	m.end()
	w.relaunch(m.dir)
}

func (w *trial) outage() {
	m := w.newest()
	m.wire.cut(true)
	pause(w.ms(200))
	m.wire.cut(false)
}

// expireOffsets deletes the consumer group's offsets, some or all, as Kafka does after a week.
func (w *trial) expireOffsets() {
	m := w.newest()
	w.endAll()
	var gone kadm.TopicsSet
	for _, s := range w.sources() {
		if w.rng.IntN(3) > 0 {
			gone.Add(s.Topic, s.Partition)
		}
	}
	if len(gone) > 0 {
		_, err := w.adm.DeleteOffsets(w.ctx(), w.app, gone)
		w.must(err)
	}
	w.launch(m.dir)
}

// otherDir is a data dir that no running node has: new, or that of a node that has ended.
func (w *trial) otherDir() string {
	if len(w.idle) > 0 && w.rng.IntN(2) == 0 {
		i := w.rng.IntN(len(w.idle))
		dir := w.idle[i]
		w.idle = append(w.idle[:i], w.idle[i+1:]...)
		return dir
	}
	return w.t.TempDir()
}

// member is a node whose insides the trial can reach.
type member struct {
	*tally
	node *Node
	wire *wire
}

// relaunch starts a node in place of the newest, which has ended.
func (w *trial) relaunch(dir string) {
	w.watched.Lock()
	last := w.members[len(w.members)-1]
	w.members = w.members[:len(w.members)-1]
	w.watched.Unlock()
	if last.dir != dir {
		w.idle = append(w.idle, last.dir)
	}
	w.launch(dir)
}

func (w *trial) launch(dir string) { w.launchIn(dir, nil) }

func (w *trial) launchIn(dir string, past *past) {
	cfg := w.config(inDir(dir), takeover(), running(w.spec(w.text)), named(fmt.Sprint("node-", w.rng.IntN(1000))))
	cfg.Limits, cfg.OffsetsWait, cfg.DrainTimeout = w.limits, 10*time.Second, 500*time.Millisecond
	wire := newWire(w.faults, w.rng.Uint64(), past)
	cfg.Seam = w.sim.clock(w)
	cfg.Seam.Dial, cfg.Step = wire.dial, wire.step
	m := w.launchMember(cfg)
	m.wire = wire
	w.watched.Lock()
	defer w.watched.Unlock()
	w.members = append(w.members, m)
}

// launchMember starts a node, which ends with the test.
func (p *place) launchMember(cfg Config) *member {
	n := &tally{p: p, t: p.t, dir: cfg.DataDir, url: "http://" + cfg.Listen, log: &lines{}, out: &lines{}, ended: make(chan error, 1)}
	m := &member{tally: n}
	cfg.Log, cfg.Out = slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: logLevel()})), n.out
	var err error
	n.client, err = api.NewClient(n.url, seam.World())
	p.must(err)
	ctx, end := context.WithCancelCause(context.Background())
	n.cancel = func() { end(nil) }
	m.node, err = start(ctx, cfg.withDefaults(), end)
	p.must(err)
	go func() { n.ended <- m.node.live(ctx) }()
	p.t.Cleanup(func() {
		m.end()
		if p.t.Failed() {
			p.t.Logf("log of %s in %s, its end:\n%s", cfg.Name, filepath.Base(cfg.DataDir), n.log.tail(tailLines()))
		}
	})
	return m
}

// end stops the node and waits for its end, whatever it says.
func (m *member) end() {
	m.cancel()
	err := <-m.ended
	m.ended <- err
}

// kill is a kill -9 as the outside sees it: the node reaches nobody any more, and on disk is what
// had been flushed. What its goroutines still do, they do in vain.
func (m *member) kill() {
	m.wire.cut(true)
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
}

// endAll stops every node, the newest last.
func (w *trial) endAll() {
	w.watched.Lock()
	members := w.members
	w.members = nil
	w.watched.Unlock()
	for i, m := range members {
		m.end()
		if i < len(members)-1 {
			w.idle = append(w.idle, m.dir)
		}
	}
}

// observe asks every node, also one that has lost its lanes, for all that it has, and holds it
// against the input.
func (w *trial) observe() {
	w.watched.Lock()
	members := append([]*member(nil), w.members...)
	w.watched.Unlock()
	for _, m := range members {
		w.observeOne(m)
	}
	pause(w.sim.rest(2 * time.Millisecond))
}

func (w *trial) observeOne(m *member) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if st, err := m.client.Status(ctx); err == nil {
		for _, a := range st.Apps {
			for _, l := range a.Lanes {
				if l.State == api.LaneStopped {
					w.t.Errorf("lane %d has stopped: %s", l.Lane, l.Reason)
				}
			}
		}
	}
	got, at, err := m.scan(ctx, api.ReadOptions{})
	if err != nil || len(at) != trialPartitions {
		return // it is starting, stopping or dead
	}
	if w.two != nil {
		w.observeTwo(m, got, at)
		return
	}
	w.serves(m, got, at)
}

// serves holds what a node has just served to the input, and its positions to what is committed.
func (w *trial) serves(m *member, got map[string]string, at map[int32]int64) {
	committed, err := w.groupOffsets() // after the scan: it may have moved on, and is never behind
	if err != nil {
		return
	}
	w.input.mu.Lock()
	defer w.input.mu.Unlock()
	w.done.add(checkAnswers, 1)
	if want := w.input.recount(at); !maps.Equal(got, want) {
		w.t.Errorf("%s serves at %v:\n%s", m.node.cfg.Name, at, difference(got, want))
	}
	for p, pos := range at {
		if o, ok := committed.Of(w.in)[p]; ok && w.input.between(p, o, pos) > 0 {
			w.t.Errorf("%s serves partition %d up to %d, and %d is committed", m.node.cfg.Name, p, pos, o)
		}
	}
}

// scan is all that a node serves, and the positions that it names.
func (m *member) scan(ctx context.Context, o api.ReadOptions) (got map[string]string, at map[int32]int64, err error) {
	got, at = map[string]string{}, map[int32]int64{}
	end, err := m.client.Scan(ctx, m.p.app, nil, o, func(c api.Count) error {
		got[string(c.Group)] = string(c.Values)
		return nil
	})
	for _, part := range end.Parts {
		for _, pos := range part.Position {
			at[part.Partition] = pos
		}
	}
	return got, at, err
}

// ask sends an event and asks the newest node for what it has brought: an answer has it.
func (w *trial) ask() {
	defer pause(w.sim.rest(5 * time.Millisecond))
	m := w.newestOrNone()
	if m == nil {
		return
	}
	e := w.input.one()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	after := api.ReadOptions{Wait: 500 * time.Millisecond, After: []string{fmt.Sprintf("%s/%d:%d", w.in, e.Partition, e.Offset)}}
	got, _, err := m.scan(ctx, after)
	if err != nil {
		return // it is not counted in time
	}
	w.done.add(checkAfter, 1)
	w.input.mu.Lock()
	defer w.input.mu.Unlock()
	for group, n := range w.input.countsOf(e.Partition, w.input.below(e.Partition, e.Offset+1)) {
		if valueOf(got[group]) < n {
			w.t.Errorf("%s answers after %s: %s is %q, and %d are below", m.node.cfg.Name, after.After[0], group, got[group], n)
		}
	}
}

func valueOf(values string) (n int) {
	_, _ = fmt.Sscanf(values, `{"count":%d}`, &n)
	return n
}

func (w *trial) groupOffsets() (txn.Offsets, error) {
	answer, err := w.adm.FetchOffsets(w.ctx(), w.app)
	if err != nil {
		return nil, err
	}
	at := txn.Offsets{}
	answer.Each(func(o kadm.OffsetResponse) {
		if o.Err == nil && o.At >= 0 {
			at[txn.TopicPartition{Topic: o.Topic, Partition: o.Partition}] = o.At
		}
	})
	return at, nil
}

func difference(got, want map[string]string) string {
	var b strings.Builder
	for g, v := range want {
		if got[g] != v {
			fmt.Fprintf(&b, "  %s is %q, want %q\n", g, got[g], v)
		}
	}
	for g, v := range got {
		if _, ok := want[g]; !ok {
			fmt.Fprintf(&b, "  %s is %q, want none\n", g, v)
		}
	}
	return b.String()
}
