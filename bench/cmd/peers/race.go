package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/bench/peers"
	"github.com/tally-kafka/tally/bench/report"
	"github.com/tally-kafka/tally/bench/trial"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/testkafka"
)

// brokerJVM are the options of a broker that is to run fast, as Kafka's own start script has them
// but for the heap: 1 GB is its default, and 512 MB is enough for each of three.
func brokerJVM(nodes int) []string {
	heap := "-Xmx1g"
	if nodes > 1 {
		heap = "-Xmx512m"
	}
	return []string{heap, "-XX:TieredStopAtLevel=4", "-XX:-UseSerialGC", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"}
}

// replication has all topics of three brokers on each of them, whoever makes them: else tally's
// changelog alone would be replicated, and the others' rows would be of something else.
func replication(nodes int) map[string]string {
	if nodes == 1 {
		return nil
	}
	return map[string]string{"default.replication.factor": strconv.Itoa(nodes), "min.insync.replicas": strconv.Itoa(nodes - 1)}
}

// race does all that the command is for.
func race(ctx context.Context, o options, sm seam.Seam) error {
	if o.from != "" {
		results, err := report.Load(o.from)
		if err != nil {
			return err
		}
		results.Stamp()
		return write(results, o)
	}
	results := &report.Results{Began: sm.Now(), Command: command(o), Scale: o.scale, Seed: bench.Seed}
	binary, err := buildTally(ctx, o)
	if err != nil {
		return err
	}
	field := newField(o, binary)
	for _, p := range field.installed() {
		say(sm, results.Began, "install %s", p.Name())
		if err := p.Install(ctx); err != nil {
			return fmt.Errorf("install %s (leave it out with PEERS): %w", p.Name(), err)
		}
	}
	results.Machine, results.Versions = report.Machine(), versions(ctx, binary)
	results.Settings = field.settings()
	r := &runner{o: o, sm: sm, field: field, results: results}
	err = r.runAll(ctx)
	results.Stamp()
	results.Took = sm.Since(results.Began)
	return finish(results, o, err)
}

// finish writes the page of a run that came to its end, and says which of its rows are not sound.
// One that did not leaves the page as it is: a work that was cut short must not replace a whole
// one.
func finish(results *report.Results, o options, ended error) error {
	results.Trim()
	if ended == nil {
		unsound := results.Unsound() // before the page's other works come in
		return errors.Join(write(results, o), unsound)
	}
	if len(results.Works) == 0 {
		return ended
	}
	if err := results.Save(o.results); err != nil {
		return errors.Join(ended, err)
	}
	return fmt.Errorf("%w\n%s is as it was; what was measured until then is in %s, and\n"+
		"`go run ./bench/cmd/peers --from %s --out FILE` makes a page of it", ended, o.out, o.results, o.results)
}

func write(results *report.Results, o options) error {
	if err := results.Save(o.results); err != nil {
		return err
	}
	if err := results.Write(o.out); err != nil {
		return err
	}
	fmt.Println("written:", o.out, "and", o.results)
	return nil
}

// command is the line that runs the same again.
func command(o options) string {
	line := "make bench-peers"
	if o.peers != "" {
		line += " PEERS=" + o.peers
	}
	if w := joined(o.works); w != joined(defaultWorks) {
		line += " WORK=" + w
	}
	if o.scale != 1 {
		line += fmt.Sprintf(" SCALE=%v", o.scale)
	}
	if o.reps != 3 {
		line += fmt.Sprintf(" REPS=%d", o.reps)
	}
	if o.budgeted {
		line += fmt.Sprintf(" BUDGET=%v", o.budget)
	}
	return line
}

func buildTally(ctx context.Context, o options) (string, error) {
	if o.tally != "" {
		return o.tally, nil
	}
	binary := filepath.Join(o.cache, "tally")
	if err := os.MkdirAll(o.cache, 0o755); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=auto", "-o", binary, "./cmd/tally")
	cmd.Dir = filepath.Dir(filepath.Dir(o.cache))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build tally: %w\n%s", err, out)
	}
	return binary, nil
}

