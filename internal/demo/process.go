package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tally-kafka/tally/internal/kafka"
)

// process is a child with its output in a file, which goes on when the demo has ended. A nil
// process is one that was never started.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
	err  error         // how it ended; only after done
}

// start runs the tally binary. The child gets a process group of its own: a Ctrl-C is the demo's,
// which then ends its children in order.
func (s *show) start(name string, in *os.File, args ...string) (*process, error) {
	p := &process{log: filepath.Join(s.dir, name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("the log of the %s: %w", name, err)
	}
	defer log.Close()
	p.cmd = exec.Command(s.opt.Binary, args...)
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Env = log, log, childEnv()
	switch {
	case in != nil:
		p.cmd.Stdin = in
	case !s.opt.Keep:
		if p.cmd.Stdin, err = s.lifeline(); err != nil {
			return nil, err
		}
		p.cmd.Env = append(p.cmd.Env, StdinEnv+"=1")
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// StdinEnv says to a tally that it is to end with its standard input.
const StdinEnv = "TALLY_ENDS_WITH_STDIN"

// lifeline is a standard input for children that ends when the demo does, be it by kill -9: the
// other end is the demo's alone, and nothing is ever written there.
func (s *show) lifeline() (*os.File, error) {
	if s.childEnd == nil {
		var err error
		if s.childEnd, s.ownEnd, err = os.Pipe(); err != nil {
			return nil, fmt.Errorf("make a pipe for the demo's processes: %w", err)
		}
	}
	return s.childEnd, nil
}

// childEnv is the environment without settings that are meant for the user's own nodes; the secrets
// of Kafka stay.
func childEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "TALLY_") && !strings.HasPrefix(v, "TALLY_KAFKA_")
	})
}

// tally runs a command of the binary to its end and returns what it printed.
func (s *show) tally(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, s.opt.Binary, args...)
	var complaint bytes.Buffer
	cmd.Stderr, cmd.Env = &complaint, childEnv()
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, &commandError{args[0], exit.ExitCode(), bytes.TrimSpace(append(complaint.Bytes(), out...))}
	}
	return out, err
}

// commandError says that a command of the binary has failed.
type commandError struct {
	command string
	code    int
	said    []byte
}

// ExitCode is that of the command: of an audit, 4 for a difference, and 6 where it could not
// decide.
func (e *commandError) ExitCode() int { return e.code }

func (e *commandError) Error() string {
	return fmt.Sprintf("tally %s exits %d: %s", e.command, e.code, e.said)
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// wait waits for the process to end by itself; an exit code other than 0 is an error.
func (p *process) wait(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("pid %d still runs after %s", p.pid(), limit)
	}
}

// stop ends the process with SIGTERM, and with SIGKILL when that is not enough. A frozen one is
// woken.
func (p *process) stop(limit time.Duration) error {
	if p == nil || p.ended() {
		return nil
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails only when it has ended just now
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	err := p.wait(limit)
	if p.ended() {
		return nil
	}
	p.kill()
	return fmt.Errorf("pid %d did not end after SIGTERM: %w", p.pid(), err)
}

// kill is kill -9, and waits until the process is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails only when it has ended already
	<-p.done
}

// tail is the end of the process's log, for an error.
func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	const most = 2000
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return string(bytes.TrimSpace(text))
}

func (s *show) specFile() string { return filepath.Join(s.dir, "wordcount.yaml") }

var loopback = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// startKafka starts the embedded broker, in a process of its own, or looks at the Kafka that was
// named.
func (s *show) startKafka(ctx context.Context) (err error) {
	if s.names == standard {
		if err := s.startBroker(ctx); err != nil {
			return err
		}
	} else {
		s.brokers = strings.Join(s.opt.Brokers, ",")
	}
	cfg, err := kafka.Load(splitBrokers(s.brokers), s.opt.KafkaConfig, s.opt.Env, s.opt.Seam)
	if err != nil {
		return &usageError{err}
	}
	cfg.ClientID = "tally-demo"
	if s.admin, err = kafka.NewAdmin(cfg); err != nil {
		return err
	}
	reaching, cancel := context.WithTimeout(ctx, stopWait)
	defer cancel()
	if err := s.admin.Reachable(reaching); err != nil {
		if ctx.Err() == nil && reaching.Err() != nil {
			err = fmt.Errorf("the Kafka at %s has not answered within %s: is that its address? (%w)", strings.Join(cfg.Brokers, ","), stopWait, err)
		}
		return err
	}
	if s.broker == nil {
		s.view.say("Kafka at %s; the demo's app is %s, and its topics begin with that", strings.Join(cfg.Brokers, ","), s.names.app)
	}
	return nil
}

func splitBrokers(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

// startBroker starts the broker and learns from its log where it listens.
func (s *show) startBroker(ctx context.Context) (err error) {
	if s.broker, err = s.start("broker", nil, "broker", "--data-dir", s.dir); err != nil {
		return err
	}
	err = s.await(ctx, s.broker, "the broker to listen", func() (bool, error) {
		text, err := os.ReadFile(s.broker.log)
		s.brokers = string(loopback.Find(text))
		return s.brokers != "", err
	})
	if err != nil {
		return err
	}
	s.view.say("an embedded broker, pid %d, at %s: a process of its own, which is not killed", s.broker.pid(), s.brokers)
	return nil
}

// kafkaFlags say to a command which Kafka it is about.
func (s *show) kafkaFlags() (flags []string) {
	if s.brokers != "" {
		flags = append(flags, "--brokers", s.brokers)
	}
	if s.opt.KafkaConfig != "" {
		flags = append(flags, "--kafka-config", s.opt.KafkaConfig)
	}
	return flags
}

// startProducer starts the producer and returns its input.
func (s *show) startProducer() (io.WriteCloser, error) {
	from, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	args := append([]string{"produce", "--topic", s.names.input, "--key-delimiter", ":", "--server", s.ask().url()}, s.kafkaFlags()...)
	s.producer, err = s.start("producer", from, args...)
	from.Close()
	if err != nil {
		to.Close()
		return nil, err
	}
	s.view.say("a producer, pid %d, sends %d sentences, %d a second", s.producer.pid(), s.opt.Events, s.opt.PerSecond)
	return to, nil
}

// await polls until ready says so, the process ends, or it takes too long.
func (s *show) await(ctx context.Context, p *process, what string, ready func() (bool, error)) error {
	return s.awaitBy(ctx, pollEvery, p, what, ready)
}

func (s *show) awaitBy(ctx context.Context, every time.Duration, p *process, what string, ready func() (bool, error)) error {
	limit := s.opt.Seam.Now().Add(startWait)
	for {
		ok, err := ready()
		if ok || err != nil {
			return err
		}
		if p.ended() {
			return fmt.Errorf("waiting for %s: pid %d has ended (%v)\n%s", what, p.pid(), p.err, p.tail())
		}
		if s.opt.Seam.Now().After(limit) {
			return fmt.Errorf("waiting for %s: not within %s\n%s", what, startWait, p.tail())
		}
		if err := s.opt.Seam.Sleep(ctx, every); err != nil {
			return err
		}
	}
}
