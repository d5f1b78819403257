package node

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/seam"
)

// TestSim is `make sim`: the trials of TestNodeCountsExactly and TestBandCountsExactly in turn,
// seed by seed, with more events and with faults at every kind of request that a node sends to
// Kafka: not sent, refused, carried out and answered with an error, carried out and not answered,
// late. Every node has a clock of its own, whose timers are not exact.
//
// It runs only when SIM_SEEDS says how many seeds; SIM_SEED is the first. With twenty seeds or more
// it fails when a kind of request was sent that no fault has hit, or when the whole is too small to
// say anything.
func TestSim(t *testing.T) {
	seeds, first := simNumber(t, "SIM_SEEDS", 0), simNumber(t, "SIM_SEED", 1)
	if seeds == 0 {
		return
	}
	s := newSimulation(seeds)
	t.Run("seeds", func(t *testing.T) {
		for i := range seeds {
			seed := uint64(first + i)
			t.Run(fmt.Sprint(seed), func(t *testing.T) { s.run(t, seed) })
		}
	})
	s.table(os.Stdout)
	if err := s.enough(); err != nil && !t.Failed() {
		t.Error(err)
	}
}

func simNumber(t *testing.T, name string, fallback int) int {
	text := os.Getenv(name)
	if text == "" {
		return fallback
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		t.Fatalf("%s: %q is no number", name, text)
	}
	return n
}

// What each seed of a simulation brings at least, on average.
const (
	simEvents = 20_000
	simFaults = 50
	simSmall  = 20  // seeds; fewer may have met no fault at a kind of request
	simLarge  = 100 // seeds; so many must have met every fault at every kind

	// Of how many requests of a kind on a fault has to have come, beside those of a connection that
	// breaks, or none has by chance alone once in a hundred million runs: one in 22 is late, and
	// one in 250 at least is refused, the first ones of a seed more often.
	simDelayedFrom = 500
	simRefusedFrom = 2100
)

// simActs are what has to happen to the nodes of any run that is not small.
func simActs() []string {
	return []string{"crash", "stop", "take over", "kill", "cut off", "hang", "move", "drain"}
}

// What is counted of the checks.
const (
	checkAnswers = "answers of nodes held against a recount"
	checkAfter   = "answers that had to have an event"
	checkClaims  = "owners' claims to have what was committed"
	checkRecount = "recounts of outputs, records, offsets and values"
)

// simChecks are all of them.
func simChecks() []string { return []string{checkAnswers, checkAfter, checkClaims, checkRecount} }

// simulation is what the seeds of a run have in common: how large they are, and their sums. None of
// its methods that a trial calls needs one.
type simulation struct {
	began time.Time
	seeds int

	mu         sync.Mutex
	ended      int
	failed     []uint64
	events     int64
	kinds      map[string]int // of trials
	sent       map[kmsg.Key]int
	drawn, hit map[fault]int
	done       *ledger
}

func newSimulation(seeds int) *simulation {
	return &simulation{began: time.Now(), seeds: seeds, kinds: map[string]int{},
		sent: map[kmsg.Key]int{}, drawn: map[fault]int{}, hit: map[fault]int{}, done: newLedger()}
}

// run is one seed.
func (s *simulation) run(t *testing.T, seed uint64) {
	var w *trial
	kind := "one node after the other, one stage"
	t.Cleanup(func() { s.account(t, seed, kind, w) })
	switch seed % 3 {
	case 0:
		kind = "a cluster of three nodes"
		band := newBandTrial(t, seed, s)
		w = band.trial
		band.runFaulty()
	case 1:
		w = newTrial(t, seed, 1, s)
		w.run()
	case 2:
		kind = "one node after the other, two stages"
		w = newTrial(t, seed, 2, s)
		w.run()
	}
}

// enlarge makes a trial one of the simulation.
func (s *simulation) enlarge(w *trial) {
	if s == nil {
		return
	}
	more := []int{4, 10, 40}[w.rng.IntN(3)]
	w.limits.TxnEvents *= more
	w.limits.PollRecords *= more
	w.input.bulk = 10
	w.faults.everywhere(w.fake)
	w.faults.on.Store(true)
}

