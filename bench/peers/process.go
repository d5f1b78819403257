package peers

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// A Process is a running peer.
type Process struct {
	cmd     *exec.Cmd
	running chan struct{} // closed with the line "running"
	ended   chan struct{}
	err     error // of the end; after ended
	logPath string
	sm      seam.Seam
}

// Start starts a command whose output goes to a log in dir. The kernel kills it when we die; it
// sends that signal when the thread that forked ends, so that thread waits for the child.
func Start(cmd *exec.Cmd, dir string, sm seam.Seam) (*Process, error) {
	p := &Process{cmd: cmd, running: make(chan struct{}), ended: make(chan struct{}),
		logPath: filepath.Join(dir, "log"), sm: sm}
	log, err := os.OpenFile(p.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	watch := &lineWatch{to: log, found: func() { close(p.running) }}
	cmd.Stdout, cmd.Stderr = watch, watch
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// A grandchild that holds the pipe must not hold up the end.
	cmd.WaitDelay = 2 * time.Second
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer log.Close()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Running waits for the line "running".
func (p *Process) Running(ctx context.Context) error {
	select {
	case <-p.running:
		return nil
	case <-p.ended:
		return p.endedError()
	case <-ctx.Done():
		return fmt.Errorf("it is not running yet: %w\n%s", ctx.Err(), p.Log())
	}
}

// Check is an error when the process has ended.
func (p *Process) Check() error {
	select {
	case <-p.ended:
		return p.endedError()
	default:
		return nil
	}
}

func (p *Process) endedError() error {
	how := "exit status 0"
	if p.err != nil {
		how = p.err.Error()
	}
	return fmt.Errorf("it ended by itself: %s\n%s", how, p.Log())
}

// stopWait is how long a peer may take to end cleanly.
const stopWait = 20 * time.Second

// Stop asks the peer to end, and kills what is left after a while.
func (p *Process) Stop() {
	p.signal(syscall.SIGTERM)
	wait, free := p.sm.Timer(stopWait)
	defer free()
	select {
	case <-p.ended:
	case <-wait:
	}
	p.Kill()
}

// Kill ends the peer and its children at once.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL) // the group may be gone
	<-p.ended
}

func (p *Process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) } // it may have ended

// Log is the end of what the peer has said.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.logPath)
	if err != nil {
		return err.Error()
	}
	const keep = 4000
	return string(text[max(0, len(text)-keep):])
}

// lineWatch passes output on and calls found once, at the line "running".
type lineWatch struct {
	mu    sync.Mutex
	to    *os.File
	line  []byte
	found func()
}

func (w *lineWatch) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.found != nil {
		w.line = append(w.line, b...)
		for {
			line, rest, whole := bytes.Cut(w.line, []byte("\n"))
			if !whole {
				break
			}
			w.line = rest
			if string(line) == "running" {
				w.found()
				w.found, w.line = nil, nil
				break
			}
		}
	}
	return w.to.Write(b)
}
