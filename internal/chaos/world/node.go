package world

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/failpoint"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/testkafka"
)

// node is a place for a node, and the process that runs there now.
type node struct {
	w      *World
	name   string
	dir    string
	listen string // its own address
	addr   string // that of its proxy, which everybody else uses
	shared *failpoint.Shared
	own    *api.Client // past the proxy
	public *api.Client

	turn   sync.Mutex // of who starts or ends the process
	mu     sync.Mutex
	proc   *process // nil: none runs
	starts int
	full   int   // faults that keep its files from growing
	hung   int   // faults that have its syncs hang
	off    int64 // seconds by which its clock is off, of all faults
}

// errNotRunning is what nobody can be done anything to.
var errNotRunning = errors.New("the node does not run")

// process is one start.
type process struct {
	cmd     *exec.Cmd
	start   int
	began   time.Time
	done    chan struct{}
	meant   bool // under node.mu: it was told to end
	stopped int  // under node.mu: by so many SIGSTOPs
}

// makeNodes makes all places, so that the addresses are known.
func (w *World) makeNodes() error {
	for i, name := range append(append([]string{}, w.opt.Nodes...), w.opt.Spare...) {
		n, err := w.newNode(name)
		if err != nil {
			return err
		}
		w.nodes[name] = n
		if i < len(w.opt.Nodes) {
			w.join = strings.TrimPrefix(w.join+","+n.addr, ",")
		}
	}
	return nil
}

func (w *World) newNode(name string) (*node, error) {
	port, err := testkafka.FreePort() // not of the range that connections are given, or it is taken while the node is away
	if err != nil {
		return nil, err
	}
	n := &node{w: w, name: name, listen: fmt.Sprintf("127.0.0.1:%d", port), dir: filepath.Join(w.opt.Dir, history.DataDir, name)}
	if n.addr, err = w.links.Listen(name, n.listen); err != nil {
		return nil, err
	}
	if n.shared, err = failpoint.Open(filepath.Join(w.opt.Dir, history.DataDir, name+".shared")); err != nil {
		return nil, err
	}
	if n.own, err = api.NewClient("http://"+n.listen, seam.World()); err != nil {
		return nil, err
	}
	n.public, err = api.NewClient("http://"+n.addr, seam.World())
	return n, err
}

// start runs the node, unless it runs already or the world is over. Its machine is as it was: the
// clock as far off, and the disk as slow.
func (n *node) start() error {
	n.turn.Lock()
	defer n.turn.Unlock()
	if n.running() != nil || n.w.over() {
		return nil
	}
	n.mu.Lock()
	n.starts++
	p := &process{start: n.starts, began: time.Now(), done: make(chan struct{})}
	n.mu.Unlock()
	log, err := os.Create(filepath.Join(n.w.opt.Dir, history.LogDir, fmt.Sprintf("%s-%03d.log", n.name, p.start)))
	if err != nil {
		return err
	}
	p.cmd = exec.Command(n.w.opt.Bin, "run", "--brokers", strings.Join(n.w.cluster.ProxyAddrs(), ","), "--data-dir", n.dir,
		"--node", n.name, "--listen", n.listen, "--advertise", n.addr, "--join", n.w.join, "--memory", n.w.opt.memory(), "--log-format", "json")
	p.cmd.Env = append(os.Environ(), failpoint.Env+"="+filepath.Join(n.w.opt.Dir, history.DataDir, n.name+".shared"))
	// Behind a pipe the log lies on no disk of the node's, so that it is whole when that is full,
	// and a write that is refused is one of its data.
	p.cmd.Stdout = struct{ io.Writer }{log}
	p.cmd.Stderr = p.cmd.Stdout
	n.shared.Reset()
	n.machine(func() {})
	if err := testkafka.StartChild(p.cmd, p.done); err != nil {
		return errors.Join(err, log.Close())
	}
	pid := p.cmd.Process.Pid
	n.w.links.Register(n.name, pid)
	n.mu.Lock()
	n.proc = p
	n.mu.Unlock()
	n.w.write(history.Event{Kind: history.KindProcess, Process: &history.Process{Name: n.name, Start: p.start, Pid: pid, Started: p.began}})
	go func() {
		n.attend(p)
		_ = log.Close()
	}()
	return nil
}

// attend waits for the process's end, and starts the node again when nobody meant it to end.
func (n *node) attend(p *process) {
	<-p.done
	n.w.links.Forget(p.cmd.Process.Pid)
	n.mu.Lock()
	if n.proc == p {
		n.proc = nil
	}
	meant, full := p.meant, n.full > 0
	n.mu.Unlock()
	n.w.write(history.Event{Kind: history.KindProcess, Process: &history.Process{
		Name: n.name, Start: p.start, Pid: p.cmd.Process.Pid, Started: p.began, Ended: time.Now(), How: p.cmd.ProcessState.String(), Meant: meant,
	}})
	if meant || n.w.over() {
		return
	}
	if words, panicked := n.lastWords(p); full && !panicked {
		n.w.note("node %s ended on its full disk, and starts again (%v): %s", n.name, p.cmd.ProcessState, words)
	} else {
		n.w.problem("node %s ended by itself (%v): %s", n.name, p.cmd.ProcessState, words)
	}
	if err := n.start(); err != nil {
		n.w.problem("node %s does not start again: %v", n.name, err)
	}
}

// lastWords are the end of a process's log, or the panic that it has.
func (n *node) lastWords(p *process) (words string, panicked bool) {
	text, _ := os.ReadFile(filepath.Join(n.w.opt.Dir, history.LogDir, fmt.Sprintf("%s-%03d.log", n.name, p.start)))
	return lastWords(string(text))
}