// allow says how many events a trial has sent after a part of its schedule.
func (s *simulation) allow(w *trial, part, of int) {
	if s == nil {
		return
	}
	w.input.mu.Lock()
	defer w.input.mu.Unlock()
	w.input.most = int64(simEvents * 21 / 20 * part / of)
}

// fill sends what is missing of those.
func (s *simulation) fill(w *trial) {
	if s == nil {
		return
	}
	w.input.mu.Lock()
	defer w.input.mu.Unlock()
	for w.input.total() < w.input.most {
		w.input.moreHeld()
	}
}

// rest is the pause between two looks of a check.
func (s *simulation) rest(d time.Duration) time.Duration {
	if s == nil {
		return d
	}
	return 20 * time.Millisecond
}

// clock is a node's clock. It tells the time, or no deadline of a connection would be right; but
// its timers are up to a tenth too early or too late, and of some the node hears later still.
func (s *simulation) clock(w *trial) seam.Seam {
	clock := seam.World()
	if s == nil {
		return clock
	}
	exact, rate := clock.Timer, 0.9+0.2*w.rng.Float64()
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(w.rng.Uint64(), 5))
	clock.Timer = func(d time.Duration) (<-chan time.Time, func()) {
		d = time.Duration(float64(d) * rate)
		mu.Lock()
		defer mu.Unlock()
		if rng.IntN(200) == 0 {
			w.done.add("timers that were late", 1)
			d += time.Duration(rng.IntN(200)) * time.Millisecond
		}
		return exact(d)
	}
	return clock
}

// account adds a seed to the sums, and says how it went.
func (s *simulation) account(t *testing.T, seed uint64, kind string, w *trial) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended++
	if t.Failed() {
		s.failed = append(s.failed, seed)
		fmt.Printf("seed %d FAILED; it is repeated by: make sim SEED=%d\n", seed, seed)
	}
	if w == nil || w.input == nil {
		return
	}
	w.input.mu.Lock()
	events := w.input.total()
	w.input.mu.Unlock()
	s.events += events
	s.kinds[kind]++
	w.faults.mu.Lock()
	sum(s.sent, w.faults.sent)
	sum(s.drawn, w.faults.drawn)
	sum(s.hit, w.faults.count)
	w.faults.mu.Unlock()
	s.done.addAll(w.done)
	if took := time.Since(s.began); s.seeds <= 20 || s.ended%10 == 0 || s.ended == s.seeds {
		fmt.Printf("%4.0f s: %d of %d seeds, %d events, %d faults\n", took.Seconds(), s.ended, s.seeds, s.events, s.faults())
	}
}

func sum[K comparable](into, from map[K]int) {
	for k, n := range from {
		into[k] += n
	}
}

// faults are those that hit; what was late or old is not among them.
func (s *simulation) faults() (n int) {
	for f, hits := range s.hit {
		if f.what != delayed && f.what != ofThePast {
			n += hits
		}
	}
	return n
}

// enough says why the run has shown too little.
func (s *simulation) enough() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seeds < simSmall {
		return nil
	}
	for key, n := range s.sent {
		if err := s.met(key, n); err != nil {
			return err
		}
	}
	for _, key := range simKinds() {
		if s.sent[key] == 0 && s.seeds >= simLarge {
			return fmt.Errorf("no request of the kind %s in %d seeds", key.Name(), s.seeds)
		}
	}
	for _, what := range simColumns() {
		if s.hits(what) == 0 {
			return fmt.Errorf("no request in %d seeds was %s", s.seeds, what)
		}
	}
	if want := int64(s.seeds * simEvents); s.events < want {
		return fmt.Errorf("%d events in %d seeds; at least %d", s.events, s.seeds, want)
	}
	if want := s.seeds * simFaults; s.faults() < want {
		return fmt.Errorf("%d faults in %d seeds; at least %d", s.faults(), s.seeds, want)
	}
	return s.acted()
}

// acted says which act, or which check, has not come.
func (s *simulation) acted() error {
	s.done.mu.Lock()
	defer s.done.mu.Unlock()
	for _, what := range simActs() {
		if s.done.n[what] == 0 {
			return fmt.Errorf("no %s in %d seeds", what, s.seeds)
		}
	}
	return s.checked()
}

