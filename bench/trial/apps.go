package trial

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/bench/peers"
	"github.com/tally-kafka/tally/internal/kafka"
)

// Apps measures the latency of many apps on one node of tally, each with a topic of its own; the
// rate is that of all together. Each event's count is checked as it is seen.
func (l *Lab) Apps(ctx context.Context, tally peers.Tally, n int, p Pacing) (f Figures, err error) {
	w := bench.Workload{Name: "k", Keys: 50_000, Partitions: 1}
	m := &manyApps{peer: tally}
	a := &app{lab: l, peer: m, job: peers.Job{Kafka: l.Kafka, Workload: w, App: "k"}}
	if a.job.Listen, err = freeAddr(); err != nil {
		return f, err
	}
	l.apps++
	a.job.Dir = filepath.Join(l.Dir, fmt.Sprintf("apps-%d", l.apps))
	if err := os.MkdirAll(a.job.Dir, 0o755); err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, a.clean(ctx)) }()
	var outs []string
	for k := range n {
		one := fmt.Sprintf("k-%d-%d", l.apps, k)
		m.apps = append(m.apps, one)
		outs = append(outs, one+"-out")
		for _, topic := range []string{one + "-in", one + "-out"} {
			if err := l.admin.Create(ctx, kafka.TopicSpec{Name: topic, Partitions: 1, Replication: -1}); err != nil {
				return f, err
			}
		}
	}
	s, err := l.newSender(w, bench.NewRecount(), m.topic)
	if err != nil {
		return f, err
	}
	defer s.close()
	if _, err := a.start(ctx); err != nil {
		return f, err
	}
	reading, stop := context.WithCancel(ctx)
	g, reading := errgroup.WithContext(reading)
	g.Go(func() error {
		return bench.WatchCounts(reading, l.Kafka, kgo.NewOffset().AtStart(), outs, s.latency.Seen)
	})
	err = a.paced(ctx, s, p, &f)
	stop()
	if err := errors.Join(err, g.Wait()); err != nil {
		return f, err
	}
	a.proc.Stop()
	return f, a.judgePaced(ctx, s, &f, outs...)
}

// manyApps is a node of tally with many apps. A key belongs to one of them.
type manyApps struct {
	peer peers.Tally
	apps []string
}

func (m *manyApps) topic(key []byte) string {
	h := fnv.New32a()
	_, _ = h.Write(key) // it never fails
	return m.apps[h.Sum32()%uint32(len(m.apps))] + "-in"
}

func (m *manyApps) Name() string                  { return m.peer.Name() }
func (m *manyApps) Install(context.Context) error { return nil }
func (m *manyApps) SaysRunning() bool             { return false }
func (*manyApps) Adds() bool                      { return false }
func (m *manyApps) ExactlyOnce() bool             { return m.peer.ExactlyOnce() }
func (m *manyApps) State(j peers.Job) string      { return m.peer.State(j) }
func (m *manyApps) Settings() []string            { return m.peer.Settings() }

func (m *manyApps) Position(context.Context, *kafka.Admin, peers.Job) (map[int32]int64, error) {
	return nil, errors.New("many apps have no one position")
}

func (m *manyApps) Command(j peers.Job) (*exec.Cmd, error) {
	args := []string{"run", "--brokers", j.Kafka.Brokers[0], "--data-dir", filepath.Join(j.Dir, "data"), "--listen", j.Listen}
	for _, one := range m.apps {
		file := filepath.Join(j.Dir, one+".yaml")
		if err := os.WriteFile(file, []byte(j.Workload.Spec(one, one+"-in", 0)), 0o644); err != nil {
			return nil, err
		}
		args = append(args, "--spec", file)
	}
	return exec.Command(m.peer.Binary, args...), nil
}

// Idle is what a node costs to which nothing comes.
func (l *Lab) Idle(ctx context.Context, tally peers.Tally, d time.Duration) (f Figures, err error) {
	w := bench.Workload{Name: "idle", Keys: 1, Partitions: 4}
	topic := fmt.Sprintf("idle-input-%d", l.apps+1)
	if err := w.CreateTopic(ctx, l.Kafka, topic); err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, l.drop(ctx, topic)) }()
	a, err := l.newApp(ctx, tally, w, topic, 0)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, a.clean(ctx)) }()
	if _, err := a.start(ctx); err != nil {
		return f, err
	}
	const settle = 3 * time.Second
	if err := l.Seam.Sleep(ctx, settle); err != nil {
		return f, err
	}
	before, err := a.cost()
	if err != nil {
		return f, err
	}
	keptBefore, err := a.kept(ctx)
	if err != nil {
		return f, err
	}
	if err := l.Seam.Sleep(ctx, d); err != nil {
		return f, err
	}
	after, err := a.cost()
	if err != nil {
		return f, err
	}
	kept, err := a.kept(ctx)
	f.CPUShare = after.since(before).peer.CPU.Seconds() / d.Seconds()
	f.BrokerCPUShare = after.since(before).brokers.CPU.Seconds() / d.Seconds()
	f.RSSMB = float64(after.peer.PeakRSS) / mega
	f.KafkaBytes = kept - keptBefore
	return f, err
}
