package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
)

// preferredAddr is where the other commands look for a node when nothing is said.
const preferredAddr = "127.0.0.1:7400"

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
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if in != nil {
		p.cmd.Stdin = in
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

// tally runs a command of the binary to its end and returns what it printed.
func (s *show) tally(ctx context.Context, args ...string) ([]byte, error) {
	out, err := exec.CommandContext(ctx, s.opt.Binary, args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("tally %s: %s", args[0], bytes.TrimSpace(exit.Stderr))
	}
	return out, err
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

// startBroker starts the broker and learns from its log where it listens.
func (s *show) startBroker(ctx context.Context) error {
	var err error
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
	s.cfg = kafka.Config{Brokers: []string{s.brokers}, ClientID: "tally-demo", Seam: s.opt.Seam}
	if s.admin, err = kafka.NewAdmin(s.cfg); err != nil {
		return err
	}
	return s.admin.Reachable(ctx)
}

// startNode starts the node, which finds the broker by the data dir that they share.
func (s *show) startNode() (err error) {
	s.node, err = s.start("node", nil, "run", "--spec", s.specFile(), "--data-dir", s.dir,
		"--listen", s.server[len("http://"):])
	return err
}

// startProducer starts the producer and returns its input.
func (s *show) startProducer() (io.WriteCloser, error) {
	from, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.producer, err = s.start("producer", from, "produce", "--topic", input, "--key-delimiter", ":",
		"--brokers", s.brokers)
	from.Close()
	if err != nil {
		to.Close()
		return nil, err
	}
	s.view.say("producer pid %d sends %d sentences, %d a second", s.producer.pid(), s.opt.Events, s.opt.PerSecond)
	return to, nil
}

// awaitRunning waits until the node runs every lane.
func (s *show) awaitRunning(ctx context.Context) error {
	return s.await(ctx, s.node, "the node to run", func() (bool, error) {
		st, err := s.client.Status(ctx)
		if err != nil || len(st.Apps) == 0 || len(st.Apps[0].Lanes) == 0 {
			return false, nil
		}
		for _, l := range st.Apps[0].Lanes {
			if l.State != api.LaneRunning {
				return false, nil
			}
		}
		return true, nil
	})
}

// awaitCounted waits until everything that was sent is counted.
func (s *show) awaitCounted(ctx context.Context) error {
	return s.await(ctx, s.node, "the last events to be counted", func() (bool, error) {
		st, err := s.client.Status(ctx)
		if err != nil || len(st.Apps) == 0 {
			return false, nil
		}
		return st.Apps[0].Lag == 0 && st.Apps[0].Processed >= int64(s.opt.Events), nil
	})
}

// await polls until ready says so, the process ends, or it takes too long.
func (s *show) await(ctx context.Context, p *process, what string, ready func() (bool, error)) error {
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
		if err := s.opt.Seam.Sleep(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// freeAddr is the address that the other commands look at, or another one when that is taken.
func freeAddr() (string, error) {
	for _, addr := range []string{preferredAddr, "127.0.0.1:0"} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		addr = l.Addr().String()
		return addr, l.Close()
	}
	return "", errors.New("no free port on 127.0.0.1 for the node")
}
