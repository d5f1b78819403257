package trial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/tally-kafka/tally/bench/peers"
)

// Audit lets tally count an input and then measures the audit of it.
func (l *Lab) Audit(ctx context.Context, tally peers.Tally, in *Input, interval time.Duration) (f Figures, err error) {
	a, err := l.newApp(ctx, tally, in.Workload, in.Topic, interval)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, a.clean(ctx)) }()
	if _, err := a.start(ctx); err != nil {
		return f, err
	}
	if err := a.awaitCounted(ctx, in.ends); err != nil {
		return f, err
	}
	cmd := exec.CommandContext(ctx, tally.Binary, "audit", "--server", "http://"+a.job.Listen)
	cmd.Env = append(os.Environ(), "TMPDIR="+a.job.Dir) // the recount's files
	began := l.Seam.Now()
	out, err := cmd.CombinedOutput()
	took := l.Seam.Since(began)
	if cmd.ProcessState == nil {
		return f, err
	}
	events := float64(in.Workload.Events)
	f.EventsPerSec = events / took.Seconds()
	f.CPUPerM = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds() / events * 1e6
	if r, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		f.RSSMB = float64(r.Maxrss) / 1024
	}
	if err != nil {
		f.Wrong = fmt.Sprintf("%v: %s", err, strings.TrimSpace(string(out)))
	}
	return f, nil
}
