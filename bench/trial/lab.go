package trial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/bench"
	"github.com/tally-kafka/tally/bench/measure"
	"github.com/tally-kafka/tally/bench/peers"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

// A Lab is what all trials share: the brokers, a directory, a clock. Trials run one after the
// other.
type Lab struct {
	Kafka   kafka.Config
	Brokers []int // process ids
	Dir     string
	Seam    seam.Seam

	admin *kafka.Admin
	cl    *kgo.Client
	apps  int
}

// Open connects.
func (l *Lab) Open() (err error) {
	if l.admin, err = kafka.NewAdmin(l.Kafka); err != nil {
		return err
	}
	l.cl, err = l.Kafka.Client()
	return err
}

// Close closes the connections.
func (l *Lab) Close() {
	l.admin.Close()
	l.cl.Close()
}

// Figures are what one run gives; what it does not measure is 0.
type Figures struct {
	EventsPerSec    float64 `json:",omitempty"`
	StartSec        float64 `json:",omitempty"` // until it said that it is running
	CPUPerM         float64 `json:",omitempty"` // seconds of CPU a million events, of the peer
	BrokerCPUPerM   float64 `json:",omitempty"`
	CPUShare        float64 `json:",omitempty"` // of a core, at a fixed rate
	BrokerCPUShare  float64 `json:",omitempty"`
	RSSMB           float64 `json:",omitempty"` // at most
	DiskPerEvent    float64 `json:",omitempty"` // bytes
	KafkaPerEvent   float64 `json:",omitempty"` // bytes, all replicas
	BetweenPerEvent float64 `json:",omitempty"` // of them, in a repartition topic
	OutputsPerEvent float64 `json:",omitempty"`
	P50, P95, P99   float64 `json:",omitempty"` // ms
	P999, Max       float64 `json:",omitempty"`
	FirstOutputMs   float64 `json:",omitempty"` // from the start of the process
	RecordsPerSec   float64 `json:",omitempty"` // of a restore, of a scan
	OutputsRepeated float64 `json:",omitempty"` // that did not raise their count
	KafkaBytes      float64 `json:",omitempty"` // while nothing came
	GetP99, TopP99  float64 `json:",omitempty"` // ms, of queries
	BeforeScanMB    float64 `json:",omitempty"` // at most, until a scan began
	Groups          float64 `json:",omitempty"`
	Wrong           string  `json:",omitempty"`
}

// app is one app of one peer on the lab's brokers.
type app struct {
	lab  *Lab
	peer peers.Peer
	job  peers.Job
	proc *peers.Process
}

// newApp makes the output topic and a directory. Clean takes them away.
func (l *Lab) newApp(ctx context.Context, peer peers.Peer, w bench.Workload, in string, interval time.Duration) (*app, error) {
	l.apps++
	listen, err := freeAddr()
	if err != nil {
		return nil, err
	}
	a := &app{lab: l, peer: peer, job: peers.Job{
		Kafka: l.Kafka, Workload: w, In: in, App: fmt.Sprintf("%s-%d-%s", w.Name, l.apps, peer.Name()),
		Listen: listen, Interval: interval,
	}}
	a.job.Dir = filepath.Join(l.Dir, a.job.App)
	if err := os.MkdirAll(a.job.Dir, 0o755); err != nil {
		return nil, err
	}
	if _, ok := peer.(peers.Limit); ok {
		return a, nil // it makes its topics itself
	}
	return a, l.admin.Create(ctx, kafka.TopicSpec{Name: a.job.Out(), Partitions: w.Partitions, Replication: -1})
}

// start starts the process and, where it says so, waits until its start-up is over.
func (a *app) start(ctx context.Context) (began time.Time, err error) {
	cmd, err := a.peer.Command(a.job)
	if err != nil {
		return began, err
	}
	began = a.lab.Seam.Now()
	if a.proc, err = peers.Start(cmd, a.job.Dir, a.lab.Seam); err != nil {
		return began, err
	}
	if a.peer.SaysRunning() {
		err = a.proc.Running(ctx)
	}
	return began, err
}

