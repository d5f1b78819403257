package chaos

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/testkafka"
)

// machine is where a node runs: a data dir, a name, and how it is started there.
type machine struct {
	job     *job
	name    string
	dir     string
	brokers []string
	args    []string
	listen  string // default: a port that is free
	bare    bool   // it is given no spec: the cluster has the apps
	bin     string // default: the suite's
	guard   *guard // nil: it has no certificate, and wants no token
	starts  int
}

// process is one start of a node.
type process struct {
	t    testing.TB
	m    *machine
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when the process is gone
	addr string

	asked sync.Mutex
	api   *api.Client // one, whose connections are used again
}

// start runs the node, with these variables in its environment. It does not wait for anything.
func (m *machine) start(env ...string) *process {
	t := m.job.t
	t.Helper()
	m.starts++
	p := &process{t: t, m: m, done: make(chan struct{})}
	p.log = filepath.Join(m.job.dir, fmt.Sprintf("%s-%03d.log", m.name, m.starts))
	out, err := os.Create(p.log)
	must(t, err)
	defer out.Close()
	args := append([]string{"run", "--data-dir", m.dir, "--node", m.name,
		"--listen", cmp.Or(m.listen, "127.0.0.1:0"), "--log-format", "json"}, m.args...)
	if m.brokers != nil { // else it starts one of its own
		args = append(args, "--brokers", strings.Join(m.brokers, ","))
	}
	if !m.bare {
		args = append(args, "--spec", m.job.specFile)
	}
	p.cmd = exec.Command(cmp.Or(m.bin, m.job.s.bin), args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	must(t, testkafka.StartChild(p.cmd, p.done))
	t.Cleanup(p.cleanup)
	return p
}

func (p *process) cleanup() {
	p.signal(syscall.SIGKILL)
	<-p.done
	if p.t.Failed() && p.m.starts-p.number() < 3 {
		p.t.Logf("the log of %s (%v):\n%s", filepath.Base(p.log), p.cmd.ProcessState, tailOf(p.text(), 60))
	}
}

func (p *process) number() (n int) {
	_, _ = fmt.Sscanf(strings.TrimPrefix(filepath.Base(p.log), p.m.name+"-"), "%d", &n)
	return n
}

func tailOf(text string, n int) string {
	l := lines(text)
	return strings.Join(l[max(0, len(l)-n):], "\n")
}

func (p *process) text() string {
	text, _ := os.ReadFile(p.log)
	return string(text)
}

// signal sends sig; a process that is gone already is no error.
func (p *process) signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

// kill ends the process as a power cut of the node would.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// awaitKill waits until the process has killed itself at its failpoint.
func (p *process) awaitKill(within time.Duration, failpoint string) {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(within):
		p.t.Fatalf("the failpoint %s was not hit within %s", failpoint, within)
	}
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL || !strings.Contains(p.text(), "failpoint ") {
		p.t.Fatalf("the node ended (%v) and not at its failpoint %s", p.cmd.ProcessState, failpoint)
	}
}

// stop ends the process as an operator does, and wants it gone in time and without complaint.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		p.signal(syscall.SIGQUIT) // its goroutines are then in its log
		<-p.done
		p.t.Fatalf("the node did not stop within 10 s of SIGTERM; it was at\n%s", p.text())
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Fatalf("the node exits %d after SIGTERM", code)
	}
}

var asksAt = regexp.MustCompile(`ask it at (https?://[^\s"]+)`)

// client asks the node, once it has said its address.
func (p *process) client() *api.Client {
	p.t.Helper()
	if p.addr == "" {
		eventually(p.t, 30*time.Second, "the node says its address", func() string {
			if found := asksAt.FindStringSubmatch(p.text()); found != nil {
				p.addr = found[1]
				return ""
			}
			if p.ended() {
				p.t.Fatalf("the node ended at its start: %v", p.cmd.ProcessState)
			}
			return "it has not"
		})
	}
	p.asked.Lock()
	defer p.asked.Unlock()
	if p.api == nil {
		c, err := api.NewClient(p.addr, seam.World(), p.m.guard.options()...)
		must(p.t, err)
		p.api = c
	}
	return p.api
}

// status is what the node says of the app; an error when it does not say anything now.
func (p *process) status() (api.AppStatus, error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	st, err := p.client().Status(ctx)
	if err != nil {
		return api.AppStatus{}, err
	}
	for _, a := range st.Apps {
		if a.App == p.m.job.app {
			return a, nil
		}
	}
	return api.AppStatus{}, errors.New("the status has no app " + p.m.job.app)
}

// awaitStatus polls the status until look is content.
func (p *process) awaitStatus(within time.Duration, what string, look func(api.AppStatus) (missing string)) api.AppStatus {
	p.t.Helper()
	var last api.AppStatus
	eventually(p.t, within, what, func() string {
		st, err := p.status()
		if err != nil {
			if p.ended() {
				p.t.Fatalf("the node ended while the test waited until %s: %v", what, p.cmd.ProcessState)
			}
			return err.Error()
		}
		last = st
		return look(st)
	})
	return last
}

// allRun says which lane does not run.
func allRun(st api.AppStatus) string { return allAre(api.LaneRunning)(st) }

func allAre(want string) func(api.AppStatus) string {
	return func(st api.AppStatus) string {
		for _, l := range st.Lanes {
			if l.State != want {
				return fmt.Sprintf("lane %d is %s: %s", l.Lane, l.State, l.Reason)
			}
		}
		if len(st.Lanes) == 0 {
			return "there are no lanes"
		}
		return ""
	}
}

// restored are the first catch-ups of this start, by lane, from its log: a process that was
// killed soon after has them too.
func (p *process) restored() map[int]api.Restore {
	found := map[int]api.Restore{}
	for _, line := range lines(p.text()) {
		var entry struct {
			Msg  string `json:"msg"`
			Lane int    `json:"lane"`
			api.Restore
		}
		if json.Unmarshal([]byte(line), &entry) != nil || entry.Msg != "restored" {
			continue
		}
		if _, again := found[entry.Lane]; !again {
			found[entry.Lane] = entry.Restore
		}
	}
	return found
}
