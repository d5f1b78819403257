package demo

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

// Options says how to run the demo.
type Options struct {
	// Binary is the tally executable that broker, node and producer are started from.
	Binary string
	// Dir holds the data; empty means a new temporary directory, removed at the end unless Keep.
	Dir string
	// Keep leaves broker and node running and prints three commands to try.
	Keep bool
	// Out gets the show; Err what goes wrong at the end beside the error that Run returns.
	Out, Err io.Writer
	// TTY says that Out is a terminal, so that the top counts are drawn in place.
	TTY bool
	// Seam gives time and dials.
	Seam seam.Seam

	// Events is how many sentences are sent, and PerSecond how fast; 0 means 20,000 and 2,000.
	Events, PerSecond int
}

const (
	app       = "wordcount" // of the spec that `tally init wordcount` prints, and so are the topics
	input     = "input_event"
	output    = "output_event"
	changelog = app + ".changelog"

	startWait = 30 * time.Second // for a process to answer
	endWait   = 20 * time.Second // for the last events to be counted
	stopWait  = 10 * time.Second // for a process to end after SIGTERM
	pollEvery = 20 * time.Millisecond
)

// Run runs the demo to its end; nil means that every count and output was exact. A count or an
// output that is not makes it a *DifferenceError.
func Run(ctx context.Context, opt Options) (err error) {
	if opt.Events == 0 {
		opt.Events = 20_000
	}
	if opt.PerSecond == 0 {
		opt.PerSecond = 2_000
	}
	s := &show{opt: opt, view: newView(opt.Out, opt.TTY), sent: &sent{counts: map[group]int64{}}}
	defer func() { err = s.end(err) }()
	if err := s.prepare(ctx); err != nil {
		return err
	}
	return s.play(ctx)
}

// show is one demo.
type show struct {
	opt  Options
	dir  string
	made bool // dir is ours to remove
	view *view
	sent *sent

	broker, node, producer *process
	brokers                string // the broker's address
	server                 string // the node's URL
	client                 *api.Client
	admin                  *kafka.Admin
	cfg                    kafka.Config
}

// prepare starts the broker and the node.
func (s *show) prepare(ctx context.Context) error {
	if err := s.makeDir(); err != nil {
		return err
	}
	spec, err := s.tally(ctx, "init", "wordcount")
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.specFile(), spec, 0o644); err != nil {
		return fmt.Errorf("write the spec: %w", err)
	}
	if err := s.startBroker(ctx); err != nil {
		return err
	}
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	s.server = "http://" + addr
	if s.client, err = api.NewClient(s.server, s.opt.Seam); err != nil {
		return err
	}
	if err := s.startNode(); err != nil {
		return err
	}
	if err := s.awaitRunning(ctx); err != nil {
		return err
	}
	s.view.say("broker pid %d at %s, node pid %d at %s", s.broker.pid(), s.brokers, s.node.pid(), s.server)
	return nil
}

func (s *show) makeDir() error {
	s.dir = s.opt.Dir
	if s.dir != "" {
		return os.MkdirAll(s.dir, 0o755)
	}
	dir, err := os.MkdirTemp("", "tally-demo-")
	if err != nil {
		return fmt.Errorf("make a directory for the demo: %w", err)
	}
	s.dir, s.made = dir, true
	return nil
}

// play streams the sentences, kills the node in the middle, and compares at the end.
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
	if err := s.opt.Seam.Sleep(ctx, s.streaming()*2/5); err != nil {
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

// verdict compares and says how it went.
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
	if s.opt.Keep {
		s.sayKept()
	}
	s.view.say("exact: %d events, %d groups, 0 differences", s.opt.Events, len(s.sent.counts))
	return nil
}

// end stops what runs, unless it is to be kept, and removes the directory. It may make an error of
// a process that does not end.
func (s *show) end(err error) error {
	s.view.clear()
	if s.admin != nil {
		s.admin.Close()
	}
	if err == nil && s.opt.Keep {
		return nil
	}
	for _, p := range []*process{s.producer, s.node, s.broker} {
		err = s.first(err, p.stop(stopWait))
	}
	if s.made {
		err = s.first(err, os.RemoveAll(s.dir))
	}
	return err
}

// first is the error that Run returns when there are two; the other one is said at once.
func (s *show) first(err, next error) error {
	if err != nil && next != nil {
		fmt.Fprintln(s.opt.Err, "tally demo:", next)
		return err
	}
	return cmp.Or(err, next)
}

func (s *show) sayKept() {
	tally := s.opt.Binary
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, tally); err == nil && !strings.HasPrefix(rel, "..") {
			tally = "./" + rel
		}
	}
	at := ""
	if s.server != "http://"+preferredAddr {
		at = " --server " + s.server
	}
	s.view.say("broker and node are left running; their data and logs are in %s. Try:", s.dir)
	s.view.say("  %s top%s", tally, at)
	s.view.say("  echo 'ada:Hello Kafka' | %s produce --topic %s --key-delimiter :%s", tally, input, at)
	s.view.say("  %s get ada hello%s", tally, at)
	s.view.say("and end them with: kill %d %d", s.node.pid(), s.broker.pid())
}