// tidyWait bounds what is done after a run, even one whose context has ended: the brokers may be
// gone.
const tidyWait = 30 * time.Second

// clean ends what runs and removes all that it made, here and on the brokers.
func (a *app) clean(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyWait)
	defer cancel()
	if a.proc != nil {
		a.proc.Kill()
	}
	if err := os.RemoveAll(a.job.Dir); err != nil {
		return err
	}
	_, names, err := measure.Kept(ctx, a.lab.cl, a.job.App+"-")
	if err != nil {
		return err
	}
	_, more, err := measure.Kept(ctx, a.lab.cl, a.job.App+".")
	if err != nil {
		return err
	}
	return a.lab.admin.DeleteTopics(ctx, append(names, more...)...)
}

// drop deletes a topic, as clean does.
func (l *Lab) drop(ctx context.Context, topic string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyWait)
	defer cancel()
	return l.admin.DeleteTopics(ctx, topic)
}

// kept are the bytes that the brokers keep of the app.
func (a *app) kept(ctx context.Context) (float64, error) {
	dashed, _, err := measure.Kept(ctx, a.lab.cl, a.job.App+"-")
	if err != nil {
		return 0, err
	}
	dotted, _, err := measure.Kept(ctx, a.lab.cl, a.job.App+".")
	return float64(dashed + dotted), err
}

// tallySegment is half of what tally lets a segment of its repartition topic grow to.
const tallySegment = 16 << 20

// between are the bytes that the app has sent through its repartition topic: 0 for one that has
// none, and where some may be deleted already. Who counts deletes what is counted, and Kafka does
// that to whole segments.
func (a *app) between(ctx context.Context) (float64, error) {
	own, _, err := measure.Kept(ctx, a.lab.cl, a.job.App+".repartition")
	if err != nil || own > int64(a.job.Workload.Partitions)*tallySegment {
		return 0, err
	}
	streams, _, err := measure.Kept(ctx, a.lab.cl, a.job.App+"-counts-repartition")
	return float64(own + streams), err
}

// pollEvery is how exactly the end of a run is seen.
const pollEvery = 20 * time.Millisecond

// awaitCounted waits until all of the input is counted and committed.
func (a *app) awaitCounted(ctx context.Context, ends map[int32]int64) error {
	for {
		at, err := a.peer.Position(ctx, a.lab.admin, a.job)
		if err == nil && reached(at, ends) {
			return nil
		}
		if err := a.proc.Check(); err != nil {
			return err
		}
		if ended := a.lab.Seam.Sleep(ctx, pollEvery); ended != nil {
			return fmt.Errorf("it is at %v of %v: %w\n%s", at, ends, errors.Join(ended, err), a.proc.Log())
		}
	}
}

func reached(at, ends map[int32]int64) bool {
	for p, end := range ends {
		if at[p] < end {
			return false
		}
	}
	return true
}

// cost is what peer and brokers have used so far.
type cost struct{ peer, brokers measure.Usage }

func (a *app) cost() (c cost, err error) {
	if a.proc != nil {
		if c.peer, err = measure.Of(a.proc.PID()); err != nil {
			return c, err
		}
	}
	c.brokers, err = measure.Of(a.lab.Brokers...)
	return c, err
}

func (c cost) since(before cost) cost {
	return cost{c.peer.Sub(before.peer), c.brokers.Sub(before.brokers)}
}

// mega is the unit of --memory, too.
const mega = 1_000_000

// freeAddr is a loopback address that nobody listens on, below the kernel's ephemeral range so that
// no client's connection takes it.
func freeAddr() (string, error) {
	for port := 17400; port < 17500; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return l.Addr().String(), l.Close()
		}
	}
	return "", fmt.Errorf("no free port from 17400 to 17499")
}
