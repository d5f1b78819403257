package testkafka

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// process is a child that dies with us.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the child has ended
}

func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	return p, StartChild(cmd, p.done)
}

// StartChild starts cmd so that the kernel kills it when this process ends, and closes done when
// the child has ended; cmd.ProcessState then says how. The kernel sends that signal when the
// *thread* that forked ends, so a goroutine holds its thread until the child is gone. The child has
// a process group of its own: what a terminal sends at Ctrl-C comes to this process alone, which
// knows in which order to end what.
func StartChild(cmd *exec.Cmd, done chan<- struct{}) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig, cmd.SysProcAttr.Setpgid = syscall.SIGKILL, true
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // ProcessState tells
			close(done)
		}
	}()
	return <-started
}

// signal sends sig; a child that has ended already is no error.
func (p *process) signal(sig syscall.Signal) {
	_ = p.cmd.Process.Signal(sig)
}

// freeze stops the child and waits until the kernel has stopped all of it: a signal is only a wish.
func (p *process) freeze() {
	p.signal(syscall.SIGSTOP)
	for !p.ended() && !p.frozen() {
		<-time.After(time.Millisecond)
	}
}

// frozen reads the state of every thread of the child.
func (p *process) frozen() bool {
	stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
	for _, name := range stats {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // a thread that has just ended
		}
		_, rest, _ := strings.Cut(string(data), ") ")
		if !strings.HasPrefix(rest, "T") {
			return false
		}
	}
	return len(stats) > 0
}

// kill ends the child and waits until it is gone. SIGKILL also ends a stopped process.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// ended says whether the child has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// alive says whether a process with this id exists.
func alive(pid int) bool {
	p, err := os.FindProcess(pid)
	return err == nil && p.Signal(syscall.Signal(0)) == nil
}
