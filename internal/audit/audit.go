package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/processor/spec"
)

// Config says what is audited. Zero limits mean their defaults.
type Config struct {
	Spec  *spec.Spec
	Kafka kafka.Config
	Node  *Node // nil: no node is asked
	Seam  seam.Seam

	TempDir        string        // for the sorted runs; default: the system's
	RunBytes       int64         // of one sorted run, about; default 64 MiB
	FanIn          int           // runs merged at a time; default 32
	PositionsMax   int           // position records of a partition that a cut may lie between; default 10,000
	DifferencesMax int           // kept of each kind; default 10
	CutWait        time.Duration // for open transactions to end; default 1 min
	OffsetsWait    time.Duration // for a consumer group that is behind; default 10 s
	StageWait      time.Duration // for a second stage that is behind, or a first start, and stands still; default 3 s

	Progress io.Writer // default: nowhere
	TTY      bool      // Progress is a terminal: bars
}

// Node is a running node that answers for the app.
type Node struct {
	AppID      string
	Generation int
	// Scan gives every group with its values, all partitions folded, as the canonical JSON that the
	// API promises; then the position that the answer stands at in each partition of the topic that
	// the tasks with the counters read: the input, or of two stages the repartition topic.
	Scan func(ctx context.Context, fn func(group, values json.RawMessage) error) (map[int32]int64, error)
}

func (c Config) withDefaults() Config {
	c.RunBytes = or(c.RunBytes, 64<<20)
	c.FanIn = max(or(c.FanIn, 32), 2)
	c.PositionsMax = or(c.PositionsMax, 10_000)
	c.DifferencesMax = or(c.DifferencesMax, 10)
	c.CutWait = or(c.CutWait, time.Minute)
	c.OffsetsWait = or(c.OffsetsWait, 10*time.Second)
	c.StageWait = or(c.StageWait, 3*time.Second)
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	return c
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// MisfitError says that the given spec is not the one that the app was counted with.
type MisfitError struct {
	App  string
	Diff []spec.Difference
}

func (e *MisfitError) Error() string {
	text := "app " + e.App + " was not counted with this spec:"
	for _, d := range e.Diff {
		text += fmt.Sprintf("\n  %s: it was %s, this spec has %s", d.Field, d.Stored, d.Now)
	}
	return text + "\ngive the spec that the app runs with"
}

// ExitCode is that of a bad spec.
func (e *MisfitError) ExitCode() int { return 2 }

// audit is one run.
type audit struct {
	cfg     Config
	spec    *spec.Spec
	program *spec.Program
	codec   *outputCodec
	admin   *kafka.Admin
	dir     string // of the sorted runs
	meter   *meter
	found   findings

	input, output, changelog, dead kafka.Topic
	repartition                    kafka.Topic // without a name: there is none, or not the app's
	recordBytes                    int         // what the app's topics take now

	appID        string
	generation   int
	repartitions int     // 0: the app has one stage
	tasks        []*task // of the input, by partition; nil where nothing is counted yet
	seconds      []*task // of the second stage, by partition
	history      history
	starting     []int32 // partitions of the input of which nothing is counted yet
	otherInput   bool    // the input is not the topic that the app has counted
	undecided    []string

	tables                                       []*table // all of them
	spare                                        chan *cells
	outputs, changes, letters, recounts, answers *table
	partials                                     *table           // of two stages
	records                                      map[string]int64 // read, by check
	compared                                     map[string]int64 // by check
	outputCut                                    []int32          // partitions of the output whose beginning is deleted
	deadCut                                      []int32          // of the dead letters, likewise
	noStore                                      string           // why the store is not compared
	storeAt                                      map[int32]int64  // the input positions of its answer
	groups, counters, spanning                   int64
	gone                                         int64                      // counters whose outputs are deleted
	elsewhere                                    int64                      // counters whose outputs are, or may be, in an output topic of before
	thin                                         int64                      // counters with fewer outputs than items
	midstore                                     int64                      // groups of which the answer is between two positions
	offsets                                      map[string]map[int32]int64 // of the consumer group, by topic
}

// Run makes an audit. An error means that there is no result.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	cfg = cfg.withDefaults()
	admin, err := kafka.NewAdmin(cfg.Kafka)
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	dir, err := os.MkdirTemp(cfg.TempDir, "tally-audit-")
	if err != nil {
		return nil, fmt.Errorf("a directory for the audit's sorted runs: %w", err)
	}
	program := spec.Compile(cfg.Spec)
	a := &audit{
		cfg: cfg, spec: cfg.Spec, program: program, codec: newOutputCodec(cfg.Spec, program), admin: admin, dir: dir,
		meter: newMeter(cfg), found: findings{max: cfg.DifferencesMax}, spare: make(chan *cells, sparesMax),
		records: map[string]int64{}, compared: map[string]int64{},
	}
	err = a.run(ctx)
	a.meter.close()
	for _, t := range a.tables {
		err = errors.Join(err, t.written())
	}
	if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
		return nil, err
	}
	return a.report(), nil
}

func (a *audit) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		a.findTopics, a.awaitStore, a.scanStore, a.cut, a.readChangelog, a.readPartials, a.readDead, a.readOutput, a.readInput, a.compare,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	a.compareEvents()
	return nil
}

// cannot notes what the audit cannot decide.
func (a *audit) cannot(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(a.undecided, text) {
		a.undecided = append(a.undecided, text)
	}
}

func (a *audit) table(name string, combine combiner) *table {
	t := &table{dir: a.dir, name: name, limit: a.cfg.RunBytes, fanIn: a.cfg.FanIn, combine: combine, spare: a.spare}
	a.tables = append(a.tables, t)
	return t
}

// report puts together what was found.
func (a *audit) report() *Report {
	r := &Report{
		App: a.spec.App, AppID: a.appID, Generation: a.generation, Verdict: Exact,
		Groups: a.groups, Counters: a.counters, Spanning: a.spanning,
		Partitions: []Partition{}, Differences: a.found.sorted(), Found: a.found.total(),
		Undecided: append([]string{}, a.undecided...),
	}
	for _, t := range a.running() {
		r.Partitions = append(r.Partitions, t.row())
		r.Events += t.at(t.last()).events()
	}
	for _, t := range there(a.seconds) {
		r.Repartitions = append(r.Repartitions, t.secondRow())
	}
	r.Checks = a.checks()
	switch {
	case r.Found > 0:
		r.Verdict = Differences
	case len(r.Undecided) > 0:
		r.Verdict = Undecided
	}
	return r
}

func (a *audit) checks() []Check {
	of := []struct{ name, of string }{
		{"events", "events"}, {"dead", "unreadable events"}, {"positions", "position records"},
		{"partials", "counters"}, {"changelog", "counters"}, {"output", "counters"},
		{"store", "groups"}, {"offsets", "partitions"},
	}
	var checks []Check
	for _, c := range of {
		if c.name == "partials" && a.repartitions == 0 {
			continue
		}
		check := Check{Name: c.name, Of: c.of, Compared: a.compared[c.name], Records: a.records[c.name], Differences: a.found.of(c.name)}
		switch {
		case c.name == "store":
			check.Skipped = a.noStore
		case c.name == "output" && a.spec.Output == nil:
			check.Skipped = "the app has no output"
		}
		checks = append(checks, check)
	}
	return checks
}