func lastWords(log string) (words string, panicked bool) {
	const most = 600
	for _, mark := range []string{"panic: ", "fatal error: "} { // of Go; the second is of its runtime
		if at := strings.LastIndex("\n"+log, "\n"+mark); at >= 0 {
			return log[at:min(len(log), at+most)], true
		}
	}
	return log[max(0, len(log)-most):], false
}

func (n *node) running() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc
}

// lively says whether the node runs and nobody has stopped it.
func (n *node) lively() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc != nil && n.proc.stopped == 0 && !n.proc.meant
}

// doom says that the process's end is meant.
func (n *node) doom() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc != nil {
		n.proc.meant = true
	}
	return n.proc
}

// powerMost is how long a node may take to lose its power; one that is stopped does not.
const powerMost = 2 * time.Second

// cutPower ends the node, and its stores lose what was not synced. It is an error when the node had
// to be killed for it, and so has lost nothing.
func (n *node) cutPower() error {
	n.turn.Lock()
	defer n.turn.Unlock()
	p := n.doom()
	if p == nil {
		return errNotRunning
	}
	defer n.gone(p)
	n.shared.CutPower()
	select {
	case <-p.done:
		return nil
	case <-time.After(powerMost):
	}
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.done
	return errors.New("the node did not hear that its power is cut, and was killed")
}

// kill ends the node with SIGKILL, and says whether there was anything to kill.
func (n *node) kill() bool {
	n.turn.Lock()
	defer n.turn.Unlock()
	p := n.doom()
	if p == nil {
		return false
	}
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.done
	n.gone(p)
	return true
}

var errStarted = errors.New("another fault has started the node meanwhile")

// atRest does something to the files of a node that does not run, which nobody starts meanwhile.
func (n *node) atRest(do func() error) error {
	n.turn.Lock()
	defer n.turn.Unlock()
	if n.running() != nil {
		return errStarted
	}
	return do()
}

// gone forgets the process, so that a start that comes at once starts another. What it has left on
// disk is copied before anything else happens to it, but for the run's end, which leaves it there.
func (n *node) gone(p *process) {
	if !n.w.over() {
		if err := n.w.copies.Take(n.name, p.start, filepath.Join(n.dir, "state")); err != nil {
			n.w.problem("%v", err)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc == p {
		n.proc = nil
	}
}

// termMost is how long a node may take to stop as an operator asks it to, while all kinds of things
// are broken.
const termMost = 40 * time.Second

// term ends the node as an operator does, or as the end of ctx does.
func (n *node) term(ctx context.Context) error {
	n.turn.Lock()
	defer n.turn.Unlock()
	p := n.doom()
	if p == nil {
		return errNotRunning
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	n.mu.Lock()
	stopped := p.stopped > 0
	n.mu.Unlock()
	select {
	case <-p.done:
		n.gone(p)
		if code := p.cmd.ProcessState.ExitCode(); code != 0 && p.cmd.ProcessState.Exited() {
			words, _ := n.lastWords(p)
			n.w.problem("node %s exits %d after SIGTERM: %s", n.name, code, words)
		}
		return nil
	case <-ctx.Done():
		_ = p.cmd.Process.Signal(syscall.SIGKILL)
		<-p.done
		n.gone(p)
		return ctx.Err()
	case <-time.After(termMost):
	}
	if !stopped {
		n.w.problem("node %s did not stop within %v of SIGTERM", n.name, termMost)
	}
	_ = p.cmd.Process.Signal(syscall.SIGQUIT) // its goroutines are then in its log
	select {
	case <-p.done:
	case <-time.After(2 * time.Second): // a stopped process hears nothing else
		_ = p.cmd.Process.Signal(syscall.SIGKILL)
		<-p.done
	}
	n.gone(p)
	return nil
}

// stop freezes the process, and gives what lets it go on.
func (n *node) stop() (goOn func(), err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.proc
	if p == nil {
		return nil, errNotRunning
	}
	p.stopped++
	_ = p.cmd.Process.Signal(syscall.SIGSTOP)
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if p.stopped--; p.stopped == 0 {
			_ = p.cmd.Process.Signal(syscall.SIGCONT)
		}
	}, nil
}

// fill takes the room that the process's stores have to grow, as a full disk does, keeps its other
// files from growing beyond so many bytes, and gives what makes room again. A process that starts
// meanwhile has room.
func (n *node) fill(bytes uint64) (room func(), err error) {
	p := n.running()
	if p == nil {
		return nil, errNotRunning
	}
	if err := limitFiles(p, bytes); err != nil {
		return nil, err
	}
	n.mu.Lock()
	n.full++
	n.shared.FillDisk(true)
	n.mu.Unlock()
	return func() {
		n.mu.Lock()
		if n.full--; n.full == 0 {
			n.shared.FillDisk(false)
		}
		n.mu.Unlock()
		_ = limitFiles(p, unix.RLIM_INFINITY) // it may be gone
	}, nil
}

// setClock sets the node's clock off by so many seconds more, and gives what sets it back.
func (n *node) setClock(seconds int64) (back func()) {
	n.machine(func() { n.off += seconds })
	return func() { n.machine(func() { n.off -= seconds }) }
}

// hangSyncs has the syncs of the node's disk hang, and gives what lets them go on.
func (n *node) hangSyncs() (goOn func()) {
	n.machine(func() { n.hung++ })
	return func() { n.machine(func() { n.hung-- }) }
}

// machine changes what the node stands on, and tells the process of it.
func (n *node) machine(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
	n.shared.SetClock(n.off)
	n.shared.HangSyncs(n.hung > 0)
}

func limitFiles(p *process, bytes uint64) error {
	limit := unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY}
	return unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil)
}