// runner runs the works one after the other.
type runner struct {
	o       options
	sm      seam.Seam
	field   field
	results *report.Results
	lab     *trial.Lab
}

// runAll runs all works on one broker, and the work of three brokers on three.
func (r *runner) runAll(ctx context.Context) error {
	var one, three []string
	for _, w := range r.o.works {
		if w == "r" {
			three = append(three, w)
		} else {
			one = append(one, w)
		}
	}
	return errors.Join(r.onBrokers(ctx, 1, one), r.onBrokers(ctx, 3, three))
}

func (r *runner) onBrokers(ctx context.Context, nodes int, works []string) (err error) {
	if len(works) == 0 || ctx.Err() != nil {
		return nil
	}
	r.say("start %d broker(s)", nodes)
	cluster, err := testkafka.Launch(testkafka.Options{Nodes: nodes, JVM: brokerJVM(nodes), Props: replication(nodes)})
	if err != nil {
		return err
	}
	defer cluster.Close()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	for id := 1; id <= nodes; id++ {
		go watchBroker(ctx, stop, id, cluster.Ended(id), cluster.Log(id))
	}
	dir, err := runDir(r.o.cache)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r.results.Settings = append(r.results.Settings, report.Pair{
		Name: fmt.Sprintf("server.properties, broker 1 of %d", nodes), Value: strings.TrimSpace(cluster.Properties(1))})
	r.lab = &trial.Lab{Kafka: kafka.Config{Brokers: cluster.Addrs(), Seam: r.sm}, Dir: dir, Seam: r.sm}
	for id := 1; id <= nodes; id++ {
		r.lab.Brokers = append(r.lab.Brokers, cluster.PID(id))
	}
	if err := r.lab.Open(); err != nil {
		return err
	}
	defer r.lab.Close()
	if err := r.warm(ctx, nodes); err != nil {
		return fmt.Errorf("warm the brokers: %w", err)
	}
	for _, w := range works {
		before := len(r.results.Works)
		if err := r.work(ctx, w); err != nil {
			return fmt.Errorf("work %s: %w", w, err)
		}
		r.field.noteAbsent(r.results.Works[before:])
	}
	return nil
}

// noteAbsent gives each peer a row that was asked for by name and that none of a work's tables has.
func (f field) noteAbsent(tables []*report.Work) {
	for _, one := range strings.Split(f.chosen, ",") {
		has := func(w *report.Work) bool {
			return slices.ContainsFunc(w.Rows, func(row *report.Row) bool { return peers.Chosen(one, row.Peer) })
		}
		if one != "" && len(tables) > 0 && !slices.ContainsFunc(tables, has) {
			tables[0].Row(one, 0, "").LeftOut = "it has no part in this work"
		}
	}
}

// watchBroker stops the works when a broker ends: each would wait for it, for ever.
func watchBroker(ctx context.Context, stop context.CancelCauseFunc, id int, ended <-chan struct{}, log string) {
	select {
	case <-ctx.Done():
	case <-ended:
		const keep = 2000
		text, err := os.ReadFile(log)
		if err != nil {
			text = []byte(err.Error())
		}
		stop(fmt.Errorf("broker %d has ended by itself: %s", id, text[max(0, len(text)-keep):]))
	}
}

// runDir makes a folder for the states of one run, and removes those of commands that were killed.
func runDir(cache string) (string, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	old, err := filepath.Glob(filepath.Join(cache, "run-*"))
	if err != nil {
		return "", err
	}
	for _, dir := range old {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(dir), "run-%d-", &pid); err == nil && syscall.Kill(pid, 0) == nil {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return "", err
		}
	}
	return os.MkdirTemp(cache, fmt.Sprintf("run-%d-", os.Getpid()))
}

func (r *runner) say(format string, args ...any) { say(r.sm, r.results.Began, format, args...) }

