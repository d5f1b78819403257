package trial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tally-kafka/tally/bench/peers"
)

// Ways in which a process ends before it is started again.
const (
	Killed     = "SIGKILL"
	KilledCold = "SIGKILL, page cache dropped"
	Stopped    = "SIGTERM"
	Emptied    = "SIGKILL, state removed" // so that all comes from Kafka
)

// A Restart is one start after one end.
type Restart struct {
	Way     string
	Figures Figures
}

// Endings say how a peer is ended again and again.
type Endings struct {
	Ways []string
	// Enough says that a way which was taken before is left out now. It is told how long that took
	// the last time.
	Enough func(took time.Duration) bool
	// StepMax bounds each step: to count the input, or a start until its first output.
	StepMax time.Duration
}

func (e Endings) step(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, e.StepMax)
	defer cancel()
	return do(ctx)
}

// Restarts lets a peer count an input, ends it, each time under load, and measures each start until
// the first output of an event that was waiting for it.
func (l *Lab) Restarts(ctx context.Context, peer peers.Peer, in *Input, interval time.Duration, e Endings) (all []Restart, err error) {
	a, err := l.newApp(ctx, peer, in.Workload, in.Topic, interval)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.clean(ctx)) }()
	recount := in.Recount.Clone()
	s, err := l.newSender(in.Workload, recount, func([]byte) string { return in.Topic })
	if err != nil {
		return nil, err
	}
	defer s.close()
	if err := e.step(ctx, func(ctx context.Context) error {
		if _, err := a.start(ctx); err != nil {
			return err
		}
		return a.awaitCounted(ctx, in.ends)
	}); err != nil {
		return nil, err
	}
	reading, stop := context.WithCancel(ctx)
	g, reading := errgroup.WithContext(reading)
	seen := &marks{at: map[string]time.Time{}}
	g.Go(func() error { return l.watchMarks(reading, a.job.Out(), seen) })
	all, err = a.restarts(ctx, s, seen, e)
	stop()
	if err := errors.Join(err, g.Wait(), l.noteSent(ctx, in, s)); err != nil {
		return nil, err
	}
	var verdict Figures
	if err := e.step(ctx, func(ctx context.Context) error { return a.judgeRestarts(ctx, in, s, &verdict) }); err != nil {
		return nil, err
	}
	for i := range all {
		f := &all[i].Figures
		f.Wrong, f.Groups, f.OutputsRepeated = verdict.Wrong, verdict.Groups, verdict.OutputsRepeated
	}
	return all, nil
}

// noteSent notes in the input what was sent to its topic since. It lies there, where the peer has
// failed too: the next one must count it.
func (l *Lab) noteSent(ctx context.Context, in *Input, s *sender) (err error) {
	in.Recount = s.recount
	in.ends, err = l.admin.EndOffsets(ctx, in.Topic, true)
	return err
}

// judgeRestarts lets the peer count what came since, and compares all that it wrote.
func (a *app) judgeRestarts(ctx context.Context, in *Input, s *sender, verdict *Figures) error {
	if err := a.awaitCounted(ctx, in.ends); err != nil {
		return err
	}
	a.proc.Stop()
	return a.judge(ctx, s.recount, in.Workload.Events+s.sent, verdict, a.job.Out())
}

func (a *app) restarts(ctx context.Context, s *sender, seen *marks, e Endings) (all []Restart, err error) {
	took := map[string]time.Duration{} // by way, the last time
	for n, way := range e.Ways {
		if last, taken := took[way]; taken && e.Enough(last) {
			continue
		}
		began := a.lab.Seam.Now()
		one := Restart{Way: way}
		if err := e.step(ctx, func(ctx context.Context) (err error) {
			one.Figures, err = a.restart(ctx, s, seen, way, n)
			return err
		}); err != nil {
			return all, fmt.Errorf("%s: %w", way, err)
		}
		took[way] = a.lab.Seam.Since(began)
		all = append(all, one)
	}
	return all, nil
}

// restart ends the peer, lets an event of each partition wait for it, and starts it.
func (a *app) restart(ctx context.Context, s *sender, seen *marks, way string, n int) (f Figures, err error) {
	const rate, load = 1000, 2 * time.Second
	if err := s.pace(ctx, rate, load); err != nil {
		return f, err
	}
	if way == Stopped {
		a.proc.Stop()
	} else {
		a.proc.Kill()
	}
	all := markKeys(a.job.App, n, a.job.Workload.Partitions)
	for _, mark := range all {
		s.send(ctx, []byte(mark), []byte("{}"), a.lab.Seam.Now())
	}
	if err := s.cl.Flush(ctx); err != nil {
		return f, err
	}
	switch way {
	case Emptied:
		if err := os.RemoveAll(a.peer.State(a.job)); err != nil {
			return f, err
		}
	case KilledCold:
		if err := dropCaches(); err != nil {
			return f, err
		}
	}
	began, err := a.start(ctx)
	if err != nil {
		return f, err
	}
	first, last, err := seen.await(ctx, a, all)
	if err != nil {
		return f, err
	}
	f.FirstOutputMs = float64(first.Sub(began).Microseconds()) / 1000
	used, err := a.cost()
	if err != nil {
		return f, err
	}
	f.RSSMB = float64(used.peer.PeakRSS) / mega
	if way == Emptied {
		groups := float64(s.recount.Groups())
		f.RecordsPerSec = groups / last.Sub(began).Seconds() // until every partition has its groups again
		f.CPUPerM = used.peer.CPU.Seconds() / groups * 1e6
	}
	return f, nil
}

const dropCachesFile = "/proc/sys/vm/drop_caches"

// dropCaches makes the next reads come from the disk. What is not written yet cannot be dropped.
func dropCaches() error {
	syscall.Sync()
	return os.WriteFile(dropCachesFile, []byte("3"), 0)
}

// CanDropCaches says whether this user may: only root may.
func CanDropCaches() bool {
	f, err := os.OpenFile(dropCachesFile, os.O_WRONLY, 0)
	return err == nil && f.Close() == nil
}