// hits are those of one fault, at requests of any kind.
func (s *simulation) hits(what string) (n int) {
	for f, hits := range s.hit {
		if f.what == what {
			n += hits
		}
	}
	return n
}

// checked says which check has not been made, or not at the end of each seed. s.done.mu is held.
func (s *simulation) checked() error {
	for _, what := range simChecks() {
		want := 1
		if what == checkRecount {
			want = s.seeds
		}
		if got := s.done.n[what]; got < want {
			return fmt.Errorf("%d %s in %d seeds; at least %d", got, what, s.seeds, want)
		}
	}
	return nil
}

// TestSimEnough: a simulation fails when a kind of request has met no fault, when it was small, or
// when a check was not made.
func TestSimEnough(t *testing.T) {
	full := func() *simulation {
		s := newSimulation(simLarge)
		s.events = simLarge * simEvents
		s.done.n = map[string]int{checkAnswers: 1, checkAfter: 1, checkClaims: 1, checkRecount: simLarge}
		for _, what := range simActs() {
			s.done.n[what] = 1
		}
		for _, key := range simKinds() {
			s.sent[key] = 1
		}
		for _, key := range []kmsg.Key{kmsg.EndTxn, kmsg.Fetch} {
			s.sent[key] = simRefusedFrom
			for _, what := range simWants(key, simRefusedFrom) {
				s.hit[fault{key, what}] = 1000
			}
		}
		s.hit[fault{kmsg.Fetch, ofThePast}] = 1
		return s
	}
	if err := full().enough(); err != nil {
		t.Error(err)
	}
	for what, spoil := range map[string]func(*simulation){
		"requests of the kind Metadata were sent, and none":          func(s *simulation) { s.sent[kmsg.Metadata] = 1000 },
		"requests of the kind Metadata were sent, and no fault":      func(s *simulation) { s.sent[kmsg.Metadata] = 30 },
		"requests of the kind EndTxn were sent, and none was answer": func(s *simulation) { delete(s.hit, fault{kmsg.EndTxn, answerLost.String()}) },
		"no request in 100 seeds was " + ofThePast:                   func(s *simulation) { delete(s.hit, fault{kmsg.Fetch, ofThePast}) },
		"no request in 100 seeds was " + delayed: func(s *simulation) {
			s.sent[kmsg.EndTxn], s.sent[kmsg.Fetch] = simDelayedFrom-1, simDelayedFrom-1
			delete(s.hit, fault{kmsg.EndTxn, delayed})
			delete(s.hit, fault{kmsg.Fetch, delayed})
		},
		"no request in 100 seeds was " + refused: func(s *simulation) {
			s.sent[kmsg.EndTxn]--
			delete(s.hit, fault{kmsg.EndTxn, refused})
		},
		"requests of the kind EndTxn were sent, and none was " + refused: func(s *simulation) { delete(s.hit, fault{kmsg.EndTxn, refused}) },
		"requests of the kind Fetch were sent, and none was " + delayed:  func(s *simulation) { delete(s.hit, fault{kmsg.Fetch, delayed}) },
		"no request of the kind TxnOffsetCommit in 100 seeds":            func(s *simulation) { delete(s.sent, kmsg.TxnOffsetCommit) },
		"no hang in 100 seeds":        func(s *simulation) { delete(s.done.n, "hang") },
		"no drain in 100 seeds":       func(s *simulation) { delete(s.done.n, "drain") },
		"events in 100 seeds":         func(s *simulation) { s.events-- },
		"0 " + checkAnswers + " in":   func(s *simulation) { s.done.n[checkAnswers]-- },
		"0 " + checkAfter + " in":     func(s *simulation) { s.done.n[checkAfter]-- },
		"0 " + checkClaims + " in":    func(s *simulation) { s.done.n[checkClaims]-- },
		"99 " + checkRecount + " in ": func(s *simulation) { s.done.n[checkRecount]-- },
		"faults in 100 seeds": func(s *simulation) {
			for f := range s.hit {
				s.hit[f] = 1
			}
		},
	} {
		s := full()
		spoil(s)
		if err := s.enough(); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("want %q, got %v", what, err)
		}
	}
}