// say tells a person how far it is.
func say(sm seam.Seam, began time.Time, format string, args ...any) {
	fmt.Printf("%7s  %s\n", sm.Since(began).Round(time.Second), fmt.Sprintf(format, args...))
}

// field are the peers that were chosen.
type field struct {
	chosen string
	binary string
	cache  string
}

func newField(o options, binary string) field { return field{o.peers, binary, o.cache} }

func (f field) tally(lanes int) peers.Peer { return peers.Tally{Binary: f.binary, Lanes: lanes} }
func (f field) streams() peers.Peer        { return peers.Streams{Cache: f.cache} }
func (f field) tuned() peers.Peer          { return peers.Streams{Cache: f.cache, Expert: true} }
func (f field) spark() peers.Peer          { return peers.Spark{Cache: f.cache} }

// sparkBatch is how many events a micro-batch of the row that takes several has.
const sparkBatch = 500_000

func (f field) spark500k(scale float64) peers.Peer {
	return peers.Spark{Cache: f.cache, BatchMax: max(int(sparkBatch*scale), 1000)}
}
func (f field) sparkRealTime() peers.Peer { return peers.Spark{Cache: f.cache, RealTime: true} }

// installed is one of each family.
func (f field) installed() []peers.Peer {
	var all []peers.Peer
	if f.has("kafka-streams") || f.has("kafka-streams-tuned") {
		all = append(all, f.tuned())
	}
	if f.has("pyspark") || f.has("pyspark-realtime") || f.has("pyspark-500k") {
		all = append(all, f.spark())
	}
	return all
}

// all are the peers that there are.
func (f field) all() []peers.Peer {
	return []peers.Peer{f.tally(0), f.tally(1), peers.Limit{}, f.streams(), f.tuned(), f.spark(), f.spark500k(1), f.sparkRealTime()}
}

// known refuses a name that chooses none: a run of tally alone would look like the one asked for.
func (f field) known() error {
	var names []string
	for _, p := range f.all() {
		names = append(names, p.Name())
	}
	if f.chosen == "" {
		return nil
	}
	for _, one := range strings.Split(f.chosen, ",") {
		if one == "" || !slices.ContainsFunc(names, func(name string) bool { return peers.Chosen(one, name) }) {
			return fmt.Errorf("there is no peer %q: say some of %s", one, joined(names))
		}
	}
	return nil
}

func (f field) has(name string) bool { return peers.Chosen(f.chosen, name) }

// only leaves out what was not chosen. tally always runs: the others stand beside it.
func (f field) only(all ...peers.Peer) []peers.Peer {
	var some []peers.Peer
	for _, p := range all {
		if _, own := p.(peers.Tally); own || f.has(p.Name()) {
			some = append(some, p)
		}
	}
	return some
}

func (f field) settings() []report.Pair {
	var all []report.Pair
	for _, p := range f.only(f.all()...) {
		all = append(all, report.Pair{Name: p.Name(), Value: joinedLines(p.Settings())})
	}
	brokers := append(brokerJVM(1), "(r): "+brokerJVM(3)[0]+" each")
	three := replication(3)
	for _, name := range slices.Sorted(maps.Keys(three)) {
		brokers = append(brokers, "(r): "+name+"="+three[name])
	}
	return append(all, report.Pair{Name: "brokers", Value: joinedLines(brokers)})
}

// warm has fresh brokers do what all runs ask of them, unmeasured. Their code is compiled only
// then, which the first row would pay for alone: up to half of its rate.
func (r *runner) warm(ctx context.Context, nodes int) error {
	in, err := r.lab.Fill(ctx, bench.Workload{Name: "warm", Events: 1_000_000, Keys: 200_000, Partitions: 4})
	if err != nil {
		return err
	}
	for range 2 * nodes {
		if _, err := r.lab.Throughput(ctx, peers.Limit{}, in, intervals[1], nil); err != nil {
			return err
		}
	}
	return r.lab.Drop(ctx, in)
}
