package demo

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/processor/spec"
)

// Options says how to run the demo.
type Options struct {
	// Binary is the tally executable that broker, nodes and producer are started from.
	Binary string
	// Dir holds the data; empty means a new temporary directory, removed at the end unless Keep.
	Dir string
	// Brokers and KafkaConfig are of the Kafka to count on; without both an embedded broker is
	// started, as a process that is not killed. Env is where Kafka's secrets may be.
	Brokers     []string
	KafkaConfig string
	Env         func(string) string
	// Keep leaves broker and nodes running and prints commands to try.
	Keep bool
	// Out gets the show; Err what goes wrong at the end beside the error that Run returns.
	Out, Err io.Writer
	// TTY says that Out is a terminal, so that nodes and top counts are drawn in place.
	TTY bool
	// Seam gives time and dials.
	Seam seam.Seam

	// Listen is where the first node answers; "" means where the other commands look, or any free
	// port when that is taken.
	Listen string
	// Events is how many sentences are sent, and PerSecond how fast; 0 means 20,000 and 2,000.
	Events, PerSecond int
}

const (
	startWait = 30 * time.Second // for a process to answer
	endWait   = 20 * time.Second // for the last events to be counted
	stopWait  = 10 * time.Second // for a process to end after SIGTERM, and for a Kafka to answer
	pollEvery = 20 * time.Millisecond
)

// names are what the app and its topics are called.
type names struct{ app, input, output string }

// standard are those of the spec that `tally init wordcount` prints.
var standard = names{app: "wordcount", input: "input_event", output: "output_event"}

func (n names) changelog() string { return spec.ChangelogTopic(n.app) }

// all are the topics of the app, of which it may not have each.
func (n names) all() []string {
	return append([]string{n.input, n.output}, spec.OwnTopics(n.app)...)
}

// Run runs the demo to its end; nil means that every count and output was exact. A count or an
// output that is not makes it a *DifferenceError.
func Run(ctx context.Context, opt Options) (err error) {
	if opt.Events == 0 {
		opt.Events = 20_000
	}
	if opt.PerSecond == 0 {
		opt.PerSecond = 2_000
	}
	if opt.Env == nil {
		opt.Env = func(string) string { return "" }
	}
	s := &show{opt: opt, view: newView(opt.Out, opt.TTY), sent: &sent{counts: map[group]int64{}}, names: standard}
	if len(opt.Brokers) > 0 || opt.KafkaConfig != "" {
		app := "tally-demo-" + opt.Seam.NewID()[:8]
		s.names = names{app: app, input: app + ".input", output: app + ".output"}
	}
	defer func() { err = s.end(err) }()
	if err := s.prepare(ctx); err != nil {
		return err
	}
	return s.play(ctx)
}

// show is one demo.
type show struct {
	opt   Options
	names names
	dir   string
	made  bool // dir is ours to remove
	view  *view
	sent  *sent

	childEnd, ownEnd *os.File // of the lifeline
	broker, producer *process // broker is nil on a Kafka that was named
	nodes            []*node
	brokers          string // of the Kafka, as --brokers wants it; "" when --kafka-config says it
	admin            *kafka.Admin
	submitted        bool // the app may be there, and its topics
}

// prepare starts the broker and the nodes, and submits the app.
func (s *show) prepare(ctx context.Context) error {
	if err := s.makeDir(); err != nil {
		return err
	}
	if err := s.writeSpec(ctx); err != nil {
		return err
	}
	if err := s.startKafka(ctx); err != nil {
		return err
	}
	if err := s.startNodes(ctx); err != nil {
		return err
	}
	began := s.opt.Seam.Now()
	s.submitted = true // also where it is broken off: the node may have heard of it
	if _, err := s.tally(ctx, "submit", s.specFile(), "--server", s.nodes[0].url()); err != nil {
		return err
	}
	st, err := s.awaitHealthy(ctx, "every lane to run, with a standby")
	if err != nil {
		return err
	}
	s.view.say("the lanes of app %s run, each with a standby that follows it, %d ms after the submit:", s.names.app,
		s.opt.Seam.Since(began).Milliseconds())
	for _, line := range placement(st, s.nodes) {
		s.view.say("  %s", line)
	}
	return nil
}