// met says which fault no request of a kind has met, of n that were sent. Of a kind that is hardly
// ever sent only the table says so.
func (s *simulation) met(key kmsg.Key, n int) error {
	met := 0
	for _, what := range simWants(key, n) {
		hits := s.hit[fault{key, what}]
		if met += hits; hits == 0 && n >= 300 && s.seeds >= simLarge {
			return fmt.Errorf("%d requests of the kind %s were sent, and none was %s", n, key.Name(), what)
		}
	}
	if met == 0 && n >= 30 {
		return fmt.Errorf("%d requests of the kind %s were sent, and no fault has hit one", n, key.Name())
	}
	return nil
}

// simColumns are all faults, each of which has to come in any run.
func simColumns() []string {
	return []string{refused, neverSent.String(), answerLost.String(), answerBad.String(), ofThePast, delayed}
}

// simKinds are the kinds without which a large run has not seen what nodes do. Those that only a
// transaction.version of 1 asks for (AddPartitionsToTxn, AddOffsetsToTxn) are not among them.
func simKinds() []kmsg.Key {
	return []kmsg.Key{
		kmsg.CreateTopics, kmsg.DeleteRecords, kmsg.DescribeTransactions, kmsg.EndTxn, kmsg.Fetch, kmsg.FindCoordinator,
		kmsg.InitProducerID, kmsg.ListOffsets, kmsg.Metadata, kmsg.OffsetFetch, kmsg.OffsetForLeaderEpoch, kmsg.Produce,
		kmsg.TxnOffsetCommit,
	}
}

// simWants are the faults that each kind of request must have met of which so many were sent.
func simWants(key kmsg.Key, sent int) []string {
	wants := []string{neverSent.String(), answerLost.String()}
	if key != kmsg.ApiVersions { // its answer cannot say that it was not carried out
		wants = append(wants, answerBad.String())
	}
	if sent >= simDelayedFrom {
		wants = append(wants, delayed)
	}
	if sent >= simRefusedFrom && slices.Contains(refusable(), key) {
		wants = append(wants, refused)
	}
	return wants
}

// table writes the sums.
func (s *simulation) table(to io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(to, "\n%-26s %8s", "requests of nodes", "sent")
	for _, what := range simColumns() {
		fmt.Fprintf(to, " %15s", what)
	}
	fmt.Fprintln(to, "\n  (faults that hit; after a slash those that were meant to, where a connection broke before)")
	for _, key := range slices.SortedFunc(maps.Keys(s.sent), func(a, b kmsg.Key) int { return strings.Compare(a.Name(), b.Name()) }) {
		fmt.Fprintf(to, "%-26s %8d", key.Name(), s.sent[key])
		for _, what := range simColumns() {
			fmt.Fprintf(to, " %15s", s.cell(fault{key, what}))
		}
		fmt.Fprintln(to)
	}
	fmt.Fprintln(to)
	for _, what := range slices.Sorted(maps.Keys(s.done.n)) {
		fmt.Fprintf(to, "%8d %s\n", s.done.n[what], what)
	}
	fmt.Fprintln(to)
	for _, kind := range slices.Sorted(maps.Keys(s.kinds)) {
		fmt.Fprintf(to, "%8d seeds of %s\n", s.kinds[kind], kind)
	}
	fmt.Fprintf(to, "%8d seeds, %d events, %d transactions ended, %d faults at requests, %d failed, %.0f s\n",
		s.ended, s.events, s.sent[kmsg.EndTxn], s.faults(), len(s.failed), time.Since(s.began).Seconds())
}

func (s *simulation) cell(f fault) string {
	hit, drawn := s.hit[f], max(s.drawn[f], s.hit[f])
	if hit == drawn {
		return strconv.Itoa(hit)
	}
	return fmt.Sprintf("%d/%d", hit, drawn)
}

// ledger counts what a trial did and checked.
type ledger struct {
	mu sync.Mutex
	n  map[string]int
}

func newLedger() *ledger { return &ledger{n: map[string]int{}} }

func (l *ledger) add(what string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n[what] += n
}

// acts are all but the checks.
func (l *ledger) acts() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for what, many := range l.n {
		if !slices.Contains(simChecks(), what) {
			n += many
		}
	}
	return n
}

func (l *ledger) addAll(from *ledger) {
	from.mu.Lock()
	defer from.mu.Unlock()
	for what, n := range from.n {
		l.add(what, n)
	}
}
