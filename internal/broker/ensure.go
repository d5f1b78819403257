package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

// Options are those of a node that wants a broker.
type Options struct {
	DataDir string
	Command []string // starts the broker's process; nil: this program with `broker --data-dir DIR`
	Seam    seam.Seam
	Log     *slog.Logger
}

// Running is a broker that answers, and this node's hold on it.
type Running struct {
	Addr      string
	PID       int
	ClusterID string
	Started   bool     // by this call
	Warnings  []string // what the broker found at its start: an unclean end, half a transaction

	dir  dir
	seam seam.Seam
	hold *os.File // nil after Release
}

const (
	startWait   = 30 * time.Second // for a broker to answer, with much data to read
	pollEvery   = 20 * time.Millisecond
	answerWait  = 2 * time.Second
	logBytesMax = 8 << 20
)

// Ensure finds the running broker of a data dir, or starts it as a process that outlives this one,
// and waits until it answers.
func Ensure(ctx context.Context, opt Options) (*Running, error) {
	d := dir(filepath.Join(opt.DataDir, "broker"))
	hold, err := d.register(opt.Seam)
	if err != nil {
		return nil, fmt.Errorf("register at the embedded broker: %w", err)
	}
	r := &Running{dir: d, seam: opt.Seam, hold: hold}
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	if err := r.find(ctx, opt); err != nil {
		r.Release()
		return nil, err
	}
	return r, nil
}

// find polls until the broker answers, and starts one when none runs.
func (r *Running) find(ctx context.Context, opt Options) error {
	var child *child
	for {
		st, running, err := r.dir.peek()
		if err != nil {
			return err
		}
		switch {
		case running && st.Addr != "" && answers(ctx, st, opt.Seam):
			r.Addr, r.PID, r.ClusterID, r.Warnings = st.Addr, st.PID, st.ClusterID, st.Warnings
			r.Started = child != nil && child.pid == st.PID
			return nil
		case running:
		case child == nil:
			if child, err = startChild(r.dir, opt); err != nil {
				return err
			}
		case child.ended():
			return fmt.Errorf("the embedded broker did not start: %s", child.reason())
		}
		if opt.Seam.Sleep(ctx, pollEvery) != nil {
			return fmt.Errorf("the embedded broker does not answer; see %s", r.dir.file("broker.log"))
		}
	}
}

// answers asks the broker who it is: after a restart an old address may be somebody else's.
func answers(ctx context.Context, st state, s seam.Seam) bool {
	admin, err := kafka.NewAdmin(kafka.Config{Brokers: []string{st.Addr}, Seam: s})
	if err != nil {
		return false
	}
	defer admin.Close()
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	id, err := admin.ClusterID(ctx)
	return err == nil && id == st.ClusterID
}

// child is a broker process that this process started.
type child struct {
	pid    int
	done   chan struct{}
	log    string
	logged int64 // size of the log before
}

// startChild starts the broker in a session of its own, so that neither a signal to the node's
// process group nor the end of its terminal reaches it.
func startChild(d dir, opt Options) (*child, error) {
	command := opt.Command
	if command == nil {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		command = []string{self, "broker", "--data-dir", opt.DataDir}
	}
	out, size, err := openLog(d.file("broker.log"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the embedded broker: %w", err)
	}
	c := &child{pid: cmd.Process.Pid, done: make(chan struct{}), log: out.Name(), logged: size}
	go func() {
		_ = cmd.Wait() // what it has to say is in its log
		close(c.done)
	}()
	return c, nil
}

// openLog opens the log for appending; a large one begins anew, with the last one kept beside it.
func openLog(name string) (*os.File, int64, error) {
	if info, err := os.Stat(name); err == nil && info.Size() > logBytesMax {
		if err := os.Rename(name, name+".old"); err != nil {
			return nil, 0, err
		}
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

func (c *child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// reason is the last that the process said.
func (c *child) reason() string {
	text, err := os.ReadFile(c.log)
	if err != nil || int64(len(text)) <= c.logged {
		return "it ended without a word; see " + c.log
	}
	const keep = 500
	text = bytes.TrimSpace(text[c.logged:])
	if len(text) > keep {
		text = text[len(text)-keep:]
	}
	return fmt.Sprintf("%s (its log: %s)", text, c.log)
}

// Release lets go of the broker, which ends by itself a minute after the last node has let go. It
// may be called twice.
func (r *Running) Release() {
	if r.hold == nil {
		return
	}
	_ = r.hold.Close() // frees the lock; the broker removes the file
	r.hold = nil
}

// StopIfOurs lets go of the broker and ends it, unless another node uses it or a person started it
// with `tally broker`.
func (r *Running) StopIfOurs(ctx context.Context) error {
	r.Release()
	st, running, err := r.dir.peek()
	if err != nil || !running || st.Keep || r.dir.liveNodes() > 0 {
		return err
	}
	return r.dir.stop(ctx, r.seam)
}

// Stop ends the broker of a data dir, if one runs, and waits until it has written everything.
func Stop(ctx context.Context, dataDir string, s seam.Seam) error {
	return dir(filepath.Join(dataDir, "broker")).stop(ctx, s)
}

func (d dir) stop(ctx context.Context, s seam.Seam) error {
	told := 0
	for {
		st, running, err := d.peek()
		if err != nil || !running {
			return err
		}
		// The process id is the lock holder's own word, so it is not that of a stranger.
		if st.PID != 0 && st.PID != told {
			if err := syscall.Kill(st.PID, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("end the embedded broker (process %d): %w", st.PID, err)
			}
			told = st.PID
		}
		if s.Sleep(ctx, pollEvery) != nil {
			return fmt.Errorf("the embedded broker (process %d) has not ended yet: %w", told, ctx.Err())
		}
	}
}
