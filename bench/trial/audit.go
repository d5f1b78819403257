package trial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/tally-kafka/tally/bench/measure"
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
	out, peak, err := l.output(ctx, cmd)
	took := l.Seam.Since(began)
	if cmd.ProcessState == nil {
		return f, err
	}
	f.RSSMB = float64(peak) / mega
	events := float64(in.Workload.Events)
	f.EventsPerSec = events / took.Seconds()
	f.CPUPerM = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds() / events * 1e6
	if err != nil {
		f.Wrong = fmt.Sprintf("%v: %s", err, strings.TrimSpace(string(out)))
	}
	return f, nil
}

// output runs a command and gives what it says, and its peak of memory in bytes as it was seen from
// time to time: what the kernel says of a child that has ended includes its parent's, from before
// it became another program.
func (l *Lab) output(ctx context.Context, cmd *exec.Cmd) (out []byte, peak int64, err error) {
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return nil, 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			return said.Bytes(), peak, err
		default:
		}
		if u, err := measure.Of(cmd.Process.Pid); err == nil {
			peak = max(peak, u.PeakRSS)
		}
		if err := l.Seam.Sleep(ctx, pollEvery); err != nil {
			return said.Bytes(), peak, errors.Join(err, <-ended)
		}
	}
}