func (s *show) makeDir() error {
	s.dir = s.opt.Dir
	if s.dir == "" {
		dir, err := os.MkdirTemp("", "tally-demo-")
		if err != nil {
			return fmt.Errorf("make a directory for the demo: %w", err)
		}
		s.dir, s.made = dir, true
		return nil
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return fmt.Errorf("make a directory for the demo: %w", err)
	}
	if there, err := os.ReadDir(s.dir); err != nil || len(there) > 0 {
		return cmp.Or[error](err, &usageError{
			fmt.Errorf("%s is not empty: the demo counts from nothing, so give it a new --data-dir", s.dir)})
	}
	return nil
}

// usageError says that a flag, or what it names, was not chosen well.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// ExitCode is the process's exit code: bad usage.
func (e *usageError) ExitCode() int { return 2 }

// writeSpec is `tally init wordcount`, under the demo's names.
func (s *show) writeSpec(ctx context.Context) error {
	text, err := s.tally(ctx, "init", "wordcount")
	if err != nil {
		return err
	}
	named := strings.NewReplacer(standard.app, s.names.app, standard.input, s.names.input, standard.output, s.names.output)
	if err := os.WriteFile(s.specFile(), []byte(named.Replace(string(text))), 0o644); err != nil {
		return fmt.Errorf("write the spec: %w", err)
	}
	return nil
}

// play streams the sentences, kills a node in the middle and has it back, and compares at the end.
func (s *show) play(ctx context.Context) error {
	feed, err := s.startProducer()
	if err != nil {
		return err
	}
	streaming, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { s.watch(streaming) })
	endWatch := func() { cancel(); watching.Wait() }
	defer endWatch()
	fed := make(chan error, 1)
	go func() { fed <- s.feed(streaming, feed) }()
	if err := s.opt.Seam.Sleep(ctx, s.streaming()*3/10); err != nil {
		return err
	}
	if err := s.killAndRestart(ctx); err != nil {
		return err
	}
	if err := <-fed; err != nil {
		return fmt.Errorf("feed the producer: %w\n%s", err, s.producer.tail())
	}
	if err := s.producer.wait(stopWait); err != nil {
		return fmt.Errorf("the producer: %w\n%s", err, s.producer.tail())
	}
	if err := s.awaitCounted(ctx); err != nil {
		return err
	}
	endWatch()
	s.view.clear()
	return s.verdict(ctx)
}

// streaming is how long the sentences take.
func (s *show) streaming() time.Duration {
	return time.Duration(s.opt.Events) * time.Second / time.Duration(s.opt.PerSecond)
}

// verdict compares, has tally's own audit recount, and says how it went.
func (s *show) verdict(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, endWait)
	defer cancel()
	differences, err := s.compare(ctx)
	if err != nil {
		return err
	}
	if len(differences) > 0 {
		return &DifferenceError{Differences: differences}
	}
	if err := s.audit(ctx); err != nil {
		return err
	}
	if s.opt.Keep {
		s.sayKept()
	}
	s.view.say("exact: %d events, %d groups, 0 differences", s.opt.Events, len(s.sent.counts))
	return nil
}

// audit runs `tally audit`, as a user would, and says its last line.
func (s *show) audit(ctx context.Context) error {
	said, err := s.tally(ctx, append([]string{"audit", "--app", s.names.app, "--server", s.nodes[0].url()}, s.kafkaFlags()...)...)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	s.view.say("tally audit, which recounts the input: %s", lines[len(lines)-1])
	return nil
}

// watch shows nodes and top counts until ctx ends. While nobody answers it shows the last ones.
func (s *show) watch(ctx context.Context) {
	every := time.Second
	if s.opt.TTY {
		every = 200 * time.Millisecond
	}
	began := s.opt.Seam.Now()
	var last frame
	for s.opt.Seam.Sleep(ctx, every) == nil {
		last.seconds = s.opt.Seam.Since(began).Seconds()
		last.sent = s.sent.total()
		if st, err := s.status(ctx); err == nil {
			last.counted = st.Apps[0].Processed
			last.nodes = placement(st, s.nodes)
		}
		top, err := s.ask().client.Top(ctx, s.names.app, topRows, api.ReadOptions{Wait: time.Millisecond})
		if err == nil {
			last.top = top.Counts
		}
		if ctx.Err() == nil {
			s.view.draw(last)
		}
	}
}
